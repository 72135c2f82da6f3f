import type { CarriedThread } from '../handoff/carriedThread';
import type { DivergenceChoice } from '../handoff/divergence';
import type { ApprovalsReviewer, Policy, Requirements } from '../handoff/policy';
import type { Finding } from '../handoff/finding';
import type { Surroundings } from '../handoff/surroundings';
import type { HandoffIdentity } from '../handoff/sourceTransaction';
import type { Channel } from '../relay/channel';
import type { HandoffSide } from './handoffSide';
import type { IncludedWish } from './includedTravel';
import type { OtherWriter } from './otherWriters';
import type { PeerLink } from './peerLink';
import type { HandoffPhase } from './protocol';
import type { SealedBundles } from './sealedBundles';
import type { SourceRollout } from './sendTransfer';

/** What is handed off: a thread, or a checkout in which a thread is to begin at the destination. */
export type Subject = { readonly threadId: string } | { readonly directory: string; readonly prompt: string };

/** What the user wants of a handoff besides. */
export interface HandoffWish {
  readonly included: IncludedWish;
  /** What becomes of what the destination has, should both sides have changed. */
  readonly choice: DivergenceChoice | null;
  /** Nobody reads the findings: only what stands in the way counts. */
  readonly onlyBlockers?: true;
}

/** A thread as its host has it, in as far as a handoff needs to know. */
export interface SourceThread {
  readonly cwd: string;
  readonly modelProvider: string | null;
  /** Null where it begins with that of its destination. `listed`: Codex here names it among those of the provider. */
  readonly model: { readonly name: string; readonly listed: boolean } | null;
  readonly policy: Policy;
  readonly approvalsReviewer: ApprovalsReviewer;
  readonly requirements: Requirements | null;
  readonly codexVersion: string;
  /** What of it cannot go to another machine, or not as it is. */
  readonly findings: readonly Finding[];
}

export interface SourceHostPorts extends HandoffSide {
  connect(hostId: string, signal?: AbortSignal): Promise<PeerLink>;
  openTransfer(hostId: string, signal?: AbortSignal): Promise<Channel>;
  /** What was made for handoffs that broke off. */
  readonly sealed: SealedBundles;
  /** Throws HostError `thread-moved` or `thread-moving` where this host may not act on the thread. */
  requireOwner(threadId: string): void;
  /** Reads a thread without changing it. For a directory: the settings with which a thread would start there. */
  describe(subject: Subject): Promise<SourceThread>;
  /** What a thread in `cwd`, of the checkout `root`, is used to here and that does not travel. */
  surroundings(cwd: string, root: string, signal?: AbortSignal): Promise<Surroundings>;
  /** The threads besides this one that work in the checkout `root` now. */
  otherWriters(root: string, threadId: string | null): Promise<readonly OtherWriter[]>;
  /** The thread's rollout files with their lengths, while it may still grow. */
  rolloutSizes(threadId: string): Promise<readonly { readonly name: string; readonly bodyBytes: number }[]>;
  /** Stops the thread and unloads it; before that, `record` keeps what has to travel or be put back. */
  quiesce(threadId: string, record: (carried: CarriedThread) => Promise<void>, signal: AbortSignal): Promise<void>;
  rollouts(threadId: string): Promise<readonly SourceRollout[]>;
  /** The thread is usable here again, as it was. */
  unquiesce(threadId: string, carried: CarriedThread | null): Promise<void>;
  markMoved(handoff: HandoffIdentity): Promise<void>;
  onProgress(handoff: HandoffIdentity, phase: HandoffPhase, message: string, bytesDone: number | null, bytesTotal: number | null): void;
}
