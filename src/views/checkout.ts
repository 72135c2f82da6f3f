import { readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';

/**
 * The main checkout of the repository that `directory` lies in: for a linked worktree the checkout that it was made
 * from, else the repository's root. Undefined outside of a repository. (gitrepository-layout(5), "gitdir" and "commondir".)
 */
export async function mainCheckoutOf(directory: string): Promise<string | undefined> {
  for (let candidate = resolve(directory); ; candidate = dirname(candidate)) {
    const dotGit = join(candidate, '.git');
    const kind = await stat(dotGit).catch(() => undefined);
    // An empty `.git` makes no repository; Git looks on above it, too.
    if (kind?.isDirectory() === true && (await isFile(join(dotGit, 'HEAD')))) return candidate;
    if (kind?.isFile() === true) return await checkoutOfGitFile(candidate, dotGit);
    if (candidate === dirname(candidate)) return undefined;
  }
}

async function checkoutOfGitFile(root: string, dotGit: string): Promise<string> {
  const gitDirectory = firstLine(await readFile(dotGit, 'utf8').catch(() => '')).replace(/^gitdir: /, '');
  if (gitDirectory === '') return root;
  const absolute = resolve(root, gitDirectory);
  const common = firstLine(await readFile(join(absolute, 'commondir'), 'utf8').catch(() => ''));
  // No `commondir`: a submodule or a separate git directory, which is a repository of its own.
  return common === '' ? root : dirname(resolve(absolute, common));
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() === true;
}

function firstLine(text: string): string {
  return text.split(/\r?\n/, 1)[0] ?? '';
}
