import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { appendFileSync, chmodSync, existsSync, linkSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { encodeHeader, type FileHeader } from '../../src/git/fileArchive';
import { placeFiles, takeBackFiles, type AnnouncedFiles } from '../../src/git/placeFiles';
import { sealFiles, type SealedFiles } from '../../src/git/sealFiles';
import { travellingFiles, travelLimits, type TravelLimits } from '../../src/git/travellingFiles';
import { git, observe, photograph, removeTemporaryDirectories, temporaryDirectory, write } from './laboratory';

let directory: string;
let laptop: string;
let server: string;
let outside: string;

beforeEach(() => {
  directory = temporaryDirectory();
  [laptop, server, outside] = ['laptop', 'server', 'outside'].map((name) => path.join(directory, name)) as [string, string, string];
  mkdirSync(outside);
  write(outside, 'secret', 'somebody else\'s\n');
  git(directory, 'init', '-q', laptop);
  write(laptop, '.gitignore', '.env*\nbuild/\n*.log\n');
  write(laptop, 'tracked.txt', 't\n');
  git(laptop, 'add', '-A');
  git(laptop, 'commit', '-qm', 'first');
  git(directory, 'clone', '-q', laptop, server);
});
afterEach(removeTemporaryDirectories);

const list = (...patterns: string[]) => write(laptop, '.worktreeinclude', `${patterns.join('\n')}\n`);
const shown = async () => {
  const found = await travellingFiles(laptop);
  if (found === null) throw new Error('There is a list.');
  return found;
};
const archive = () => path.join(directory, 'archive');
const seal = async (agreed?: readonly string[]): Promise<SealedFiles> => sealFiles({ root: laptop, agreed: new Set(agreed ?? (await shown()).names), path: archive() });
const undo = () => path.join(directory, 'undo');
const place = (announced: AnnouncedFiles, limits: TravelLimits = travelLimits) => placeFiles({ archive: archive(), worktree: server, undo: undo(), scratch: directory, announced, limits, from: 'laptop' });
const there = (name: string) => readFileSync(path.join(server, name), 'utf8');

/** An archive that no honest source makes: `sha256` is right for what it holds. */
function forge(...files: (Partial<FileHeader> & { path: string; content?: string })[]): AnnouncedFiles {
  const digest = createHash('sha256');
  let contentBytes = 0;
  const parts = files.map(({ content = 'x', ...given }) => {
    const file = { mode: 0o600, mtimeMs: 0, bytes: content.length, directories: [...given.path.matchAll(/\//g)].map(() => 0o755), ...given };
    contentBytes += file.bytes;
    digest.update(`${file.path}\0${file.mode.toString(8)} ${file.bytes} ${createHash('sha256').update(content).digest('hex')}\n`, 'latin1');
    return Buffer.concat([encodeHeader(file), Buffer.from(content)]);
  });
  writeFileSync(archive(), Buffer.concat(parts));
  return { files: files.length, contentBytes, sha256: digest.digest('hex') };
}

describe('ignored files that cross to another host', () => {
  it('arrive with their bytes, modes and times, and change nothing that git sees on either side', async () => {
    write(laptop, '.env', 'KEY=1\n', 0o600);
    write(laptop, 'build/out/tool', 'program', 0o755);
    write(laptop, Buffer.from([...Buffer.from('build/'), 0xff, 0x0a]), 'odd\n');
    write(laptop, 'build/big', Buffer.alloc(700_000, 'b'));
    write(laptop, 'build/empty', '');
    write(laptop, 'other.log', 'not listed\n');
    chmodSync(path.join(laptop, 'build/out'), 0o750);
    utimesSync(path.join(laptop, '.env'), 1_600_000_000, 1_500_000_000);
    list('.env', 'build/', '*.log', '!other.log');
    const before = { server: observe(server), laptop: photograph(laptop) };
    const { names, bytes, secrets, refused, left } = await shown();
    expect({ count: names.length, bytes, secrets, refused, left }).toEqual({ count: 5, bytes: 6 + 7 + 4 + 700_000, secrets: ['.env'], refused: null, left: null });
    const sealed = await seal();
    const placed = await place(sealed);
    expect(placed).toEqual({ sha256: sealed.sha256, notes: ['5 ignored files (700017 bytes) came from laptop, as you wished.'] });
    expect(there('.env')).toBe('KEY=1\n');
    expect(statSync(path.join(server, '.env'))).toMatchObject({ mode: 0o100600, mtimeMs: 1_500_000_000_000 });
    expect(statSync(path.join(server, 'build/out/tool')).mode & 0o777).toBe(0o755);
    expect(statSync(path.join(server, 'build/out')).mode & 0o777).toBe(0o750);
    expect(readFileSync(path.join(server, 'build/big')).equals(readFileSync(path.join(laptop, 'build/big')))).toBe(true);
    expect(readdirSync(path.join(server, 'build'), { encoding: 'latin1' }).sort()).toEqual(['big', 'empty', 'out', 'ÿ\n']);
    expect({ server: observe(server), laptop: photograph(laptop) }).toEqual(before);
    await takeBackFiles({ archive: archive(), undo: undo() });
    expect(existsSync(path.join(server, 'build')) || existsSync(path.join(server, '.env'))).toBe(false);
    expect(existsSync(undo())).toBe(false);
  });

  it('are those of the list that was shown: what appeared since is not sent, and said; what has gone is said', async () => {
    write(laptop, '.env', 'KEY\n');
    write(laptop, '.env.gone', 'x\n');
    list('.env*');
    const { names } = await shown();
    write(laptop, '.env.new', 'SECRET\n');
    write(laptop, '.env', 'KEY=changed\n');
    rmSync(path.join(laptop, '.env.gone'));
    const sealed = await seal(names);
    expect(sealed).toMatchObject({ files: 1, notes: ['Not sent, because the list that you saw did not have it yet: ".env.new".', '1 of the ignored files that you saw is no longer there, or no longer listed.'] });
    expect(readFileSync(archive(), 'utf8')).not.toContain('SECRET');
    await place(sealed);
    expect([there('.env'), existsSync(path.join(server, '.env.new'))]).toEqual(['KEY=changed\n', false]);
  });

  it('never take the place of something: what differs is named, what is the same is as good as placed', async () => {
    write(laptop, '.env', 'theirs\n');
    write(laptop, '.env.same', 'same\n');
    write(laptop, 'build/x', 'x\n');
    write(server, '.env', 'mine\n');
    write(server, '.env.same', 'same\n');
    write(server, 'build/x/deep', 'mine\n');
    list('.env*', 'build/');
    const sealed = await seal();
    const placed = await place(sealed);
    expect(placed.sha256).toBe(sealed.sha256);
    expect(placed.notes).toEqual(['1 ignored file (5 bytes) came from laptop, as you wished.', '2 of the ignored files from laptop were not placed: ".env" (there already), "build/x" (there already).']);
    await takeBackFiles({ archive: archive(), undo: undo() });
    expect([there('.env'), there('.env.same'), there('build/x/deep')]).toEqual(['mine\n', 'same\n', 'mine\n']);
  });

  it('are plain files only; links, FIFOs, sockets of others and what runs as another user stay and are named', async () => {
    mkdirSync(path.join(laptop, 'build'));
    symlinkSync(path.join(outside, 'secret'), path.join(laptop, 'build/link'));
    symlinkSync(outside, path.join(laptop, 'build/linked'));
    linkSync(path.join(outside, 'secret'), path.join(laptop, 'build/hard'));
    execFileSync('mkfifo', [path.join(laptop, 'build/fifo')]);
    write(laptop, 'build/setuid', 'x\n', 0o4755);
    list('build/');
    const found = await shown();
    expect([found.names, found.left]).toEqual([['build/hard'], '"build/fifo" (a FIFO, socket or device), "build/link" (a symbolic link), "build/linked" (a symbolic link), "build/setuid" (it runs as another user)']);
    // Agreed to as plain files, exchanged since.
    const sealed = await seal(['build/hard', 'build/link', 'build/linked/secret', 'build/setuid', 'build/fifo']);
    expect(sealed.files).toBe(1);
    expect(sealed.notes.join()).toMatch(/"build\/link" \(a symbolic link\), "build\/setuid" \(it runs as another user\)/);
  });

  it('are none where there is no list, and refused where they are too many or too large', async () => {
    expect(await travellingFiles(laptop)).toBeNull();
    for (const name of ['a', 'b', 'c']) write(laptop, `build/${name}`, '12345');
    list('build/');
    expect((await travellingFiles(laptop, { files: 2, bytes: 100 }))?.refused).toMatch(/lists more than 2 files/);
    expect((await travellingFiles(laptop, { files: 3, bytes: 14 }))?.refused).toMatch(/has 15 bytes; at most 14/);
    await expect(sealFiles({ root: laptop, agreed: new Set(['build/a', 'build/b', 'build/c']), path: archive(), limits: { files: 3, bytes: 14 } })).rejects.toMatchObject({ reason: 'too-large' });
  });
});

describe('hostile files that arrive (H1, H9)', () => {
  it.each(['../x', 'build/../../x', '/etc/x', 'build//x', './x', '.git/hooks/post-checkout', '.GIT/config', 'build/git~1/x', 'build/.g\u00e2\u0080\u008cit/config', 'build\\..\\x', '.git. /config'])('the path %j is refused, and nothing is placed', async (name) => {
    const announced = forge({ path: name, directories: [...name.matchAll(/\//g)].map(() => 0o755) });
    await expect(place(announced)).rejects.toMatchObject({ reason: 'hostile-content' });
    expect([readdirSync(server).sort(), readdirSync(outside), existsSync(undo())]).toEqual([['.git', '.gitignore', 'tracked.txt'], ['secret'], false]);
  });

  it('tracked paths, paths that are merely untracked there, and git\'s own rules are not written', async () => {
    write(server, '.git/info/exclude', '.gitignore\n.gitattributes\n');
    write(server, 'forced.log', 'tracked although ignored\n');
    git(server, 'add', '-f', 'forced.log');
    git(server, 'commit', '-qm', 'forced');
    rmSync(path.join(server, 'forced.log'));
    const before = observe(server);
    const placed = await place(forge({ path: '.env' }, { path: 'build/.gitignore' }, { path: 'forced.log' }, { path: 'src/.gitattributes' }, { path: 'src/.gitignore' }, { path: 'tracked.txt' }, { path: 'untracked.txt' }));
    expect(observe(server)).toEqual(before);
    expect(placed.notes).toEqual([
      '2 ignored files (2 bytes) came from laptop, as you wished.',
      '5 of the ignored files from laptop were not placed: "forced.log" (not ignored in the worktree), "src/.gitattributes" (it would change what git ignores), "src/.gitignore" (it would change what git ignores), "tracked.txt" (not ignored in the worktree), "untracked.txt" (not ignored in the worktree).',
    ]);
    expect(existsSync(path.join(server, 'src'))).toBe(false);
  });

  it('nothing is written through a link, into another repository, or over a directory', async () => {
    mkdirSync(path.join(server, 'build/inner'), { recursive: true });
    symlinkSync(outside, path.join(server, 'build/out'));
    symlinkSync(path.join(outside, 'new'), path.join(server, 'build/dangling'));
    git(directory, 'init', '-q', path.join(server, 'build/inner'));
    mkdirSync(path.join(server, 'build/taken'));
    const announced = forge({ path: 'build/dangling' }, { path: 'build/inner/x' }, { path: 'build/out/x' }, { path: 'build/taken' }, { path: 'build/y' });
    const placed = await place(announced);
    expect(placed.notes[1]).toMatch(/^4 of .*"build\/inner\/x" \(in a repository of its own\), "build\/out\/x" \(something else is in the way\), "build\/dangling" \(there already\), "build\/taken" \(there already\)\.$/);
    expect([readdirSync(outside), readdirSync(path.join(server, 'build/inner')), there('build/y')]).toEqual([['secret'], ['.git'], 'x']);
    expect(lstatSync(path.join(server, 'build/dangling')).isSymbolicLink()).toBe(true);
  });

  it('a file that would be a directory of the next is a file, and the next is in its way', async () => {
    expect((await place(forge({ path: 'build/a' }, { path: 'build/a/b' }))).notes[1]).toMatch(/"build\/a\/b" \(something else is in the way\)/);
    expect(there('build/a')).toBe('x');
  });

  it.each([
    ['cut off', () => writeFileSync(archive(), readFileSync(archive()).subarray(0, -1))],
    ['longer than announced', () => appendFileSync(archive(), encodeHeader({ path: 'build/z', mode: 0o600, mtimeMs: 0, bytes: 0, directories: [0o755] }))],
    ['changed in one byte', () => writeFileSync(archive(), Buffer.concat([readFileSync(archive()).subarray(0, -1), Buffer.from('y')]))],
    ['no archive at all', () => writeFileSync(archive(), Buffer.alloc(9000, 0xff))],
    ['one whose header has another type', () => writeFileSync(archive(), Buffer.from('\0\0\0\u0002[]'))],
  ])('an archive that is %s is not used', async (_, harm) => {
    const announced = forge({ path: 'build/a' }, { path: 'build/b' });
    harm();
    await expect(place(announced)).rejects.toMatchObject({ reason: expect.stringMatching(/^(hostile-content|corrupt-bundle)$/) as string });
    expect(existsSync(path.join(server, 'build'))).toBe(false);
  });

  it('twins, another order, bits of another user and more than is allowed are refused', async () => {
    for (const files of [[{ path: 'build/a' }, { path: 'build/a' }], [{ path: 'build/b' }, { path: 'build/a' }]]) await expect(place(forge(...files))).rejects.toMatchObject({ reason: 'hostile-content' });
    expect(() => forge({ path: 'build/a', mode: 0o4755 })).toThrow();
    await expect(place(forge({ path: 'build/a' }, { path: 'build/b' }), { files: 1, bytes: 10 })).rejects.toMatchObject({ reason: 'too-large' });
    await expect(place(forge({ path: 'build/a', content: '12345678901' }), { files: 1, bytes: 10 })).rejects.toMatchObject({ reason: 'too-large' });
    expect(existsSync(path.join(server, 'build'))).toBe(false);
  });
});

describe('taking back', () => {
  it('removes what was placed, whole or in part, and leaves what somebody wrote there since', async () => {
    for (const name of ['a', 'b', 'c', 'd/e']) write(laptop, `build/${name}`, `content of ${name}\n`);
    list('build/');
    await place(await seal());
    // As a crash leaves one: its beginning only. And one that was changed, and one that was exchanged for a link.
    writeFileSync(path.join(server, 'build/a'), 'content');
    writeFileSync(path.join(server, 'build/b'), 'my own\n');
    rmSync(path.join(server, 'build/c'));
    symlinkSync(path.join(outside, 'secret'), path.join(server, 'build/c'));
    await takeBackFiles({ archive: archive(), undo: undo() });
    await takeBackFiles({ archive: archive(), undo: undo() });
    expect(readdirSync(path.join(server, 'build')).sort()).toEqual(['b', 'c']);
    expect([there('build/b'), readdirSync(outside)]).toEqual(['my own\n', ['secret']]);
  });

  it('has nothing to do where the worktree is gone', async () => {
    write(laptop, '.env', 'x\n');
    list('.env');
    await place(await seal());
    rmSync(server, { recursive: true });
    await takeBackFiles({ archive: archive(), undo: undo() });
    expect(existsSync(undo())).toBe(false);
  });
});
