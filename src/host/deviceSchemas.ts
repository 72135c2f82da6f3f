import { z } from 'zod';
import { hostId, role, threadId } from './identifiers';

/** A key that this host trusts: that of a device or of another host. */
export const deviceSummary = z.object({
  /** The public key itself. */
  id: hostId,
  name: z.string(),
  /** A `host` takes part in handoffs; a `device` only steers and sees. */
  kind: z.enum(['device', 'host']),
  role,
  /** The only thread that it may see and steer; null for all. */
  threadId: threadId.nullable(),
  addedAt: z.string(),
  /** When its trust ends by itself; null for never. */
  expiresAt: z.string().nullable(),
  expired: z.boolean(),
  /** Channels that it has open now. */
  channels: z.number().int().nonnegative(),
});
export type DeviceSummary = z.infer<typeof deviceSummary>;

/** What people call an invite; its secrets are in none of the lists. */
export const inviteId = z.string().regex(/^[0-9a-f]{8}$/, 'the id of an invite is 8 hex digits');

export const inviteSummary = z.object({
  id: inviteId,
  role,
  threadId: threadId.nullable(),
  /** For how long after pairing whoever uses it is let in; null for good. */
  accessMs: z.number().int().positive().nullable(),
  expiresAt: z.string(),
  /** `void`: it was tried with a wrong secret, or with three wrong codes. */
  state: z.enum(['open', 'claiming', 'claimed', 'expired', 'cancelled', 'void']),
  /** Attempts with a code that was wrong, or that broke off. */
  wrongCodes: z.number().int().nonnegative(),
  /** Who used it, and the words that both sides show for the channel on which that was. */
  claimedBy: z.object({ id: hostId, name: z.string(), words: z.string() }).nullable(),
});
export type InviteSummary = z.infer<typeof inviteSummary>;

/** How long an invite can be used, and whom it lets in for how long, in milliseconds. */
const lifetimeMs = z.number().int().min(1_000).max(60 * 60_000);
const accessMs = z.number().int().min(1_000).max(365 * 24 * 60 * 60_000);
export const inviteParams = z.object({ role: role.default('peer'), threadId: threadId.optional(), accessMs: accessMs.optional(), lifetimeMs: lifetimeMs.optional() });

/** `code` is null where no place to meet could be taken at the relay; then only the link works. */
export const madeInvite = z.object({ id: inviteId, invite: z.string(), code: z.string().nullable(), role, threadId: threadId.nullable(), accessMs: accessMs.nullable(), expiresAt: z.string() });
export type MadeInvite = z.infer<typeof madeInvite>;

export const readInvite = z.object({ name: z.string(), hostId, fingerprint: z.string(), relayUrl: z.string(), expiresAt: z.string() });

/** What this host may do at the one that it joined, and the words that both sides show. */
export const joinedHost = z.object({ hostId, name: z.string(), role, threadId: threadId.nullable(), expiresAt: z.string().nullable(), words: z.string() });
export type JoinedHost = z.infer<typeof joinedHost>;
