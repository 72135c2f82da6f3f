import { RelayError } from '../relayError';
import { blake2s, sha256, type HashFunction } from './hashFunction';

export type Token = 'e' | 's' | 'ee' | 'es' | 'se' | 'ss' | 'psk';

/** A handshake pattern: who knows whose static key beforehand, and the tokens of each message; messages alternate, the initiator first. */
interface HandshakePattern {
  readonly initiatorKnown: boolean;
  readonly responderKnown: boolean;
  readonly messages: readonly (readonly Token[])[];
}

/** What a Noise protocol name says. */
export interface Protocol {
  readonly name: string;
  readonly pattern: HandshakePattern;
  readonly hash: HashFunction;
}

const pattern = (initiatorKnown: boolean, responderKnown: boolean, ...messages: readonly string[]): HandshakePattern => ({
  initiatorKnown,
  responderKnown,
  messages: messages.map((message) => message.split(' ') as Token[]),
});

/** Noise revision 34, section 7.5: the interactive patterns that Baton's files name. */
const patterns = new Map([
  ['NN', pattern(false, false, 'e', 'e ee')],
  ['NK', pattern(false, true, 'e es', 'e ee')],
  ['XX', pattern(false, false, 'e', 'e ee s es', 's se')],
  ['IK', pattern(false, true, 'e es s ss', 'e ee se')],
  ['KK', pattern(true, true, 'e es ss', 'e ee se')],
]);
const hashes = new Map([['SHA256', sha256], ['BLAKE2s', blake2s]]);

/**
 * Reads a protocol name such as `Noise_XXpsk3_25519_ChaChaPoly_SHA256` (section 8), with its psk modifiers (section 9.4).
 * Throws `pattern-unsupported` for any pattern, curve, cipher or hash that is not built in.
 */
export function parseProtocolName(name: string): Protocol {
  const match = /^Noise_([A-Z]+)((?:psk\d)(?:\+psk\d)*)?_25519_ChaChaPoly_([A-Za-z0-9]+)$/.exec(name);
  const base = patterns.get(match?.[1] ?? '');
  const hash = hashes.get(match?.[3] ?? '');
  if (base === undefined || hash === undefined) throw new RelayError('pattern-unsupported', `The Noise protocol ${name.slice(0, 64)} is not supported.`);
  const messages = base.messages.map((tokens) => [...tokens]);
  const positions = (match?.[2] ?? '').split('+').filter((modifier) => modifier !== '').map((modifier) => Number(modifier.slice(3)));
  if (new Set(positions).size !== positions.length) throw new RelayError('pattern-unsupported', `The Noise protocol ${name} has the same psk modifier twice.`);
  for (const position of positions) {
    const message = messages[Math.max(position - 1, 0)];
    if (message === undefined) throw new RelayError('pattern-unsupported', `The Noise protocol ${name} has no message ${position}.`);
    if (position === 0) message.unshift('psk');
    else message.push('psk');
  }
  return { name, pattern: { ...base, messages }, hash };
}
