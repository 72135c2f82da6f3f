/** A keeper of worktrees in a process of its own, which is killed in the middle of what it does. */
import path from 'node:path';
import { bundleScript } from '../fixtures/bundledScript';
import { runUntilKilled } from '../fixtures/meddlingGit';
import { temporaryDirectory } from '../git/laboratory';

/** Acts on the worktrees of a home, and dies by its own hand right after it has written down that a worktree is at `moment`. */
const script = `
import { openKept } from './test/host/keptWorktrees';
const [home, checkout, act, id, moment] = process.argv.slice(2);
const kept = await openKept(home, checkout);
const save = kept.worktrees.save.bind(kept.worktrees);
kept.worktrees.save = async (record) => {
  const saved = await save(record);
  const { life } = saved;
  if (moment === life.is || moment === life.is + ' verified ' + life.verified) process.kill(process.pid, 'SIGKILL');
  return saved;
};
await kept.keeper[act](id, 'local');
`;

export interface Death {
  /** Killed when its git is about to run a command with this word for the nth time. */
  readonly at?: readonly [word: string, nth: number];
  /** Killed right after this was written down. */
  readonly after?: string;
}

export function bundleKeeper(): Promise<string> {
  return bundleScript(script, path.join(temporaryDirectory(), 'keeper.mjs'));
}

/** Runs `act`, as {@link bundleKeeper} made it, until it is killed as told. Gives the signal that ended it. */
export function killKeeper(program: string, home: string, checkout: string, act: 'remove' | 'restore' | 'recover', id: string, { at: [word, nth] = ['no such word', 0], after = '' }: Death): Promise<NodeJS.Signals | null> {
  return runUntilKilled(temporaryDirectory(), program, [home, checkout, act, id, after], [word], nth);
}
