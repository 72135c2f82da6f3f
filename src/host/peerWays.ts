import type { Duplex } from 'node:stream';
import { dialThroughRelay } from '../relay/relayDial';
import { RelayError } from '../relay/relayError';
import type { CallBacks } from './callBacks';
import { NoWay, type Way } from './firstToWork';
import { HostError, isAway } from './hostError';
import type { PeerLink } from './peerLink';
import type { Peer } from './peers';
import type { RelayAccess } from './relayAccess';

/** How long a peer may take to come to the relay before it counts as offline. */
const RELAY_TIMEOUT_MS = 15_000;
/** So long a relay that is up has a start on ssh, which takes a process on both machines. */
const HEAD_START_MS = 300;

/** Dials peers in one way. */
export interface HostDialer {
  /** `ticket`: that of a peer that asked to be called, which begins the channel then; else this host does. */
  dial(peer: Pick<Peer, 'hostId' | 'name' | 'ssh' | 'address'>, options?: { readonly ticket?: string; readonly signal?: AbortSignal }): Promise<Duplex>;
}

export interface SshDialer extends HostDialer {
  /** Brings a peer of an older version to this one, unless it is at work. True where its host was ended for that, and is there again. */
  mend(peer: Pick<Peer, 'hostId' | 'name' | 'ssh'>, theirs: string): Promise<boolean>;
  /** Keeps in mind what is to be said of a peer's version. */
  judge(hostId: string, name: string, theirs: string): void;
}

interface Roads {
  /** This host's own relay, and whether it is registered there. */
  readonly relayUrl: string | null;
  readonly relayIsUp: boolean;
  readonly relays: RelayAccess;
  readonly ssh: HostDialer | undefined;
  /** Dials hosts with an open door. */
  readonly open: HostDialer | undefined;
  /** The link by which a peer that cannot be dialled came here. */
  readonly caller: PeerLink | undefined;
  readonly callBacks: CallBacks;
}

/** All ways by which a stream to a peer might be had. */
export function waysTo(peer: Peer, { relayUrl, relayIsUp, relays, ssh, open: opened, caller, callBacks }: Roads): Way<Duplex>[] {
  const ways: Way<Duplex>[] = [];
  const url = peer.relayUrl ?? relayUrl;
  if (url !== null) ways.push({ name: 'relay', afterMs: 0, open: (signal) => dialThroughRelay({ url, hostId: peer.hostId, membership: relays.at(url), timeoutMs: RELAY_TIMEOUT_MS, signal }) });
  const afterMs = url !== null && relayIsUp ? HEAD_START_MS : 0;
  if (ssh !== undefined && peer.ssh.length > 0) ways.push({ name: 'ssh', afterMs, open: (signal) => ssh.dial(peer, { signal }) });
  if (opened !== undefined && peer.address !== null) ways.push({ name: 'its address', afterMs, open: (signal) => opened.dial(peer, { signal }) });
  if (caller !== undefined) ways.push({ name: 'the connection from there', afterMs, open: (signal) => callBacks.request((ticket) => caller.call('host/callBack', { ticket }, signal), signal) });
  return ways;
}

/** Why a peer could not be reached, from how each way to it failed. */
export function unreachable(peer: Peer, cause: unknown): HostError {
  const failures = cause instanceof NoWay ? cause.failures.map(({ name, error }) => ({ name, error: describe(peer, error) })) : [{ name: '', error: describe(peer, cause) }];
  const [first, ...others] = failures;
  if (first === undefined) {
    if (peer.comes) return new HostError('host-offline', `${peer.name} reaches this host, and cannot be reached from here while it is not connected. Begin there, or give both hosts a relay ("baton host --relay URL").`, { cause });
    return new HostError('relay-not-set', `There is no relay over which ${peer.name} could be reached. Start both hosts with "baton host --relay URL".`, { cause });
  }
  if (others.length === 0) return first.error;
  // One that may pass by itself says that it is worth another attempt.
  const passing = failures.find(({ error }) => isAway(error.reason)) ?? first;
  return new HostError(passing.error.reason, failures.map(({ name, error }) => `By ${name}: ${error.message}`).join(' '), { cause });
}

function describe(peer: Peer, cause: unknown): HostError {
  if (HostError.is(cause)) return cause;
  if (RelayError.is(cause, 'host-offline')) return new HostError('host-offline', `${peer.name} is not connected to the relay. Start its host with "baton host", and try again.`, { cause });
  if (RelayError.is(cause, 'not-admitted')) return new HostError('relay-unreachable', `${peer.name} cannot be reached. ${cause.message}`, { cause });
  // It says by itself what to do.
  if (RelayError.is(cause, 'relay-refused')) return new HostError('relay-unreachable', `${peer.name} cannot be reached. ${cause.message}`, { cause });
  if (RelayError.is(cause, 'timeout')) return new HostError('host-offline', `${peer.name} did not answer in time. ${cause.message} Look at "baton doctor" there, and try again.`, { cause });
  if (RelayError.is(cause, 'relay-unreachable')) return new HostError('relay-unreachable', `${peer.name} cannot be reached. ${cause.message.replace(/\.?$/, '.')} Check that the relay runs and that this machine is online, and try again.`, { cause });
  return new HostError('host-offline', `${peer.name} does not answer, or no longer trusts this host. Check it there with "baton hosts".`, { cause });
}
