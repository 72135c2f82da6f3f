import { ed25519, ristretto255 } from '@noble/curves/ed25519';
import { sha512 } from '@noble/hashes/sha2';
import { concatBytes, equalBytes, randomBytes, utf8 } from './keys';
import { RelayError } from './relayError';

/**
 * CPace, initiator-responder setting, group ristretto255, hash SHA-512: draft-irtf-cfrg-cpace-21. Two sides that share a
 * low-entropy password get a key of high entropy; whoever is in between, or pretends to be one of them, learns from one run whether
 * one guess was right, and nothing with which others could be tried later. Names are the draft's. Pure, and nothing of Node.
 */

/** `H.s_in_bytes`: input block size of SHA-512 (draft section 7.3). */
const S_IN_BYTES = 128;
const DSI = utf8('CPaceRistretto255');
const DSI_ISK = utf8('CPaceRistretto255_ISK');
/** Length of an encoded group element and of a scalar. */
export const ELEMENT_LENGTH = 32;
/** `G.I`: the neutral element, encoded (RFC 9496, section 4.3.2). */
const NEUTRAL = new Uint8Array(ELEMENT_LENGTH);

/** `prepend_len`: the byte string after its length in LEB128 (draft, appendix A.1). */
function prependLen(data: Uint8Array): Uint8Array {
  const length: number[] = [];
  let rest = data.length;
  do {
    length.push(rest < 128 ? rest : (rest & 127) | 128);
    rest >>= 7;
  } while (rest > 0);
  return concatBytes(Uint8Array.from(length), data);
}

/** `lv_cat`: byte strings one after the other, each with its length before it (draft, appendix A.1). */
export function lvCat(...parts: readonly Uint8Array[]): Uint8Array {
  return concatBytes(...parts.map(prependLen));
}

/** `generator_string` (draft, appendix A.2). */
export function generatorString(PRS: Uint8Array, CI: Uint8Array, sid: Uint8Array): Uint8Array {
  const lenZpad = Math.max(0, S_IN_BYTES - 1 - prependLen(PRS).length - prependLen(DSI).length);
  return lvCat(DSI, PRS, new Uint8Array(lenZpad), CI, sid);
}

/** `G.calculate_generator` for ristretto255: the one-way map of RFC 9496, section 4.3.4, of the hashed generator string. 32 bytes. */
export function calculateGenerator(PRS: Uint8Array, CI: Uint8Array, sid: Uint8Array): Uint8Array {
  // The map itself has no other name in this version of the library; `ristretto255_hasher` hashes with an expander first (RFC 9380).
  // eslint-disable-next-line @typescript-eslint/no-deprecated
  return ristretto255.Point.hashToCurve(sha512(generatorString(PRS, CI, sid))).toBytes();
}

/** `G.sample_scalar`: uniform below the order of the group; 32 bytes, little-endian. */
export function sampleScalar(): Uint8Array {
  // 512 bits, so that what the reduction prefers is beyond measure (draft section 7.3).
  return encodeScalar(ed25519.Point.CURVE().n, decodeInteger(randomBytes(64)));
}

/** `G.scalar_mult`: an encoded element times a scalar. Throws `handshake-failed` for an element that is none. */
export function scalarMult(scalar: Uint8Array, element: Uint8Array): Uint8Array {
  const product = scalarMultVfy(scalar, element);
  if (equalBytes(product, NEUTRAL)) throw new RelayError('handshake-failed', 'The other side sent no usable element of the group.');
  return product;
}

/** `G.scalar_mult_vfy`: as `scalarMult`, but the neutral element for what is no element, upon which the protocol must abort. */
export function scalarMultVfy(scalar: Uint8Array, element: Uint8Array): Uint8Array {
  try {
    return ristretto255.Point.fromBytes(element).multiply(decodeInteger(scalar)).toBytes();
  } catch {
    return NEUTRAL;
  }
}

/** `transcript_ir`: both messages with their associated data, initiator first (draft, appendix A.3). */
function transcriptIr(Ya: Uint8Array, ADa: Uint8Array, Yb: Uint8Array, ADb: Uint8Array): Uint8Array {
  return concatBytes(lvCat(Ya, ADa), lvCat(Yb, ADb));
}

/** What went over the wire, initiator `a` first: public elements, and what each side says of itself. */
export interface Transcript {
  readonly Ya: Uint8Array;
  readonly ADa: Uint8Array;
  readonly Yb: Uint8Array;
  readonly ADb: Uint8Array;
}

/**
 * The intermediate session key, `ISK`, 64 bytes, of the side that has `scalar` and got `element` (draft section 6.2). Equal on both
 * sides only where password, context, session and transcript are. Throws `handshake-failed` where the element makes the product neutral.
 */
export function intermediateSessionKey(scalar: Uint8Array, element: Uint8Array, sid: Uint8Array, { Ya, ADa, Yb, ADb }: Transcript): Uint8Array {
  const K = scalarMult(scalar, element);
  return sha512(concatBytes(lvCat(DSI_ISK, sid, K), transcriptIr(Ya, ADa, Yb, ADb)));
}

function decodeInteger(littleEndian: Uint8Array): bigint {
  return littleEndian.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

function encodeScalar(order: bigint, value: bigint): Uint8Array {
  // From 1 on: zero is no scalar.
  let rest = (value % (order - 1n)) + 1n;
  return Uint8Array.from({ length: ELEMENT_LENGTH }, () => {
    const byte = Number(rest & 255n);
    rest >>= 8n;
    return byte;
  });
}
