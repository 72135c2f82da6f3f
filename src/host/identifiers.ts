import { z } from 'zod';

/** 32-byte X25519 public key of a host or device, base64url without padding. */
export const hostId = z.string().regex(/^[A-Za-z0-9_-]{43}$/, 'a host id is 43 characters of base64url');
/** UUID of a thread, as Codex gives it. */
export const threadId = z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'a thread id is a lower-case UUID');
/** What people call a host: nothing invisible in it, since it is shown, and told to agents, on other machines. */
export const hostName = z.string().min(1).max(64).regex(/^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+$/u, 'a name has 1 to 64 visible characters');

/** What a controller may do. Each includes the ones before it; `peer` stands apart: it takes part in handoffs and nothing else. */
export const role = z.enum(['viewer', 'approver', 'operator', 'peer']);
export type Role = z.infer<typeof role>;

/**
 * The environment variable that holds a bearer token. These names all begin alike, so that none of them reaches Codex, git, or whatever else a host
 * starts.
 */
export const tokenName = z.string().regex(/^BATON_TOKEN(_[A-Z0-9_]{1,64})?$/, 'the variable of a token is BATON_TOKEN, or begins with BATON_TOKEN_, in capitals');
