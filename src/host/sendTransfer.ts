/** The first half of a transfer: what the destination lacks, sealed in the handoff's spool, so that it can be sent in as many tries as it takes. */
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { createBundle } from '../git/bundle';
import type { Gaps } from '../git/partialClone';
import { listLfsObjects, sealLfsObject, type LfsSource } from '../git/lfsTransfer';
import type { CapturedState } from '../git/capture';
import type { SealedFiles } from '../git/sealFiles';
import type { CapturedCheckout } from '../git/captureCheckout';
import { agreeOnHaves, type Held } from '../git/haves';
import type { Ask } from '../git/negotiation';
import type { CarriedThread } from '../handoff/carriedThread';
import type { DivergenceChoice } from '../handoff/divergence';
import { LFS_QUESTION, type Manifest, type Offer, type PeerParams } from './peerProtocol';
import { persistentLink, type AskingLink, type SendingSide } from './sendSealed';
import type { SealedBundles } from './sealedBundles';
import { sealTail } from './sealTail';

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

export interface OutgoingTransfer extends SendingSide {
  readonly ports: SendingSide['ports'] & { readonly sealed: Pick<SealedBundles, 'find' | 'note'> };
  /** Directory of this handoff, removed with it. */
  readonly spool: string;
  readonly offer: Offer;
  readonly checkout: CapturedCheckout;
  readonly rollouts: readonly SourceRollout[];
  readonly thread: CarriedThread;
  readonly prompt: string | null;
  /** Ignored files that the user wants to cross. */
  readonly included: SealedFiles | null;
  /** Hosts that had the thread before. */
  readonly trail: readonly string[];
  /** The user's, should both sides have changed. */
  readonly choice: DivergenceChoice | null;
}

export interface SealedTransfer {
  readonly manifest: Manifest;
  /** What the manifest announces, in its order. `seal` gives the path from which it is sent. */
  readonly files: readonly { readonly bytes: number; readonly seal: () => Promise<string> }[];
  /** Bytes of rollout files that the destination lacked, before they were compressed. */
  readonly rolloutBytes: number;
}

/**
 * Begins the handoff at the destination and seals what it lacks. Connections that break are opened again. Throws HostError with the
 * destination's reason, `connection-lost` at the end of patience.
 */
export async function sealTransfer(transfer: OutgoingTransfer, signal: AbortSignal): Promise<SealedTransfer> {
  const { handoff, spool, checkout, announce } = transfer;
  const { handoffId, threadId, destination, destinationName } = handoff;
  announce('transfer', `Finding out what ${destinationName} lacks`);
  const link = persistentLink(transfer, signal);
  const there = await link.call('handoff/begin', { handoffId, threadId, epoch: handoff.epoch, offer: transfer.offer, trail: [...transfer.trail], ...(transfer.choice === null ? {} : { choice: transfer.choice }) });

  const bundles = [];
  for (const [part, { place, state }] of checkout.entries()) {
    const about = { threadId, offer: transfer.offer, part };
    const haves = await agreeOnPart(link, about, state, there.parts, signal);
    const path = join(spool, `bundle-${part}`);
    const tip = state.commits.manifest;
    const bundle = await createBundle({ capture: state, haves, gaps: gapsOfPart(link, about, there.parts, signal), earlier: await transfer.ports.sealed.find(destination, tip), file: path, signal });
    await transfer.ports.sealed.note(path, tip, bundle);
    bundles.push({ place, state, path, ...bundle, lfs: await listLfsObjects({ capture: state, prerequisites: bundle.prerequisites, signal }) });
  }
  const tails = [];
  for (const [index, rollout] of transfer.rollouts.entries()) {
    const from = await commonPrefix(rollout, there.rollouts);
    tails.push({ rollout, from, pieces: await sealTail(rollout.read(from), join(spool, `tail-${index}`), signal) });
  }
  const manifest: Manifest = {
    parts: bundles.map(({ place, state, bytes, sha256, shallow, lfs }) => ({ place, bundle: { bytes, sha256, tip: state.commits.manifest, shallow: [...shallow] }, lfs: lfs.map(({ oid, size }) => ({ oid, size })), branch: state.branch })) as Manifest['parts'],
    rollouts: tails.map(({ rollout: { name, threadId: owner, metaLine, bodyBytes, bodySha256 }, from, pieces }) => ({ name, threadId: owner, metaLine, bodyBytes, bodySha256, from, tail: { encoding: 'br', pieces: pieces.map(({ bytes, sha256 }) => ({ bytes, sha256 })) } })),
    thread: transfer.thread,
    prompt: transfer.prompt,
    counts: { commits: sum(bundles.map(({ commits }) => commits)), files: sum(bundles.map(({ state }) => state.files)) },
    ...(transfer.included === null ? {} : { included: describeSealed(transfer.included) }),
  };
  const lfs = bundles.flatMap((bundle) => bundle.lfs.map((object) => ({ bytes: object.size, seal: once(() => sealLfsObject(object, bundle.state, spool)) })));
  const sealed = (files: readonly { readonly path: string; readonly bytes: number }[]) => files.map(({ path, bytes }) => ({ bytes, seal: () => Promise.resolve(path) }));
  return {
    manifest,
    files: [...sealed(bundles), ...lfs, ...sealed(tails.flatMap(({ pieces }) => pieces)), ...sealed(transfer.included === null ? [] : [transfer.included])],
    rolloutBytes: sum(tails.map(({ rollout, from }) => rollout.bodyBytes - from)),
  };
}

/** What lies in the working tree is copied before it is sent, and once: it may change. */
function once(make: () => Promise<string>): () => Promise<string> {
  let made: Promise<string> | null = null;
  return () => (made ??= make());
}

/** Agrees with the destination on what it has of one part of a checkout, so that only the rest travels. */
export function agreeOnPart(link: AskingLink, about: Omit<PeerParams<'handoff/negotiate'>, 'commits'>, state: CapturedState, held: readonly Held[], signal?: AbortSignal): Promise<string[]> {
  const ask: Ask = async (commits) => (await link.call('handoff/negotiate', { ...about, commits: [...commits] }, signal)).commits;
  return agreeOnHaves(state, held[about.part] ?? { haves: [], shallow: [], partial: false }, ask, signal);
}

/** What the destination lacks of a part although its commits name it, to be asked for. */
export function gapsOfPart(link: AskingLink, about: Omit<PeerParams<'handoff/negotiate'>, 'commits'>, held: readonly Held[], signal?: AbortSignal): Gaps {
  return {
    partial: held[about.part]?.partial === true,
    lacking: async ({ commits, objects }) => (await link.call('handoff/lacking', { ...about, commits: [...commits], objects: [...objects] }, signal)).objects,
  };
}

function describeSealed({ bytes, files, contentBytes, sha256 }: SealedFiles): NonNullable<Manifest['included']> {
  return { bytes, files, contentBytes, sha256 };
}

/** How many bytes of a part's LFS objects the destination would be sent. */
export async function missingLfsBytes(link: AskingLink, about: Omit<PeerParams<'handoff/lfs'>, 'objects'>, objects: readonly LfsSource[], signal?: AbortSignal): Promise<number> {
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
