/** A paired host that is not a Baton host: it speaks the protocol between hosts from the test's own hand, rightly or wrongly. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { describeRollout, readBody } from '../../src/codex/rollout';
import { createBundle } from '../../src/git/bundle';
import { captureWorkingState } from '../../src/git/capture';
import { readRepository, readRepositoryIdentity } from '../../src/git/repository';
import { digestOf } from '../../src/handoff/canonicalJson';
import type { CarriedThread } from '../../src/handoff/carriedThread';
import type { Holdings, Receipt } from '../../src/handoff/receipt';
import { HostError } from '../../src/host/hostError';
import { silentLog } from '../../src/host/log';
import { PeerLink, type PeerHandlers } from '../../src/host/peerLink';
import type { Manifest, Offer } from '../../src/host/peerProtocol';
import { PROTOCOL_VERSION } from '../../src/host/protocol';
import type { Channel } from '../../src/relay/channel';
import { parseInvite } from '../../src/relay/invite';
import { generateKeyPair, hostIdOf, publicKeyOf, type KeyPair } from '../../src/relay/keys';
import { acceptChannel, openChannel, pairChannel } from '../../src/relay/openChannel';
import { RelayClient } from '../../src/relay/relayClient';
import { dialThroughRelay } from '../../src/relay/relayDial';
import { scriptedProvider } from '../fixtures/scriptedModel';

const bindingOf = (channel: Channel) => Buffer.from(channel.handshakeHash).toString('hex');

export class StrangePeer {
  readonly keyPair: KeyPair = generateKeyPair();
  readonly hostId = hostIdOf(this.keyPair.publicKey);
  private relay: RelayClient | null = null;
  private readonly open: { dispose(): void }[] = [];

  private constructor(
    private readonly relayUrl: string,
    private readonly otherId: string,
    readonly name: string,
  ) {}

  /** Uses an invite, as `baton join` does. */
  static async join(invite: string, name: string): Promise<StrangePeer> {
    const { relayUrl, hostId, psk, room } = parseInvite(invite);
    const peer = new StrangePeer(relayUrl, hostId, name);
    const channel = await pairChannel(await peer.dial(), { keyPair: peer.keyPair, remoteKey: publicKeyOf(hostId), psk, room });
    const link = new PeerLink(channel, hostId, bindingOf(channel), {}, silentLog);
    await link.call('host/hello', { protocolVersion: PROTOCOL_VERSION, name, relayUrl });
    link.dispose();
    return peer;
  }

  private dial(): Promise<Duplex> {
    return dialThroughRelay({ url: this.relayUrl, hostId: this.otherId });
  }

  async openChannel(purpose: 'control' | 'transfer'): Promise<Channel> {
    const channel = await openChannel(await this.dial(), { keyPair: this.keyPair, remoteKey: publicKeyOf(this.otherId), purpose });
    channel.on('error', () => undefined);
    return channel;
  }

  /** A control channel to the other host, answering it with `handlers`. */
  async connect(handlers: Partial<PeerHandlers> = {}): Promise<PeerLink> {
    const channel = await this.openChannel('control');
    const link = new PeerLink(channel, this.otherId, bindingOf(channel), handlers, silentLog);
    this.open.push(link);
    return link;
  }

  /** Comes to the relay and answers whoever dials: control channels with `handlers`, transfer channels with `onTransfer`. */
  async answer(handlers: Partial<PeerHandlers>, onTransfer: (channel: Channel) => void): Promise<void> {
    const accept = async (stream: Duplex) => {
      const channel = await acceptChannel(stream, { keyPair: this.keyPair, isTrusted: (key) => hostIdOf(key) === this.otherId, pskForRoom: () => undefined });
      channel.on('error', () => undefined);
      if (channel.purpose === 'transfer') onTransfer(channel);
      else this.open.push(new PeerLink(channel, this.otherId, bindingOf(channel), handlers, silentLog));
    };
    this.relay = new RelayClient({ url: this.relayUrl, keyPair: this.keyPair, onIncoming: (stream) => void accept(stream) });
    this.relay.start();
    await this.relay.whenConnected();
  }

  dispose(): void {
    for (const link of this.open) link.dispose();
    this.relay?.dispose();
  }
}

/** Everything that a source says and sends in one handoff. */
export interface Attempt {
  handoffId: string;
  threadId: string;
  epoch: number;
  offer: Offer;
  manifest: Manifest;
  /** The bytes of the transfer channel after its header line. */
  bytes: Buffer;
  holdings: Holdings;
}

/** A handoff as an honest source would do it, of a checkout and a rollout file that are really there. */
export async function honestAttempt(given: { threadId: string; checkout: string; rolloutPath: string; spool: string }): Promise<Attempt> {
  const { threadId, checkout, rolloutPath, spool } = given;
  const repository = await readRepository(checkout);
  const capture = await captureWorkingState({ root: checkout, spool: join(spool, 'capture') });
  const bundle = await createBundle({ capture, haves: [], file: join(spool, 'bundle') });
  const { name, metaLine, bodyBytes, bodySha256 } = await describeRollout(rolloutPath);
  const body = Buffer.concat((await readBody(rolloutPath, 0, bodyBytes).toArray()) as Buffer[]);
  const thread: CarriedThread = {
    name: null, model: null, modelProvider: scriptedProvider, policy: { approvalPolicy: 'on-request', sandbox: 'workspace-write', networkAccess: false, excludeTmpdirEnvVar: false, excludeSlashTmp: false },
    approvalsReviewer: 'user', requirements: null, goal: null, approvals: [], trail: [], subAgents: [], queue: { flowing: false, waiting: [] }, attachments: [], leftBehind: [],
  };
  return {
    handoffId: randomBytes(16).toString('hex'),
    threadId,
    epoch: 1,
    offer: {
      facts: { sourceName: 'mallory', subdirectory: '', policy: thread.policy, approvalsReviewer: thread.approvalsReviewer, modelProvider: scriptedProvider, codexVersion: '0.169.0', bytes: bundle.bytes + bodyBytes, worktreeBytes: 0 },
      requirements: null, repository: await readRepositoryIdentity(checkout), branch: repository.branch, submodules: [], rollouts: [{ name, bodyBytes }],
    },
    manifest: {
      parts: [{ place: '', bundle: { bytes: bundle.bytes, sha256: bundle.sha256, tip: capture.commits.manifest, shallow: [...bundle.shallow] }, lfs: [], branch: capture.branch }],
      rollouts: [{ name, threadId, metaLine, bodyBytes, bodySha256, from: 0, tail: { encoding: 'identity', pieces: [{ bytes: bodyBytes, sha256: bodySha256 }] } }],
      thread, prompt: null, counts: { commits: bundle.commits, files: capture.files },
    },
    bytes: Buffer.concat([await readFile(join(spool, 'bundle')), body]),
    holdings: { workingState: capture.fingerprint, head: capture.head, rollouts: [{ name, bodyBytes, bodySha256 }], thread: digestOf(thread) },
  };
}

export const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** Does an attempt up to the receipt. Throws HostError with the destination's reason. */
export async function attemptHandoff(peer: StrangePeer, link: PeerLink, attempt: Attempt): Promise<Receipt> {
  const { handoffId, threadId, epoch, offer, manifest, bytes, holdings } = attempt;
  await link.call('handoff/begin', { handoffId, threadId, epoch, offer });
  const { ticket } = await link.call('handoff/receive', { handoffId, threadId, manifest });
  await sendTransfer(peer, { handoffId, threadId, ticket }, bytes);
  return (await link.call('handoff/prepare', { handoffId, threadId, holdings })).receipt;
}

/** Sends a header and bytes over a transfer channel; throws HostError where the destination's one line says so. */
export async function sendTransfer(peer: StrangePeer, header: unknown, bytes: Buffer): Promise<void> {
  const channel = await peer.openChannel('transfer');
  channel.end(Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), bytes]));
  const answer = JSON.parse(Buffer.concat((await channel.toArray()) as Buffer[]).toString('utf8')) as { error?: { reason: string; message: string } };
  if (!channel.destroyed) await once(channel, 'close');
  if (answer.error !== undefined) throw new HostError(answer.error.reason as HostError['reason'], answer.error.message);
}
