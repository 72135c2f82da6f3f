import { describe, expect, it } from 'vitest';
import { diskFindings, diskUses, type Disk, type DiskUse } from '../../src/handoff/disks';

const MB = 1e6;
const AIR = 64 * 1_048_576;
const sizes = { bytes: 100 * MB, rolloutBytes: 40 * MB, worktreeBytes: 500 * MB };
/** Each use on its own file system, with just what it needs. */
const exact: Readonly<Record<DiskUse, number>> = { arriving: 200 * MB + AIR, worktree: 500 * MB + AIR, objects: 60 * MB + AIR, conversation: 40 * MB + AIR };
const apart = (free: Readonly<Record<DiskUse, number>>): Disk[] => diskUses.map((use) => ({ use, path: `/disk/${use}`, device: use, freeBytes: free[use] }));
const together = (freeBytes: number): Disk[] => diskUses.map((use) => ({ use, path: `/home/${use}`, device: 'one', freeBytes }));

describe('the disks of a destination', () => {
  it('suffice each for what goes there, which is said once', () => {
    expect(diskFindings('server', sizes, apart(exact))).toEqual([
      { level: 'ok', code: 'disk', message: "server has 267.1 MB free for what arrives, 567.1 MB free for the worktree, 127.1 MB free for the repository's new objects and 107.1 MB free for the conversation." },
    ]);
  });

  it.each(diskUses)('are named where only that of %s is short, by how much', (use) => {
    const found = diskFindings('server', sizes, apart({ ...exact, [use]: exact[use] - 3 * MB }));
    expect(found).toHaveLength(1);
    expect(found[0]).toMatchObject({ level: 'blocker', code: 'disk-full' });
    expect(found[0]?.message).toMatch(new RegExp(`^server has [\\d.]+ MB free on the disk of /disk/${use} and needs [\\d.]+ MB there for .*, 3\\.0 MB more; free some space there\\.$`));
  });

  it('are looked at once where several places are on one, which needs room for all; the conversation is moved there', () => {
    const needed = (200 + 500 + 60) * MB + AIR;
    expect(diskFindings('server', sizes, together(needed))).toEqual([{ level: 'ok', code: 'disk', message: 'server has 827.1 MB free.' }]);
    const [short, ...more] = diskFindings('server', sizes, together(needed - 1));
    expect(more).toEqual([]);
    expect(short?.message).toContain("for what arrives, the worktree, the repository's new objects and the conversation, 0.0 kB more");
  });

  it('are each told of where several are short', () => {
    expect(diskFindings('server', sizes, apart({ arriving: 0, worktree: 1e12, objects: 0, conversation: 0 })).map(({ message }) => /disk of (\S+)/.exec(message)?.[1])).toEqual(['/disk/arriving', '/disk/objects', '/disk/conversation']);
  });
});
