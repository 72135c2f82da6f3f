import { mkdir, realpath } from 'node:fs/promises';
import { gitText, runGit } from './git';
import { GitError } from './gitError';
import { inRepository, isGitDirectory } from './inRepository';
import { isPartial, normaliseRemote, readRefStorage, readRepository, readShallow, type ObjectFormat, type Repository, type RepositoryIdentity } from './repository';
import { readSettings } from './shadow';
import { sideBySide } from './sideBySide';

/**
 * Reads the repository of a worktree, or one that is named by its Git directory: its root then is that directory, and where
 * its own HEAD is at is not looked up.
 *
 * @throws {GitError} as `readRepository`
 */
export async function openRepository(root: string, signal?: AbortSignal): Promise<Repository> {
  if (!isGitDirectory(root)) return readRepository(root, signal);
  const options = inRepository(root, signal);
  const [gitDir, objectFormat, settings, shallow] = await sideBySide(realpath(root), gitText(['rev-parse', '--show-object-format'], options), readSettings(root, signal), readShallow(root));
  if (objectFormat !== 'sha1' && objectFormat !== 'sha256') throw new GitError('unsupported-state', `${root} uses the object format ${objectFormat}, which Baton does not know.`);
  return { root: gitDir, gitDir, commonDir: gitDir, objectFormat, refStorage: readRefStorage(root, settings), settings, head: null, branch: null, subdirectory: '', operation: null, shallow, partial: isPartial(settings) };
}

/** As `identityOf`, of a repository that is named by its Git directory. */
export async function identityOfGitDirectory(repository: Repository): Promise<RepositoryIdentity> {
  const options = inRepository(repository.root);
  const [roots, remotes] = await sideBySide(
    gitText(['rev-list', '--max-parents=0', '--max-count=64', '--all'], options),
    gitText(['config', '--get-regexp', '^remote\\..*\\.(url|pushurl)$'], { ...options, answers: [1] }),
  );
  const urls = remotes.split('\n').map((line) => normaliseRemote(line.slice(line.indexOf(' ') + 1)));
  return {
    objectFormat: repository.objectFormat,
    rootCommits: roots.split('\n').filter((oid) => oid !== '' && !repository.shallow.includes(oid)).sort(),
    remotes: [...new Set(urls)].filter((url): url is string => url !== null).sort().slice(0, 64),
  };
}

/** Makes a repository without worktree, remote or hooks. */
export async function createRepository(gitDir: string, objectFormat: ObjectFormat): Promise<void> {
  await mkdir(gitDir, { recursive: true });
  await runGit(['init', '--quiet', '--bare', '--template=', `--object-format=${objectFormat}`, '.'], { cwd: gitDir });
}
