import type { Role } from '../../host/protocol';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** What a role may do, after "may". */
export const mayDo: Readonly<Record<Role, string>> = {
  peer: 'hand threads to this host and take back what came from there',
  operator: 'do all that you can do on this host',
  approver: 'see threads and decide on approvals',
  viewer: 'see threads',
};

/** A length of time in its largest whole unit. */
export function durationWords(milliseconds: number): string {
  const [size, unit] = ([[DAY_MS, 'day'], [HOUR_MS, 'hour'], [MINUTE_MS, 'minute'], [SECOND_MS, 'second']] as const).find(([each]) => milliseconds % each === 0) ?? [SECOND_MS, 'second'];
  const count = Math.round(milliseconds / size);
  return `${count} ${unit}${count === 1 ? '' : 's'}`;
}

/** What is left until a time (ISO 8601), as `9:41`; `now` is milliseconds since 1970. */
export function remaining(expiresAt: string, now: number): string {
  const seconds = Math.max(0, Math.ceil((Date.parse(expiresAt) - now) / SECOND_MS));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}
