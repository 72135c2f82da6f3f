import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { visitIndexFile, type IndexFile } from '../../src/git/indexFile';
import { git, makePair, removeTemporaryDirectories } from './laboratory';

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
});
