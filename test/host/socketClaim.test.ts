import { fork, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { claimDirectory } from '../../src/host/kernelClaim';
import { holdRepository } from '../../src/host/repositoryClaim';
import { claimBySocket } from '../../src/host/socketClaim';
import { bundleScript } from '../fixtures/bundledScript';
import { removeTemporaryDirectories, temporaryDirectory } from '../git/laboratory';

/** Holds a claim until it is killed. */
const holder = `
import { claimDirectory } from './src/host/kernelClaim';
const release = await claimDirectory(process.argv[2], 'worktrees');
process.stdout.write(release === null ? 'refused' : 'held');
process.stdin.resume();
`;
/** Takes a claim ten times, alone each time, and dies with the last. */
const taker = `
import { rmSync, writeFileSync } from 'node:fs';
import { claimBySocket } from './src/host/socketClaim';
const [directory, inside] = process.argv.slice(2);
for (let taken = 0; taken < 10;) {
  const release = await claimBySocket(directory, 'test');
  if (release === null) continue;
  writeFileSync(inside, '', { flag: 'wx' });
  await new Promise(setImmediate);
  rmSync(inside);
  if (++taken === 10) process.kill(process.pid, 'SIGKILL');
  await release();
}
`;

let programs: { holder: string; taker: string };
beforeAll(async () => {
  const directory = temporaryDirectory();
  programs = { holder: await bundleScript(holder, path.join(directory, 'holder.mjs')), taker: await bundleScript(taker, path.join(directory, 'taker.mjs')) };
});
afterAll(removeTemporaryDirectories);

/** A directory whose path is longer than that of a socket can be. */
function deepDirectory(): string {
  const directory = path.join(temporaryDirectory(), 'x'.repeat(120), '.git');
  mkdirSync(directory, { recursive: true });
  return directory;
}

async function held(child: ChildProcess): Promise<string> {
  const [said] = (await once(child.stdout ?? child, 'data')) as [Buffer];
  return said.toString();
}

describe.runIf(process.platform === 'linux')('a claim on a directory', () => {
  it('is one process\'s at a time, and nobody\'s once that was killed', async () => {
    const directory = deepDirectory();
    const child = spawn(process.execPath, [programs.holder, directory], { stdio: ['pipe', 'pipe', 'inherit'] });
    expect(await held(child)).toBe('held');
    expect(await claimDirectory(directory, 'worktrees')).toBeNull();
    await expect(holdRepository(directory, () => Promise.resolve(), 0)).rejects.toMatchObject({ reason: 'worktree-busy', message: expect.stringContaining(directory) as string });
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(await holdRepository(directory, () => Promise.resolve('mine'), 0)).toBe('mine');
    expect(readdirSync(directory)).toEqual(['baton-worktrees.claim-2']);
  });

  it.runIf(process.getuid?.() === 0)('holds between network namespaces, as those of containers that share it', async () => {
    const directory = deepDirectory();
    const child = spawn('unshare', ['--net', process.execPath, programs.holder, directory], { stdio: ['pipe', 'pipe', 'inherit'] });
    expect(await held(child)).toBe('held');
    expect(await claimDirectory(directory, 'worktrees')).toBeNull();
    child.kill('SIGKILL');
    await once(child, 'exit');
    const release = await claimDirectory(directory, 'worktrees');
    const refused = spawn('unshare', ['--net', process.execPath, programs.holder, directory], { stdio: ['pipe', 'pipe', 'inherit'] });
    expect(await held(refused)).toBe('refused');
    refused.kill();
    await release?.();
  });

  it('is never two processes\' that want it at once and die with it', async () => {
    const directory = deepDirectory();
    const inside = path.join(temporaryDirectory(), 'inside');
    const children = Array.from({ length: 3 }, () => fork(programs.taker, [directory, inside]));
    const ends = await Promise.all(children.map(async (child) => (await once(child, 'exit')) as [number | null, string | null]));
    expect(ends).toEqual(children.map(() => [null, 'SIGKILL']));
    const release = await claimBySocket(directory, 'test');
    expect(release).not.toBeNull();
    await release?.();
    expect(readdirSync(directory)).toHaveLength(1);
  });
});
