import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formatBundleHeader } from '../../src/git/bundleHeader';
import { createBundle } from '../../src/git/bundle';
import { captureWorkingState } from '../../src/git/capture';
import type { GitErrorReason } from '../../src/git/gitError';
import { receiveBundle, type QuarantineLimits } from '../../src/git/quarantine';
import { git, makePair, photograph, removeTemporaryDirectories, write, type Pair } from './laboratory';

let pair: Pair;
let number = 0;
beforeAll(() => { pair = makePair(); });
afterAll(removeTemporaryDirectories);

function store(type: string, content: Buffer | string): string {
  return execFileSync('git', ['hash-object', '-t', type, '-w', '--literally', '--stdin'], { cwd: pair.laptop, input: content, encoding: 'utf8' }).trim();
}
function tree(...entries: (readonly [mode: string, name: string | Buffer, oid: string])[]): string {
  return store('tree', Buffer.concat(entries.flatMap(([mode, name, oid]) => [Buffer.from(`${mode} `), Buffer.from(name), Buffer.from([0]), Buffer.from(oid, 'hex')])));
}
function commit(treeId: string, ...parents: string[]): string {
  return store('commit', [`tree ${treeId}`, ...parents.map((parent) => `parent ${parent}`), 'author E <e> 1700000000 +0000', 'committer E <e> 1700000000 +0000', '', 'x', ''].join('\n'));
}

const manifest = () => ({
  version: 1, objectFormat: 'sha1', head: git(pair.laptop, 'rev-parse', 'HEAD') as string | null, branch: 'refs/heads/main', intentToAdd: [] as unknown[], flags: [] as unknown[], emptyDirectories: [] as unknown[], lfsFiles: [] as unknown[], autoMerge: false,
  operation: { kind: null as string | null, files: [] as unknown[], refs: [] as unknown[], branch: null as unknown }, conversion: { autocrlf: 'false', eol: 'native' }, submodules: [] as unknown[], sparse: null,
});

interface Crafted {
  readonly file: string;
  readonly tip: string;
  readonly bytes: number;
  readonly sha256: string;
}

function pack(tip: string, change: (pack: Buffer) => Buffer = (whole) => whole): Crafted {
  const head = git(pair.laptop, 'rev-parse', 'HEAD');
  const content = execFileSync('git', ['pack-objects', '--revs', '--thin', '--stdout', '-q', '--delta-base-offset'], { cwd: pair.laptop, input: `${tip}\n^${head}\n`, maxBuffer: 1 << 28 });
  const bytes = Buffer.concat([formatBundleHeader({ objectFormat: 'sha1', prerequisites: [head], tip }), change(content)]);
  const file = path.join(pair.directory, `crafted-${++number}`);
  writeFileSync(file, bytes);
  return { file, tip, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** The bundle of a state whose working tree, or manifest, is somebody else's idea. */
function craft(worktree: string, stated: unknown = manifest()): Crafted {
  const head = git(pair.laptop, 'rev-parse', 'HEAD');
  const index = commit(git(pair.laptop, 'rev-parse', 'HEAD^{tree}'), head);
  const blob = store('blob', JSON.stringify(stated));
  return pack(commit(tree(['100644', 'manifest.json', blob]), commit(worktree, index)));
}

async function expectRefused(crafted: Crafted, reasons: readonly GitErrorReason[], limits?: Partial<QuarantineLimits>): Promise<void> {
  const before = photograph(pair.server);
  const quarantine = path.join(pair.directory, `quarantine-${++number}`);
  const error: unknown = await receiveBundle({ root: pair.server, ...crafted, quarantine, ...(limits === undefined ? {} : { limits }) }).then(() => 'accepted', (refusal: unknown) => refusal);
  expect(error).toMatchObject({ name: 'GitError' });
  expect(reasons, String(error)).toContain((error as { reason: GitErrorReason }).reason);
  expect(existsSync(quarantine), 'the quarantine is gone').toBe(false);
  expect(photograph(pair.server), 'nothing was written').toEqual(before);
}

const blob = () => store('blob', 'evil\n');

describe('a bundle with a hostile tree is refused, and nothing of it stays', () => {
  const names: readonly (readonly [string, string])[] = [
    ['.git', 'as it is'], ['.GIT', 'in capitals'], ['git~1', 'by its short name'], ['.git ', 'with a space'], ['.git.', 'with a dot'], ['.git::$INDEX_ALLOCATION', 'as a stream'],
    ['.g\u200cit', 'with an ignored code point'], ['..', 'as a step upwards'], ['.', 'as itself'], ['..\\evil', 'upwards by backslash'], ['a\\.git\\hooks', 'below .git by backslash'], ['a/b', 'with a slash'],
    ['GIT~1', 'by its short name in capitals'], ['git~2', 'by another short name'], ['.git . ', 'with dots and spaces'], ['.git:x', 'as a stream without a name'], ['.g\u200dI\u200eT', 'with ignored code points, in capitals'], ['\ufeff.git', 'behind a byte order mark'],
    ['../evil', 'upwards'], ['/tmp/evil', 'from the root'], ['a\\..\\b', 'upwards in the middle by backslash'],
  ];
  it.each(names)('%j (%s)', async (name) => {
    await expectRefused(craft(tree(['100644', name, blob()])), ['hostile-content', 'missing-objects', 'corrupt-bundle']);
    await expectRefused(craft(tree(['40000', 'sub', tree(['40000', name, tree(['100644', 'config', blob()])])])), ['hostile-content', 'missing-objects', 'corrupt-bundle']);
  });
  it('a symbolic link into the Git directory', async () => {
    await expectRefused(craft(tree(['120000', 'hooks', store('blob', '.git/hooks')])), ['hostile-content']);
    await expectRefused(craft(tree(['120000', 'hooks', store('blob', 'sub/../.GIT/x')])), ['hostile-content']);
  });
  it('.gitmodules as a symbolic link, or with a command', async () => {
    await expectRefused(craft(tree(['120000', '.gitmodules', store('blob', 'x')])), ['hostile-content', 'corrupt-bundle']);
    await expectRefused(craft(tree(['100644', '.gitmodules', store('blob', '[submodule "a"]\n\tpath = a\n\turl = -u./x\n\tupdate = !touch canary\n')])), ['hostile-content', 'corrupt-bundle']);
  });
  it('a submodule whose path ends in a carriage return', async () => {
    await expectRefused(craft(tree(['160000', 'sub\r', git(pair.laptop, 'rev-parse', 'HEAD')])), ['hostile-content']);
  });
  it('a submodule whose path is an option', async () => {
    await expectRefused(craft(tree(['160000', '-u./x', git(pair.laptop, 'rev-parse', 'HEAD')])), ['hostile-content']);
  });
  it('entries that are out of order, or padded', async () => {
    await expectRefused(craft(tree(['100644', 'b', blob()], ['100644', 'a', blob()])), ['corrupt-bundle', 'hostile-content']);
    await expectRefused(craft(tree(['0100644', 'a', blob()])), ['corrupt-bundle', 'hostile-content']);
  });
  it('a path that is longer than any file system takes', async () => {
    let level = tree(['100644', 'x', blob()]);
    for (let depth = 0; depth < 20; depth++) level = tree(['40000', 'd'.repeat(250), level]);
    await expectRefused(craft(level), ['hostile-content']);
  });
  it('two entries of one name, a link and a directory', async () => {
    await expectRefused(craft(tree(['120000', 'a', store('blob', '/tmp')], ['40000', 'a', tree(['100644', 'x', blob()])])), ['hostile-content', 'corrupt-bundle']);
  });
  it('a tree of a hundred million paths in a few hundred bytes', async () => {
    let level = tree(...Array.from({ length: 10 }, (_x, n) => ['100644', String(n), blob()] as const));
    for (let depth = 0; depth < 7; depth++) level = tree(...Array.from({ length: 10 }, (_x, n) => ['40000', String(n), level] as const));
    const crafted = craft(level);
    expect(crafted.bytes).toBeLessThan(4096);
    const began = performance.now();
    await expectRefused(crafted, ['too-large'], { paths: 100_000 });
    expect(performance.now() - began, 'no git gathers all of them before one is counted').toBeLessThan(5000);
  });
  it('a file that unpacks to more than the limit', async () => {
    await expectRefused(craft(tree(['100644', 'zeros', store('blob', Buffer.alloc(40 * 1024 * 1024))])), ['too-large'], { objectBytes: 16 * 1024 * 1024 });
  });
});

describe('a bundle with a hostile manifest is refused', () => {
  const clean = () => tree(['100644', 'x', blob()]);
  const changes: readonly (readonly [string, (stated: ReturnType<typeof manifest>) => unknown])[] = [
    ['an operation file outside the list', (stated) => ({ ...stated, operation: { ...stated.operation, kind: 'merge', files: [['../hooks/pre-commit', 'x']] } })],
    ['a hook', (stated) => ({ ...stated, operation: { ...stated.operation, kind: 'merge', files: [['hooks/pre-commit', 'x']] } })],
    ['the config', (stated) => ({ ...stated, operation: { ...stated.operation, kind: 'merge', files: [['config', '[core]']] } })],
    ['MERGE_HEAD that is no object name', (stated) => ({ ...stated, operation: { ...stated.operation, kind: 'merge', files: [['MERGE_HEAD', '--upload-pack=x\n']] } })],
    ['an author script with a command', (stated) => ({ ...stated, operation: { ...stated.operation, kind: 'rebase', files: [['rebase-merge/author-script', "GIT_AUTHOR_NAME='a'\n$(touch canary)\n"]] } })],
    ['a user\'s branch as a ref of the operation', (stated) => ({ ...stated, operation: { ...stated.operation, kind: 'bisect', refs: [['refs/heads/main', stated.head]] } })],
    ['a replacement ref', (stated) => ({ ...stated, operation: { ...stated.operation, kind: 'bisect', refs: [['refs/bisect/../replace/x', stated.head]] } })],
    ['a commit that is not part of it', (stated) => ({ ...stated, operation: { ...stated.operation, kind: 'bisect', refs: [['refs/bisect/bad', stated.head]] } })],
    ['an unknown key', (stated) => ({ ...stated, hooks: [] })],
    ['a path that is a number', (stated) => ({ ...stated, emptyDirectories: [7] })],
    ['an empty directory elsewhere', (stated) => ({ ...stated, emptyDirectories: ['../evil'] })],
    ['a flag for a Git directory', (stated) => ({ ...stated, flags: [{ path: '.git/config', assumeUnchanged: true, skipWorktree: false, present: true }] })],
    ['another HEAD', (stated) => ({ ...stated, head: null })],
    ['a branch that git does not allow', (stated) => ({ ...stated, branch: 'refs/heads/a..b' })],
    ['a list of refs to delete that names a branch', (stated) => ({ ...stated, operation: { ...stated.operation, kind: 'rebase', files: [['rebase-merge/refs-to-delete', 'refs/rewritten/x\nrefs/rewritten/../heads/main\n']] } })],
    ['options for git am that are no options of it', (stated) => ({ ...stated, operation: { ...stated.operation, kind: 'am', files: [['rebase-apply/next', '$(touch canary)\n']] } })],
    ['a million and one directories', (stated) => ({ ...stated, emptyDirectories: Array.from({ length: 1_000_001 }, () => 'd') })],
    ['refs without end', (stated) => ({ ...stated, operation: { ...stated.operation, kind: 'bisect', refs: Array.from({ length: 100_001 }, (_x, n) => [`refs/bisect/${n}`, stated.head]) } })],
    ['a name with __proto__', (stated) => JSON.parse(JSON.stringify(stated).replace(/}$/, ',"__proto__":{"version":1}}')) as unknown],
    ['no JSON', () => undefined],
  ];
  it.each(changes)('%s', async (_name, change) => {
    await expectRefused(craft(clean(), change(manifest()) ?? 'x'.slice(1)), ['hostile-content']);
  });
  it('and an honest one made the same way is taken', async () => {
    const crafted = craft(clean());
    const taken = await receiveBundle({ root: pair.server, ...crafted, quarantine: path.join(pair.directory, 'honest') });
    expect(taken.head).toBe(git(pair.laptop, 'rev-parse', 'HEAD'));
  });
});

describe('a damaged bundle is refused', () => {
  const whole = async () => {
    write(pair.laptop, 'u.txt', 'untracked\n');
    const spool = path.join(pair.directory, `spool-${++number}`);
    const capture = await captureWorkingState({ root: pair.laptop, spool });
    const file = path.join(spool, 'bundle');
    const made = await createBundle({ capture, haves: [git(pair.server, 'rev-parse', 'HEAD')], file });
    return { file, tip: capture.commits.manifest, bytes: made.bytes, sha256: made.sha256 };
  };
  const restated = (crafted: Crafted, content: Buffer): Crafted => {
    writeFileSync(crafted.file, content);
    return { ...crafted, bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') };
  };
  it('with another hash, length or tip than was announced', async () => {
    const honest = await whole();
    await expectRefused({ ...honest, sha256: '0'.repeat(64) }, ['corrupt-bundle']);
    await expectRefused({ ...honest, bytes: honest.bytes + 1 }, ['corrupt-bundle']);
    await expectRefused({ ...honest, tip: '1'.repeat(40) }, ['corrupt-bundle']);
  });
  it('truncated, flipped, with bytes after the pack, or empty', async () => {
    const honest = await whole();
    const content = readFileSync(honest.file);
    await expectRefused(restated(honest, content.subarray(0, -7)), ['corrupt-bundle']);
    const flipped = Buffer.from(content);
    flipped[content.length - 60] = (flipped[content.length - 60] ?? 0) ^ 4;
    await expectRefused(restated(honest, flipped), ['corrupt-bundle']);
    await expectRefused(restated(honest, Buffer.concat([content, Buffer.from('more')])), ['corrupt-bundle']);
    await expectRefused(restated(honest, Buffer.alloc(0)), ['corrupt-bundle']);
  });
  it('with another ref, a wildcard capability, or a filter in its header', async () => {
    const honest = await whole();
    const content = readFileSync(honest.file);
    const text = content.toString('latin1');
    for (const change of [text.replace('refs/baton/handoff', 'refs/heads/main'), text.replace('# v2 git bundle\n', '# v3 git bundle\n@filter=blob:none\n'), text.replace('\n\n', `\n${honest.tip} refs/replace/x\n\n`)]) {
      await expectRefused(restated(honest, Buffer.from(change, 'latin1')), ['corrupt-bundle']);
    }
  });
  it('that stands on commits which are not there, or leaves objects out', async () => {
    const other = makePair();
    write(other.laptop, 'x', 'x');
    git(other.laptop, 'add', 'x');
    git(other.laptop, 'commit', '-qm', 'only there');
    const missing = git(other.laptop, 'rev-parse', 'HEAD');
    const honest = await whole();
    const text = readFileSync(honest.file).toString('latin1');
    await expectRefused(restated(honest, Buffer.from(text.replace(/\n-[0-9a-f]{40}/, `\n-${missing}`), 'latin1')), ['missing-objects']);
    const absent = createHash('sha1').update('never stored').digest('hex');
    const lacking = craft(tree(['100644', 'present', blob()]));
    // The commit's tree names a blob that no pack holds.
    const tip = execFileSync('git', ['hash-object', '-t', 'tree', '-w', '--literally', '--stdin'], { cwd: pair.laptop, input: Buffer.concat([Buffer.from('100644 x\0'), Buffer.from(absent, 'hex')]), encoding: 'utf8' }).trim();
    expect(lacking.tip).not.toBe(tip);
    const objects = [tip].join('\n');
    const head = git(pair.laptop, 'rev-parse', 'HEAD');
    const index = commit(git(pair.laptop, 'rev-parse', 'HEAD^{tree}'), head);
    const worktree = commit(tip, index);
    const stated = store('blob', JSON.stringify(manifest()));
    const top = tree(['100644', 'manifest.json', stated]);
    const last = commit(top, worktree);
    const content = execFileSync('git', ['pack-objects', '--stdout', '-q'], { cwd: pair.laptop, input: `${[objects, index, worktree, stated, top, last].join('\n')}\n` });
    const bytes = Buffer.concat([formatBundleHeader({ objectFormat: 'sha1', prerequisites: [head], tip: last }), content]);
    const file = path.join(pair.directory, 'lacking');
    writeFileSync(file, bytes);
    await expectRefused({ file, tip: last, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }, ['missing-objects']);
  });
});
