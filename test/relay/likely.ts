import fc from 'fast-check';
import { concatBytes } from '../../src/relay/keys';

/** A true byte string with pieces replaced, cut out, doubled, put in or cut off; or bytes that never had to do with it. */
export function likely(whole: Uint8Array): fc.Arbitrary<Uint8Array> {
  const at = fc.nat(whole.length);
  const mutated = fc.tuple(at, at, fc.uint8Array({ maxLength: 40 }), fc.boolean()).map(([from, to, bytes, doubles]) => concatBytes(whole.subarray(0, from), bytes, whole.subarray(doubles ? Math.min(from, to) : to)));
  const flipped = fc.tuple(fc.nat(Math.max(whole.length - 1, 0)), fc.nat(7)).map(([index, bit]) => whole.map((byte, position) => (position === index ? byte ^ (1 << bit) : byte)));
  return fc.oneof(mutated, flipped, fc.uint8Array({ maxLength: whole.length + 40 }));
}
