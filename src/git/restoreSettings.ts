import type { BytePath } from './bytePath';
import { writeCarriedPaths } from './carriedPaths';
import { ignoredAmong } from './ignored';
import type { Manifest } from './manifest';
import type { Repository } from './repository';
import { applySparse } from './sparse';

/** @returns notes on settings that make git judge the same bytes otherwise than at the source */
export async function applySettings(worktree: Repository, manifest: Manifest): Promise<string[]> {
  const notes = await applySparse(worktree, manifest.sparse);
  const autocrlf = worktree.settings.values.get('core.autocrlf') ?? 'false';
  if (autocrlf !== manifest.conversion.autocrlf) notes.push(`core.autocrlf is ${autocrlf} here and was ${manifest.conversion.autocrlf} at the source: the files are the same, but git may call some of them modified.`);
  return notes;
}

/** Notes which of the carried untracked files are ignored here, so that they go on travelling (see carriedPaths.ts). */
export async function recordCarried(worktree: Repository, untracked: readonly BytePath[], signal?: AbortSignal): Promise<void> {
  await writeCarriedPaths(worktree.gitDir, [...(await ignoredAmong(untracked, { cwd: worktree.root, signal }))]);
}
