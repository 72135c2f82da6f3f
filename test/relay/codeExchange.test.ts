/** The short code against somebody in between (transfer.md, H17, H19, H22). */
import { afterEach, describe, expect, it } from 'vitest';
import type { Channel } from '../../src/relay/channel';
import { inviteByCode, joinByCode } from '../../src/relay/codeExchange';
import { calculateGenerator, ELEMENT_LENGTH, intermediateSessionKey, lvCat, sampleScalar, scalarMult } from '../../src/relay/cpace';
import { deriveInvite } from '../../src/relay/invite';
import { generateKeyPair, KEY_LENGTH, utf8 } from '../../src/relay/keys';
import { parseCode } from '../../src/relay/pairingCode';
import { ManualClock, meddledPair, type Meddle } from './channelPair';

const code = parseCode('WOLF-MAPLE-7482');
const [host, guest, mallory] = [generateKeyPair(), generateKeyPair(), generateKeyPair()];
const closers: (() => void)[] = [];
afterEach(() => closers.splice(0).forEach((close) => close()));

/** Both sides of one run, with `meddle` in between: what each comes to. */
async function run(meddle: Meddle): Promise<PromiseSettledResult<Channel>[]> {
  const clock = new ManualClock();
  const { near, far, close } = await meddledPair(meddle);
  closers.push(close);
  for (const end of [near, far]) end.on('error', () => undefined);
  const ends = [joinByCode(near, { keyPair: guest, code, clock }), inviteByCode(far, { keyPair: host, code, clock, onGuess: () => undefined })];
  // Whoever notices hangs up, and the other side, which would wait, hears of it.
  for (const end of ends) end.then((channel) => channel.on('error', () => undefined), () => [near, far].forEach((each) => each.destroy()));
  return Promise.allSettled(ends);
}

const replaced = (frame: Buffer, offset: number, by: Uint8Array): Buffer => {
  const changed = Buffer.from(frame);
  changed.set(by, offset);
  return changed;
};

describe('a code', () => {
  it('brings the two together that have it, each with the key of the other', async () => {
    const [joined, invited] = await run((frame) => [frame]);
    expect([joined, invited].map((end) => end?.status)).toEqual(['fulfilled', 'fulfilled']);
    if (joined?.status !== 'fulfilled' || invited?.status !== 'fulfilled') return;
    expect([Buffer.from(joined.value.remoteKey), Buffer.from(invited.value.remoteKey)]).toEqual([Buffer.from(host.publicKey), Buffer.from(guest.publicKey)]);
    expect(Buffer.from(joined.value.handshakeHash)).toEqual(Buffer.from(invited.value.handshakeHash));
  });

  it.each([[true, 'the key of who joins'], [false, 'the key of who invites']])('comes to nothing, on either side, where somebody puts a key of their own in the place of a real one (%s: %s)', async (ofGuest) => {
    // Behind length and magic and session id, or behind the length.
    const ends = await run((frame, index, toFar) => (index === 0 && toFar === ofGuest ? [replaced(frame, ofGuest ? 2 + 11 + 16 : 2, mallory.publicKey)] : [frame]));
    expect(ends.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  });

  it('comes to nothing where any part of its two messages is another', async () => {
    for (const [toFar, length] of [[true, 11 + 16 + KEY_LENGTH + ELEMENT_LENGTH], [false, KEY_LENGTH + ELEMENT_LENGTH]] as const) {
      for (let at = 0; at < length; at += 7) {
        const ends = await run((frame, index, direction) => (index === 0 && direction === toFar ? [replaced(frame, 2 + at, Uint8Array.of((frame[2 + at] ?? 0) ^ 1))] : [frame]));
        expect(ends.map(({ status }) => status), `byte ${at} ${toFar ? 'to the host' : 'to the guest'}`).toEqual(['rejected', 'rejected']);
      }
    }
  });

  it('that becomes known afterwards opens nothing of what was recorded: whoever has it would have had to be there', async () => {
    const recorded: Buffer[] = [];
    await run((frame, _, toFar) => {
      recorded.push(Buffer.concat([Buffer.of(toFar ? 1 : 0), frame]));
      return [frame];
    });
    const [first, answer] = [recorded.find(([toFar]) => toFar === 1)?.subarray(3), recorded.find(([toFar]) => toFar === 0)?.subarray(3)];
    if (first === undefined || answer === undefined) throw new Error('Nothing was recorded.');
    const [sid, ADa, Ya] = [first.subarray(11, 27), first.subarray(27, 59), first.subarray(59)];
    const [ADb, Yb] = [answer.subarray(0, 32), answer.subarray(32)];
    // The room that both named in their handshake is the first thing that a right guess would give.
    const room = Buffer.from(recorded.filter(([toFar]) => toFar === 1)[1] ?? []).toString('latin1');
    const guessed = new Set<string>();
    for (const password of [code.password, utf8('wolf-zebra'), utf8('able-zoo')]) {
      const own = sampleScalar();
      expect(scalarMult(own, calculateGenerator(password, lvCat(utf8('Baton pairing code 1'), utf8(code.place)), sid))).not.toEqual(Ya);
      const named = deriveInvite(intermediateSessionKey(own, Yb, sid, { Ya, ADa, Yb, ADb })).room;
      expect(room).not.toContain(named);
      guessed.add(named);
    }
    // The right one looks like any other.
    expect(guessed.size).toBe(3);
  });
});
