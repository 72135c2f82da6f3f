/** What is said on the connections of relayHosts.ts, relayExchange.ts and their clients: JSON text, checked before it is used. */
import type { RawData } from 'ws';
import { z } from 'zod';
import { permitPattern } from './relayPermit';

/** No message is longer, in bytes. */
export const MAX_MESSAGE_BYTES = 4096;

/** 32 bytes: a key, a nonce, a MAC, an accept ticket. */
const bytes32 = z.string().regex(/^[A-Za-z0-9_-]{43}$/);
const permit = z.string().regex(permitPattern);
/** A grant of the relay's own, or a JSON Web Token of an issuer. */
export const grantText = z.string().regex(/^[A-Za-z0-9_.-]{1,2048}$/);

const challenge = z.strictObject({ type: z.literal('challenge'), relayKey: bytes32, nonce: bytes32 });
const proof = z.strictObject({ type: z.literal('proof'), nonce: bytes32, mac: bytes32 });

/** What a host says to register. */
export const registration = proof;

/** What the relay says to a host that registers or is registered. */
export const toHost = z.discriminatedUnion('type', [
  challenge,
  z.strictObject({ type: z.literal('registered') }),
  /** Somebody dials. `at`: the relay node where the dialler waits, if it is not found at the relay's own URL. */
  z.strictObject({ type: z.literal('dial'), ticket: bytes32, at: z.url({ protocol: /^wss?$/ }).max(512).optional() }),
]);

/** What a host says to be given a permit: who it is, by what right it asks, and for what. */
export const exchangeRequest = proof.extend({
  by: z.union([z.strictObject({ secret: bytes32 }), z.strictObject({ grant: grantText })]),
  want: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('token') }),
    z.strictObject({ kind: z.literal('pass') }),
    z.strictObject({ kind: z.literal('grant'), hostId: bytes32 }),
  ]),
});
export type ExchangeRequest = z.infer<typeof exchangeRequest>;

/** What the relay says to a host that asks for a permit. `grant` takes the place of the one that was shown. */
export const toMember = z.discriminatedUnion('type', [
  challenge,
  z.strictObject({ type: z.literal('permit'), permit, lifetimeMs: z.number().int().positive(), grant: permit.optional() }),
]);

/** A message as `schema` has it; undefined for anything else. */
export function readMessage<S extends z.ZodType>(schema: S, message: RawData, isBinary: boolean): z.output<S> | undefined {
  if (isBinary || !Buffer.isBuffer(message)) return undefined;
  try {
    return schema.safeParse(JSON.parse(message.toString('utf8'))).data;
  } catch {
    return undefined;
  }
}
