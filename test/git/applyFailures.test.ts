import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { applyState, mendApply, planApply, undoApply } from '../../src/git/apply';
import { captureWorkingState } from '../../src/git/capture';
import { GitError } from '../../src/git/gitError';
import { listSnapshots } from '../../src/git/snapshots';
import { isWhole } from '../fixtures/whole';
import { commitAll, look, makePlace, refused, toCheckout, type Place } from './applyPlaces';
import { git, observe, remove, removeTemporaryDirectories, temporaryDirectory, THREAD, write } from './laboratory';

afterEach(removeTemporaryDirectories);

describe('when something goes wrong', () => {
  const dirty = (place: Place) => {
    write(place.checkout, 'a.txt', 'begun here\n');
    write(place.checkout, 'u/deep', 'begun here\n');
    git(place.checkout, 'add', 'a.txt');
    write(place.worktree, 'a.txt', 'gone on\n');
    write(place.worktree, 'new/file', 'new\n');
    commitAll(place.worktree, 'a commit');
    write(place.worktree, 'b.txt', 'b staged\n');
    git(place.worktree, 'add', 'b.txt');
    remove(place.worktree, 'dir/c.txt');
    write(place.worktree, 'dir/c.txt/now a directory', 'x\n');
  };

  it('a plan that is not the one that was agreed to is not carried out', async () => {
    const place = makePlace();
    write(place.worktree, 'a.txt', 'x\n');
    const { digest } = await planApply(toCheckout(place));
    write(place.worktree, 'a.txt', 'y\n');
    const before = look(place.checkout);
    expect((await refused(applyState(toCheckout(place, { expected: digest })))).reason).toBe('apply-outdated');
    expect(look(place.checkout)).toEqual(before);
  });

  it('a git that is at work in the checkout is not disturbed', async () => {
    const place = makePlace();
    write(place.worktree, 'a.txt', 'x\n');
    const lock = path.join(place.checkout, '.git/index.lock');
    writeFileSync(lock, '');
    expect((await refused(applyState(toCheckout(place)))).reason).toBe('index-locked');
    expect(existsSync(lock)).toBe(true);
    rmSync(lock);
    await applyState(toCheckout(place));
  });

  it('a file that cannot be written puts everything back', async (context) => {
    if (process.platform !== 'linux' || process.getuid?.() !== 0) return context.skip('a small file system can only be mounted by root on Linux');
    const directory = temporaryDirectory();
    const checkout = path.join(directory, 'small');
    mkdirSync(checkout);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', checkout], { stdio: 'pipe' });
    } catch {
      return context.skip('mount was refused here');
    }
    try {
      // The objects are elsewhere, so that it is the files for which there is no room.
      git(checkout, 'init', '-q', '--separate-git-dir', path.join(directory, 'git'));
      write(checkout, 'a.txt', 'a\n');
      write(checkout, 'z.bin', Buffer.alloc(2_000_000, 1));
      commitAll(checkout, 'first');
      const worktree = path.join(directory, 'worktree');
      git(checkout, 'worktree', 'add', '-q', '-b', 'baton/x/main', worktree);
      write(worktree, 'a.txt', 'changed\n');
      for (let n = 0; n < 8; n++) write(worktree, `m${n}.bin`, createHash('sha512').update(`${n}`).digest('hex').repeat(8000));
      remove(worktree, 'z.bin');
      const place: Place = { directory, checkout, worktree, own: path.join(directory, 'own') };
      const before = look(checkout);
      expect((await refused(applyState(toCheckout(place)))).message).toMatch(/No space left|unable to write|checkout-index/i);
      expect(look(checkout)).toEqual(before);
      expect(git(checkout, 'for-each-ref', '--format=%(refname)', 'refs/baton')).toBe('');
    } finally {
      execFileSync('umount', [checkout]);
    }
  });

  it('a directory that cannot be written puts everything back', async (context) => {
    const place = makePlace();
    dirty(place);
    const { fingerprint } = await captureWorkingState({ root: place.checkout, spool: path.join(place.directory, 'left') });
    const before = look(place.checkout);
    const directory = path.join(place.checkout, 'dir');
    // No mode keeps root from writing.
    const asRoot = process.getuid?.() === 0;
    if (process.platform === 'win32') return context.skip('directories cannot be made read-only by mode here');
    try {
      if (asRoot) execFileSync('mount', ['--bind', directory, directory], { stdio: 'pipe' });
      if (asRoot) execFileSync('mount', ['-o', 'remount,ro,bind', directory], { stdio: 'pipe' });
      else chmodSync(directory, 0o555);
    } catch {
      return context.skip('mount was refused here');
    }
    try {
      expect((await refused(applyState(toCheckout(place, { known: [fingerprint] })).catch((error: unknown) => { throw GitError.is(error) ? error : new GitError('failed', String(error)); }))).message).toMatch(/read-only|EROFS|EACCES|Permission denied/i);
      expect(look(place.checkout)).toEqual(before);
      expect(existsSync(path.join(place.checkout, '.git/index.lock'))).toBe(false);
    } finally {
      if (asRoot) execFileSync('umount', [directory]);
      else chmodSync(directory, 0o755);
    }
    await applyState(toCheckout(place, { known: [fingerprint] }));
    expect(observe(place.checkout)).toEqual(observe(place.worktree));
  });

  describe('a process that is killed', () => {
    let program: Buffer;
    // What is written down, a file that is moved aside, and the index that takes its place, are steps too: it can die right after each (and at any call of the file system: fileExchange.test.ts).
    const renamesAreSteps = `import { appendFileSync, readFileSync } from 'node:fs'; import files from 'node:fs/promises';
      const { rename } = files;
      files.rename = async (from, to) => {
        await rename(from, to);
        if (!/(apply\\.json|plan\\.json|index|old.[0-9]+)$/.test(String(to))) return;
        appendFileSync(process.env.STEPS, 'x\\n');
        if (readFileSync(process.env.STEPS, 'utf8').length / 2 === Number(process.env.LAST_STEP) || String(to).endsWith(process.env.LAST_NAME || '/')) process.kill(process.pid, 'SIGKILL');
      };`;
    beforeAll(async () => {
      const outfile = path.join(temporaryDirectory(), 'apply.cjs');
      await build({
        stdin: { contents: `${renamesAreSteps} import { applyState, undoApply } from './src/git/apply'; const given = JSON.parse(process.argv[2]); void (given.undo ? undoApply(given.undo, { dryRun: false }) : applyState({ ...given, now: new Date(given.now) })).then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });`, resolveDir: path.resolve(import.meta.dirname, '../..'), loader: 'ts' },
        bundle: true, platform: 'node', format: 'cjs', outfile, logLevel: 'error',
      });
      program = readFileSync(outfile);
    });
    afterAll(removeTemporaryDirectories);

    /** Runs it in a process that dies at its `nth` step: when its git begins a command that changes something, or right after a rename; or after that to `name`. */
    const dieAt = async (options: unknown, nth: number, name = ''): Promise<NodeJS.Signals | null> => {
      const directory = temporaryDirectory();
      const file = path.join(directory, 'apply.cjs');
      writeFileSync(file, program);
      const real = execFileSync('sh', ['-c', 'command -v git'], { encoding: 'utf8' }).trim();
      writeFileSync(path.join(directory, 'git'), `#!/bin/sh
case "$*" in *update-ref*|*checkout-index*) echo x >>"${directory}/log"; [ "$(wc -l <"${directory}/log")" -ne ${nth} ] || { kill -9 $PPID; exit 1; };; esac
exec "${real}" "$@"
`);
      chmodSync(path.join(directory, 'git'), 0o755);
      const child = spawn(process.execPath, [file, JSON.stringify(options)], { env: { ...process.env, PATH: `${directory}:${process.env['PATH'] ?? ''}`, STEPS: path.join(directory, 'log'), LAST_STEP: String(nth), LAST_NAME: name }, stdio: ['ignore', 'ignore', 'inherit'] });
      return new Promise((resolve) => { child.once('exit', (_code, signal) => { resolve(signal); }); });
    };

    it('at any of its steps leaves a checkout that is mended: as it was', async () => {
      const stride = isWhole ? 1 : 3;
      const place = makePlace();
      dirty(place);
      const { fingerprint } = await captureWorkingState({ root: place.checkout, spool: path.join(place.directory, 'left') });
      const before = look(place.checkout);
      let [killed, done] = [0, 0];
      for (let nth = 1; ; nth += stride) {
        const signal = await dieAt(toCheckout(place, { known: [fingerprint] }), nth);
        if (signal !== 'SIGKILL') break;
        killed++;
        await mendApply(place.own);
        expect(existsSync(path.join(place.checkout, '.git/index.lock'))).toBe(false);
        expect(await mendApply(place.own)).toBe(false);
        if (existsSync(path.join(place.checkout, 'new/file'))) {
          // It had written down that all is done.
          expect(observe(place.checkout), `killed at step ${nth}`).toEqual(observe(place.worktree));
          await undoApply(place.own, { dryRun: false });
          done++;
        }
        expect(look(place.checkout), `killed at step ${nth}`).toEqual(before);
      }
      expect(killed).toBeGreaterThan(10 / stride);
      if (isWhole) expect(done).toBeGreaterThan(0);
      expect(observe(place.checkout)).toEqual(observe(place.worktree));
      expect(git(place.checkout, 'fsck', '--connectivity-only')).not.toMatch(/missing|broken/);

      // The same for undoing it: not begun, or mended to its end.
      const applied = look(place.checkout);
      for (let [nth, undone] = [1, 0]; ; nth += stride) {
        const signal = await dieAt({ undo: place.own }, nth);
        if (signal !== 'SIGKILL') {
          if (isWhole) expect(undone).toBeGreaterThan(2);
          break;
        }
        await mendApply(place.own);
        const isUndone = !existsSync(path.join(place.checkout, 'new/file'));
        expect(look(place.checkout), `killed at step ${nth} of undoing`).toEqual(isUndone ? before : applied);
        if (!isUndone) continue;
        undone++;
        await applyState(toCheckout(place, { known: [fingerprint] }));
      }
      expect(look(place.checkout)).toEqual(before);
    }, 240_000);

    it('keeps what was written into a half changed checkout before it is mended', async () => {
      const place = makePlace();
      dirty(place);
      const { fingerprint } = await captureWorkingState({ root: place.checkout, spool: path.join(place.directory, 'left') });
      const before = look(place.checkout);
      expect(await dieAt(toCheckout(place, { known: [fingerprint] }), 0, '.git/index')).toBe('SIGKILL');
      expect(existsSync(path.join(place.checkout, 'new/file'))).toBe(true);
      write(place.checkout, 'new/file', 'written by the user meanwhile\n');
      write(place.checkout, 'elsewhere', 'written by the user meanwhile\n');
      await mendApply(place.own);
      expect(look(place.checkout)).toEqual({ ...before, ...((now) => ({ status: now['status'], bytes: now['bytes'], files: now['files'] }))(look(place.checkout)) });
      expect(git(place.checkout, 'status', '--porcelain')).toBe('M  a.txt\n?? elsewhere\n?? u/');
      const found = git(place.checkout, 'for-each-ref', '--format=%(refname)', `refs/baton/snapshots/apply/${THREAD}`);
      expect(found).toMatch(/\/found$/);
      expect(git(place.checkout, 'show', `${found}^1:new/file`)).toBe('written by the user meanwhile');
    }, 120_000);
  });

  describe('a record that says an apply was cut off', () => {
    const recorded = (place: Place) => JSON.parse(readFileSync(path.join(place.own, 'apply.json'), 'utf8')) as { change: { stamp: string; phase: string; after: unknown }; previous?: unknown };
    /** As if the process had died just before it wrote that all is done, or in the middle of undoing it. */
    const cutOff = (place: Place, phase: 'changing' | 'undoing', record = recorded(place)) => {
      const { change } = record;
      writeFileSync(path.join(place.own, 'apply.json'), JSON.stringify({ ...record, change: { ...change, phase, after: phase === 'changing' ? null : change.after } }));
    };
    const foundOf = (place: Place) => git(place.checkout, 'for-each-ref', '--format=%(refname)', `refs/baton/snapshots/apply/${THREAD}`).split('\n').filter((name) => name.includes('/found'));
    let place: Place;
    beforeEach(async () => {
      place = makePlace();
      write(place.worktree, 'a.txt', 'by the thread\n');
      await applyState(toCheckout(place));
    });

    it('twice, with another file each time: what was found first stays beside what was found next', async () => {
      const record = recorded(place);
      for (const content of ['written by the user after the crash\n', 'ha']) {
        cutOff(place, 'undoing', record);
        write(place.checkout, 'a.txt', content);
        await mendApply(place.own);
      }
      const found = foundOf(place);
      expect(found.map((ref) => path.basename(ref))).toEqual(['found', 'found-2']);
      expect(found.map((ref) => git(place.checkout, 'show', `${ref}^1:a.txt`))).toEqual(['written by the user after the crash', 'ha']);
      expect((await listSnapshots(path.join(place.checkout, '.git'))).map(({ ref }) => ref)).toEqual(expect.arrayContaining(found));
    });

    it('alone is no reason to keep anything', async () => {
      cutOff(place, 'changing');
      await mendApply(place.own);
      expect(git(place.checkout, 'status', '--porcelain')).toBe('');
      expect(foundOf(place)).toEqual([]);
    });

    it('is told by a dry run, which writes nothing; undoing takes back that apply, and no other', async () => {
      const first = recorded(place);
      write(place.worktree, 'b.txt', 'more by the thread\n');
      await applyState(toCheckout(place));
      cutOff(place, 'changing', { ...recorded(place), previous: first.change });
      const before = [look(place.checkout), recorded(place), git(place.checkout, 'for-each-ref')];
      const told = { target: place.checkout, changes: [expect.objectContaining({ path: 'b.txt' }) as unknown] };
      expect(await undoApply(place.own, { dryRun: true })).toEqual(told);
      expect((await planApply(toCheckout(place))).notes.join()).toMatch(/cut off in .*taken back before anything else/);
      expect([look(place.checkout), recorded(place), git(place.checkout, 'for-each-ref')]).toEqual(before);
      expect(await undoApply(place.own, { dryRun: false })).toEqual(told);
      expect(git(place.checkout, 'status', '--porcelain')).toBe(' M a.txt');
      await undoApply(place.own, { dryRun: false });
      expect(git(place.checkout, 'status', '--porcelain')).toBe('');
    });

    it('and what was staged meanwhile, in whatever file, is kept', async () => {
      cutOff(place, 'changing');
      write(place.checkout, 'b.txt', 'staged with care\n');
      git(place.checkout, 'add', 'b.txt');
      git(place.checkout, 'restore', '--worktree', '--source=HEAD', 'b.txt');
      await mendApply(place.own);
      expect(git(place.checkout, 'show', `${foundOf(place)[0] ?? ''}^1^1:b.txt`)).toBe('staged with care');
    });

    it('and an operation that was begun meanwhile is kept', async () => {
      cutOff(place, 'changing');
      const head = git(place.checkout, 'rev-parse', 'HEAD');
      writeFileSync(path.join(place.checkout, '.git/CHERRY_PICK_HEAD'), `${head}\n`);
      await mendApply(place.own);
      expect(git(place.checkout, 'cat-file', 'commit', foundOf(place)[0] ?? '')).toContain('tree');
    });

    it('and a commit that was made meanwhile is kept, as all that was there', async () => {
      cutOff(place, 'changing');
      git(place.checkout, 'commit', '-q', '--allow-empty', '-m', 'meanwhile');
      const commit = git(place.checkout, 'rev-parse', 'HEAD');
      await mendApply(place.own);
      expect(git(place.checkout, 'for-each-ref', '--contains', commit)).toMatch(/\/found$/m);
    });
  });

  it('a link that takes the place of a directory of the checkout leads nobody out', async () => {
    const place = makePlace();
    const outside = path.join(place.directory, 'outside');
    mkdirSync(outside);
    write(place.worktree, '.gitignore', '');
    write(place.worktree, 'linked.log/new', 'x\n');
    symlinkSync(outside, path.join(place.checkout, 'linked.log'));
    expect((await refused(applyState(toCheckout(place)))).reason).toBe('apply-refused');
    expect(readdirSync(outside)).toEqual([]);
  });
});
