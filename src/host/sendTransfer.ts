/** The source's half of a transfer: what the destination lacks, spooled, announced, and sent over a channel of its own. */
import { createReadStream, createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createBrotliCompress } from 'node:zlib';
import { z } from 'zod';
import { createBundle } from '../git/bundle';
import type { Gaps } from '../git/partialClone';
import { listLfsObjects, sealLfsObject, type LfsSource } from '../git/lfsTransfer';
import type { CapturedState } from '../git/capture';
import type { SealedFiles } from '../git/sealFiles';
import type { CapturedCheckout } from '../git/captureCheckout';
import { agreeOnHaves, type Held } from '../git/haves';
import type { Ask } from '../git/negotiation';
import type { CarriedThread } from '../handoff/carriedThread';
import type { HandoffIdentity } from '../handoff/sourceTransaction';
import type { Channel } from '../relay/channel';
import { RelayError } from '../relay/relayError';
import { HostError } from './hostError';
import type { PeerLink } from './peerLink';
import { LFS_QUESTION, type Manifest, type Offer, type PeerParams } from './peerProtocol';
import type { HandoffPhase } from './protocol';

/** A rollout file of the thread, its first line apart (each host writes its own). */
export interface SourceRollout {
  readonly name: string;
  readonly threadId: string;
  readonly metaLine: string;
  readonly bodyBytes: number;
  readonly bodySha256: string;
  /** SHA-256 of the body's first `bytes` bytes. */
  hashPrefix(bytes: number): Promise<string>;
  /** The body from byte `from` to its end. */
  read(from: number): Readable;
}

export type Announce = (phase: HandoffPhase, message: string, bytesDone?: number, bytesTotal?: number) => void;

export interface OutgoingTransfer {
  readonly ports: {
    connect(hostId: string, signal?: AbortSignal): Promise<PeerLink>;
    openTransfer(hostId: string, signal?: AbortSignal): Promise<Channel>;
  };
  readonly handoff: HandoffIdentity;
  /** Directory of this handoff, removed with it. */
  readonly spool: string;
  readonly offer: Offer;
  readonly checkout: CapturedCheckout;
  readonly rollouts: readonly SourceRollout[];
  readonly thread: CarriedThread;
  readonly prompt: string | null;
  /** Ignored files that the user wants to cross. */
  readonly included: SealedFiles | null;
  readonly announce: Announce;
}

export interface SentTransfer {
  readonly manifest: Manifest;
  /** Bytes that went over the channel, encrypted. */
  readonly bytesSent: number;
  /** Bytes of rollout files that the destination lacked, before they were compressed. */
  readonly rolloutBytesSent: number;
}

const CLOSE_TIMEOUT_MS = 10_000;
/** Quality 1 shrinks a transcript nearly threefold at well over 100 MB/s; more would take longer than most links. */
const compression = { params: { [constants.BROTLI_PARAM_QUALITY]: 1, [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT } };

/**
 * Begins the handoff at the destination, and sends what it lacks. Throws HostError with the destination's reason, or
 * `connection-lost`.
 */
export async function sendTransfer(transfer: OutgoingTransfer, signal: AbortSignal): Promise<SentTransfer> {
  const { ports, handoff, spool, checkout, announce } = transfer;
  const { handoffId, threadId, destination, destinationName } = handoff;
  announce('transfer', `Finding out what ${destinationName} lacks`);
  const link = await ports.connect(destination, signal);
  const there = await link.call('handoff/begin', { handoffId, threadId, epoch: handoff.epoch, offer: transfer.offer }, signal);

  const bundles = [];
  for (const [part, { place, state }] of checkout.entries()) {
    const about = { threadId, offer: transfer.offer, part };
    const haves = await agreeOnPart(link, about, state, there.parts, signal);
    const path = join(spool, `bundle-${part}`);
    const gaps = gapsOfPart(link, about, there.parts, signal);
    const bundle = await createBundle({ capture: state, haves, gaps, file: path, signal });
    bundles.push({ place, state, path, ...bundle, lfs: await listLfsObjects({ capture: state, prerequisites: bundle.prerequisites, signal }) });
  }
  const tails = [];
  for (const [index, rollout] of transfer.rollouts.entries()) {
    const from = await commonPrefix(rollout, there.rollouts);
    const path = join(spool, `tail-${index}`);
    await pipeline(rollout.read(from), createBrotliCompress(compression), createWriteStream(path, { mode: 0o600 }), { signal });
    tails.push({ rollout, from, path, bytes: (await stat(path)).size });
  }
  const manifest: Manifest = {
    parts: bundles.map(({ place, state, bytes, sha256, shallow, lfs }) => ({ place, bundle: { bytes, sha256, tip: state.commits.manifest, shallow: [...shallow] }, lfs: lfs.map(({ oid, size }) => ({ oid, size })), branch: state.branch })) as Manifest['parts'],
    rollouts: tails.map(({ rollout: { name, threadId: owner, metaLine, bodyBytes, bodySha256 }, from, bytes }) => ({ name, threadId: owner, metaLine, bodyBytes, bodySha256, from, tail: { encoding: 'br', bytes } })),
    thread: transfer.thread,
    prompt: transfer.prompt,
    counts: { commits: sum(bundles.map(({ commits }) => commits)), files: sum(bundles.map(({ state }) => state.files)) },
    ...(transfer.included === null ? {} : { included: describeSealed(transfer.included) }),
  };
  const { offsets } = await link.call('handoff/receive', { handoffId, threadId, manifest }, signal);
  const lfs = bundles.flatMap((bundle) => bundle.lfs.map((object) => ({ bytes: object.size, seal: () => sealLfsObject(object, bundle.state, spool) })));
  const files = [...bundles, ...lfs, ...tails, ...(transfer.included === null ? [] : [transfer.included])];
  if (offsets.length !== files.length || offsets.some((offset, index) => offset > (files[index]?.bytes ?? 0))) {
    throw new HostError('protocol-mismatch', `${destinationName} says that it has more than was announced. Bring Baton to the same version on both machines.`);
  }

  // What lies in the working tree is copied before any of it is sent: it may change.
  const paths: (string | null)[] = [];
  for (const [index, file] of files.entries()) paths.push('path' in file ? file.path : offsets[index] === file.bytes ? null : await file.seal());
  const total = sum(files.map(({ bytes }) => bytes));
  let done = sum(offsets);
  let told = done;
  const content = async function* (): AsyncIterable<Buffer> {
    yield Buffer.from(`${JSON.stringify({ handoffId, threadId })}\n`);
    for (const [index, path] of paths.entries()) {
      if (path === null) continue;
      for await (const chunk of createReadStream(path, { start: offsets[index] ?? 0 })) {
        done += (chunk as Buffer).length;
        // A hundred steps are as fine as anybody sees.
        if (done === total || done - told >= total / 100) {
          told = done;
          announce('transfer', `Sending to ${destinationName}`, done, total);
        }
        yield chunk as Buffer;
      }
    }
  };
  const channel = await ports.openTransfer(destination, signal);
  try {
    await sendAndHear(content(), channel, signal);
  } catch (cause) {
    if (!RelayError.is(cause)) throw cause;
    throw new HostError('connection-lost', `The connection to ${destinationName} broke before it had everything: ${cause.message} The thread stays here; try again.`, { cause });
  }
  const bytesSent = channel.bytesSent;
  // Both sides have said all: the channel closes by itself, unless the other side holds it open.
  channel.resume();
  setTimeout(() => channel.destroy(), CLOSE_TIMEOUT_MS).unref();
  return { manifest, bytesSent, rolloutBytesSent: sum(tails.map(({ rollout, from }) => rollout.bodyBytes - from)) };
}

/** Agrees with the destination on what it has of one part of a checkout, so that only the rest travels. */
export function agreeOnPart(link: PeerLink, about: Omit<PeerParams<'handoff/negotiate'>, 'commits'>, state: CapturedState, held: readonly Held[], signal?: AbortSignal): Promise<string[]> {
  const ask: Ask = async (commits) => (await link.call('handoff/negotiate', { ...about, commits: [...commits] }, signal)).commits;
  return agreeOnHaves(state, held[about.part] ?? { haves: [], shallow: [], partial: false }, ask, signal);
}

/** What the destination lacks of a part although its commits name it, to be asked for. */
export function gapsOfPart(link: PeerLink, about: Omit<PeerParams<'handoff/negotiate'>, 'commits'>, held: readonly Held[], signal?: AbortSignal): Gaps {
  return {
    partial: held[about.part]?.partial === true,
    lacking: async ({ commits, objects }) => (await link.call('handoff/lacking', { ...about, commits: [...commits], objects: [...objects] }, signal)).objects,
  };
}

function describeSealed({ bytes, files, contentBytes, sha256 }: SealedFiles): NonNullable<Manifest['included']> {
  return { bytes, files, contentBytes, sha256 };
}

/** How many bytes of a part's LFS objects the destination would be sent. */
export async function missingLfsBytes(link: PeerLink, about: Omit<PeerParams<'handoff/lfs'>, 'objects'>, objects: readonly LfsSource[], signal?: AbortSignal): Promise<number> {
  let missing = 0;
  for (let start = 0; start < objects.length; start += LFS_QUESTION) {
    const asked = objects.slice(start, start + LFS_QUESTION);
    const { held } = await link.call('handoff/lfs', { ...about, objects: asked.map(({ oid, size }) => ({ oid, size })) }, signal);
    missing += sum(asked.filter((_, index) => held[index] !== true).map(({ size }) => size));
  }
  return missing;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** How much of a rollout's body the destination holds: all of its copy where that is a prefix of ours, else nothing. */
async function commonPrefix(rollout: SourceRollout, held: readonly { readonly name: string; readonly bodyBytes: number; readonly bodySha256: string }[]): Promise<number> {
  const copy = held.find((candidate) => candidate.name === rollout.name);
  if (copy === undefined || copy.bodyBytes > rollout.bodyBytes) return 0;
  return (await rollout.hashPrefix(copy.bodyBytes)) === copy.bodySha256 ? copy.bodyBytes : 0;
}

async function sendAndHear(content: AsyncIterable<Buffer>, channel: Channel, signal: AbortSignal): Promise<void> {
  const answered = readAnswer(channel);
  try {
    await pipeline(content, channel, { signal, end: true });
  } catch (error) {
    // Where the destination ended the transfer it said why.
    await Promise.race([answered, new Promise((_, reject) => setImmediate(reject, error))]);
    throw error;
  }
  await answered;
}

const answer = z.union([z.object({ received: z.literal(true) }), z.object({ error: z.object({ reason: z.string(), message: z.string() }) })]);

/** The destination's one line at the end of a transfer. */
async function readAnswer(channel: Channel): Promise<void> {
  let text = '';
  for await (const chunk of channel.iterator({ destroyOnReturn: false })) {
    text += (chunk as Buffer).toString('utf8');
    if (text.includes('\n') || text.length > 65_536) break;
  }
  if (text === '') throw new HostError('connection-lost', 'The connection broke before the destination had everything.');
  const parsed = answer.safeParse(parseJson(text)).data;
  if (parsed === undefined) throw new HostError('protocol-mismatch', 'The destination answered the transfer with something that does not fit the protocol. Bring Baton to the same version on both machines.');
  if ('error' in parsed) throw new HostError(parsed.error.reason as HostError['reason'], parsed.error.message);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
