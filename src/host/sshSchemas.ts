import { z } from 'zod';
import { hostId } from './identifiers';
import { joinedHost } from './deviceSchemas';

const alias = z.string().min(1).max(255);

export const sshAliases = z.object({
  aliases: z.array(z.object({
    alias,
    /** The configuration file that names it. */
    file: z.string(),
    /** Where ssh would connect to; null where it does not take the name. */
    target: z.object({ hostName: z.string(), port: z.number().int(), user: z.string() }).nullable(),
    /** The host that is reached under this name, as far as this one knows. */
    hostId: hostId.nullable(),
  })),
});
export type SshAliases = z.infer<typeof sshAliases>;

/** `role`: what this host may do there; what it may already, or take part in handoffs, unless given. */
export const addHostParams = z.object({ alias, role: z.enum(['peer', 'operator']).optional() });

export const addedHost = joinedHost.extend({
  /** Baton was copied there; else it was there already. */
  copied: z.boolean(),
  /** This host knew that one before, under whatever name. */
  known: z.boolean(),
  /** What the user should know, one sentence each. */
  notes: z.array(z.string()),
});
export type AddedHost = z.infer<typeof addedHost>;

export const meetingParams = z.object({ hostId, role: z.enum(['peer', 'operator']).optional() });
export const openMeeting = z.object({ room: z.string(), psk: z.string() });
