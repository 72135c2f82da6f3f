import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { captureWorkingState } from '../../src/git/capture';
import { readIndexFile, visitIndexFile, type IndexFile } from '../../src/git/indexFile';
import { carry, git, gitThatMayFail, isAtLeast, makePair, observe, photograph, removeTemporaryDirectories, write } from './laboratory';

afterEach(removeTemporaryDirectories);

/** More than a few pieces of the file, with names that share much and little with the one before. */
function fill(root: string, format: 'sha1' | 'sha256'): void {
  const oid = (number: number) => number.toString(16).padStart(format === 'sha1' ? 40 : 64, 'a');
  const lines = Array.from({ length: 25_000 }, (_, number) => {
    const name = number % 7 === 0 ? `${'long/'.repeat(number % 300)}${number}` : `folder${Math.floor(number / 100)}/file${number}`;
    return `${number % 5 === 0 ? '100755' : '100644'} ${oid(number)} 0\t${name}\0`;
  });
  for (const stage of [1, 2, 3]) lines.push(`100644 ${oid(stage)} ${stage}\tmerged/file\0`);
  lines.push(`100644 ${oid(7)} 0\tdeep/.gitattributes\0`, `100644 ${oid(8)} 0\tnot.gitattributes\0`, `160000 ${oid(9)} 0\tmodule\0`);
  execFileSync('git', ['update-index', '-z', '--index-info'], { cwd: root, input: lines.join('') });
}

describe('an index is read as git reads it', () => {
  it.each([['sha1', '2'], ['sha1', '4'], ['sha256', '2'], ['sha256', '4']] as const)('%s, version %s', async (format, version) => {
    const { laptop } = makePair({ format });
    fill(laptop, format);
    git(laptop, 'update-index', '--index-version', version);
    git(laptop, 'update-index', '--skip-worktree', 'b.txt');
    git(laptop, 'update-index', '--assume-unchanged', 'folder9/file900');

    const seen: string[] = [];
    const pieces = visitIndexFile(path.join(laptop, '.git/index'), format, (entry) => seen.push(`${entry.mode.toString(8).padStart(6, '0')} ${entry.oid()} ${entry.stage}\t${entry.path()}`));
    let count = 0;
    let found: IndexFile | undefined;
    while (found === undefined) {
      const { done, value } = await pieces.next();
      if (done === true) found = value;
      else count++;
    }

    expect(count, 'it came in several pieces').toBeGreaterThan(3);
    expect(seen).toEqual(git(laptop, 'ls-files', '-s', '-z').split('\0').filter((line) => line !== ''));
    expect(found.entries).toBe(seen.length);
    expect(found.unmerged.map((entry) => [entry.stage, entry.path])).toEqual([1, 2, 3].map((stage) => [stage, 'merged/file']));
    expect(found.attributeFiles.map((entry) => entry.path)).toEqual(['deep/.gitattributes']);
    expect(found.gitlinks.map((entry) => entry.path)).toEqual(['module']);
    expect(found.flagged).toEqual([{ path: 'b.txt', assumeUnchanged: false, skipWorktree: true }, { path: 'folder9/file900', assumeUnchanged: true, skipWorktree: false }]);
  });

  it('and one that is damaged, or of a version to come, is refused', async () => {
    const { laptop } = makePair();
    const file = path.join(laptop, 'index');
    const read = async (content: Buffer) => {
      writeFileSync(file, content);
      const pieces = visitIndexFile(file, 'sha1', () => undefined);
      for (;;) if ((await pieces.next()).done === true) return;
    };
    const header = (version: number, entries: number) => Buffer.concat([Buffer.from('DIRC'), Buffer.from([0, 0, 0, version, 0, 0, 0, entries])]);
    for (const content of [Buffer.alloc(0), Buffer.from('DIRC'), Buffer.alloc(100), Buffer.concat([header(5, 0), Buffer.alloc(20)]), Buffer.concat([header(2, 3), Buffer.alloc(120, 1)]), Buffer.concat([header(4, 1), Buffer.alloc(62, 0xff), Buffer.alloc(40)])]) {
      await expect(read(content)).rejects.toMatchObject({ reason: 'unsupported-state' });
    }
    await read(Buffer.concat([header(2, 0), Buffer.alloc(20)]));
  });

  it('and one that was cut off or changed anywhere is read or refused, never waited for', async () => {
    const { laptop } = makePair();
    git(laptop, 'update-index', '--index-version', '4');
    conflict(laptop);
    write(laptop, 'a.txt', 'resolved\n');
    git(laptop, 'add', 'a.txt');
    git(laptop, 'write-tree');
    const whole = readFileSync(path.join(laptop, '.git/index'));
    expect(whole.includes('REUC') && whole.includes('TREE')).toBe(true);
    const file = path.join(laptop, 'damaged');
    const refusal = async (content: Buffer) => {
      writeFileSync(file, content);
      return readIndexFile(file, 'sha1').then(() => null, (error: unknown) => error);
    };
    const changed = Array.from({ length: whole.length - 20 }, (_, at) => Buffer.concat([whole.subarray(0, at), Buffer.from([(whole[at] ?? 0) ^ 0xff]), whole.subarray(at + 1)]));
    for (const content of changed) {
      const error = await refusal(content);
      if (error !== null) expect(error).toMatchObject({ reason: 'unsupported-state' });
    }
    // Between two extensions nothing tells that there was another.
    for (let length = 0; length < whole.indexOf('TREE'); length++) expect(await refusal(whole.subarray(0, length)), `cut off at ${length}`).toMatchObject({ reason: 'unsupported-state' });
    writeFileSync(path.join(laptop, '.git/index'), whole.subarray(0, whole.length / 2));
    await expect(captureWorkingState({ root: laptop, spool: path.join(laptop, '../spool') })).rejects.toThrow(/The index .* ends in the middle of an entry\. Look at it with "git status" first/);
  });
});

describe('a working state travels exactly, however git wrote its index:', () => {
  interface Way {
    readonly name: string;
    readonly settings: Record<string, string>;
    readonly commands: readonly (readonly string[])[];
    /** What must be in it for the test to mean something. */
    readonly signature: string;
    /** The first git that knows it, if that is later than the lowest that Baton supports. */
    readonly since?: readonly [major: number, minor: number];
  }
  const ways: readonly Way[] = [
    { name: 'with offsets of its blocks and its end', settings: { 'index.threads': '2', 'index.recordOffsetTable': 'true', 'index.recordEndOfIndexEntries': 'true' }, commands: [['add', '-A']], signature: 'IEOT' },
    { name: 'split', settings: { 'core.splitIndex': 'true', 'splitIndex.maxPercentChange': '100' }, commands: [['update-index', '--split-index'], ['add', 'b.txt']], signature: 'link' },
    { name: 'with an untracked cache', settings: { 'core.untrackedCache': 'true' }, commands: [['update-index', '--force-untracked-cache'], ['status']], signature: 'UNTR' },
    { name: 'with the notes of a file system monitor', settings: { 'core.fsmonitor': './monitor' }, commands: [['update-index', '--fsmonitor'], ['status']], signature: 'FSMN' },
    { name: 'without its hash', settings: { 'index.skipHash': 'true' }, commands: [['add', 'b.txt']], signature: '\0'.repeat(20), since: [2, 40] },
    { name: 'as for many files', settings: { 'feature.manyFiles': 'true' }, commands: [['update-index', '--index-version', '4'], ['add', 'b.txt'], ['status']], signature: 'DIRC\0\0\0\u0004' },
    { name: 'with whole directories as entries', settings: { 'index.sparse': 'true' }, commands: [['sparse-checkout', 'init', '--cone', '--sparse-index'], ['sparse-checkout', 'set', 'dir'], ['add', 'dir/c.txt']], signature: 'sdir' },
  ];

  for (const { name, settings, commands, signature, since = [2, 0] as const } of ways) it.skipIf(!isAtLeast(...since))(name, async () => {
    const pair = makePair();
    write(pair.laptop, 'outside/deep/file', 'x\n');
    git(pair.laptop, 'add', '-A');
    git(pair.laptop, 'commit', '-qm', 'second');
    // So that sparse patterns apply there, too.
    git(pair.server, 'config', 'core.repositoryFormatVersion', '1');
    git(pair.server, 'config', 'extensions.worktreeConfig', 'true');
    // Asked for nothing else than which files changed: it says "any".
    write(pair.laptop, 'monitor', "#!/bin/sh\nprintf 'token\\0/\\0'\n", 0o755);
    for (const [key, value] of Object.entries(settings)) git(pair.laptop, 'config', key, value);
    write(pair.laptop, 'b.txt', 'changed\n');
    write(pair.laptop, 'dir/c.txt', 'changed too\n');
    for (const command of commands) git(pair.laptop, ...command);
    write(pair.laptop, 'a.txt', 'changed after that\n');
    write(pair.laptop, 'new', 'untracked\n');
    expect(readFileSync(path.join(pair.laptop, '.git/index'), 'latin1')).toContain(signature);
    const source = photograph(pair.laptop);
    const worktree = path.join(pair.directory, 'server', 'worktrees', '1', 'app');
    const { capture, restored } = await carry(pair, pair.laptop, pair.server, worktree);
    expect(photograph(pair.laptop)).toEqual(source);
    expect(restored.fingerprint).toBe(capture.fingerprint);
    expect(observe(worktree)).toEqual(observe(pair.laptop));
  });
});

function conflict(root: string): void {
  git(root, 'checkout', '-q', '-b', 'topic');
  write(root, 'a.txt', 'topic\n');
  git(root, 'commit', '-qam', 'topic');
  git(root, 'checkout', '-q', 'main');
  write(root, 'a.txt', 'main\n');
  git(root, 'commit', '-qam', 'main');
  gitThatMayFail(root, 'merge', 'topic');
}
