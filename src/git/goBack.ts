import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { emptyDirectoriesBeside } from './applyPlan';
import { updateRefs } from './branchChoice';
import { buildState, type BuildOptions } from './buildState';
import type { BytePath } from './bytePath';
import { shadowOf, type CapturedState } from './capture';
import { syncRefs } from './durable';
import { gitText, runGit } from './git';
import { revisions } from './haves';
import { fingerprintOf, zeroId, type Manifest } from './manifest';
import { publishPacks } from './publish';
import type { ObjectId, Repository } from './repository';
import { infoOfChanges, treeChanges } from './restoreFiles';
import { readState, type StateToRestore, type TreeChange } from './restoredState';
import { inShadow, type Shadow } from './shadow';
import { applyRef } from './snapshots';
import { writeTree } from './stateObjects';

/** What is there, and a change that is to be taken back. */
export interface WayBack {
  readonly shadow: Shadow;
  readonly present: CapturedState;
  readonly now: StateToRestore;
  readonly old: StateToRestore;
  /** From the old working tree to that of the change; without what another program wrote in place of the old. */
  readonly touched: readonly TreeChange[];
}

/**
 * @param tree working tree that the change makes, or was to make
 * @param own paths that are not the change's, whatever lies there
 */
export async function wayBack(present: CapturedState, before: ObjectId, tree: ObjectId, own: Iterable<BytePath>): Promise<WayBack> {
  const shadow = shadowOf(present);
  const [now, old] = [await readState(shadow, present.commits.manifest), await readState(shadow, before)];
  const others = new Set(own);
  return { shadow, present, now, old, touched: (await treeChanges(shadow, old.trees.worktree, tree)).filter((change) => !others.has(change.path)) };
}

/** Makes of what is there what was before, in all that the change touched, and the index. What else is there stays. @returns untracked files of the state */
export async function goBack(target: Repository, { shadow, present, now, old, touched }: WayBack, options: BuildOptions): Promise<string[]> {
  const index = inShadow(shadow, { index: 'back.index' });
  await runGit(['read-tree', now.trees.worktree], index);
  const backwards = touched.map(({ path: name, fromMode, fromOid, toMode, toOid }): TreeChange => ({ path: name, fromMode: toMode, fromOid: toOid, toMode: fromMode, toOid: fromOid }));
  await runGit(['update-index', '--replace', '-z', '--index-info'], { ...index, input: infoOfChanges(backwards) });
  const worktree = await writeTree(shadow, 'back.index');
  const others = new Set((await treeChanges(shadow, old.trees.worktree, worktree)).map((change) => change.path));
  const manifest: Manifest = {
    ...old.manifest, emptyDirectories: await emptyDirectoriesBeside(shadow, [old], worktree),
    lfsFiles: [...old.manifest.lfsFiles.filter(([name]) => !others.has(name)), ...now.manifest.lfsFiles.filter(([name]) => others.has(name))],
  };
  return buildState(shadow, target, { ...old, manifest, trees: { ...old.trees, worktree } }, present, options);
}

/** The index and the operation in progress of a state, each as a digest: one is replaced before the other. */
export function standingOf({ manifest, trees }: StateToRestore): { readonly index: string; readonly operation: string } {
  const bare = { ...manifest, head: null, submodules: [], lfsFiles: [] };
  return {
    index: fingerprintOf({ ...bare, flags: manifest.flags.map((flag) => ({ ...flag, present: true })), operation: { kind: null, files: [], refs: [], branch: null } }, { ...trees, worktree: trees.index }),
    operation: fingerprintOf({ ...bare, flags: [], intentToAdd: [] }, { index: '', worktree: '', stages: null, resolved: null }),
  };
}

/** Whether each file that a change touched is the old one, the new one, or gone: then nobody else's work is in one. */
export async function isExplained({ shadow, now, old, touched }: WayBack): Promise<boolean> {
  const found = new Map((await treeChanges(shadow, old.trees.worktree, now.trees.worktree)).map((entry) => [entry.path, entry]));
  return touched.every((entry) => {
    const there = found.get(entry.path);
    return there === undefined || there.toMode === '000000' || (there.toMode === entry.toMode && there.toOid === entry.toOid);
  });
}

/** Keeps all that there is under a ref of its own, before it goes. Nothing that an earlier attempt has found gives way to it. */
export async function keepFound(target: Repository, threadId: string, stamp: string, present: CapturedState, spool: string): Promise<void> {
  const publish = path.join(spool, 'publish-found');
  const pack = await packStates(shadowOf(present), [present.commits.manifest], [present.head], publish);
  await publishPacks({ ...shadowOf(present), gitDir: publish }, target, [pack]);
  const taken = (await applyRefs(target, threadId)).map(({ name }) => name);
  let nth = 1;
  while (taken.includes(applyRef(threadId, stamp, 'found', nth))) nth++;
  const name = applyRef(threadId, stamp, 'found', nth);
  await updateRefs(target.root, [{ name, before: null, after: present.commits.manifest }], zeroId(target.objectFormat));
  await syncRefs(target, [name]);
}

/** The refs that keep states of a thread's applies. */
export async function applyRefs(target: Repository, threadId: string): Promise<{ name: string; oid: ObjectId }[]> {
  const text = await gitText(['for-each-ref', '--format=%(objectname) %(refname)', `refs/baton/snapshots/apply/${threadId}/`], { cwd: target.root });
  return text.split('\n').filter((line) => line !== '').map((line) => ({ oid: line.slice(0, line.indexOf(' ')), name: line.slice(line.indexOf(' ') + 1) }));
}

/** Packs what some commits have and others have not. @returns the pack's name, in `directory/objects/pack` */
export async function packStates(shadow: Shadow, tips: readonly ObjectId[], without: readonly (ObjectId | null)[], directory: string, signal?: AbortSignal): Promise<string> {
  await mkdir(path.join(directory, 'objects', 'pack'), { recursive: true });
  const known = without.filter((oid): oid is ObjectId => oid !== null);
  return `pack-${await gitText(['pack-objects', '--revs', '--delta-base-offset', '-q', path.join(directory, 'objects', 'pack', 'pack')], { ...inShadow(shadow, { signal }), input: revisions(tips, known) })}`;
}
