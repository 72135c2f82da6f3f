import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import path from 'node:path';
import { absolutePath, pathForPeople, type BytePath } from './bytePath';
import { listTips } from './bundle';
import { identityOfGitDirectory, openRepository } from './gitDirectory';
import { GitError } from './gitError';
import { isGitDirectory } from './inRepository';
import { readRepository, readRepositoryIdentity, sameRepository, type ObjectFormat, type ObjectId, type RepositoryIdentity } from './repository';
import { DEEPEST_PART, isPlace, isSubmoduleName, MOST_PARTS, placeIn } from './submodules';
import { WorktreeLooker } from './worktreeScan';

/** A submodule as its source announces it, before anything of it is sent. */
export interface AnnouncedSubmodule {
  /** Where its worktree lies in the checkout's. */
  readonly place: BytePath;
  readonly name: string | null;
  readonly repository: RepositoryIdentity;
}

/** Where at the destination a submodule will belong. */
export interface SubmodulePlace {
  readonly place: BytePath;
  /** Git directory of its repository, which need not be there yet. */
  readonly repository: string;
  readonly objectFormat: ObjectFormat;
}

/**
 * Finds for each announced submodule the repository that its worktree will be linked to: that of the thread's earlier stay,
 * or the one that the destination's user has of it (`modules/<name>` of the superproject's, or a `.git` in the checkout), where
 * that is the same repository; else one of Baton's own, `baton/modules/<hash>` in the superproject's Git directory, without a
 * remote. Writes nothing.
 *
 * @param options.worktree the thread's worktree of an earlier stay
 * @throws {GitError} `hostile-content` for places and names that no honest source announces
 */
export async function findSubmodulePlaces(options: { readonly root: string; readonly worktree: string | null; readonly submodules: readonly AnnouncedSubmodule[] }): Promise<SubmodulePlace[]> {
  const parents = parentsOf(options.submodules.map(({ place }) => place));
  expectPlainNames(options.submodules, parents);
  const found = new Map<BytePath, SubmodulePlace>();
  const taken = new Set<string>();
  const { commonDir } = await readRepository(options.root);
  for (const { place, name, repository } of options.submodules) {
    const parent = parents.get(place) ?? '';
    const above = parent === '' ? commonDir : (found.get(parent)?.repository ?? commonDir);
    const ownDirectory = path.join(above, 'baton', 'modules');
    const usable = async (gitDir: string | null) => gitDir !== null && !taken.has(gitDir) && (path.dirname(gitDir) === ownDirectory || (await isSame(gitDir, repository)));
    const own = path.join(ownDirectory, createHash('sha256').update(JSON.stringify([repository.objectFormat, name === null ? 'at' : 'called', name ?? place])).digest('hex').slice(0, 16));
    let chosen = own;
    for (const candidate of [() => checkedOut(options.worktree, place), () => moduleOf(above, name), () => checkedOut(options.root, place)]) {
      const gitDir = await candidate();
      if (gitDir === null || !(await usable(gitDir))) continue;
      chosen = gitDir;
      break;
    }
    taken.add(chosen);
    found.set(place, { place, repository: chosen, objectFormat: repository.objectFormat });
  }
  return [...found.values()];
}

/** What a repository has for a source to build on; nothing where it is yet to be made. */
export async function holdingsOf(root: string): Promise<{ haves: ObjectId[]; shallow: ObjectId[]; partial: boolean }> {
  if (!existsSync(root)) return { haves: [], shallow: [], partial: false };
  const [haves, { shallow, partial }] = await Promise.all([listTips(root), openRepository(root)]);
  return { haves, shallow: [...shallow], partial };
}

/**
 * The place in which each place lies, empty for the checkout itself.
 *
 * @throws {GitError} `hostile-content` where one is no place, comes twice or before the one that it lies in, or there are too many
 */
export function parentsOf(places: readonly BytePath[]): Map<BytePath, BytePath> {
  const refuse = (what: string) => new GitError('hostile-content', `The submodules that were announced ${what}. Nothing of the handoff was used.`);
  const parents = new Map<BytePath, BytePath>();
  const depths = new Map<BytePath, number>([['', 0]]);
  if (places.length >= MOST_PARTS) throw refuse(`are more than ${MOST_PARTS - 1}`);
  for (const place of places) {
    if (!isPlace(place)) throw refuse(`have ${pathForPeople(place)} for a place`);
    if (depths.has(place)) throw refuse(`have the place ${pathForPeople(place)} twice`);
    if (places.some((other) => !depths.has(other) && other !== place && place.startsWith(`${other}/`))) throw refuse('do not come after the ones that they lie in');
    let parent = place;
    do parent = parent.slice(0, Math.max(0, parent.lastIndexOf('/'))); while (!depths.has(parent));
    const depth = (depths.get(parent) ?? 0) + 1;
    if (depth > DEEPEST_PART) throw refuse(`lie more than ${DEEPEST_PART} deep`);
    depths.set(place, depth);
    parents.set(place, parent);
  }
  return parents;
}

function expectPlainNames(submodules: readonly AnnouncedSubmodule[], parents: ReadonlyMap<BytePath, BytePath>): void {
  const seen = new Set<string>();
  for (const { place, name } of submodules) {
    if (name === null) continue;
    // Names are directories, and some file systems take two spellings for one.
    const key = JSON.stringify([parents.get(place), name.normalize('NFC').toLowerCase()]);
    if (!isSubmoduleName(name) || seen.has(key)) throw new GitError('hostile-content', `The submodule ${pathForPeople(place)} was announced with a name that git does not allow, or that another has. Nothing of the handoff was used.`);
    seen.add(key);
  }
}

/** The repository of what is checked out at a place, where no symbolic link leads to it. */
async function checkedOut(root: string | null, place: BytePath): Promise<string | null> {
  if (root === null || (await new WorktreeLooker(root).kind(place)) !== 'directory' || !existsSync(absolutePath(root, `${place}/.git`))) return null;
  return readRepository(placeIn(root, place)).then(({ commonDir }) => commonDir, () => null);
}

/** `modules/<name>`, as git has it for submodules, where no symbolic link leads to it. */
async function moduleOf(above: string, name: string | null): Promise<string | null> {
  if (name === null) return null;
  const directory = path.join(above, 'modules', ...name.split('/'));
  return isGitDirectory(directory) && (await realpath(directory)) === directory ? directory : null;
}

async function isSame(gitDir: string, announced: RepositoryIdentity): Promise<boolean> {
  const repository = await openRepository(gitDir);
  return sameRepository(await identityOfGitDirectory(repository), announced);
}

/** As a source announces a submodule that it has captured. */
export async function announceSubmodule({ place, name, state }: { readonly place: BytePath; readonly name: string | null; readonly state: { readonly root: string } }): Promise<AnnouncedSubmodule> {
  return { place, name, repository: await readRepositoryIdentity(state.root) };
}
