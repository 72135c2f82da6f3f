import type { Duplex } from 'node:stream';
import { connectTo, nodeOf, onRefusal, refusalOf, type NamedNode } from './relayEndpoint';
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
 * `host-offline` (not registered), `not-admitted`, `relay-refused` (a limit), `timeout` (the host or the relay did not answer) or `cancelled`.
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

function dial(options: DialOptions, token: string | undefined): Promise<Duplex> {
  return dialAt({ url: options.url, publicOnly: false }, performance.now() + (options.timeoutMs ?? TIMEOUT_MS), options, token);
}

const TIMEOUT_MS = 15_000;
/** The host may move while its dialer follows it, but not for ever. */
const MAX_REDIRECTS = 3;

/** Dials at one of the relay's nodes, until `deadline`, and goes on to another where that one says so. */
function dialAt(node: NamedNode, deadline: number, options: DialOptions, token: string | undefined, redirects = 0): Promise<Duplex> {
  const { hostId, signal, timeoutMs = TIMEOUT_MS } = options;
  const { url } = node;
  const path = `v1/dial/${hostId}`;
  const socket = connectTo(url, path, { token, publicOnly: node.publicOnly });
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
    const timer = setTimeout(() => settle(new RelayError('timeout', `The relay ${url} did not connect to the host within ${timeoutMs} ms.`)), Math.max(0, deadline - performance.now()));
    stream.on('error', onError);
    socket.once('open', () => settle());
    onRefusal(socket, (status, location, address) => {
      // Judged by the relay that the user knows, however far the dial has come.
      const next = status === 307 && location?.endsWith(`/${path}`) === true && redirects < MAX_REDIRECTS ? nodeOf(options.url, location.slice(0, -path.length), address) : undefined;
      if (next === undefined || next.url === url) {
        settle(dialRefusal(url, hostId, status));
        return;
      }
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      // This connection ends now; nobody is to hear of that.
      stream.off('error', onError).on('error', () => undefined);
      dialAt(next, deadline, options, token, redirects + 1).then(resolve, reject);
    });
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted === true) onAbort();
  });
}

function dialRefusal(url: string, hostId: string, status: number): RelayError {
  if (status === 404) return new RelayError('host-offline', `The host ${hostId} is not at the relay ${url}.`);
  if (status === 504) return new RelayError('timeout', `The host ${hostId} did not answer the relay ${url} in time.`);
  return refusalOf(url, status);
}
