import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { git, observe, temporaryDirectory, write, type Pair } from './laboratory';

/** A repository with one commit. */
export function makeLibrary(root: string, content: string): void {
  mkdirSync(root, { recursive: true });
  git(root, 'init', '-q');
  write(root, 'lib.txt', `${content}\n`);
  write(root, '.gitignore', '*.log\n');
  git(root, 'add', '-A');
  git(root, 'commit', '-qm', content);
}

/** An application with a submodule `vendor/lib`, which has a submodule `deep` itself; the server's clone is without them. */
export function makeSubmodulePair(): Pair {
  const directory = temporaryDirectory();
  const [deep, lib, laptop, server] = [['origin', 'deep'], ['origin', 'lib'], ['laptop', 'app'], ['server', 'app']].map((parts) => path.join(directory, ...parts)) as [string, string, string, string];
  makeLibrary(deep, 'deep');
  makeLibrary(lib, 'lib');
  git(lib, 'submodule', '--quiet', 'add', '--name', 'the deep', deep, 'deep');
  git(lib, 'commit', '-qm', 'with deep');
  makeLibrary(laptop, 'app');
  git(laptop, 'submodule', '--quiet', 'add', '--name', 'lib', lib, 'vendor/lib');
  git(laptop, 'commit', '-qm', 'with lib');
  git(directory, 'clone', '-q', laptop, server);
  git(laptop, 'submodule', '--quiet', 'update', '--init', '--recursive');
  git(server, 'checkout', '-q', '-b', 'mine');
  write(server, 'own.txt', 'untracked here\n');
  return { directory, laptop, server };
}

/** The places of the application's parts. */
export const places = ['', 'vendor/lib', 'vendor/lib/deep'];
/** What plain git says of a checkout and of each of its submodules. */
export const observeAll = (root: string) => Object.fromEntries(places.map((place) => [place, existsSync(path.join(root, place, '.git')) ? observe(path.join(root, place)) : 'not there']));

/** A commit, and changes of every kind upon it. */
export function workIn(part: string): void {
  write(part, 'committed', `in ${path.basename(part)}\n`);
  git(part, 'add', '-A');
  git(part, 'commit', '-qm', 'on no branch');
  write(part, 'lib.txt', `changed in ${path.basename(part)}\n`);
  write(part, 'staged', 's');
  git(part, 'add', 'staged');
  write(part, 'untracked/u', 'u');
}

/** Does so in the application and in each of its parts. */
export function workEverywhere(root: string): void {
  for (const place of [...places].reverse()) workIn(path.join(root, place));
}
