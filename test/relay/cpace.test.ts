import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { calculateGenerator, ELEMENT_LENGTH, generatorString, intermediateSessionKey, lvCat, sampleScalar, scalarMult, scalarMultVfy } from '../../src/relay/cpace';

interface Vectors {
  readonly PRS: string; readonly CI: string; readonly sid: string; readonly generatorString: string; readonly g: string;
  readonly ya: string; readonly ADa: string; readonly Ya: string; readonly yb: string; readonly ADb: string; readonly Yb: string; readonly K: string; readonly ISK_IR: string;
  readonly scalarMult: { readonly s: string; readonly X: string; readonly product: string };
  readonly invalid: readonly string[];
}
const draft = JSON.parse(readFileSync(join(import.meta.dirname, '../fixtures/cpace/draft-irtf-cfrg-cpace-21.json'), 'utf8')) as Vectors;
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));
const hex = (data: Uint8Array): string => Buffer.from(data).toString('hex');
const { PRS, CI, sid, ya, Ya, ADa, yb, Yb, ADb } = Object.fromEntries(Object.entries(draft).map(([name, value]) => [name, bytes(String(value))])) as Record<'PRS' | 'CI' | 'sid' | 'ya' | 'Ya' | 'ADa' | 'yb' | 'Yb' | 'ADb', Uint8Array>;

describe('CPace gives what the draft gives', () => {
  it('for the generator', () => {
    expect(hex(generatorString(PRS, CI, sid))).toBe(draft.generatorString);
    expect(hex(calculateGenerator(PRS, CI, sid))).toBe(draft.g);
    expect(hex(lvCat(new TextEncoder().encode('A_initiator'), new TextEncoder().encode('B_responder')))).toBe(draft.CI);
  });

  it('for both messages, the shared point and the key on both sides', () => {
    const g = calculateGenerator(PRS, CI, sid);
    expect([hex(scalarMult(ya, g)), hex(scalarMult(yb, g))]).toEqual([draft.Ya, draft.Yb]);
    expect([hex(scalarMultVfy(ya, Yb)), hex(scalarMultVfy(yb, Ya))]).toEqual([draft.K, draft.K]);
    const transcript = { Ya, ADa, Yb, ADb };
    expect([hex(intermediateSessionKey(ya, Yb, sid, transcript)), hex(intermediateSessionKey(yb, Ya, sid, transcript))]).toEqual([draft.ISK_IR, draft.ISK_IR]);
  });

  it('for a product, and for elements that are none: those end the protocol', () => {
    expect(hex(scalarMult(bytes(draft.scalarMult.s), bytes(draft.scalarMult.X)))).toBe(draft.scalarMult.product);
    for (const invalid of [...draft.invalid, '', '00', 'ff'.repeat(32)]) {
      expect(hex(scalarMultVfy(bytes(draft.scalarMult.s), bytes(invalid)))).toBe('00'.repeat(ELEMENT_LENGTH));
      expect(() => intermediateSessionKey(ya, bytes(invalid), sid, { Ya, ADa, Yb, ADb })).toThrow(expect.objectContaining({ reason: 'handshake-failed' }));
    }
  });
});

describe('two sides', () => {
  const side = (password: string, context: string, session: string) => {
    const [P, C, S] = [password, context, session].map((text) => new TextEncoder().encode(text)) as [Uint8Array, Uint8Array, Uint8Array];
    const scalar = sampleScalar();
    return { scalar, sid: S, Y: scalarMult(scalar, calculateGenerator(P, C, S)) };
  };
  const keys = (a: ReturnType<typeof side>, b: ReturnType<typeof side>, [idA, idB] = ['a', 'b']) => {
    const transcript = { Ya: a.Y, ADa: new TextEncoder().encode(idA), Yb: b.Y, ADb: new TextEncoder().encode(idB) };
    return [intermediateSessionKey(a.scalar, b.Y, a.sid, transcript), intermediateSessionKey(b.scalar, a.Y, b.sid, { ...transcript, ADa: new TextEncoder().encode('a'), ADb: new TextEncoder().encode('b') })].map(hex);
  };

  it('agree where password, context, session and identities are the same, and on nothing else', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), (password, context, session) => {
        const [one, other] = keys(side(password, context, session), side(password, context, session));
        expect(one).toBe(other);
        for (const [a, b] of [[side(`${password}x`, context, session), side(password, context, session)], [side(password, `${context}x`, session), side(password, context, session)], [side(password, context, `${session}x`), side(password, context, session)]] as const) {
          const [left, right] = keys(a, b);
          expect(left).not.toBe(right);
        }
        const [left, right] = keys(side(password, context, session), side(password, context, session), ['mallory', 'b']);
        expect(left).not.toBe(right);
      }),
      { numRuns: 5 },
    );
  });

  it('do not move what they are made of from one part to another', () => {
    const of = (...parts: string[]) => hex(lvCat(...parts.map((part) => new TextEncoder().encode(part))));
    expect(of('ab', 'c')).not.toBe(of('a', 'bc'));
    expect(of('x'.repeat(200)).slice(0, 4)).toBe('c801');
  });
});
