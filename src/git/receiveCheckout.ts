import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import type { BytePath } from './bytePath';
import { createRepository } from './gitDirectory';
import { GitError } from './gitError';
import { defaultLimits, quarantineShadow, receiveBundle, type QuarantinedState, type QuarantineLimits, type ReceiveOptions } from './quarantine';
import { ARRIVED, type SubmoduleToRestore } from './restore';
import { inShadow } from './shadow';
import { gitlinksOf } from './submodules';
import { parentsOf, type SubmodulePlace } from './submodulePlaces';

export interface ReceivePart extends Pick<ReceiveOptions, 'file' | 'sha256' | 'bytes' | 'tip' | 'shallow' | 'lfs'> {
  readonly branch: string | null;
}

/** All parts of a checkout, checked, none of them part of a repository yet. */
export interface QuarantinedCheckout {
  readonly top: QuarantinedState;
  readonly submodules: readonly SubmoduleToRestore[];
}

/**
 * Checks the bundles of a checkout and its submodules: each as `receiveBundle` does, the limits shared by all; and that they
 * belong together, which the manifests say: a submodule is at a place where its superproject's state has one, at that commit, and
 * has the fingerprint that is noted there, and no other came along. Nothing outside the quarantine is written.
 *
 * @throws {GitError} as `receiveBundle`; the quarantine is then gone
 */
export async function receiveCheckout(options: {
  /** A worktree of the destination's repository. */
  readonly root: string;
  readonly top: ReceivePart;
  /** Parents before what is in them. */
  readonly submodules: readonly (ReceivePart & SubmodulePlace)[];
  /** Directory that must not exist. */
  readonly quarantine: string;
  readonly limits?: Partial<QuarantineLimits>;
  readonly signal?: AbortSignal | undefined;
}): Promise<QuarantinedCheckout> {
  const { quarantine, signal } = options;
  const limits = { ...defaultLimits, ...options.limits };
  const parents = parentsOf(options.submodules.map(({ place }) => place));
  const states = new Map<BytePath, QuarantinedState>();
  const receive = async (place: BytePath, root: string, part: ReceivePart, directory: string) => {
    const state = await receiveBundle({ ...part, root, quarantine: directory, limits, signal });
    limits.objects -= state.size.objects;
    limits.paths -= state.size.paths;
    states.set(place, state);
    return state;
  };
  const top = await receive('', options.root, options.top, quarantine);
  try {
    const submodules: SubmoduleToRestore[] = [];
    if (options.submodules.length > 0) await mkdir(path.join(quarantine, ARRIVED), { mode: 0o700 });
    for (const [position, { place, repository, objectFormat, ...part }] of options.submodules.entries()) {
      // What has no repository here yet is looked at beside an empty one; the real one is made when all has been checked.
      const empty = path.join(quarantine, `empty-${objectFormat}`);
      if (!existsSync(repository) && !existsSync(empty)) await createRepository(empty, objectFormat);
      const state = await receive(place, existsSync(repository) ? repository : empty, part, path.join(quarantine, ARRIVED, String(position)));
      submodules.push({ place, repository, quarantine: state, carriedBranch: part.branch });
    }
    for (const [place, state] of states) {
      const prefix = place === '' ? '' : `${place}/`;
      const within = [...parents].filter(([, parent]) => parent === place).map(([child]) => child);
      await expectTogether(state, new Map(within.map((child) => [child.slice(prefix.length), states.get(child)])), signal);
    }
    return { top, submodules };
  } catch (error) {
    await rm(quarantine, { recursive: true, force: true });
    throw error;
  }
}

/** @param submodules that came along, by their paths in the state */
async function expectTogether(state: QuarantinedState, submodules: ReadonlyMap<BytePath, QuarantinedState | undefined>, signal?: AbortSignal): Promise<void> {
  const refuse = (what: string) => new GitError('hostile-content', `The submodules that arrived ${what}. Nothing of the handoff was used.`);
  if (state.submodules.length !== submodules.size) throw refuse('are not those that their superproject names');
  if (submodules.size === 0) return;
  const { cwd, env } = inShadow(quarantineShadow(state));
  const gitlinks = await gitlinksOf(cwd, state.trees.worktree, [...submodules.keys()], signal, env);
  for (const [name, part] of submodules) {
    const noted = state.submodules.find((submodule) => submodule.path === name);
    if (part === undefined || noted?.fingerprint !== part.fingerprint) throw refuse('are not those that their superproject names');
    const commit = gitlinks.get(name);
    if (commit === undefined || (part.head !== null && part.head !== commit)) throw refuse('are at other places or commits than their superproject says');
  }
}
