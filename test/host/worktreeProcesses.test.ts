import { fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import type { SweepReport } from '../../src/host/protocol';
import { bundleScript } from '../fixtures/bundledScript';
import { git, makePair, ownCheckout, removeTemporaryDirectories, temporaryDirectory } from '../git/laboratory';
import { contentOf, openKept, work } from './keptWorktrees';

afterAll(removeTemporaryDirectories);

/** A host's sweep a day later, begun at a word. */
const script = `
import { DAY, openKept } from './test/host/keptWorktrees';
const [home, checkout] = process.argv.slice(2);
const kept = await openKept(home, checkout, { afterMs: DAY });
process.once('message', async () => {
  process.send(await kept.sweep.sweep(), () => process.disconnect());
});
process.send('ready');
`;

it('two hosts, each a process with a home of its own, that sweep one repository at once remove each their own and lose nothing', async () => {
  const pair = makePair();
  const program = await bundleScript(script, path.join(temporaryDirectory(), 'sweep.mjs'));
  const homes = ['home', 'other-home'].map((name) => path.join(pair.directory, name));
  const made = await Promise.all(homes.map(async (home) => {
    const kept = await openKept(home, pair.server);
    return [await kept.make(), await kept.make()];
  }));
  const before = new Map(made.flat().map(({ id, path: place }) => {
    work(place);
    return [id, contentOf(place)];
  }));
  const own = ownCheckout(pair.server);
  const processes = homes.map((home) => fork(program, [home, pair.server]));
  await Promise.all(processes.map((child) => once(child, 'message')));
  const reports = await Promise.all(processes.map(async (child) => {
    const [report] = child.send('begin') ? (await once(child, 'message')) as [SweepReport] : [];
    return report;
  }));
  for (const [position, report] of reports.entries()) {
    expect(report?.removed.map(({ id }) => id).sort()).toEqual(made[position]?.map(({ id }) => id).sort());
    expect(report?.kept).toEqual([]);
  }
  for (const { path: place } of made.flat()) expect(existsSync(place)).toBe(false);
  expect(git(pair.server, 'for-each-ref', '--format=%(refname)', 'refs/baton/snapshots').split('\n')).toHaveLength(4);
  expect(ownCheckout(pair.server)).toEqual(own);
  for (const [position, home] of homes.entries()) {
    const kept = await openKept(home, pair.server);
    for (const { id, path: place } of made[position] ?? []) {
      await kept.keeper.restore(id, 'local');
      expect(contentOf(place)).toEqual(before.get(id));
    }
  }
  git(pair.server, 'fsck', '--connectivity-only');
}, 120_000);
