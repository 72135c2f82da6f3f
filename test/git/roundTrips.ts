import path from 'node:path';
import { expect } from 'vitest';
import { isWhole } from '../fixtures/whole';
import { carry, git, makePair, observe, ownCheckout, photograph, write } from './laboratory';
import type { State } from './states';

/** How often a state goes there and back; from the second time on into worktrees that exist. */
const trips = isWhole ? 3 : 1;

/**
 * Carries a state to the server and home and back again, with a small edit at each end, and compares by plain git: each arrival with
 * what left, the source with what it was to the byte and the inode number, and the users' own checkouts with what they were.
 */
export async function expectExact(state: State): Promise<void> {
  const pair = makePair(state.format === undefined ? {} : { format: state.format });
  const root = (state.make(pair.laptop, pair) ?? pair.laptop) as string;
  state.there?.(pair.server);
  const own = ownCheckout(pair.server);
  const there = path.join(pair.directory, 'server', 'worktrees', '1', 'app');
  const here = path.join(pair.directory, 'laptop', 'worktrees', '1', 'app');
  const arrived = async (from: string, to: string, worktree: string, expected?: string, machine = from) => {
    // Looked at before anything else: plain git, too, leaves traces where it looks.
    const before = photograph(machine);
    const trip = await carry(pair, from, to, worktree, expected);
    expect(photograph(machine), 'where it left is untouched').toEqual(before);
    expect(observe(worktree)).toEqual(observe(from));
    expect(trip.restored.fingerprint).toBe(trip.capture.fingerprint);
    expect(trip.quarantine.fingerprint).toBe(trip.capture.fingerprint);
    // Git takes note of times and sizes when it looks; what comes next must not be fooled by that.
    git(worktree, 'status');
    return trip.capture.fingerprint;
  };

  await arrived(root, pair.server, there, undefined, path.join(pair.directory, 'laptop'));
  const checkout = ownCheckout(root);
  let home: string | undefined;
  for (let trip = 1; ; trip++) {
    write(there, 'made there.txt', `made there ${trip}\n`);
    const left = await arrived(there, root, here, home);
    if (trip >= trips) break;
    write(here, 'made here.txt', `made here ${trip}\n`);
    home = await arrived(here, pair.server, there, left);
  }
  expect(ownCheckout(root), 'the source\'s own checkout is untouched').toEqual(checkout);
  expect(ownCheckout(pair.server), 'the destination\'s own checkout is untouched').toEqual(own);
  expect(git(pair.server, 'fsck', '--connectivity-only')).not.toMatch(/missing|broken/);
}
