import { lookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { WebSocket } from 'ws';
import { isInner } from './relayAddress';
import { RelayError } from './relayError';
import { clientOptions } from './webSocketStream';

export const CONNECT_TIMEOUT_MS = 10_000;

/**
 * A WebSocket to a path below a relay's URL. The token goes into a header, as URLs end up in logs. `publicOnly` connects to addresses of the
 * open internet and no others, whatever the name stands for. Throws `relay-unreachable` for what is no ws:// or wss:// URL.
 */
export function connectTo(url: string, path: string, options: { readonly token?: string | undefined; readonly maxPayload?: number; readonly publicOnly?: boolean } = {}): WebSocket {
  if (!isRelayUrl(url)) throw new RelayError('relay-unreachable', `${url} is not the URL of a relay. It begins with ws:// or wss://.`);
  const { token, maxPayload = clientOptions.maxPayload, publicOnly = false } = options;
  return new WebSocket(new URL(path, url.endsWith('/') ? url : `${url}/`), { ...clientOptions, ...(publicOnly ? { lookup: lookUpPublic } : {}), maxPayload, handshakeTimeout: CONNECT_TIMEOUT_MS, headers: token === undefined ? {} : { authorization: `Bearer ${token}` } });
}

export function isRelayUrl(url: string): boolean {
  return URL.canParse(url) && /^wss?:$/.test(new URL(url).protocol);
}

/** Where a relay has another node, and whether only the open internet is to be asked for it. */
export interface NamedNode {
  readonly url: string;
  readonly publicOnly: boolean;
}

/**
 * The node that the relay at `url` names; undefined for what is none of its own. A hostile relay must not send its hosts and dialers, with what
 * they bring along, to whatever else is in their network. So a node has the relay's own host name, a name below it, or one beside it (both directly
 * below a domain of two labels or more); an address means itself only. Unless the relay itself was reached at an address of an inner network, `relayAddress`,
 * a node with another name is not either. And nobody speaks in the clear who did not before.
 */
export function nodeOf(url: string, named: string, relayAddress: string | undefined): NamedNode | undefined {
  if (!isRelayUrl(named)) return undefined;
  const [relay, node] = [new URL(url), new URL(named)];
  if (node.username !== '' || node.password !== '' || (node.protocol === 'ws:' && relay.protocol === 'wss:')) return undefined;
  if (node.hostname === relay.hostname) return { url: named, publicOnly: false };
  if (![relay, node].every(({ hostname }) => isName(hostname))) return undefined;
  const [relayName, nodeName] = [relay, node].map(({ hostname }) => hostname.replace(/\.$/, '')) as [string, string];
  const parentOf = (name: string): string => name.slice(name.indexOf('.') + 1);
  const isBeside = parentOf(nodeName) === parentOf(relayName) && relayName.split('.').length > 2;
  return isBeside || nodeName.endsWith(`.${relayName}`) ? { url: named, publicOnly: !isInner(relayAddress) } : undefined;
}

/** A host name, and no address. */
const isName = (hostname: string): boolean => isIP(hostname) === 0 && !hostname.startsWith('[');

/** As `dns.lookup`, without what is not on the open internet. */
const lookUpPublic: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...options, all: true }, (error, addresses) => {
    const found = error === null ? addresses.filter(({ address }) => !isInner(address)) : [];
    const [first] = found;
    if (first === undefined) callback(error ?? new Error(`${hostname} is no address of the open internet`), []);
    else if (options.all === true) callback(null, found);
    else callback(null, first.address, first.family);
  });
};

/** Hears when a relay refuses a WebSocket with an HTTP status; the WebSocket then ends. */
export function onRefusal(socket: WebSocket, refused: (status: number, location: string | undefined, address: string | undefined) => void): void {
  socket.once('unexpected-response', (_request, response) => {
    response.resume();
    refused(response.statusCode ?? 0, response.headers.location, response.socket.remoteAddress);
    socket.terminate();
  });
}

/** What an HTTP status of a relay means for who dials or registers, for people. */
export function refusalOf(url: string, status: number): RelayError {
  switch (status) {
    case 401:
      return new RelayError('not-admitted', notAdmitted(url));
    case 429:
      return new RelayError('relay-refused', `The relay ${url} refused to connect (status ${status}): there were too many requests. Try again in a minute.`);
    case 503:
      return new RelayError('relay-refused', `The relay ${url} refused to connect (status ${status}): it is about to end, has lost its other nodes, or has as many connections of one of the two hosts as it allows. Try again in a minute.`);
    default:
      return new RelayError('relay-refused', `The relay ${url} refused to connect (status ${status}). Check that the URL is that of a Baton relay.`);
  }
}

export const notAdmitted = (url: string): string =>
  `The relay ${url} does not let this host in. Start the host once with "baton host --relay-secret-file FILE", FILE holding the relay's secret, or join a host there with an invite.`;
