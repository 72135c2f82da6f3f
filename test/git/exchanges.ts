import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { AsideRoom } from '../../src/git/asideRoom';
import { exchangeFiles, letGoOfAside } from '../../src/git/fileExchange';
import { settle, WorktreeLooker } from '../../src/git/worktreeScan';

/** A directory of files, and a Git directory of which only the room is of interest. */
export interface Ground {
  readonly root: string;
  readonly gitDir: string;
}

/** Of each path its content, or where it leads; null for nothing. */
export type Files = Readonly<Record<string, string | null>>;

export const before: Files = { 'a.txt': 'old a\n', 'b.txt': 'old b\n', 'dir/c.txt': 'old c\n', 'deep/er/d.txt': 'old d\n', link: '-> a.txt', 'other.txt': 'stays\n' };
export const after: Files = { 'a.txt': 'new a\n', 'dir/c.txt/inside': 'a directory now\n', link: '-> b.txt', 'new/file': 'new\n', 'other.txt': 'stays\n' };

export function put(root: string, files: Files): void {
  for (const [name, content] of Object.entries(files)) {
    if (content === null) continue;
    mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
    if (content.startsWith('-> ')) symlinkSync(content.slice('-> '.length), path.join(root, name));
    else writeFileSync(path.join(root, name), content);
  }
}

/** Makes `after` of `before`, as far as `exchangeFiles` does it. */
export async function exchange(ground: Ground): Promise<void> {
  const going = Object.keys(before).filter((name) => before[name] !== after[name]);
  const coming = Object.fromEntries(Object.entries(after).filter(([name, content]) => before[name] !== content));
  const room = await AsideRoom.of(ground);
  await room.make();
  put(room.staging, coming);
  const seen = await new WorktreeLooker(ground.root).lookAll(going);
  await settle(seen.values());
  await exchangeFiles(ground, room, { going: new Map([...seen].map(([name, { identity }]) => [name, identity])), coming: new Set(Object.keys(coming)), directories: [], between: () => Promise.resolve() });
}

export async function exchangeAndLetGo(ground: Ground): Promise<void> {
  await exchange(ground);
  await letGoOfAside(ground, 'refuse');
}
