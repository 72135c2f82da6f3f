import { link, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { writeDurably } from './durable';
import { GitError } from './gitError';

/**
 * Git's own lock of an index (gitformat-index(5), "index.lock"): while it is there, no git stages, commits, switches or merges in
 * that checkout. What is written into it tells whose it is, so that one that a crash left behind can be told from a git that runs.
 */
const nameOf = (gitDir: string) => path.join(gitDir, 'index.lock');
const besideOf = (gitDir: string, threadId: string) => path.join(gitDir, `baton-apply-${threadId}`);
const mark = (threadId: string) => `baton apply ${threadId}\n`;

/** Takes the lock; one of this thread's own that a crash left is taken over. @throws {GitError} `index-locked` */
export async function lockIndex(gitDir: string, root: string, threadId: string): Promise<void> {
  // Whole from its first moment: an empty one, left by a process that was killed, would be nobody's.
  const beside = besideOf(gitDir, threadId);
  await writeDurably(beside, mark(threadId));
  try {
    await link(beside, nameOf(gitDir));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    for (const left of ['', '.tmp']) await rm(besideOf(gitDir, threadId) + left, { force: true });
  if (await holdsIndex(gitDir, threadId)) return;
    throw new GitError('index-locked', `Another git holds ${nameOf(gitDir)}, so ${root} was left as it is. Wait until it has ended; if none runs, remove that file.`, { cause: error });
  } finally {
    await rm(beside, { force: true });
  }
}

/** Lets go of the lock, unless it is somebody else's. */
export async function unlockIndex(gitDir: string, threadId: string): Promise<void> {
  if (await holdsIndex(gitDir, threadId)) await rm(nameOf(gitDir), { force: true });
}

/** Whether the lock is this thread's own. */
export async function holdsIndex(gitDir: string, threadId: string): Promise<boolean> {
  return (await readFile(nameOf(gitDir), 'utf8').catch(() => '')) === mark(threadId);
}
