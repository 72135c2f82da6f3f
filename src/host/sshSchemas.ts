import { z } from 'zod';
import { hostId, tokenName } from './identifiers';
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

/** A program to be run in a terminal, without a shell in between. */
export const askingProgram = z.object({ program: z.string(), args: z.array(z.string()) });
export const aliasParams = z.object({ alias });

/**
 * Either the `alias` under which ssh finds a machine, or the `url` of a host with an open door and the environment variable of its token. `role`: what
 * this host may do there, where ssh leads to it; what it may already, or take part in handoffs, unless given.
 */
export const addHostParams = z
  .object({ alias: alias.optional(), url: z.url({ protocol: /^wss?$/ }).max(1024).optional(), tokenEnv: tokenName.optional(), role: z.enum(['peer', 'operator']).optional() })
  .refine(({ alias: name, url, tokenEnv, role }) => (name === undefined) === (url !== undefined && tokenEnv !== undefined) && (name !== undefined || role === undefined), 'name an alias, or a url with the variable of its token');

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
