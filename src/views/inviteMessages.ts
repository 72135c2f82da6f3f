/** What the invite panel shows, and the messages between the extension and its page; each side parses what it receives. */
import { z } from 'zod';
import { role, threadId } from '../host/protocol';

/** What an invite lets whoever uses it do. `peer` is for another host of the user's own. */
export const inviteWish = z.object({
  role,
  threadId: threadId.nullable(),
  /** For how long they are let in, in milliseconds; null for good. */
  accessMs: z.number().int().positive().nullable(),
  /** How long the invite can be used, in milliseconds. */
  lifetimeMs: z.number().int().positive(),
});
export type InviteWish = z.infer<typeof inviteWish>;

const shownInvite = z.object({
  role,
  /** The name of the only thread that it is for; null for all. */
  thread: z.string().nullable(),
  accessMs: z.number().nullable(),
  expiresAt: z.string(),
  /** Attempts with a code that was wrong, or that broke off. */
  wrongCodes: z.number(),
});
export type ShownInvite = z.infer<typeof shownInvite>;

export const inviteViewState = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('form'), hostName: z.string(), threads: z.array(z.object({ id: z.string(), name: z.string() })), busy: z.boolean(), problem: z.string().nullable() }),
  /** The secrets are in this one only. `claiming`: somebody uses it this moment. */
  z.object({ kind: z.literal('open'), hostName: z.string(), invite: shownInvite, link: z.string(), code: z.string().nullable(), claiming: z.boolean() }),
  z.object({
    kind: z.literal('ended'),
    hostName: z.string(),
    invite: shownInvite,
    /** `lost`: the host ended, and its invites with it. */
    outcome: z.enum(['claimed', 'expired', 'cancelled', 'void', 'lost']),
    /** Who was let in, and the words that both sides show. */
    claimedBy: z.object({ id: z.string(), name: z.string(), words: z.string() }).nullable(),
    revoked: z.boolean(),
  }),
  z.object({ kind: z.literal('unavailable'), message: z.string() }),
]);
export type InviteViewState = z.infer<typeof inviteViewState>;

/** Extension → page. */
export const inviteToPage = z.object({ type: z.literal('state'), state: inviteViewState });
export type InviteToPage = z.infer<typeof inviteToPage>;

/** Page → extension. */
export const inviteFromPage = z.discriminatedUnion('type', [
  /** The page is loaded and listens. */
  z.object({ type: z.literal('ready') }),
  z.object({ type: z.literal('make'), wish: inviteWish }),
  z.object({ type: z.literal('copy'), what: z.enum(['link', 'code']) }),
  z.object({ type: z.literal('cancel') }),
  /** End the trust in who was let in. */
  z.object({ type: z.literal('revoke') }),
  /** Make another one. */
  z.object({ type: z.literal('again') }),
]);
export type InviteFromPage = z.infer<typeof inviteFromPage>;
