import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { gitVersion, runGit } from './git';
import type { Manifest } from './manifest';
import type { Repository } from './repository';
import { readConfig, type RepositorySettings } from './shadow';

/**
 * The sparse patterns of a worktree (git-sparse-checkout(1)); null where it is not sparse. Where a repository keeps no config
 * per worktree, those that {@link applySparse} noted for a worktree that arrived count, so that they travel on.
 */
export async function readSparse(repository: Repository): Promise<Manifest['sparse']> {
  const { settings } = repository;
  const noted = !isOn(settings.values, 'extensions.worktreeconfig') && repository.gitDir !== repository.commonDir && existsSync(worktreeConfig(repository));
  const values = noted ? await readConfig(repository.root, ['--file', worktreeConfig(repository)]) : settings.values;
  if (!isOn(values, 'core.sparsecheckout')) return null;
  const patterns = await readFile(path.join(repository.gitDir, 'info', 'sparse-checkout'), 'latin1').catch(() => '');
  const key = 'core.sparsecheckoutcone';
  return { cone: values.has(key) ? isOn(values, key) : await isConeUnlessSet(), patterns };
}

/**
 * Takes sparse patterns over into a linked worktree's own config, which git reads where the repository keeps config per
 * worktree. The repository's shared config is the user's and stays as it is.
 *
 * @returns a note where git does not read them
 */
export async function applySparse(worktree: Repository, sparse: Manifest['sparse']): Promise<string[]> {
  const file = worktreeConfig(worktree);
  const set = async (key: string, value: boolean) => runGit(['config', '--file', file, key, String(value)], { cwd: worktree.root });
  if (sparse === null) {
    if (existsSync(file)) await set('core.sparseCheckout', false);
    return [];
  }
  await set('core.sparseCheckout', true);
  await set('core.sparseCheckoutCone', sparse.cone);
  await mkdir(path.join(worktree.gitDir, 'info'), { recursive: true });
  await writeFile(path.join(worktree.gitDir, 'info', 'sparse-checkout'), sparse.patterns, 'latin1');
  if (isOn(worktree.settings.values, 'extensions.worktreeconfig')) return [];
  return [`The checkout was sparse. This repository has no config per worktree, so git does not apply its patterns here; run "git sparse-checkout init --${sparse.cone ? 'cone' : 'no-cone'}" in the worktree to have them.`];
}

/** From 2.37 on git takes patterns for a cone where nothing is said. */
async function isConeUnlessSet(): Promise<boolean> {
  const { major, minor } = await gitVersion();
  return major > 2 || (major === 2 && minor >= 37);
}

function worktreeConfig(worktree: Repository): string {
  return path.join(worktree.gitDir, 'config.worktree');
}

function isOn(values: RepositorySettings['values'], key: string): boolean {
  return /^(true|yes|on|1)$/i.test(values.get(key) ?? '');
}
