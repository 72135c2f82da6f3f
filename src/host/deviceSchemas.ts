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
