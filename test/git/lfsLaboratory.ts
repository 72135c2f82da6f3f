import { execFileSync } from 'node:child_process';
import { existsSync, utimesSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { git, makePair, write, type Pair } from './laboratory';

/** Whether the real git-lfs is here. Debian's package is `git-lfs`. */
export const lfsInstalled = (() => {
  try {
    return execFileSync('git', ['lfs', 'version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).startsWith('git-lfs/');
  } catch {
    return false;
  }
})();
if (!lfsInstalled) console.warn('git-lfs is not installed: the tests of Git LFS are skipped.');

export interface SilentServer {
  readonly url: string;
  /** How often somebody connected. */
  knocks(): number;
  close(): Promise<void>;
}

/** Stands where `.lfsconfig` says that the LFS server is. */
export async function listenForLfs(): Promise<SilentServer> {
  let knocks = 0;
  const server = createServer((socket) => { knocks++; socket.destroy(); });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const { port } = server.address() as { port: number };
  return { url: `http://127.0.0.1:${port}/lfs`, knocks: () => knocks, close: () => new Promise((resolve) => { server.close(() => resolve()); }) };
}

/** Filters of a clone that has pointers only. */
const pointersOnly = [['filter.lfs.smudge', 'git-lfs smudge --skip -- %f'], ['filter.lfs.clean', 'git-lfs clean -- %f'], ['filter.lfs.process', 'git-lfs filter-process --skip'], ['filter.lfs.required', 'true']] as const;
export function skipSmudge(root: string): void {
  for (const [key, value] of pointersOnly) git(root, 'config', key, value);
}

/** A pair whose laptop has committed files in Git LFS; the server's clone is of before. */
export function makeLfsPair(url: string, files: Readonly<Record<string, Buffer>>): Pair {
  const pair = makePair();
  git(pair.laptop, 'lfs', 'install', '--local');
  write(pair.laptop, '.lfsconfig', `[lfs]\n\turl = ${url}\n`);
  git(pair.laptop, 'lfs', 'track', '*.bin');
  for (const [name, content] of Object.entries(files)) write(pair.laptop, name, content, name.includes('/') ? 0o755 : 0o644);
  git(pair.laptop, 'add', '-A');
  git(pair.laptop, 'commit', '-qm', 'with large files');
  skipSmudge(pair.server);
  age(pair.laptop);
  return pair;
}

/** Makes every file as old as one that was checked out long ago, so that git is sure of it. */
export function age(root: string): void {
  for (const name of git(root, 'ls-files', '-z').split('\0').filter(Boolean)) if (existsSync(path.join(root, name))) utimesSync(path.join(root, name), 1_700_000_000, 1_700_000_000);
  git(root, 'status');
}
