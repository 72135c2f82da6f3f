import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, lchownSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, describe, expect, it } from 'vitest';
import { captureWorkingState, type CapturedState } from '../../src/git/capture';
import { GitError } from '../../src/git/gitError';
import { git, gitThatMayFail, makePair, observe, photograph, removeTemporaryDirectories, write } from './laboratory';

/** Runs a busy program: told a number it does so much at once, and says when it is done. */
class Busy {
  private readonly child: ChildProcess;
  private readonly lines: AsyncIterator<string>;

  constructor(cwd: string, body: string) {
    const program = `
      const fs = require('node:fs'); const { execFileSync } = require('node:child_process');
      const git = (...args) => { try { execFileSync('git', args, { stdio: 'ignore', env: { PATH: process.env.PATH, HOME: process.cwd(), GIT_CONFIG_NOSYSTEM: '1', GIT_EDITOR: ':', GIT_AUTHOR_NAME: 'A', GIT_AUTHOR_EMAIL: 'a@b', GIT_COMMITTER_NAME: 'A', GIT_COMMITTER_EMAIL: 'a@b' } }); } catch {} };
      const word = (n) => String(n).padStart(8, '0') + '\\n';
      let generation = 0;
      const once = () => { generation++; ${body} };
      require('node:readline').createInterface({ input: process.stdin }).on('line', (times) => { for (let left = Number(times); left > 0; left--) once(); console.log('done'); });
    `;
    this.child = spawn(process.execPath, ['-e', program], { cwd, stdio: ['pipe', 'pipe', 'inherit'] });
    if (this.child.stdout === null) throw new Error('There is no output to read.');
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  async work(times: number): Promise<void> {
    this.child.stdin?.write(`${times}\n`);
    await this.lines.next();
  }

  async end(): Promise<void> {
    this.child.stdin?.end();
    if (this.child.exitCode === null) await once(this.child, 'exit');
  }
}

let busy: Busy | null = null;
afterEach(async () => {
  await busy?.end();
  busy = null;
  removeTemporaryDirectories();
});

/** A captured file, as its commits have it; null where they have none. */
function fileIn(capture: CapturedState, commit: string, name: string): string | null {
  try {
    return execFileSync('git', ['cat-file', 'blob', `${commit}:${name}`], { env: { ...process.env, GIT_DIR: capture.shadow }, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return null;
  }
}

/** Captures while work of growing length is being done, so that some end in the middle of it. What is refused must be refused for that. */
async function captureMeanwhile(root: string, place: string, lengths: readonly number[], expectExisted: (capture: CapturedState) => void): Promise<number> {
  let taken = 0;
  for (const [round, length] of lengths.entries()) {
    const working = busy?.work(length);
    const spool = path.join(place, `round-${round}`);
    const capture = await captureWorkingState({ root, spool }).catch((error: unknown) => {
      expect(GitError.is(error, 'changed-while-capturing'), String(error)).toBe(true);
      expect(readdirSync(spool)).toEqual([]);
      return null;
    });
    await working;
    if (capture === null) continue;
    taken++;
    expectExisted(capture);
  }
  return taken;
}

describe('a capture beside programs that write', () => {
  it('is of one moment: files that are written one after the other never stand in another order', async () => {
    const { laptop, directory } = makePair();
    const names = Array.from({ length: 8 }, (_, number) => (number % 2 === 0 ? `tracked${number}.txt` : `untracked${number}.txt`));
    for (const name of names) write(laptop, name, '00000000\n');
    write(laptop, 'here/moving', 'm\n');
    mkdirSync(path.join(laptop, 'there'));
    git(laptop, 'add', '--', ...names.filter((name) => name.startsWith('tracked')));
    git(laptop, 'commit', '-qm', 'files');
    // All have the same length at all times, and several generations share a tick of the clock.
    busy = new Busy(laptop, `for (const name of ${JSON.stringify(names)}) fs.writeFileSync(name, word(generation)); fs.renameSync(generation % 2 === 1 ? 'here/moving' : 'there/moving', generation % 2 === 1 ? 'there/moving' : 'here/moving');`);
    const taken = await captureMeanwhile(laptop, directory, [1, 2, 5, 20, 50, 100, 200, 400, 1, 0], (capture) => {
      const generations = names.map((name) => Number(fileIn(capture, capture.commits.worktree, name)));
      const [first = 0] = generations;
      expect([...generations].sort((a, b) => b - a), 'later files are never newer than earlier ones').toEqual(generations);
      expect(generations.every((generation) => generation === first || generation === first - 1), generations.join()).toBe(true);
      expect(['here/moving', 'there/moving'].filter((name) => fileIn(capture, capture.commits.worktree, name) !== null)).toHaveLength(1);
    });
    expect(taken).toBeGreaterThan(0);
  }, 120_000);

  it('is of one moment: HEAD, index and files while commits are made, rebased and collected', async () => {
    const { laptop, directory } = makePair();
    write(laptop, 'n.txt', '00000000\n');
    git(laptop, 'add', 'n.txt');
    git(laptop, 'commit', '-qm', 'start');
    busy = new Busy(laptop, `fs.writeFileSync('n.txt', word(generation)); git('add', 'n.txt'); git('commit', '-qm', String(generation)); if (generation % 3 === 0) git('gc', '-q', '--prune=now');`);
    const taken = await captureMeanwhile(laptop, directory, [1, 2, 3, 1, 2, 0], (capture) => {
      const [head, index, files] = [capture.head ?? '', capture.commits.index, capture.commits.worktree].map((commit) => Number(fileIn(capture, commit, 'n.txt')));
      const standing = [head ?? 0, index ?? 0, files ?? 0];
      // Written, then added, then committed.
      expect([[0, 0, 0], [0, 0, 1], [0, 1, 1]]).toContainEqual(standing.map((generation) => generation - (head ?? 0)));
    });
    expect(taken).toBeGreaterThan(0);
    await busy.end();
    busy = new Busy(laptop, `git('rebase', '-q', '--force-rebase', 'HEAD~2');`);
    await captureMeanwhile(laptop, directory, [1, 1], (capture) => {
      const [head, index, files] = [capture.head ?? '', capture.commits.index, capture.commits.worktree].map((commit) => fileIn(capture, commit, 'n.txt'));
      if (capture.operation === null) expect([index, files]).toEqual([head, head]);
    });
  }, 120_000);

  it('goes on beside a lock on the index, says so, and leaves it where it is', async () => {
    const { laptop, directory } = makePair();
    write(laptop, 'a.txt', 'changed\n');
    writeFileSync(path.join(laptop, '.git/index.lock'), '');
    const before = photograph(laptop);
    const capture = await captureWorkingState({ root: laptop, spool: path.join(directory, 'spool') });
    expect(capture.findings.map(({ code }) => code)).toEqual(['index-locked']);
    expect(fileIn(capture, capture.commits.worktree, 'a.txt')).toBe('changed');
    expect(photograph(laptop)).toEqual(before);
  });

  it('takes a merge in conflict of which a collection has removed the automatic result', async () => {
    const { laptop, directory } = makePair();
    for (const branch of ['one', 'two']) {
      git(laptop, 'checkout', '-q', '-b', branch, 'main');
      write(laptop, 'a.txt', `${branch}\n`);
      git(laptop, 'commit', '-qam', branch);
    }
    gitThatMayFail(laptop, 'merge', 'one');
    git(laptop, 'gc', '-q', '--prune=now');
    const before = observe(laptop);
    expect((await captureWorkingState({ root: laptop, spool: path.join(directory, 'spool') })).operation).toBe('merge');
    expect(observe(laptop)).toEqual(before);
  });
});

describe('what cannot be carried is named', () => {
  const fifo = (root: string, name: string) => execFileSync('mkfifo', [path.join(root, name)]);

  it('a FIFO beside tracked files, one in a directory of its own, and one in the place of a tracked file; not one that is ignored', async () => {
    const { laptop, directory } = makePair();
    for (const name of ['pipe', 'dir/pipe', 'x.log']) fifo(laptop, name);
    mkdirSync(path.join(laptop, 'own'));
    fifo(laptop, 'own/pipe');
    mkdirSync(path.join(laptop, 'ignored'));
    fifo(laptop, 'ignored/pipe');
    git(laptop, 'rm', '-q', '--cached', 'b.txt');
    execFileSync('rm', [path.join(laptop, 'b.txt')]);
    fifo(laptop, 'b.txt');
    const { findings } = await captureWorkingState({ root: laptop, spool: path.join(directory, 'spool') });
    const [finding] = findings.filter(({ code }) => code === 'special-file-stays');
    for (const name of ['"pipe"', '"dir/pipe"', '"own/pipe"', '"b.txt"']) expect(finding?.message).toContain(name);
    expect(finding?.message).not.toMatch(/x\.log|ignored/);
  });

  /** Acts as an account that permissions bind. */
  const unprivileged = async <T>(root: string, act: () => Promise<T>): Promise<T> => {
    if (process.geteuid?.() !== 0) return act();
    const all = execFileSync('find', [root, '-print0'], { encoding: 'latin1' }).split('\0').filter((name) => name !== '');
    for (const name of all) lchownSync(name, 65534, 65534);
    const home = process.env['HOME'];
    process.env['HOME'] = root;
    process.seteuid?.(65534);
    try {
      return await act();
    } finally {
      process.seteuid?.(0);
      process.env['HOME'] = home;
    }
  };
  it.each([
    ['an untracked file', 'secret.txt', (root: string) => { write(root, 'secret.txt', 's\n'); chmodSync(path.join(root, 'secret.txt'), 0); }],
    ['a changed tracked file', 'a.txt', (root: string) => { write(root, 'a.txt', 'changed\n'); chmodSync(path.join(root, 'a.txt'), 0); }],
    ['an untracked directory', 'closed', (root: string) => { write(root, 'closed/x', 'x\n'); chmodSync(path.join(root, 'closed'), 0); }],
    ['a directory of tracked files', 'dir', (root: string) => { chmodSync(path.join(root, 'dir'), 0); }],
    ['a directory of tracked files whose names alone can be read', 'dir', (root: string) => { chmodSync(path.join(root, 'dir'), 0o444); }],
  ])('%s that this account may not read stops the capture, by its name', async (_what, name, make) => {
    const pair = makePair();
    make(pair.laptop);
    await unprivileged(pair.directory, async () => {
      const refused = await captureWorkingState({ root: pair.laptop, spool: path.join(pair.directory, 'spool') }).then(() => null, (error: unknown) => error);
      expect(refused).toMatchObject({ reason: 'unsupported-state' });
      expect(String(refused)).toMatch(new RegExp(`"${name}(/[^"]*)?" in .* could not be read: .*Make it readable`));
    });
    for (const file of [name, path.join(name, '.')]) if (existsSync(path.join(pair.laptop, file))) chmodSync(path.join(pair.laptop, file), 0o755);
  });
});
