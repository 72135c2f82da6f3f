import { timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** The status with which a browser is refused, null for other clients: browsers name the page that connects, and no page has any business here. */
export const fromPage = (request: IncomingMessage): number | null => (request.headers.origin === undefined ? null : 403);

/** Whether an `Authorization` header has just this token. */
export function isBearer(header: string | undefined, token: string): boolean {
  const given = Buffer.from(/^Bearer (\S+)$/.exec(header ?? '')?.[1] ?? '');
  return given.length === Buffer.byteLength(token) && timingSafeEqual(given, Buffer.from(token));
}
