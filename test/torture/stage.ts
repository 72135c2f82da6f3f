/** The thread of a case, brought to where its handoff begins. */
import { appendFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { git, gitAt } from '../fixtures/checkout';
import { said, type Site } from '../integration/pairedHosts';
import { load } from './carried';
import type { TortureCase } from './cases';
import type { Ground } from './ground';

/** Work of an agent in a worktree: a commit, and changes that are staged, unstaged and untracked. */
async function workOn(worktree: string): Promise<void> {
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

/** Makes the thread of a case and brings it to where its handoff begins. */
export async function stage({ pair: { laptop, server } }: Ground, { leg, carrying }: Pick<TortureCase, 'leg' | 'carrying'>): Promise<{ threadId: string; directory: string }> {
  const threadId = await laptop.begin(said.hello);
  let directory = laptop.checkout;
  if (leg === 'back') {
    await laptop.handOff({ threadId, to: server.hostId });
    directory = await worktreeOf(server, threadId);
    await workOn(directory);
    await server.say(threadId, said.hello);
  }
  await load(leg === 'there' ? laptop : server, threadId, carrying);
  return { threadId, directory };
}
