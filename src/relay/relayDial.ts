import type { Duplex } from 'node:stream';
import { connectTo, elsewhere, onRefusal, refusalOf } from './relayEndpoint';
import { RelayError } from './relayError';
import type { TokenSource } from './relayMembership';
import { WebSocketStream } from './webSocketStream';

export interface DialOptions {
  readonly url: string;
  readonly hostId: string;
  /** The right to use that relay, where it asks for one. */
  readonly membership?: TokenSource | undefined;
  /** The pass of an invite, instead. */
  readonly pass?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
}

/**
 * Dials a host through a relay: a raw byte stream to it, to be given to `openChannel` or `pairChannel`. Throws `relay-unreachable`,
 * `host-offline` (not registered, or it did not answer), `not-admitted`, `relay-refused` (a limit), `timeout` or `cancelled`.
 */
export async function dialThroughRelay(options: DialOptions): Promise<Duplex> {
  const { membership, pass } = options;
  if (membership === undefined || pass !== undefined) return dial(options, pass);
  try {
    return await dial(options, await membership.token());
  } catch (error) {
    if (!RelayError.is(error, 'not-admitted')) throw error;
    // The relay may have begun anew, with another key, since it gave the token.
    membership.forget();
    const token = await membership.token();
    if (token === undefined) throw error;
    return dial(options, token);
  }
}

/** The host may move while its dialer follows it, but not for ever. */
const MAX_REDIRECTS = 3;

function dial(options: DialOptions, token: string | undefined, redirects = 0): Promise<Duplex> {
  const { url, hostId, signal, timeoutMs = 15_000 } = options;
  const path = `v1/dial/${hostId}`;
  const socket = connectTo(url, path, { token });
  const stream = new WebSocketStream(socket);
  return new Promise((resolve, reject) => {
    const settle = (error?: RelayError): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      if (error === undefined) {
        stream.off('error', onError);
        resolve(stream);
        return;
      }
      reject(error);
      socket.terminate();
    };
    const onError = (cause: Error): void => settle(new RelayError('relay-unreachable', `The relay ${url} cannot be reached: ${cause.message}`, { cause }));
    const onAbort = (): void => settle(new RelayError('cancelled', 'Dialling was given up.'));
    const timer = setTimeout(() => settle(new RelayError('timeout', `The relay ${url} did not connect to the host within ${timeoutMs} ms.`)), timeoutMs);
    stream.on('error', onError);
    socket.once('open', () => settle());
    onRefusal(socket, (status, location) => {
      const next = status === 307 && location?.endsWith(`/${path}`) === true && redirects < MAX_REDIRECTS ? elsewhere(url, location.slice(0, -path.length)) : url;
      if (next === url) {
        settle(dialRefusal(url, hostId, status));
        return;
      }
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      // This connection ends now; nobody is to hear of that.
      stream.off('error', onError).on('error', () => undefined);
      dial({ ...options, url: next }, token, redirects + 1).then(resolve, reject);
    });
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted === true) onAbort();
  });
}

function dialRefusal(url: string, hostId: string, status: number): RelayError {
  if (status === 404) return new RelayError('host-offline', `The host ${hostId} is not at the relay ${url}.`);
  if (status === 504) return new RelayError('host-offline', `The host ${hostId} did not answer the relay ${url} in time.`);
  return refusalOf(url, status);
}
