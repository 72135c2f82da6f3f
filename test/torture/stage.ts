/** The thread of a case, brought to where its handoff begins. */
import { execFile } from 'node:child_process';
import { appendFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { git, gitAt, workingState } from '../fixtures/checkout';
import { askCodex, codex, said, type Site } from '../integration/pairedHosts';
import { begin, load } from './carried';
import type { Leg, TortureCase } from './cases';
import { rolloutsOf } from './evidence';
import type { Ground } from './ground';

/** Work of an agent in a worktree: a commit, and changes that are staged, unstaged and untracked. */
export async function workOn(worktree: string): Promise<void> {
  await writeFile(join(worktree, 'src', 'meteor.js'), 'export const meteor = "Leonids";\n');
  await git(worktree, 'add', 'src/meteor.js');
  // The same for every thread: they share a branch, and another commit on it would be in the way of the next one.
  await gitAt('2026-01-01T12:00:00Z', worktree, 'commit', '-qm', 'Meteors', '--', 'src/meteor.js');
  await appendFile(join(worktree, 'src', 'meteor.js'), '// unstaged\n');
  await writeFile(join(worktree, 'src', 'dust.js'), 'export const dust = true;\n');
  await git(worktree, 'add', 'src/dust.js');
  await writeFile(join(worktree, 'tail.txt'), 'untracked\n');
}

/** Where a thread works on a host to which it was handed. */
export async function worktreeOf(site: Site, threadId: string): Promise<string> {
  const { worktrees } = await site.client.call('worktree/list', {});
  const found = worktrees.find(({ threadIds }) => threadIds.includes(threadId));
  if (found === undefined) throw new Error(`${site.machine.name} has no worktree for ${threadId}.`);
  return found.path;
}

/** What a user chooses on that leg. */
export const choiceOf = (leg: Leg): 'fork' | 'second-worktree' | undefined => (leg === 'fork' || leg === 'second-worktree' ? leg : undefined);

/** What a destination has of a thread that went on elsewhere, and must still have whatever comes of the handoff. */
export interface Diverged {
  readonly choice: 'fork' | 'second-worktree';
  readonly worktree: string;
  readonly state: Record<string, unknown>;
  /** By name. */
  readonly bodies: ReadonlyMap<string, Buffer>;
}

export interface Staged {
  readonly threadId: string;
  /** Where the thread works. */
  readonly directory: string;
  readonly diverged: Diverged | null;
}

/** Makes the thread of a case and brings it to where its handoff begins. */
export async function stage({ pair: { laptop, server }, deserted }: Ground, { leg, carrying }: Pick<TortureCase & { leg: Leg }, 'leg' | 'carrying'>): Promise<Staged> {
  const threadId = await begin(laptop, carrying);
  let directory = laptop.checkout;
  let diverged: Diverged | null = null;
  const choice = choiceOf(leg);
  if (leg !== 'there') {
    await laptop.handOff({ threadId, to: server.hostId });
    directory = await worktreeOf(server, threadId);
    await workOn(directory);
    await server.say(threadId, said.hello);
  }
  if (choice !== undefined) {
    const worktree = directory;
    await server.handOff({ threadId, to: laptop.hostId });
    directory = await worktreeOf(laptop, threadId);
    await laptop.say(threadId, said.hello);
    diverged = await diverge(server, threadId, worktree, choice);
    deserted.add(worktree);
  }
  await load(leg === 'back' ? server : laptop, threadId, carrying);
  return { threadId, directory, diverged };
}

/** Changes what a host has of a thread behind its back: the worktree, and where that is to become a fork the conversation too. */
async function diverge(site: Site, threadId: string, worktree: string, choice: Diverged['choice']): Promise<Diverged> {
  if (choice === 'fork') {
    await askCodex(site, 'thread/unarchive', { threadId });
    const running = promisify(execFile)(codex, ['exec', '--skip-git-repo-check', 'resume', threadId, 'Said behind its back.'], { cwd: worktree, env: { ...process.env, CODEX_HOME: site.machine.codexHome }, timeout: 60_000 });
    running.child.stdin?.end();
    await running;
  }
  await writeFile(join(worktree, 'unforeseen.txt'), 'written while the thread was away\n');
  const bodies = new Map([...rolloutsOf(site, threadId)].map(([name, { body }]) => [name, body]));
  return { choice, worktree, state: await workingState(worktree), bodies };
}
