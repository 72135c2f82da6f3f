import { z } from 'zod';
import { hostId, hostName } from '../protocol';

/**
 * What the far side of a connection says, in one line, before it passes bytes on: which host it is, and which Baton. `running` is the version of
 * the host that runs there, `file` that of the program that was started for this connection.
 */
export const greeting = z.union([
  z.object({
    hostId,
    name: hostName,
    protocolVersion: z.number().int(),
    running: z.string().max(64),
    file: z.string().max(64),
    /** Where it can be met, too. */
    relayUrl: z.url({ protocol: /^wss?$/ }).max(1024).nullable(),
    /** Why a host of another version was left as it is, in a sentence. */
    kept: z.string().max(1024).nullable(),
    /** What opens a pairing channel here, once, for the key that was named. */
    meeting: z.object({ room: z.string().regex(/^[A-Za-z0-9_-]{43}$/), psk: z.string().regex(/^[A-Za-z0-9_-]{43}$/) }).nullable(),
  }),
  z.object({ error: z.object({ reason: z.string().regex(/^[a-z0-9-]{1,64}$/), message: z.string().max(4096) }) }),
]);
export type Greeting = Exclude<z.infer<typeof greeting>, { error: unknown }>;

/** How two versions follow each other: below zero where `left` is the older one. What is no version is older than any. */
export function compareVersions(left: string, right: string): number {
  const [a, b] = [left, right].map((text) => (/^(\d+)\.(\d+)\.(\d+)/.exec(text) ?? []).slice(1).map(Number));
  for (let index = 0; index < 3; index++) {
    const difference = (a?.[index] ?? -1) - (b?.[index] ?? -1);
    if (difference !== 0) return difference;
  }
  return 0;
}
