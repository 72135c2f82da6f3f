import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { InstructionNames } from '../../src/codex/instructions';
import { findInstructions } from '../../src/host/localInstructions';
import { git } from '../fixtures/checkout';

const usual: InstructionNames = { fallbacks: [], markers: ['.git'] };
let outside: string;
let root: string;
let directory: string;

beforeEach(async () => {
  outside = await realpath(await mkdtemp(join(tmpdir(), 'baton-guides-')));
  root = join(outside, 'orrery');
  directory = join(root, 'lib', 'deep');
  await mkdir(directory, { recursive: true });
  await git(root, 'init', '-q');
});
afterEach(() => rm(outside, { recursive: true }));

const put = async (name: string, content = `This is ${name}.\n`) => writeFile(join(root, name), content);
const ignore = (pattern: string) => writeFile(join(root, '.git', 'info', 'exclude'), `${pattern}\n`);
const local = async (names = usual) => (await findInstructions(root, directory, names)).local.map(({ name }) => name);

describe('instructions that belong to one machine are', () => {
  it('those that Git ignores, by name or by directory, between the root and the directory of the thread', async () => {
    await Promise.all(['AGENTS.md', 'lib/AGENTS.override.md', 'lib/deep/AGENTS.md'].map((name) => put(name)));
    expect(await local()).toEqual([]);
    await ignore('AGENTS.override.md');
    expect(await local()).toEqual(['lib/AGENTS.override.md']);
    await ignore('/lib/');
    expect(await local()).toEqual(['lib/AGENTS.override.md', 'lib/deep/AGENTS.md']);
    await mkdir(join(root, 'other'));
    await put('other/AGENTS.override.md');
    await ignore('AGENTS.override.md');
    expect(await local()).toEqual(['lib/AGENTS.override.md']);
  });

  it('not those that are tracked although a pattern fits', async () => {
    await put('AGENTS.md');
    await git(root, 'add', 'AGENTS.md');
    await ignore('AGENTS.md');
    expect(await local()).toEqual([]);
  });

  it('not those in whose place Codex takes another, also where that one is empty', async () => {
    await ignore('AGENTS.md');
    await put('AGENTS.md');
    await put('AGENTS.override.md', '');
    expect(await local()).toEqual([]);
  });

  it('those to which a link leads out of the checkout, or to what is ignored', async () => {
    await writeFile(join(outside, 'mine.md'), 'Mine.\n');
    await symlink(join(outside, 'mine.md'), join(root, 'AGENTS.md'));
    await put('lib/private.md');
    await ignore('private.md');
    await symlink('private.md', join(root, 'lib', 'AGENTS.md'));
    await put('lib/deep/CLAUDE.md');
    await symlink('CLAUDE.md', join(directory, 'AGENTS.md'));
    expect(await local()).toEqual(['AGENTS.md', 'lib/AGENTS.md']);
  });

  it('of the names and from the root that the configuration says', async () => {
    await ignore('NOTES.md');
    await put('lib/NOTES.md');
    await writeFile(join(outside, 'AGENTS.md'), 'Above.\n');
    await writeFile(join(outside, 'TOP'), '');
    await put('GUIDE.md');
    expect(await local()).toEqual([]);
    const names = { fallbacks: ['GUIDE.md', 'NOTES.md'], markers: ['TOP'] };
    expect(await local(names)).toEqual(['../AGENTS.md', 'lib/NOTES.md']);
    expect((await findInstructions(root, directory, names)).fallbacks).toEqual(['GUIDE.md']);
    expect(await local({ fallbacks: ['NOTES.md'], markers: [] })).toEqual([]);
  });
});
