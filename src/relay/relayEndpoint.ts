import { WebSocket } from 'ws';
import { RelayError } from './relayError';
import { clientOptions } from './webSocketStream';

export const CONNECT_TIMEOUT_MS = 10_000;

/** A WebSocket to a path below a relay's URL. The token goes into a header, as URLs end up in logs. Throws `relay-unreachable` for what is no ws:// or wss:// URL. */
export function connectTo(url: string, path: string, options: { readonly token?: string | undefined; readonly maxPayload?: number } = {}): WebSocket {
  if (!isRelayUrl(url)) throw new RelayError('relay-unreachable', `${url} is not the URL of a relay. It begins with ws:// or wss://.`);
  const { token, maxPayload = clientOptions.maxPayload } = options;
  return new WebSocket(new URL(path, url.endsWith('/') ? url : `${url}/`), { ...clientOptions, maxPayload, handshakeTimeout: CONNECT_TIMEOUT_MS, headers: token === undefined ? {} : { authorization: `Bearer ${token}` } });
}

export function isRelayUrl(url: string): boolean {
  return URL.canParse(url) && /^wss?:$/.test(new URL(url).protocol);
}

/** The URL of another node that a relay names. It stays where it is rather than speak in the clear where it did not before. */
export function elsewhere(url: string, named: string): string {
  return isRelayUrl(named) && (new URL(named).protocol === 'wss:' || new URL(url).protocol === 'ws:') ? named : url;
}

/** Hears when a relay refuses a WebSocket with an HTTP status; the WebSocket then ends. */
export function onRefusal(socket: WebSocket, refused: (status: number, location: string | undefined) => void): void {
  socket.once('unexpected-response', (_request, response) => {
    response.resume();
    refused(response.statusCode ?? 0, response.headers.location);
    socket.terminate();
  });
}

/** What an HTTP status of a relay means for who dials or registers, for people. */
export function refusalOf(url: string, status: number): RelayError {
  switch (status) {
    case 401:
      return new RelayError('not-admitted', notAdmitted(url));
    case 429:
    case 503:
      return new RelayError('relay-refused', `The relay ${url} refused to connect (status ${status}): there were too many requests, or it is about to end. Try again in a minute.`);
    default:
      return new RelayError('relay-refused', `The relay ${url} refused to connect (status ${status}). Check that the URL is that of a Baton relay.`);
  }
}

export const notAdmitted = (url: string): string =>
  `The relay ${url} does not let this host in. Start the host once with "baton host --relay-secret-file FILE", FILE holding the relay's secret, or join a host there with an invite.`;
