import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { BytePath } from './bytePath';
import { writeCarriedPaths } from './carriedPaths';
import { runGit } from './git';
import { ignoredAmong } from './ignored';
import type { Manifest } from './manifest';
import type { Repository } from './repository';

/**
 * Takes the sparse patterns over where the repository keeps config per worktree; its shared config is the user's and
 * stays as it is.
 *
 * @returns notes on settings that make git judge the same bytes otherwise than at the source
 */
export async function applySettings(repository: Repository, worktree: Repository, manifest: Manifest): Promise<string[]> {
  const notes: string[] = [];
  const { values } = worktree.settings;
  const on = (key: string) => /^(true|yes|on|1)$/i.test(values.get(key) ?? '');
  if (on('extensions.worktreeconfig')) {
    const set = async (key: string, value: boolean) => runGit(['config', '--worktree', key, String(value)], { cwd: worktree.root });
    await set('core.sparseCheckout', manifest.sparse !== null);
    if (manifest.sparse !== null) {
      await set('core.sparseCheckoutCone', manifest.sparse.cone);
      await mkdir(path.join(worktree.gitDir, 'info'), { recursive: true });
      await writeFile(path.join(worktree.gitDir, 'info', 'sparse-checkout'), manifest.sparse.patterns, 'latin1');
    }
  } else if (manifest.sparse !== null) {
    notes.push(`The checkout was sparse. ${repository.root} has no config per worktree, so its patterns do not apply here; run "git sparse-checkout set" in the worktree to have them.`);
  }
  const autocrlf = values.get('core.autocrlf') ?? 'false';
  if (autocrlf !== manifest.conversion.autocrlf) notes.push(`core.autocrlf is ${autocrlf} here and was ${manifest.conversion.autocrlf} at the source: the files are the same, but git may call some of them modified.`);
  return notes;
}

/** Notes which of the carried untracked files are ignored here, so that they go on travelling (see carriedPaths.ts). */
export async function recordCarried(worktree: Repository, untracked: readonly BytePath[], signal?: AbortSignal): Promise<void> {
  await writeCarriedPaths(worktree.gitDir, [...(await ignoredAmong(untracked, { cwd: worktree.root, signal }))]);
}
