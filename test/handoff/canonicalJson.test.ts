import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson, digestOf } from '../../src/handoff/canonicalJson';

/** The same value with the members of every object in reverse order of insertion. */
function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, member]) => [key, reversed(member)]),
  );
}

describe('canonical JSON', () => {
  it('does not depend on the order in which members were set', () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => canonicalJson(value) === canonicalJson(reversed(value))));
  });

  it('reads back as the value that JSON would give, so that values that differ have texts that differ', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it('is the same again after a round trip, so that both hosts digest the same bytes', () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => canonicalJson(JSON.parse(JSON.stringify(value))) === canonicalJson(value)));
  });

  it.each([
    { value: { b: 1, a: [true, null] }, text: '{"a":[true,null],"b":1}' },
    { value: { '\u20ac': 1, '\r': 2, '1': 3, '\u00f6': 4, '\ud83d\ude00': 5, '\ufb33': 6 }, text: '{"\\r":2,"1":3,"\u00f6":4,"\u20ac":1,"\ud83d\ude00":5,"\ufb33":6}' },
    { value: { a: undefined, b: [undefined] }, text: '{"b":[null]}' },
    { value: 'a "quoted"\n', text: '"a \\"quoted\\"\\n"' },
    { value: -0, text: '0' },
    { value: 1e21, text: '1e+21' },
    { value: [], text: '[]' },
    { value: {}, text: '{}' },
  ])('writes $text', ({ value, text }) => {
    expect(canonicalJson(value)).toBe(text);
  });

  it('is what a digest is taken of, as UTF-8', () => {
    expect(digestOf({ b: 'ö', a: 1 })).toBe(createHash('sha256').update(Buffer.from('{"a":1,"b":"ö"}', 'utf8')).digest('hex'));
  });
});
