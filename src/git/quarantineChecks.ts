import { Buffer } from 'node:buffer';
import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { bytePath, type BytePath } from './bytePath';
import { lines, nulRecords, runGit, streamGit, type GitOptions } from './git';
import { GitError } from './gitError';
import { manifestSchema, pathsOf, type Manifest } from './manifest';
import { checkLinkTarget, checkPath, NameTwins, type NameRules } from './pathNames';
import type { QuarantineLimits } from './quarantine';
import type { ObjectId } from './repository';

export interface TreeEntry {
  readonly path: BytePath;
  readonly mode: string;
  readonly type: string;
  readonly oid: ObjectId;
}

/** All entries of a tree, directories too, as a stream: the reader decides when it has seen too many. */
export async function* treeEntries(tree: ObjectId, options: GitOptions): AsyncGenerator<TreeEntry, void, undefined> {
  for await (const record of nulRecords(streamGit(['ls-tree', '-r', '-t', '-z', '--full-tree', tree], options))) {
    const text = bytePath(record);
    // `<mode> <type> <oid>\t<path>`. Cut by hand: this is the one place that sees every file of a repository.
    const afterType = text.indexOf(' ', 7);
    const tab = text.indexOf('\t', afterType);
    const [mode, type, oid, name] = [text.slice(0, 6), text.slice(7, afterType), text.slice(afterType + 1, tab), text.slice(tab + 1)];
    if (afterType === -1 || tab === -1 || name === '') throw new GitError('hostile-content', 'A tree in the bundle that arrived has an entry without a name. Nothing of it was used.');
    yield { path: name, mode, type, oid };
  }
}

/** Refuses a tree of more paths than the limit, which a few hundred bytes can hold; git writes them as it finds them. @throws {GitError} `too-large` */
export async function expectBounded(tree: ObjectId, options: GitOptions, limits: QuarantineLimits): Promise<void> {
  let count = 0;
  for await (const chunk of streamGit(['ls-tree', '-r', '-t', '-z', '--name-only', '--full-tree', tree], options)) {
    for (let nul = chunk.indexOf(0); nul !== -1; nul = chunk.indexOf(0, nul + 1)) count++;
    if (count > limits.paths) throw tooManyPaths(limits);
  }
}

function tooManyPaths(limits: QuarantineLimits): GitError {
  return new GitError('too-large', `A tree in the bundle that arrived has more than ${limits.paths} paths. Nothing of it was used.`);
}

/**
 * The entries of `tree` that `known` does not have at the same path, directories too. Together with all entries of `known`
 * they are all names of `tree`, without listing what the two have in common. Git gathers them before it writes the first,
 * so both trees must be known to be bounded ({@link expectBounded}, {@link checkTree}).
 */
export async function* differingEntries(known: ObjectId, tree: ObjectId, options: GitOptions): AsyncGenerator<TreeEntry, void, undefined> {
  const records = nulRecords(streamGit(['diff-tree', '-r', '-t', '-z', '--raw', '--no-renames', '--no-abbrev', known, tree], options));
  for await (const record of records) {
    const [, mode = '', , oid = ''] = record.toString('latin1').slice(1).split(' ');
    const name = await records.next();
    if (name.done === true) throw new GitError('hostile-content', 'A tree in the bundle that arrived has an entry without a name. Nothing of it was used.');
    if (mode !== '000000') yield { path: bytePath(name.value), mode, type: mode === '040000' ? 'tree' : 'blob', oid };
  }
}

/** How the file system of a directory tells names apart, by trying. */
export async function probeNameRules(directory: string): Promise<NameRules> {
  const probe = path.join(directory, 'baton-Case-Probe');
  await writeFile(probe, '');
  const caseInsensitive = existsSync(path.join(directory, 'baton-case-probe'));
  await rm(probe, { force: true });
  return { caseInsensitive, windows: process.platform === 'win32' };
}

/**
 * Refuses objects that are larger when unpacked than the limit: compression and deltas hide their size
 * (1 GiB of zeros is 1 MB of pack).
 *
 * @throws {GitError} `too-large`
 */
export async function checkObjectSizes(objects: string, options: GitOptions, limits: QuarantineLimits): Promise<void> {
  for (const file of await readdir(path.join(objects, 'pack'))) {
    if (!file.endsWith('.idx')) continue;
    const listed = streamGit(['show-index'], { ...options, input: [await readFile(path.join(objects, 'pack', file))] });
    const names = (async function* () {
      for await (const line of lines(listed)) yield Buffer.from(`${line.split(' ')[1] ?? ''}\n`);
    })();
    for await (const line of lines(streamGit(['cat-file', '--batch-check=%(objecttype) %(objectsize)'], { ...options, input: names }))) {
      const [type = '', size = ''] = line.split(' ');
      const limit = type === 'blob' ? limits.objectBytes : Math.min(limits.objectBytes, limits.allocationBytes);
      if (!(Number(size) <= limit)) throw new GitError('too-large', `The bundle that arrived holds a ${type} of ${size} bytes; at most ${limit} are taken. Nothing of it was used.`);
    }
  }
}

/**
 * Checks every name of a tree, and the targets of its symbolic links.
 *
 * @param options.env must lead git to the quarantined objects
 * @param strip 1 for trees whose top level is the stage of an entry
 * @returns how many entries the tree has, directories included
 * @throws {GitError} `hostile-content`, `too-large`, `unsupported-state`
 */
export async function checkTree(tree: ObjectId, options: GitOptions, limits: QuarantineLimits, rules: NameRules, strip = 0): Promise<number> {
  return checkEntries(treeEntries(tree, options), options, limits, rules, strip);
}

/** {@link checkTree} of some entries of a tree. */
export async function checkEntries(entries: AsyncIterable<TreeEntry>, options: GitOptions, limits: QuarantineLimits, rules: NameRules, strip = 0): Promise<number> {
  let count = 0;
  const twins = new NameTwins(rules);
  const links = new Map<BytePath, ObjectId>();
  for await (const entry of entries) {
    if (++count > limits.paths) throw tooManyPaths(limits);
    const name = strip === 0 ? entry.path : entry.path.slice(entry.path.indexOf('/') + 1);
    checkPath(name, entry.mode, rules);
    twins.add(entry.path);
    if (entry.mode === '120000') links.set(entry.path, entry.oid);
    else if (!['040000', '100644', '100755', '100664', '160000'].includes(entry.mode)) throw new GitError('hostile-content', `A tree in the bundle that arrived has an entry of mode ${entry.mode}. Nothing of it was used.`);
  }
  await checkLinks(links, options);
  return count;
}

async function checkLinks(links: ReadonlyMap<BytePath, ObjectId>, options: GitOptions): Promise<void> {
  if (links.size === 0) return;
  const named = [...links];
  const oids = named.map(([, oid]) => `${oid}\n`).join('');
  const { stdout } = await runGit(['cat-file', '--batch-check=%(objectsize)'], { ...options, input: oids });
  const sizes = stdout.toString('latin1').split('\n').map(Number);
  for (const [position, [name]] of named.entries()) if (!((sizes[position] ?? NaN) <= 4096)) checkLinkTarget(name, Buffer.alloc(0));
  const contents = (await runGit(['cat-file', '--batch=%(objectsize)'], { ...options, input: oids, maxOutputBytes: 1024 * 1024 * 1024 })).stdout;
  let offset = 0;
  for (const [name] of named) {
    const feed = contents.indexOf(10, offset);
    const size = Number(contents.toString('latin1', offset, feed));
    checkLinkTarget(name, contents.subarray(feed + 1, feed + 1 + size));
    offset = feed + 1 + size + 1;
  }
}

/** Reads and validates the manifest of a tip. @throws {GitError} `hostile-content`, `too-large` */
export async function readManifest(tip: ObjectId, options: GitOptions, limits: QuarantineLimits, rules: NameRules): Promise<Manifest> {
  const { stdout } = await runGit(['cat-file', 'blob', `${tip}:manifest.json`], { ...options, maxOutputBytes: limits.manifestBytes });
  let json: unknown;
  try {
    json = JSON.parse(stdout.toString('utf8'));
  } catch (error) {
    throw new GitError('hostile-content', 'The manifest of the bundle that arrived is not JSON. Nothing of it was used.', { cause: error });
  }
  const parsed = manifestSchema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new GitError('hostile-content', `The manifest of the bundle that arrived is refused at ${JSON.stringify(issue?.path.join('.').slice(0, 200))}: ${issue?.message.slice(0, 300) ?? 'unknown'}. Nothing of the bundle was used.`);
  }
  for (const name of pathsOf(parsed.data)) checkPath(name, '100644', rules);
  return parsed.data;
}
