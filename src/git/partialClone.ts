import { shadowOf, type CapturedState } from './capture';
import { lines, runGit, streamGit, type GitOptions } from './git';
import { GitError } from './gitError';
import { revisions } from './haves';
import { inRepository } from './inRepository';
import { treeEntries } from './quarantineChecks';
import type { ObjectId } from './repository';
import { readState, type StateToRestore } from './restoredState';
import { inShadow } from './shadow';

/** What a repository is asked about its own gaps: of these objects, and of all that the trees of these commits hold. */
export interface LackingQuestion {
  readonly commits: readonly ObjectId[];
  readonly objects: readonly ObjectId[];
}

/** The most objects that one answer names; beyond it, all count as lacking. */
export const MOST_LACKING = 200_000;
/** The most objects that one question names. */
export const MOST_ASKED = 50_000;

/** A destination's gaps, for a source: whether it has any by agreement, and a way to ask for them. */
export interface Gaps {
  readonly partial: boolean;
  /** Null: too many to be named. Answered at the destination by {@link lackingAmong}. */
  lacking(question: LackingQuestion): Promise<readonly ObjectId[] | null>;
}

/** How a pack is made where one side has gaps. */
export interface PackGaps {
  /** Objects to add to it. */
  readonly extra: readonly ObjectId[];
  /** The destination has all that its commits name, so that a delta may build on it. */
  readonly thin: boolean;
}

/** Answers a {@link LackingQuestion}. Nothing is fetched. */
export async function lackingAmong(root: string, { commits, objects }: LackingQuestion, signal?: AbortSignal): Promise<ObjectId[] | null> {
  const options = inRepository(root, signal);
  const lacking = await missingOf(objects, options);
  if (commits.length > 0) {
    const listed = streamGit(['rev-list', '--objects', '--no-object-names', '--no-walk=unsorted', '--missing=print', '--stdin'], { ...options, input: revisions(commits, []) });
    for await (const line of lines(listed)) {
      if (line.startsWith('?')) lacking.push(line.slice(1));
      if (lacking.length > MOST_LACKING) return null;
    }
  }
  return lacking;
}

/**
 * What a pack must hold besides what its tip leads to and its prerequisites do not, so that a destination with gaps can
 * restore the state: objects that its commits name and it lacks. Looks at the source's own gaps too.
 *
 * @returns null where neither side has gaps
 * @throws {GitError} `missing-objects` for what neither side has
 */
export async function fillGaps(capture: CapturedState, prerequisites: readonly ObjectId[], there: Gaps, signal?: AbortSignal): Promise<PackGaps | null> {
  if (!capture.partial && !there.partial) return null;
  const shadow = shadowOf(capture);
  const options = inShadow(shadow, { signal });
  const tip = capture.commits.manifest;
  const gone = capture.partial ? await unreachable([tip], prerequisites, options) : [];
  let extra: ObjectId[] = [];
  if (there.partial && prerequisites.length > 0) {
    const lacking = await there.lacking({ commits: prerequisites, objects: [] });
    if (lacking === null || lacking.length > 0) {
      // What a tree holds that is lacking cannot be named by who lacks it, nor is it promised there: then each commit comes with all that it names.
      const named = lacking === null || (await typesOf(lacking, options)).includes('tree') ? null : new Set(lacking);
      const wanted = named === null ? await everythingIn(tip, prerequisites, options) : await ofState(await readState(shadow, tip, signal), capture.head, named, options);
      extra = wanted.here;
      gone.push(...wanted.missing);
    }
  }
  if (gone.length > 0) {
    const lost: ObjectId[] = [];
    for (let start = 0; start < gone.length; start += MOST_ASKED) lost.push(...((await there.lacking({ commits: [], objects: gone.slice(start, start + MOST_ASKED) })) ?? []));
    if (lost.length > 0) throw new GitError('missing-objects', `${lost.length} object${lost.length === 1 ? '' : 's'} that the working state of ${capture.root} or its commits need ${lost.length === 1 ? 'is' : 'are'} on neither machine, because ${capture.root} is a partial clone. Run "git fetch" at the destination, or "git fetch --refetch --no-filter" here (git 2.36 or later), then try again.`);
  }
  return { extra, thin: !there.partial };
}

interface Wanted {
  readonly here: ObjectId[];
  readonly missing: readonly ObjectId[];
}

/** All that the commits which travel name. */
async function everythingIn(tip: ObjectId, prerequisites: readonly ObjectId[], options: GitOptions): Promise<Wanted> {
  const commits = streamGit(['rev-list', '--stdin'], { ...options, input: revisions([tip], prerequisites) });
  const here: ObjectId[] = [];
  const missing: ObjectId[] = [];
  for await (const line of lines(streamGit(['rev-list', '--objects', '--no-object-names', '--no-walk=unsorted', '--missing=print', '--stdin'], { ...options, input: commits }))) {
    if (line.startsWith('?')) missing.push(line.slice(1));
    else here.push(line);
  }
  return { here, missing };
}

/** Of what is lacking, all that the state needs, and what HEAD has in its place as far as it is here: it is looked at soon. */
async function ofState(state: StateToRestore, head: ObjectId | null, lacking: ReadonlySet<ObjectId>, options: GitOptions): Promise<Wanted> {
  const needed = await neededObjects(state, options);
  const wanted = new Set([...needed].filter((oid) => lacking.has(oid)));
  if (head !== null) for await (const entry of treeEntries(head, options)) if (lacking.has(entry.oid)) wanted.add(entry.oid);
  const missing = new Set(await missingOf([...wanted], options));
  return { here: [...wanted].filter((oid) => !missing.has(oid)), missing: [...missing].filter((oid) => needed.has(oid)) };
}

/**
 * Refuses a state that a destination with gaps could not restore, or whose commits would leave it with objects missing
 * that nobody promised to it.
 *
 * @param inQuarantine for git in the quarantine alone; `inItself` for git in the repository, with its refs
 * @throws {GitError} `missing-objects`
 */
export async function expectNoGaps(state: StateToRestore, inQuarantine: GitOptions, inItself: GitOptions): Promise<void> {
  const missing = await missingOf([...(await neededObjects(state, inQuarantine))], inQuarantine);
  const promised = missing.length > 0 ? [] : await unreachable([state.tip], ['--all'], inItself);
  const count = missing.length + promised.length;
  if (count > 0) throw new GitError('missing-objects', `${count} object${count === 1 ? '' : 's'} of the state that arrived ${count === 1 ? 'is' : 'are'} missing, here and in what was sent. Run "git fetch" here, then hand off again.`);
}

/** Objects between commits that are missing here. `--all` among `not` stands for every ref. */
async function unreachable(tips: readonly ObjectId[], not: readonly string[], options: GitOptions): Promise<ObjectId[]> {
  const all = not.includes('--all');
  const listed = streamGit(['rev-list', '--objects', '--no-object-names', '--missing=print', '--stdin', ...(all ? ['--not', '--all'] : [])], { ...options, input: revisions(tips, all ? [] : not) });
  const missing: ObjectId[] = [];
  for await (const line of lines(listed)) if (line.startsWith('?')) missing.push(line.slice(1));
  return missing;
}

/** Every tree and blob that a restore reads: files that a sparse checkout leaves out are not among them. */
async function neededObjects(state: StateToRestore, options: GitOptions): Promise<Set<ObjectId>> {
  const needed = new Set<ObjectId>();
  for (const tree of [state.trees.worktree, state.trees.index, state.trees.stages, state.trees.resolved]) {
    if (tree === null) continue;
    needed.add(tree);
    for await (const entry of treeEntries(tree, options)) if (entry.mode !== '160000' && !state.absent.has(entry.path)) needed.add(entry.oid);
  }
  return needed;
}

async function typesOf(oids: readonly ObjectId[], options: GitOptions): Promise<string[]> {
  if (oids.length === 0) return [];
  const { stdout } = await runGit(['cat-file', '--batch-check=%(objecttype)'], { ...options, input: oids.map((oid) => `${oid}\n`).join('') });
  return stdout.toString('latin1').split('\n').slice(0, oids.length);
}

async function missingOf(oids: readonly ObjectId[], options: GitOptions): Promise<ObjectId[]> {
  const types = await typesOf(oids, options);
  return oids.filter((_oid, position) => types[position]?.endsWith(' missing') === true);
}
