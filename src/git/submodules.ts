import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { gitText } from './git';
import { listIndex, pathList } from './indexListing';
import { readRepository, type ObjectId } from './repository';
import { adoptIndex, createShadow, inShadow, objectDirectory } from './shadow';

/**
 * Whether a populated submodule holds anything of its own: another commit than the superproject's index names, staged or
 * unstaged changes, untracked files, commits that no remote has, or such a submodule inside it. Looks through a shadow,
 * so that none of its hooks or filters runs.
 */
export async function inspectSubmodule(directory: string, expected: ObjectId, signal?: AbortSignal): Promise<'clean' | 'changed'> {
  const repository = await readRepository(directory, signal);
  if (repository.head !== expected || repository.operation !== null) return 'changed';
  const unpushed = await gitText(['rev-list', '--max-count=1', 'HEAD', '--branches', '--not', '--remotes'], { cwd: directory, signal });
  if (unpushed !== '') return 'changed';
  const temporary = await mkdtemp(path.join(os.tmpdir(), 'baton-submodule-'));
  try {
    const shadow = await createShadow(path.join(temporary, 'shadow'), {
      worktree: repository.root, objectFormat: repository.objectFormat, objects: [objectDirectory(repository)],
      settings: repository.settings, shallow: repository.shallow, excludes: path.join(repository.commonDir, 'info', 'exclude'),
    });
    await adoptIndex(shadow, repository.gitDir);
    const options = inShadow(shadow, { signal });
    for (const args of [
      ['diff-files', '--name-only', '-z', '--ignore-submodules=dirty'],
      ['diff-index', '--cached', '--name-only', '-z', '--ignore-submodules=dirty', expected],
      ['ls-files', '-o', '-z', '--exclude-standard'],
    ]) if ((await pathList(args, options)).length > 0) return 'changed';
    const listing = await listIndex(shadow, signal);
    for (const nested of listing.gitlinks) {
      const inner = path.join(directory, Buffer.from(nested.path, 'latin1').toString('utf8'));
      const populated = await gitText(['rev-parse', '--show-prefix'], { cwd: inner, signal, answers: [128] }).catch(() => null);
      if (populated === '' && (await inspectSubmodule(inner, nested.oid, signal)) === 'changed') return 'changed';
    }
    return 'clean';
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
