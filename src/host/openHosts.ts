import type { Duplex } from 'node:stream';
import { loopback } from '../relay/relayAddress';
import { connectTo, onRefusal } from '../relay/relayEndpoint';
import { RelayError } from '../relay/relayError';
import { WebSocketStream } from '../relay/webSocketStream';
import type { JoinedHost } from './deviceSchemas';
import { firstLine } from './firstLine';
import type { Environment } from './home';
import { HostError } from './hostError';
import type { Meeting } from './pairing';
import type { HostDialer } from './peerWays';
import type { Address, PeerStore } from './peers';
import { greeting, type Greeting } from './ssh/greeting';
import type { AddedHost } from './sshSchemas';
import { requireToken } from './tokens';

interface OpenHostsPorts {
  readonly hostId: string;
  readonly tokens: Environment;
  readonly peers: PeerStore;
  /** As of SshHosts. */
  meet(stream: Duplex, meeting: Meeting): Promise<JoinedHost>;
}

const DIAL_TIMEOUT_MS = 20_000;

/** Hosts with an open door (openDoor.ts) at an address: how they become peers, and how they are dialled. */
export class OpenHosts implements HostDialer {
  constructor(private readonly ports: OpenHostsPorts) {}

  /** Pairs with the host behind an address. Throws HostError `invalid-params`, `token-missing`, `token-refused`, `host-offline`. */
  async add(address: Address, signal?: AbortSignal): Promise<AddedHost> {
    const { hostId, peers } = this.ports;
    const { stream, said } = await this.open(address, `meet/${hostId}`, signal);
    try {
      if (said.hostId === hostId) throw new HostError('same-host', `${address.url} leads to this host itself.`);
      if (said.meeting === null) throw new HostError('protocol-mismatch', `The host at ${address.url} made no meeting. Update Baton there.`);
      const known = peers.get(said.hostId) !== undefined;
      const joined = await this.ports.meet(stream, { hostId: said.hostId, name: said.name, relayUrl: said.relayUrl, ...said.meeting });
      await peers.findAt(said.hostId, address);
      return { ...joined, copied: false, known, notes: [] };
    } finally {
      stream.on('error', () => undefined).destroy();
    }
  }

  async dial({ hostId, name, address }: Parameters<HostDialer['dial']>[0], { ticket, signal }: { readonly ticket?: string; readonly signal?: AbortSignal } = {}): Promise<Duplex> {
    if (address === null) throw new HostError('host-offline', `${name} has no address.`);
    const { stream, said } = await this.open(address, ticket === undefined ? 'channel' : `callback/${ticket}`, signal);
    if (said.hostId === hostId) return stream;
    stream.on('error', () => undefined).destroy();
    throw new HostError('token-refused', `${address.url} leads to another host now than to ${name}. If that is meant, run "baton host add" with it again.`);
  }

  private async open({ url, tokenEnv }: Address, path: string, signal?: AbortSignal): Promise<{ readonly stream: Duplex; readonly said: Greeting }> {
    requireSafe(url);
    const socket = connectTo(url, `v1/host/${path}`, { token: requireToken(this.ports.tokens, tokenEnv) });
    const stream = new WebSocketStream(socket);
    const deadline = AbortSignal.timeout(DIAL_TIMEOUT_MS);
    try {
      const refused = new Promise<never>((_, reject) => onRefusal(socket, (status) => reject(refusal(url, tokenEnv, status))));
      const line = await Promise.race([firstLine(stream, signal === undefined ? deadline : AbortSignal.any([signal, deadline])), refused]);
      const said = greeting.safeParse(JSON.parse(line));
      if (!said.success || 'error' in said.data) throw new HostError('protocol-mismatch', `What answers at ${url} is no host of this version of Baton.`);
      return { stream, said: said.data };
    } catch (cause) {
      stream.on('error', () => undefined).destroy();
      socket.terminate();
      if (HostError.is(cause)) throw cause;
      if (signal?.aborted === true) throw new HostError('cancelled', 'Cancelled.', { cause });
      if (cause instanceof SyntaxError) throw new HostError('protocol-mismatch', `What answers at ${url} is no host of Baton.`, { cause });
      throw new HostError('host-offline', `The host at ${url} cannot be reached: ${RelayError.is(cause) || cause instanceof Error ? cause.message : 'it does not answer.'}`, { cause });
    }
  }
}

function refusal(url: string, tokenEnv: string, status: number): HostError {
  if (status === 401) return new HostError('token-refused', `The host at ${url} does not take the token in ${tokenEnv}.`);
  if (status === 404) return new HostError('token-refused', `At ${url} there is no open door of a Baton host. Check the address, and "baton host --listen" there.`);
  return new HostError('host-offline', `The host at ${url} cannot be reached (status ${status}).`);
}

/** A token goes over TLS only, or does not leave this machine. */
function requireSafe(url: string): void {
  const { protocol, hostname } = new URL(url);
  if (protocol !== 'wss:' && !(protocol === 'ws:' && (hostname === 'localhost' || loopback.has(hostname.replace(/^\[|\]$/g, ''))))) throw new HostError('invalid-params', `${url} would show the token to everybody in between. Use wss://.`);
}
