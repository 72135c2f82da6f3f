/** Git LFS between two hosts: content travels beside the bundle, once, and no LFS server is asked for it. */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { git, observe, photograph, removeTemporaryDirectories } from '../git/laboratory';
import { age, lfsInstalled, listenForLfs, makeLfsPair, type SilentServer } from '../git/lfsLaboratory';
import { said, startPair, type PairedHosts } from './pairedHosts';

const LARGE = 4 * 1024 * 1024;
let pair: PairedHosts;
let canary: SilentServer;
beforeAll(async () => {
  canary = await listenForLfs();
  pair = await startPair({ clean: true });
});
afterAll(() => pair.close());
afterAll(() => canary.close());
afterAll(removeTemporaryDirectories);

describe.skipIf(!lfsInstalled)('a checkout with Git LFS', () => {
  it('is handed off and back with its content, of which only the new travels', async () => {
    const [large, next] = [randomBytes(LARGE), randomBytes(LARGE)];
    const clones = makeLfsPair(canary.url, { 'large.bin': large });
    await pair.laptop.client.call('project/add', { directory: clones.laptop });
    await pair.server.client.call('project/add', { directory: clones.server });
    const before = photograph(clones.laptop);

    const shown = (subject: { directory: string } | { threadId: string }) => pair.laptop.client.call('handoff/preflight', { ...subject, to: pair.server.hostId }).then(({ bytes }) => bytes);
    const announced = await shown({ directory: clones.laptop });
    expect(announced, 'preflight counts the content').toBeGreaterThan(LARGE);
    expect(announced).toBeLessThan(LARGE * 1.1);
    const there = await pair.laptop.handOff({ directory: clones.laptop, prompt: said.hello, to: pair.server.hostId });
    expect(photograph(clones.laptop)).toEqual(before);
    expect(readFileSync(path.join(there.worktree, 'large.bin')).equals(large)).toBe(true);
    expect(observe(there.worktree)).toEqual(observe(clones.laptop));
    expect(there.bytesSent).toBeGreaterThan(LARGE);
    expect(there.bytesSent).toBeLessThan(LARGE * 1.1);

    const back = await pair.laptop.handOff({ threadId: there.threadId, to: pair.laptop.hostId, from: pair.server.hostId });
    expect(back.bytesSent, 'the content is there').toBeLessThan(LARGE / 10);
    expect(readFileSync(path.join(back.worktree, 'large.bin')).equals(large)).toBe(true);

    expect(await shown({ threadId: there.threadId }), 'and only what is missing').toBeLessThan(LARGE / 10);
    writeFileSync(path.join(back.worktree, 'large.bin'), next);
    git(back.worktree, 'commit', '-qam', 'next');
    age(back.worktree);
    const again = await pair.laptop.handOff({ threadId: there.threadId, to: pair.server.hostId });
    expect(again.worktree).toBe(there.worktree);
    expect(readFileSync(path.join(again.worktree, 'large.bin')).equals(next)).toBe(true);
    expect(observe(again.worktree)).toEqual(observe(back.worktree));
    expect(again.bytesSent).toBeLessThan(LARGE * 1.1);
    expect(canary.knocks(), 'the LFS server was contacted').toBe(0);
  });
});
