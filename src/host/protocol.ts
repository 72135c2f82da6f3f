/**
 * The host protocol: what a controller may ask of a host, and what it hears from it.
 *
 * JSON-RPC 2.0, one object per line. Methods for which Codex has a word (`thread/*`, `turn/*`, `model/list`, …) keep
 * Codex's params and results and are passed through to the app-server; the methods below are Baton's own. Each side
 * validates what it receives against these schemas before using it. See `src/host/README.md`.
 */
import { z } from 'zod';
import { looksLikeCode, looksLikeLink } from '../relay/inviteForms';
import { divergenceChoice, type DivergenceChoice } from '../handoff/divergence';
import { auditEntry } from './auditEntry';
import { deviceSummary, inviteId, inviteParams, inviteSummary, readInvite, joinedHost, madeInvite } from './deviceSchemas';
import { eventsBegin, eventsWanted, followedHost, heardEvent, hostEvent } from './followSchemas';
import { hostId, hostName, role, threadId, type Role } from './identifiers';
import { clientListParams, clientPage, clientRevokeParams, pairingStartParams, pairingStatusParams, remoteControlStatus, remoteControlSwitch, startedPairing } from './remoteControlSchemas';
import { addedHost, addHostParams, aliasParams, askingProgram, meetingParams, openMeeting, sshAliases } from './sshSchemas';

export { hostId, hostName, looksLikeCode, looksLikeLink, role, threadId, type Role };

export const PROTOCOL_VERSION = 1;

export const handoffId = z.string().regex(/^[0-9a-f]{32}$/, 'a handoff id is 32 hex digits');
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const objectId = z.string().regex(/^([0-9a-f]{40}|[0-9a-f]{64})$/);
const count = z.number().int().nonnegative();
const text = z.string().max(65_536);

export const finding = z.object({
  level: z.enum(['ok', 'warning', 'blocker']),
  /** Stable, kebab-case; scripts branch on it. */
  code: z.string().regex(/^[a-z0-9-]+$/),
  /** One sentence, with a way out where there is one. */
  message: text,
});
export type Finding = z.infer<typeof finding>;

export const hostSummary = z.object({
  hostId,
  name: z.string(),
  online: z.boolean(),
  self: z.boolean(),
  codexVersion: z.string().nullable(),
  /** Its Baton, where that is of another version, and what is to be done about it; null where nothing is. */
  note: text.nullish(),
});
export type HostSummary = z.infer<typeof hostSummary>;

export const hostDetails = z.object({
  hostId,
  name: z.string(),
  batonVersion: z.string(),
  protocolVersion: z.number().int(),
  codexVersion: z.string().nullable(),
  codexHome: z.string(),
  platform: z.string(),
  pid: z.number().int(),
  relay: z.object({ url: z.string().nullable(), status: z.enum(['disabled', 'connecting', 'connected', 'errored']), message: z.string().nullable() }),
});
export type HostDetails = z.infer<typeof hostDetails>;

export const repositoryIdentity = z.object({
  objectFormat: z.enum(['sha1', 'sha256']),
  rootCommits: z.array(objectId).max(64),
  /** Normalised: `host/path`, no scheme, user, port or `.git`. */
  remotes: z.array(z.string().max(1024)).max(64),
});

export const project = z.object({
  id: z.string(),
  root: z.string(),
  subdirectory: z.string(),
  identity: repositoryIdentity,
});
export type Project = z.infer<typeof project>;

export const worktreeId = z.string().regex(/^[0-9a-f]{8}$/, 'the id of a worktree is 8 hex digits');
const snapshotRef = z.string().max(256).regex(/^refs\/baton\/snapshots\/[A-Za-z0-9/-]+$/, 'not a snapshot');

/** What a host keeps: the newest worktrees, and snapshots for so many days. */
export const worktreeRetention = z.object({ keep: z.number().int().min(0).max(10_000), snapshotDays: z.number().int().min(1).max(3_650) });
export type WorktreeRetention = z.infer<typeof worktreeRetention>;

export const managedWorktree = z.object({
  /** Of a foreign one the name of its directory. */
  id: z.string(),
  path: z.string(),
  /** The checkout whose repository it belongs to; null for a foreign one. */
  project: z.string().nullable(),
  threadIds: z.array(threadId),
  branch: z.string().nullable(),
  head: objectId.nullable(),
  dirty: z.boolean(),
  permanent: z.boolean(),
  pinned: z.boolean(),
  /** `removed`: a snapshot has it, and opening one of its threads restores it. `foreign`: Baton did not make it, and leaves it alone. */
  state: z.enum(['here', 'removed', 'removing', 'restoring', 'moved', 'gone', 'unlinked', 'unreadable', 'foreign']),
  /** Paths that differ from HEAD, by kind; an untracked directory counts once. */
  changes: z.object({ staged: count, unstaged: count, untracked: count, unmerged: count }).nullable(),
  /** A merge, rebase, … in progress. */
  operation: z.string().nullable(),
  locked: z.boolean(),
  /** Commits that no remote-tracking branch, tag or other branch has; at most 1000. */
  unpushed: count,
  /** Ignored files that nothing else has: they would be lost with it, so it is not removed by itself. */
  ignored: z.object({ count, bytes: count, names: z.array(z.string()), digest: z.string().default('') }).nullable(),
  lastUsedAt: z.string(),
  /** On disk; null unless asked for. */
  bytes: count.nullable(),
  safeToRemove: z.boolean(),
  /** One sentence: why it may be removed, or why not. */
  reason: text,
  /** The snapshot from which a removed one is restored. */
  snapshot: z.string().nullable(),
});
export type ManagedWorktree = z.infer<typeof managedWorktree>;

export const snapshot = z.object({
  ref: z.string(),
  /** The worktree that it was taken of; null for what an apply replaced. */
  worktreeId: worktreeId.nullable(),
  /** The thread whose apply replaced it; null for a worktree's. */
  threadId: threadId.nullable(),
  /** The directory that it was the state of; null where this host does not know. */
  path: z.string().nullable(),
  takenAt: z.string(),
  /** It holds what nothing else has, so it does not expire by itself. */
  onlyCopy: z.boolean(),
  /** Why nothing more can be told of it, and it stays: another version took it, or it is damaged. Null for one that can be read. */
  unreadable: text.nullable(),
  expiresAt: z.string().nullable(),
});
export type Snapshot = z.infer<typeof snapshot>;

export const sweepReport = z.object({
  removed: z.array(z.object({ id: worktreeId, path: z.string(), reason: text })),
  kept: z.array(z.object({ id: worktreeId, path: z.string(), reason: text })),
  /** Snapshots that expired. */
  expired: z.array(z.string()),
});
export type SweepReport = z.infer<typeof sweepReport>;

/** What the host adds, as `thread.baton`, to each Codex thread that it passes on. */
export const threadOwnership = z.object({
  owner: hostId,
  epoch: count,
  movedTo: z.object({ hostId, name: z.string() }).nullable(),
  /** A handoff of this thread is under way. */
  moving: z.boolean(),
  worktreeId: z.string().nullable(),
  /** Approvals that wait for a person, those that were carried over included, of which Codex knows nothing. */
  pendingApprovals: count,
});
export type ThreadOwnership = z.infer<typeof threadOwnership>;

/** A Codex thread with Baton's ownership. Fields that Baton does not read pass through unseen. */
export const thread = z.looseObject({
  id: threadId,
  preview: z.string(),
  name: z.string().nullish(),
  cwd: z.string(),
  updatedAt: z.number(),
  status: z.looseObject({ type: z.string(), activeFlags: z.array(z.string()).optional() }),
  turns: z.array(z.looseObject({ id: z.string(), status: z.string(), items: z.array(z.looseObject({ type: z.string(), id: z.string() })) })).optional(),
  baton: threadOwnership.optional(),
});
export type Thread = z.infer<typeof thread>;

export const planStep = z.object({ step: z.string(), status: z.enum(['pending', 'inProgress', 'completed']) });
export const plan = z.object({ turnId: z.string().nullable(), explanation: z.string().nullable(), steps: z.array(planStep) });
export type Plan = z.infer<typeof plan>;

export const approvalKind = z.enum(['command', 'fileChange', 'permissions', 'userInput', 'elicitation']);
export const approvalDecision = z.enum(['accept', 'acceptForSession', 'decline', 'cancel']);
export type ApprovalDecision = z.infer<typeof approvalDecision>;
export const approval = z.object({
  id: z.string(),
  threadId,
  turnId: z.string().nullable(),
  itemId: z.string().nullable(),
  kind: approvalKind,
  /** The full command line, for `command`. */
  command: z.string().nullable(),
  /** One unified diff per file, for `fileChange`. */
  changes: z.array(z.object({ path: z.string(), kind: z.enum(['add', 'delete', 'update']), movePath: z.string().nullable(), diff: z.string() })),
  /** The questions, for `userInput`; what is asked for, as JSON, for `permissions` and `elicitation`. */
  questions: z.array(z.object({ id: z.string(), header: z.string(), question: z.string(), options: z.array(z.string()), secret: z.boolean() })),
  request: z.string().nullable(),
  cwd: z.string().nullable(),
  reason: z.string().nullable(),
  hostId,
  /** SHA-256 of the canonical request; a decision must name it. */
  digest: sha256,
  requestedAt: z.string(),
  /** It was pending when its turn was interrupted, by a handoff or a restart of the host, and is raised again. */
  carriedOver: z.boolean(),
});
export type Approval = z.infer<typeof approval>;

export const handoffPhase = z.enum(['preflight', 'quiesce', 'capture', 'transfer', 'stage', 'receipt', 'commit', 'activate']);
export type HandoffPhase = z.infer<typeof handoffPhase>;

/** The ignored files that `.worktreeinclude` of the checkout lists and that would cross with a handoff, if the user says so. */
export const includedList = z.object({
  /** Names this list of paths, for this checkout and destination: `handoff/start` takes it as the user's word for just these. */
  digest: sha256,
  files: count,
  bytes: count,
  /** The first of them, quoted. */
  names: z.array(text).max(100),
  /** Those whose names look like those of secrets: how many, and the first, quoted. */
  secrets: z.object({ count, names: z.array(text).max(100) }),
  /** What is listed as well and cannot travel, in words. */
  left: text.nullable(),
  /** One sentence: why none of them can travel there. */
  refused: text.nullable(),
});
export type IncludedList = z.infer<typeof includedList>;

export const handoffPreflight = z.object({
  threadId: threadId.nullable(),
  from: hostId,
  to: hostId,
  destinationName: z.string(),
  /** The thread's worktree at the destination, if it has one from an earlier stay; else one is made. */
  worktree: z.string().nullable(),
  branch: z.string().nullable(),
  commits: count,
  files: count,
  /** Estimate of what would travel, in bytes. */
  bytes: count,
  findings: z.array(finding),
  /** Both sides of the thread changed since its last handoff, and each of these settles that; the user may also hand nothing off. */
  choices: z.array(divergenceChoice).optional(),
  /** Present where it was asked for; null where the checkout has no `.worktreeinclude`. */
  included: includedList.nullable().optional(),
});
export type HandoffPreflight = z.infer<typeof handoffPreflight>;
export type { DivergenceChoice };

export const handoffResult = z.object({
  handoffId,
  threadId,
  from: hostId,
  to: hostId,
  epoch: count,
  worktree: z.string(),
  branch: z.string().nullable(),
  commits: count,
  files: count,
  bytesSent: count,
  /** Bytes of rollout files that the destination lacked, before they were compressed. */
  rolloutBytesSent: count,
  milliseconds: count,
  receipt: sha256,
  /** What the user should know, one sentence each (another branch name, an approval carried over, …). */
  notes: z.array(z.string()),
});
export type HandoffResult = z.infer<typeof handoffResult>;

export const handoffProgress = z.object({
  handoffId,
  threadId,
  phase: handoffPhase,
  message: z.string(),
  bytesDone: count.nullable(),
  bytesTotal: count.nullable(),
});
export type HandoffProgress = z.infer<typeof handoffProgress>;

const peerOf = z.object({ hostId, name: z.string() });

export const handoffSummary = z.object({
  handoffId,
  threadId,
  /** From this host, or to it. */
  direction: z.enum(['out', 'in']),
  peer: peerOf,
  epoch: count,
  /** As the reducers of src/handoff name it. */
  state: z.string(),
  /** When that was written. */
  since: z.string(),
  /** One sentence: what is the case, and what is still possible. */
  description: text,
  /** Something is left to be done. */
  open: z.boolean(),
  /** It can still be given up on this host. */
  canAbort: z.boolean(),
});
export type HandoffSummary = z.infer<typeof handoffSummary>;

export const reclaimReport = z.object({
  threadId,
  /** Who has the thread, as this host knows, or was to decide about it. */
  from: peerOf,
  since: z.string().nullable(),
  online: z.boolean(),
  /** That of the thread once it is reclaimed. */
  epoch: count,
  /** What would be left behind, one sentence each. */
  losses: z.array(z.string()),
  done: z.boolean(),
});
export type ReclaimReport = z.infer<typeof reclaimReport>;

export const verifyReport = z.object({
  threadId,
  handoffId,
  epoch: count,
  source: hostId,
  destination: hostId,
  /** Which side of that handoff this host was. */
  side: z.enum(['source', 'destination']),
  receipt: sha256,
  holdings: sha256,
  /** All that the receipt covers and nothing may change is here. */
  intact: z.boolean(),
  checks: z.array(z.object({ what: z.string(), is: z.enum(['same', 'grown', 'changed', 'broken', 'missing', 'unchecked']), message: text })),
});
export type VerifyReport = z.infer<typeof verifyReport>;

export const doctorCheck = z.object({ name: z.string(), level: z.enum(['ok', 'warning', 'error']), message: z.string() });
export type DoctorCheck = z.infer<typeof doctorCheck>;

/** A controller's first request, Codex's own; then it may send the notification `initialized`. */
export const initializeParams = z.looseObject({
  clientInfo: z.looseObject({ name: z.string().min(1).max(64), title: z.string().max(128).nullish(), version: z.string().max(64), /** For the audit log. */ pid: z.number().int().positive().optional() }),
  capabilities: z.looseObject({ experimentalApi: z.boolean().optional(), optOutNotificationMethods: z.array(z.string()).nullish(), events: eventsWanted.nullish() }).nullish(),
});

/** Codex's result (its members absent while no app-server runs) with what a controller must know of the host. */
export const initializeResult = z.looseObject({
  userAgent: z.string().optional(),
  codexHome: z.string().optional(),
  baton: z.object({
    protocolVersion: z.number().int(),
    hostId,
    name: z.string(),
    /** What the host lets this connection do. */
    role,
    /** Where `events` was asked for. */
    events: eventsBegin.optional(),
  }),
});
export type InitializeResult = z.infer<typeof initializeResult>;

/** Methods that a host also answers to a paired host that it trusts as an operator. */
export const remoteMethods = [
  'worktree/list', 'worktree/create', 'worktree/pin', 'worktree/unpin', 'worktree/permanent', 'worktree/remove', 'worktree/restore', 'worktree/repair', 'worktree/sweep', 'worktree/retention',
  'snapshot/list', 'snapshot/expire',
] as const;
export type RemoteMethod = (typeof remoteMethods)[number];

const changes = {
  /** Paths of the working tree that change; at most 1000 are named. */
  changes: z.array(z.object({ path: z.string(), change: z.enum(['added', 'changed', 'deleted']) })),
  changeCount: count,
};

/** What applying a thread's working state to the user's checkout, or the other way, does or would do. */
export const applyResult = z.object({
  threadId,
  to: z.enum(['checkout', 'worktree']),
  worktree: z.string(),
  checkout: z.string(),
  /** False for a dry run, and where both were the same already. */
  applied: z.boolean(),
  how: z.enum(['same', 'replace', 'merge']),
  ...changes,
  /** Where HEAD goes, with the branch that it is on (null: detached); null where it stays. */
  head: z.object({ branch: z.string().nullable(), before: objectId, after: objectId, commits: count }).nullable(),
  conflicts: z.array(z.string()),
  /** Why it would not be done, with the way out. */
  refused: z.object({ reason: z.string(), message: text }).nullable(),
  notes: z.array(z.string()),
  /** Names what was shown: give it back, and nothing else is done. */
  plan: sha256,
});
export type ApplyResult = z.infer<typeof applyResult>;

const empty = z.object({}).optional();
const method = <P extends z.ZodType, R extends z.ZodType>(least: Role, params: P, result: R) => ({ role: least, params, result });

/** Baton's own methods for controllers: least role, params, result. */
export const methods = {
  'host/read': method('viewer', empty, hostDetails),
  'host/list': method('viewer', empty, z.object({ hosts: z.array(hostSummary) })),
  'host/rename': method('operator', z.object({ name: hostName }), hostDetails),
  'host/setRelay': method('operator', z.object({ url: z.url({ protocol: /^wss?$/ }).nullable() }), hostDetails),
  /** A one-time invite: a link, and a code for the same. It works for `lifetimeMs`, and whoever uses it is let in for `accessMs`. */
  'host/invite': method('operator', inviteParams, madeInvite),
  /** `invite` is a link or a code; `relayUrl` says where the host that made a code is to be met, if not at this host's own relay. */
  'host/join': method('operator', z.object({ invite: z.string().max(4096), relayUrl: z.url({ protocol: /^wss?$/ }).max(512).optional() }), joinedHost),
  /** The invites of this run of the host, also those that are over. */
  'invite/list': method('operator', empty, z.object({ invites: z.array(inviteSummary) })),
  'invite/cancel': method('operator', z.object({ id: inviteId }), z.object({ cancelled: z.boolean() })),
  /** What the link of another host's invite says, so that the user sees whose it is before it is used. Nothing is asked of anybody. */
  'invite/read': method('operator', z.object({ invite: z.string().max(4096) }), readInvite),
  /** Answers when the invite was used or has ended otherwise. */
  'invite/wait': method('operator', z.object({ id: inviteId }), inviteSummary),
  /** The hosts of this account's ssh configuration, and which of them are known already. */
  'host/aliases': method('operator', empty, sshAliases),
  /** Makes the machine that ssh finds under a name a host that this one knows: looks at what is there, copies Baton, starts its host, pairs with it. Asks nothing. */
  'host/add': method('operator', addHostParams, addedHost),
  /** What to run in a terminal where ssh has to ask for a passphrase, a password, or whether a host key is right: the host itself never asks. */
  'host/ssh': method('operator', aliasParams, askingProgram),
  /** Lets one host in whose key is known, over a connection to which only this account has access: `baton host stdio` asks for it. */
  'host/meeting': method('operator', meetingParams, openMeeting),
  'host/stop': method('operator', empty, z.object({ stopped: z.literal(true) })),
  /** Ends the host, but not while a turn runs or a handoff is under way: then `busy` says what is. */
  'host/stopIfIdle': method('operator', empty, z.object({ stopped: z.boolean(), busy: text.nullable() })),
  'host/doctor': method('viewer', empty, z.object({ checks: z.array(doctorCheck) })),

  /**
   * Listens on this machine for clients of another host's Codex, in the role that this host has there, until the connection that asked ends.
   * `socketPath` is null where Codex opens none; who connects to `url` shows the token in `tokenFile`.
   */
  'tunnel/open': method('operator', z.object({ host: hostId }), z.object({ role, socketPath: z.string().nullable(), url: z.string(), tokenFile: z.string() })),
  /** The devices and hosts that this host trusts. */
  'device/list': method('operator', empty, z.object({ devices: z.array(deviceSummary) })),
  /** Ends the trust in one of them at once: its open channels end, too. `openHandoffs` counts what was under way with it and is not settled. */
  'device/revoke': method('operator', z.object({ id: hostId }), z.object({ revoked: z.boolean(), channels: count, openHandoffs: count })),

  /** Codex's own methods, answered by the host: whether devices and operators may come in from elsewhere, who they are, and how another one is paired. */
  'remoteControl/status/read': method('viewer', empty, remoteControlStatus),
  'remoteControl/enable': method('operator', remoteControlSwitch, remoteControlStatus),
  /** Ends what is open from elsewhere, and lets nobody in until it is enabled again. Revokes nothing. */
  'remoteControl/disable': method('operator', remoteControlSwitch, remoteControlStatus),
  'remoteControl/pairing/start': method('operator', pairingStartParams, startedPairing),
  /** Takes exactly one of the two codes. */
  'remoteControl/pairing/status': method('operator', pairingStatusParams, z.object({ claimed: z.boolean() })),
  'remoteControl/client/list': method('operator', clientListParams, clientPage),
  'remoteControl/client/revoke': method('operator', clientRevokeParams, z.object({})),

  'project/add': method('operator', z.object({ directory: z.string() }), z.object({ project })),
  'project/list': method('viewer', empty, z.object({ projects: z.array(project) })),
  'project/remove': method('operator', z.object({ id: z.string() }), z.object({ removed: z.boolean() })),

  /** `sizes` reads every directory, which takes its time; `records` looks at none, and says only what the host has noted of each. */
  'worktree/list': method('viewer', z.object({ sizes: z.boolean().optional(), records: z.boolean().optional() }).optional(), z.object({ worktrees: z.array(managedWorktree) })),
  /** `project` is the id of a saved one, or its folder. Without `branch` HEAD is detached where the checkout's is; a branch that does not exist is made. */
  'worktree/create': method('operator', z.object({ project: z.string().max(4096), branch: z.string().min(1).max(1024).optional(), permanent: z.boolean().optional() }), z.object({ worktree: managedWorktree, notes: z.array(z.string()) })),
  'worktree/pin': method('operator', z.object({ id: worktreeId }), z.object({ worktree: managedWorktree })),
  'worktree/unpin': method('operator', z.object({ id: worktreeId }), z.object({ worktree: managedWorktree })),
  /** Baton never removes a permanent one. */
  'worktree/permanent': method('operator', z.object({ id: worktreeId, permanent: z.boolean().default(true) }), z.object({ worktree: managedWorktree })),
  /** Takes a snapshot, verifies it, and removes the directory. `discardIgnored` lets ignored files go that nothing else has: those on the list of that digest, or of one that begins so. */
  'worktree/remove': method('operator', z.object({ id: worktreeId, discardIgnored: z.string().regex(/^[0-9a-f]{12,64}$/).optional() }), z.object({ removed: z.literal(true), snapshot: z.string().nullable(), notes: z.array(z.string()).default([]) })),
  'worktree/restore': method('operator', z.object({ id: worktreeId }), z.object({ worktree: managedWorktree, notes: z.array(z.string()), restored: z.boolean().default(true) })),
  /** Mends one that was moved or deleted by hand; `directory` says where it is now; `anew` makes one that was deleted again from what git still has. */
  'worktree/repair': method('operator', z.object({ id: worktreeId, directory: z.string().max(4096).optional(), anew: z.boolean().optional() }), z.object({ worktree: managedWorktree, done: text })),
  /** What the host does by itself every hour and after each handoff; `dryRun` only tells. */
  'worktree/sweep': method('operator', z.object({ dryRun: z.boolean().optional() }).optional(), sweepReport),
  'worktree/retention': method('operator', worktreeRetention.partial(), worktreeRetention),
  'snapshot/list': method('viewer', empty, z.object({ snapshots: z.array(snapshot) })),
  /** Drops those named, or all that are older than the host's limit. `evenOnlyCopies` also those that hold what nothing else has. */
  'snapshot/expire': method('operator', z.object({ refs: z.array(snapshotRef).max(10_000).optional(), evenOnlyCopies: z.boolean().optional() }), z.object({ expired: z.array(z.string()), kept: z.array(z.object({ ref: z.string(), reason: text })) })),

  /** Asks a paired host one of `remoteMethods`, where it trusts this one as an operator. The result is that method's. */
  'host/ask': method('operator', z.object({ host: hostId, method: z.enum(remoteMethods), params: z.record(z.string(), z.unknown()).optional() }), z.object({ result: z.unknown() })),

  /**
   * Keeps a control channel to a paired host that lets this one see its threads, for as long as the caller is connected: `host/followed` says how it
   * is, `host/heard` what that host tells, each thing once, whatever happens to the connection.
   */
  'host/follow': method('operator', z.object({ host: hostId }), followedHost),
  'host/unfollow': method('operator', z.object({ host: hostId }), z.object({ followed: z.boolean() })),

  /** Moves a thread's working state from its worktree into the user's checkout on the same host, or the other way. `plan` is that of a dry run. */
  'worktree/apply': method(
    'operator',
    z.object({
      threadId, to: z.enum(['checkout', 'worktree']).default('checkout'), dryRun: z.boolean().default(false), plan: sha256.optional(),
      /** With `dryRun`, which otherwise writes nothing: restore a worktree that was removed, so that there is something to show. */
      restore: z.boolean().default(false),
      /** Merge with what is there; with conflict markers where that does not come out clean. */
      merge: z.boolean().default(false), markers: z.boolean().default(false),
      /** Move a branch of another name too; interrupt a turn that runs. */
      fastForward: z.boolean().default(false), stop: z.boolean().default(false),
    }),
    applyResult,
  ),
  /** Takes the last apply back. */
  'worktree/undoApply': method('operator', z.object({ threadId, dryRun: z.boolean().default(false), restore: z.boolean().default(false), stop: z.boolean().default(false) }), z.object({ threadId, directory: z.string(), undone: z.boolean(), ...changes })),

  /** The thread's transcript is Codex's `thread/read`; this is the rest of what a thread view shows. */
  'host/thread': method('viewer', z.object({ threadId }), z.object({ thread, plan: plan.nullable(), approvals: z.array(approval) })),

  /**
   * `directory` in place of `threadId`: hand off an open repository that has no thread yet; the thread begins at the destination. `from` asks
   * that host about its thread. `included` also asks which ignored files could cross.
   */
  'handoff/preflight': method(
    'operator',
    z.object({ threadId: threadId.optional(), directory: z.string().optional(), to: hostId, from: hostId.optional(), included: z.boolean().optional(), choice: divergenceChoice.optional() }),
    handoffPreflight,
  ),
  /** Starts a handoff and returns at once; `from` asks that host to hand its thread to this one. `prompt` begins the thread of a `directory`. */
  'handoff/start': method(
    'operator',
    z.object({
      threadId: threadId.optional(),
      directory: z.string().optional(),
      prompt: text.optional(),
      to: hostId,
      from: hostId.optional(),
      /** The thread in which the caller runs (Codex sets CODEX_THREAD_ID): a thread cannot hand itself off, its turn would be interrupted. */
      askedBy: z.string().optional(),
      /** The user has seen the list of that digest, and wants those ignored files to cross. What is not in it does not. */
      included: sha256.optional(),
      /** What becomes of what the destination has, should both sides have changed since the last handoff; without one the handoff is refused then. */
      choice: divergenceChoice.optional(),
    }),
    z.object({ handoffId }),
  ),
  /** Answers when the handoff has ended: the result, or the error that ended it. */
  'handoff/wait': method('viewer', z.object({ handoffId }), handoffResult),
  /** Cancels before the commit point; afterwards `cancelled` is false and the handoff goes on. */
  'handoff/cancel': method('operator', z.object({ handoffId }), z.object({ cancelled: z.boolean() })),
  /** The last handoff of each thread to and from this host; without `all` only what is not over. */
  'handoff/list': method('viewer', z.object({ all: z.boolean().optional() }).optional(), z.object({ handoffs: z.array(handoffSummary) })),
  /** Tries at once what the host goes on trying anyway. */
  'handoff/resume': method('operator', z.object({ handoffId }), z.object({ handoff: handoffSummary })),
  /** Gives a handoff up, on either side, where that is safe; else `aborted` is false and the description says why. */
  'handoff/abort': method('operator', z.object({ handoffId }), z.object({ aborted: z.boolean(), handoff: handoffSummary })),
  /** Takes a thread back from a host that will not return. `dryRun` only says what that would leave behind; `force` also takes it from a host that is online. */
  'handoff/reclaim': method('operator', z.object({ threadId, dryRun: z.boolean().optional(), force: z.boolean().optional() }), reclaimReport),
  /** Computes the hashes of the thread's last receipt anew. */
  'handoff/verify': method('viewer', z.object({ threadId }), verifyReport),
  /** The newest events of the audit log, oldest first. */
  'audit/list': method('viewer', z.object({ threadId: threadId.optional(), limit: z.number().int().min(1).max(10_000).optional() }).optional(), z.object({ events: z.array(auditEntry), unreadable: count })),

  'approval/list': method('viewer', z.object({ threadId: threadId.optional() }).optional(), z.object({ approvals: z.array(approval) })),
  'approval/decide': method(
    'approver',
    z.object({ id: z.string(), digest: sha256, decision: approvalDecision, answers: z.record(z.string(), z.array(z.string())).optional() }),
    z.object({ decided: z.literal(true) }),
  ),
} as const;

export type Methods = typeof methods;
export type MethodName = keyof Methods;
export type ParamsOf<M extends MethodName> = z.input<Methods[M]['params']>;
export type ResultOf<M extends MethodName> = z.output<Methods[M]['result']>;

/** Baton's own notifications to controllers. Codex's notifications are passed on as they are. */
export const notifications = {
  'handoff/progress': handoffProgress,
  'handoff/ended': z.object({ handoffId, threadId: threadId.nullable(), result: handoffResult.nullable(), error: z.object({ reason: z.string(), message: z.string() }).nullable() }),
  'approval/requested': z.object({ approval }),
  'approval/resolved': z.object({ id: z.string(), threadId, decision: approvalDecision.nullable() }),
  /** Codex's; every controller gets it once at the beginning. */
  'remoteControl/status/changed': remoteControlStatus,
  'host/event': hostEvent,
  'host/followed': followedHost,
  'host/heard': heardEvent,
  /** Hosts, relay status, projects, worktrees or ownership changed: read again what you show. */
  'host/changed': z.object({ what: z.array(z.enum(['hosts', 'devices', 'relay', 'projects', 'worktrees', 'threads'])) }),
} as const;
export type NotificationName = keyof typeof notifications;
export type NotificationOf<N extends NotificationName> = z.output<(typeof notifications)[N]>;

/**
 * Codex methods that a host passes on, and the least role for each. What is not listed here is refused:
 * config, file system, process and account methods act on the machine rather than on a thread.
 */
export const codexMethods: Readonly<Record<string, Role>> = {
  'thread/list': 'viewer',
  'thread/read': 'viewer',
  'thread/turns/list': 'viewer',
  'thread/items/list': 'viewer',
  'thread/loaded/list': 'viewer',
  'thread/resume': 'viewer',
  'thread/unsubscribe': 'viewer',
  'model/list': 'viewer',
  'account/read': 'viewer',
  'configRequirements/read': 'viewer',
  'collaborationMode/list': 'viewer',
  'thread/goal/get': 'viewer',
  'thread/backgroundTerminals/list': 'viewer',
  'thread/start': 'operator',
  'thread/fork': 'operator',
  'thread/archive': 'operator',
  'thread/unarchive': 'operator',
  'thread/name/set': 'operator',
  'thread/compact/start': 'operator',
  'turn/start': 'operator',
  'turn/steer': 'operator',
  'turn/interrupt': 'operator',
  'config/read': 'operator',
  'skills/list': 'operator',
  'hooks/list': 'operator',
  'plugin/installed': 'operator',
};

/**
 * Params with which a Codex method stays one for viewers. With others it changes how the thread runs (`thread/resume` takes
 * a sandbox, a directory, a configuration), which is an operator's to do.
 */
export const viewerParams: Readonly<Record<string, readonly string[]>> = {
  'thread/resume': ['threadId', 'excludeTurns', 'initialTurnsPage'],
};

/** Error codes of JSON-RPC replies. Baton's own errors use `FAILED` with `data.reason`, a stable word. */
export const ErrorCode = { InvalidParams: -32602, MethodNotFound: -32601, NotPermitted: -32003, Failed: -32000 } as const;
/** `data` of an error reply; `findings` when a preflight blocker stopped a handoff. */
export const errorData = z.object({ reason: z.string(), findings: z.array(finding).optional() });
