import { appendFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import path from 'node:path';
import { parentPaths, pathsForPeople, sortedPaths, type BytePath } from './bytePath';
import { plainBranchName } from './branchChoice';
import { captureCheckout, type CapturedCheckout } from './captureCheckout';
import { shadowOf, type CapturedState } from './capture';
import { gitText, quoteForPeople, runGit } from './git';
import { GitError } from './gitError';
import { fingerprintOf, type Manifest, type StateTrees } from './manifest';
import { mergeTrees } from './mergeTrees';
import type { ObjectId } from './repository';
import { expectFree, treeChanges } from './restoreFiles';
import { readState, type StateToRestore, type TreeChange } from './restoredState';
import type { Shadow } from './shadow';
import { sideBySide } from './sideBySide';

export interface ApplyRequest {
  readonly threadId: string;
  /** Checkout whose state moves. */
  readonly source: string;
  /** Checkout of the same repository that gets it. */
  readonly target: string;
  /** Called so in messages and conflict markers: `your checkout`, `the worktree`. */
  readonly names: { readonly source: string; readonly target: string };
  /** Fingerprints of states of which the target may be taken to hold nothing of its own: the thread left with them. */
  readonly known: readonly string[];
  /** Merge with what the target has of its own. */
  readonly merge: boolean;
  /** Write conflict markers where a merge does not come out clean. */
  readonly markers: boolean;
  /** Move a branch of another name, too. */
  readonly fastForward: boolean;
}

/** Why nothing can be applied. Stable words. */
export type ApplyRefusal = 'operation-in-progress' | 'submodules-differ' | 'sparse-differs' | 'lfs-differs' | 'unrelated' | 'target-ahead' | 'diverged' | 'other-branch' | 'target-changed' | 'merge-conflict' | 'in-the-way';

export interface HeadMove {
  /** Full name; null when HEAD is detached. */
  readonly branch: string | null;
  readonly before: ObjectId;
  readonly after: ObjectId;
  readonly commits: number;
}

/** What would happen. Nothing of it has. */
export interface ApplyPlan {
  readonly how: 'same' | 'replace' | 'merge';
  readonly changes: readonly TreeChange[];
  readonly head: HeadMove | null;
  readonly conflicts: readonly BytePath[];
  readonly refused: { readonly reason: ApplyRefusal; readonly message: string } | null;
  readonly notes: readonly string[];
  /** Of both states and of what was asked for: the same digest is the same plan. */
  readonly digest: string;
}

/** Both checkouts as they are, and what the target would become. */
export interface PreparedApply {
  readonly plan: ApplyPlan;
  readonly source: CapturedState;
  readonly target: CapturedState;
  /** The target's, which sees the objects of both. */
  readonly shadow: Shadow;
  readonly from: StateToRestore;
  /** Null where the plan is refused. */
  readonly to: StateToRestore | null;
  readonly expectedFingerprint: string | null;
}

const emptyTree = (length: number) => (length === 40 ? '4b825dc642cb6eb9a060e54bf8d69288fbee4904' : '6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321');

/** What both checkouts look like, and what one of them would become. */
interface Sight {
  readonly request: ApplyRequest;
  readonly shadow: Shadow;
  readonly source: CapturedState;
  readonly target: CapturedState;
  readonly from: StateToRestore;
  readonly given: StateToRestore;
  readonly parts: { readonly source: CapturedCheckout; readonly target: CapturedCheckout };
  readonly headTree: ObjectId;
  readonly relation: 'equal' | 'ahead' | 'behind' | 'diverged' | 'unrelated' | 'unborn';
  readonly commits: number;
  readonly common: ObjectId | null;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Looks at both checkouts and decides what applying would do. Writes nothing but its spool.
 *
 * @param common tip of the last state that both held; null where none is known
 * @throws {GitError} as `captureCheckout`
 */
export async function prepareApply(request: ApplyRequest, common: ObjectId | null, spool: string, signal?: AbortSignal): Promise<PreparedApply> {
  const capture = (root: string, name: string) => captureCheckout({ root, spool: path.join(spool, name), signal });
  const [sourceParts, targetParts] = await sideBySide(capture(request.source, 'source'), capture(request.target, 'target'));
  const [{ state: source }, { state: target }] = [sourceParts[0], targetParts[0]];
  const shadow = shadowOf(target);
  await appendFile(path.join(shadow.gitDir, 'objects', 'info', 'alternates'), `${path.join(source.shadow, 'objects')}\n`);
  const [given, from, headTree, relation] = await sideBySide(
    readState(shadow, source.commits.manifest, signal), readState(shadow, target.commits.manifest, signal),
    target.head === null ? Promise.resolve(emptyTree(source.commits.manifest.length)) : gitText(['rev-parse', `${target.head}^{tree}`], { cwd: target.root, signal }),
    relate(source.head, target.head, target.root, signal),
  );
  const sight: Sight = { request, shadow, source, target, from, given, parts: { source: sourceParts, target: targetParts }, headTree, ...relation, common, signal };
  const decided = await decide(sight);
  const to = decided.to;
  const changes = to === null ? await treeChanges(shadow, from.trees.worktree, given.trees.worktree, signal) : await treeChanges(shadow, from.trees.worktree, to.trees.worktree, signal);
  const obstacle = to === null || decided.how === 'same' ? null : await findObstacle(target.root, from, to, changes);
  const refused = decided.refused ?? (obstacle === null ? null : { reason: 'in-the-way' as const, message: obstacle });
  const { fastForward, merge, markers } = request;
  const digest = createHash('sha256').update(JSON.stringify([source.fingerprint, target.fingerprint, source.branch, target.branch, fastForward, merge, markers, decided.how, to?.trees.worktree ?? null])).digest('hex');
  const plan: ApplyPlan = { how: decided.how, changes, head: refused === null ? decided.head : null, conflicts: decided.conflicts, refused, notes: decided.notes, digest };
  return { plan, source, target, shadow, from, to: refused === null ? to : null, expectedFingerprint: to === null ? null : fingerprintOf(to.manifest, to.trees) };
}

async function relate(source: ObjectId | null, target: ObjectId | null, root: string, signal?: AbortSignal): Promise<Pick<Sight, 'relation' | 'commits'>> {
  if (source === target) return { relation: 'equal', commits: 0 };
  if (source === null || target === null) return { relation: 'unborn', commits: 0 };
  const options = { cwd: root, signal };
  const isAbove = async (above: ObjectId, below: ObjectId) => (await runGit(['merge-base', '--is-ancestor', below, above], { ...options, answers: [1] })).exitCode === 0;
  if (await isAbove(source, target)) return { relation: 'ahead', commits: Number(await gitText(['rev-list', '--count', `${target}..${source}`], options)) };
  if (await isAbove(target, source)) return { relation: 'behind', commits: 0 };
  return { relation: (await mergeBase(source, target, root, signal)) === null ? 'unrelated' : 'diverged', commits: 0 };
}

type Decision = Pick<ApplyPlan, 'how' | 'head' | 'conflicts' | 'refused' | 'notes'> & { readonly to: StateToRestore | null };

async function decide(sight: Sight): Promise<Decision> {
  const { request, source, target, from, given } = sight;
  const refuse = (reason: ApplyRefusal, message: string, conflicts: readonly BytePath[] = []): Decision => ({ how: 'replace', head: null, conflicts, refused: { reason, message: message.charAt(0).toUpperCase() + message.slice(1) }, notes: [], to: null });
  const same: Decision = { how: 'same', head: null, conflicts: [], refused: null, notes: [], to: from };
  if (source.fingerprint === target.fingerprint) return same;
  const { source: from_, target: to_ } = request.names;
  if (given.manifest.operation.branch !== null) return refuse('operation-in-progress', `A ${source.operation ?? 'Git operation'} is in progress in ${from_}; it ends on a branch that only ${from_} can be on. Finish or abort it there first.`);
  const changes = await treeChanges(sight.shadow, from.trees.worktree, given.trees.worktree, sight.signal);
  const lfs = differentLfsFiles(sight, changes);
  if (lfs.length > 0) return refuse('lfs-differs', `${pathsForPeople(lfs)}: the content of Git LFS files is not applied. Bring it over by a commit, or by "git lfs pull" where it is missing.`, lfs);
  const submodules = differentSubmodules(sight, changes);
  if (submodules.length > 0) return refuse('submodules-differ', `${pathsForPeople(submodules)}: what is in a submodule, and the commit that it is at, is not applied. Make it the same on both sides first ("git submodule update"), or hand it over by a commit.`, submodules);
  if (JSON.stringify(given.manifest.sparse) !== JSON.stringify(from.manifest.sparse)) return refuse('sparse-differs', `One of the two checkouts is sparse, or both are in different ways. Make their patterns the same first ("git sparse-checkout").`);

  const isKnown = request.known.includes(target.fingerprint);
  const own = isKnown ? [] : await ownChanges(sight);
  const operation = isKnown ? null : target.operation;
  const branch = branchFits(sight);
  const replaceable = operation === null && own.length === 0 && (sight.relation === 'equal' || (sight.relation === 'ahead' && branch));
  // Submodules that only one side has populated make two states different that are the same otherwise.
  const to = { ...given, manifest: await ofTarget(given.manifest, given.trees.worktree, sight) };
  if (replaceable && fingerprintOf(to.manifest, to.trees) === target.fingerprint) return same;
  if (replaceable) return { how: 'replace', head: headMove(sight), conflicts: [], refused: null, notes: [], to };

  if (operation !== null) return refuse('operation-in-progress', `A ${operation} is in progress in ${to_}. Finish or abort it there first.`);
  if (sight.relation === 'unborn') return refuse('unrelated', `One of the two checkouts has no commit yet. Commit something there first.`);
  if (sight.relation === 'unrelated') return refuse('unrelated', `${from_} and ${to_} have no commit in common, so neither can follow the other. Go on in the worktree itself.`);
  if (request.merge) return merged(sight, refuse);
  const ways = 'Or try again with --merge to merge the files, or go on in the worktree itself.';
  if (own.length > 0) return refuse('target-changed', `${to_} has changes of its own in ${pathsForPeople(own)}. Commit or put them away there. ${ways}`, own);
  if (sight.relation === 'behind') return refuse('target-ahead', `${to_} has commits that ${from_} lacks. Bring them there first ("git merge"). ${ways}`);
  if (sight.relation === 'diverged') return refuse('diverged', `${to_} and ${from_} have different commits since they parted. Bring those of ${to_} to ${from_} first ("git merge" or "git rebase" there). ${ways}`);
  return refuse('other-branch', `${to_} is on ${shownBranch(target.branch)}, and the ${sight.commits} new ${sight.commits === 1 ? 'commit is' : 'commits are'} on ${shownBranch(source.branch)}. Switch it to that branch first, or try again with --fast-forward to move ${shownBranch(target.branch)} all the same, or with --merge to get the changes without the commits.`);
}

const shownBranch = (branch: string | null) => (branch === null ? 'no branch' : quoteForPeople(plainBranchName(branch)));

/** Paths that differ in the target from its HEAD, unless the source has just the same there. */
async function ownChanges({ shadow, headTree, from, given, signal }: Sight): Promise<BytePath[]> {
  const changesOf = async (to: ObjectId) => new Map((await treeChanges(shadow, headTree, to, signal)).map((change) => [change.path, change]));
  const [worktree, index, givenWorktree, givenIndex] = await sideBySide(changesOf(from.trees.worktree), changesOf(from.trees.index), changesOf(given.trees.worktree), changesOf(given.trees.index));
  const isSame = (a: TreeChange, b: TreeChange | undefined) => a.toMode === b?.toMode && a.toOid === b.toOid;
  const own = new Set<BytePath>();
  for (const [name, change] of worktree) if (!isSame(change, givenWorktree.get(name))) own.add(name);
  for (const [name, change] of index) if (!isSame(change, givenIndex.get(name)) && !isSame(change, givenWorktree.get(name))) own.add(name);
  if (from.trees.stages !== null && from.trees.stages !== given.trees.stages) for (const { path: name } of await treeChanges(shadow, emptyTree(headTree.length), from.trees.stages, signal)) own.add(name.slice('1/'.length));
  const intended = new Set(given.manifest.intentToAdd.map(([name]) => name));
  for (const [name] of from.manifest.intentToAdd) if (!intended.has(name) && !givenIndex.has(name)) own.add(name);
  const flags = new Set(given.manifest.flags.map((flag) => JSON.stringify(flag)));
  for (const flag of from.manifest.flags) if (!flags.has(JSON.stringify(flag))) own.add(flag.path);
  // The message of a squashed merge that waits for its commit.
  const files = new Set(given.manifest.operation.files.map((file) => JSON.stringify(file)));
  for (const file of from.manifest.operation.files) if (!files.has(JSON.stringify(file))) own.add(`.git/${file[0]}`);
  return sortedPaths(own);
}

/** Submodules are left alone, so they must be the same, or nobody's work. */
function differentSubmodules({ parts }: Sight, changes: readonly TreeChange[]): BytePath[] {
  const different = new Set(changes.filter(({ fromMode, toMode }) => fromMode === '160000' || toMode === '160000').map((change) => change.path));
  const there = new Map(parts.target.map((part) => [part.place, part.state.fingerprint]));
  for (const { place, state } of parts.source.slice(1)) {
    const isOwn = state.files > 0 || state.operation !== null;
    if (there.has(place) ? there.get(place) !== state.fingerprint : isOwn) different.add(place);
  }
  return sortedPaths(different);
}

/** The content of these is no part of a tree, so nothing that replaces it could be taken back. */
function differentLfsFiles({ from, given }: Sight, changes: readonly TreeChange[]): BytePath[] {
  const [there, here] = [from, given].map(({ manifest }) => new Map(manifest.lfsFiles.map((file) => [file[0], JSON.stringify(file)]))) as [Map<BytePath, string>, Map<BytePath, string>];
  const changed = new Set(changes.map((change) => change.path));
  return sortedPaths([...new Set([...there.keys(), ...here.keys()])].filter((name) => changed.has(name) || there.get(name) !== here.get(name)));
}

/** Whether the target's branch is the one that the new commits are meant for. */
function branchFits({ request, source, target }: Sight): boolean {
  if (target.branch === null || request.fastForward) return true;
  return source.branch === null || plainBranchName(source.branch) === plainBranchName(target.branch);
}

function headMove({ source, target, commits }: Sight): HeadMove | null {
  return source.head === null || target.head === null || source.head === target.head ? null : { branch: target.branch, before: target.head, after: source.head, commits };
}

/** What belongs to a checkout rather than to its state stays the target's. */
async function ofTarget(manifest: Manifest, worktree: ObjectId, { shadow, from, given, signal }: Sight): Promise<Manifest> {
  const { branch, conversion, sparse, submodules } = from.manifest;
  return { ...manifest, branch, conversion, sparse, submodules, emptyDirectories: await emptyDirectoriesBeside(shadow, [from, given], worktree, signal) };
}

/** The empty directories of some states that there is room for beside the files of a working tree. */
export async function emptyDirectoriesBeside(shadow: Shadow, states: readonly StateToRestore[], worktree: ObjectId, signal?: AbortSignal): Promise<BytePath[]> {
  const fitting = new Set<BytePath>();
  for (const { manifest, trees } of states) {
    const files = new Set((await treeChanges(shadow, trees.worktree, worktree, signal)).filter(({ toMode }) => toMode !== '000000').map((change) => change.path));
    for (const name of manifest.emptyDirectories) if (![name, ...parentPaths(name)].some((above) => files.has(above))) fitting.add(name);
  }
  return sortedPaths(fitting);
}

/**
 * The working trees merged. Index and HEAD come along where nothing is staged in the target and its branch can simply
 * follow; else both stay, and all that comes is unstaged.
 */
async function merged(sight: Sight, refuse: (reason: ApplyRefusal, message: string, conflicts?: readonly BytePath[]) => Decision): Promise<Decision> {
  const { request, shadow, source, target, from, given, headTree, signal } = sight;
  const { names } = request;
  if (source.operation !== null || from.trees.stages !== null || given.trees.stages !== null) return refuse('operation-in-progress', `A merge with what is in conflict already has no good meaning. Resolve the conflicts, or finish the ${source.operation ?? 'operation'}, first.`);
  const base = sight.common === null ? await mergeBase(source.head, target.head, target.root, signal) : `${sight.common}^1`;
  // Without a commit on either side both begin with nothing.
  const baseTree = base === null ? headTree : await gitText(['rev-parse', `${base}^{tree}`], { cwd: target.root, signal });
  const { tree, conflicts } = await mergeTrees(shadow, { base: baseTree, ours: from.trees.worktree, theirs: given.trees.worktree }, { ours: names.target, theirs: names.source }, signal);
  if (conflicts.length > 0 && !request.markers) return { ...refuse('merge-conflict', `${names.source} and ${names.target} changed the same lines of ${pathsForPeople(conflicts)}. Nothing was written. Change one of the two, or try again with --markers to get both versions with conflict markers.`, conflicts), how: 'merge' };

  const nothingStaged = from.trees.index === headTree && from.manifest.intentToAdd.length === 0 && from.manifest.flags.length === 0;
  const follows = nothingStaged && (sight.relation === 'equal' || (sight.relation === 'ahead' && branchFits(sight)));
  const model = follows ? given : from;
  const trees: StateTrees = { index: model.trees.index, worktree: tree, stages: null, resolved: null };
  const manifest: Manifest = { ...(await ofTarget(model.manifest, tree, sight)), autoMerge: false, operation: from.manifest.operation };
  const notes = follows || sight.relation === 'equal' || sight.relation === 'behind' ? [] : [`The commits of ${names.source} stay on ${shownBranch(source.branch)} there; what they change arrives uncommitted.`];
  if (!follows) notes.push('What comes is not staged.');
  return { how: 'merge', head: follows ? headMove(sight) : null, conflicts, refused: null, notes, to: { tip: from.tip, manifest, trees, absent: model.absent } };
}

async function mergeBase(source: ObjectId | null, target: ObjectId | null, root: string, signal?: AbortSignal): Promise<ObjectId | null> {
  if (source === null || target === null) return null;
  return (await gitText(['merge-base', source, target], { cwd: root, signal, answers: [1] })) || null;
}

/** What is ignored in the target and stands where something would be written; one sentence. */
async function findObstacle(root: string, from: StateToRestore, to: StateToRestore, changes: readonly TreeChange[]): Promise<string | null> {
  const removed = new Set(changes.filter((change) => change.toMode === '000000').map((change) => change.path));
  for (const change of changes) {
    if (change.fromMode !== '000000' && !from.absent.has(change.path)) continue;
    if (change.toMode === '000000' || to.absent.has(change.path)) continue;
    try {
      await expectFree(root, change.path, removed);
    } catch (error) {
      if (GitError.is(error, 'worktree-diverged')) return error.message;
      throw error;
    }
  }
  return null;
}
