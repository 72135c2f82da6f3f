import { z } from 'zod';
import { hostId } from './identifiers';

const position = z.number().int().nonnegative();
const method = z.string().min(1).max(128);

/** Asked for with `initialize`: every notification comes as `host/event`, beginning with those after a position of an earlier connection. */
export const eventsWanted = z.object({ run: z.string().max(64).nullable(), after: position });

/** Where a connection begins; `missed` where what came after the wanted position cannot be told any more, so that all that is shown has to be read again. */
export const eventsBegin = z.object({ run: z.string().max(64), position, missed: z.boolean() });

/** A notification with its position. Positions that are left out were not for this controller. */
export const hostEvent = z.object({ position, method, params: z.unknown() });

/** The standing control channel to another host, as it is. */
export const followedHost = z.object({
  hostId,
  state: z.enum(['connecting', 'connected', 'waiting', 'refused']),
  /** Why it is not connected, for people. */
  message: z.string().max(4096).nullable(),
  /** When it is tried again, ISO 8601; null unless it waits. */
  retryAt: z.string().nullable(),
  /** Connected after a gap of which not all can be told: read again what you show. */
  missed: z.boolean(),
});
export type FollowedHost = z.infer<typeof followedHost>;

/** What a followed host told, in its own words. */
export const heardEvent = z.object({ hostId, method, params: z.unknown() });
