import { readFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { absolutePath, bytePath, type BytePath } from './bytePath';
import { lineBatches, nulBatches, runGit, streamGit } from './git';
import { visitIndexFile, type IndexFile, type VisitedEntry } from './indexFile';
import type { Repository } from './repository';
import { inShadow, type RepositorySettings, type Shadow } from './shadow';

export interface ConvertedPaths {
  /** Tracked files whose bytes in the working tree may differ from the blob although git calls them unchanged. */
  readonly paths: readonly BytePath[];
  /** Those with `filter=lfs` are not among them: all of these, dirty or not. See lfsFiles.ts. */
  readonly lfs: readonly BytePath[];
}

/** These change a file's length wherever they change it at all. */
const ofLineEnds = /\b(text|eol|crlf)\b/;
const ofContent = /\b(ident|filter|working-tree-encoding)\b/;
const contentAttributes = ['ident', 'filter', 'working-tree-encoding'];

/**
 * Finds the tracked files that a conversion (line ends, `ident`, encoding, a filter) stands behind. Their bytes must be
 * taken as they are, since no other machine can be trusted to convert them alike. Repositories without such settings
 * answer from their attribute files alone. No filter runs.
 *
 * @param dirty paths known to differ from the index; they are captured anyway
 */
export async function convertedPaths(repository: Repository, settings: RepositorySettings, shadow: Shadow, listing: IndexFile, dirty: ReadonlySet<BytePath>, untracked: readonly BytePath[], signal?: AbortSignal): Promise<ConvertedPaths> {
  const autocrlf = /^(true|input|yes|on|1)$/i.test(settings.values.get('core.autocrlf') ?? '');
  const newAttributes = untracked.filter((name) => /(^|\/)\.gitattributes$/.test(name));
  const dirtyAttributes = listing.attributeFiles.filter((entry) => dirty.has(entry.path));
  const said = await attributeTexts(repository, settings, listing.attributeFiles, dirty, newAttributes, signal);
  // Files were written under the attributes of their time: the staged ones count too where they differ.
  const sources = dirtyAttributes.length + newAttributes.length > 0 ? [[], ['--cached']] : [[]];
  const [byContent, lfs] = ofContent.test(said) ? await filteredPaths(repository, shadow, sources, signal) : [[], []];
  const bySize = autocrlf || ofLineEnds.test(said) ? await differentInSize(shadow, listing.entries, signal) : [];
  return { paths: [...new Set([...byContent, ...bySize])].filter((name) => !dirty.has(name)), lfs };
}

/** All that attribute files say: those of this machine and of this repository, those in the working tree, and the staged ones where they are others. */
async function attributeTexts(repository: Repository, settings: RepositorySettings, tracked: IndexFile['attributeFiles'], dirty: ReadonlySet<BytePath>, untracked: readonly BytePath[], signal?: AbortSignal): Promise<string> {
  const configured = settings.values.get('core.attributesfile');
  const outside = [
    path.join(repository.commonDir, 'info', 'attributes'),
    configured === undefined ? path.join(process.env['XDG_CONFIG_HOME'] ?? path.join(os.homedir(), '.config'), 'git', 'attributes') : path.resolve(repository.root, configured.replace(/^~(?=\/|$)/, os.homedir())),
    '/etc/gitattributes',
  ];
  const read = (file: string | Buffer) => readFile(file, 'latin1').catch(() => null);
  const texts = await Promise.all([...outside, ...untracked.map((name) => absolutePath(repository.root, name))].map(read));
  const staged: string[] = [];
  for (const entry of tracked) {
    const text = await read(absolutePath(repository.root, entry.path));
    texts.push(text);
    // One that a sparse checkout leaves out counts all the same.
    if (text === null || dirty.has(entry.path)) staged.push(`${entry.oid}\n`);
  }
  if (staged.length > 0) texts.push((await runGit(['cat-file', '--batch'], { cwd: repository.root, signal, input: staged.join('') })).stdout.toString('latin1'));
  return texts.join('\n');
}

/** Tracked paths whose content a filter, an encoding or `ident` may change; then those of them that are Git LFS's. */
async function filteredPaths(repository: Repository, shadow: Shadow, sources: readonly (readonly string[])[], signal?: AbortSignal): Promise<[BytePath[], BytePath[]]> {
  const filtered = new Set<BytePath>();
  const lfs = new Set<BytePath>();
  for (const source of sources) {
    const names = streamGit(['ls-files', '-z'], inShadow(shadow, { signal }));
    let fields: Buffer[] = [];
    for await (const batch of nulBatches(streamGit(['check-attr', '-z', '--stdin', ...source, ...contentAttributes], { cwd: repository.root, input: names, signal }))) {
      fields = fields.length === 0 ? batch : [...fields, ...batch];
      const whole = fields.length - (fields.length % 3);
      // A path, an attribute, its value.
      for (let at = 0; at < whole; at += 3) {
        const value = fields[at + 2]?.toString('latin1') ?? '';
        if (value === 'unspecified' || value === 'unset') continue;
        const name = bytePath(fields[at] ?? Buffer.alloc(0));
        filtered.add(name);
        if (value === 'lfs' && fields[at + 1]?.toString('latin1') === 'filter') lfs.add(name);
      }
      fields = fields.slice(whole);
    }
  }
  return [[...filtered], [...lfs]];
}

/**
 * The files that are not as long as their blobs. Line ends change a file's length, so no other file need be read; and the
 * index says how long a file is that git calls unchanged, so none need be looked at.
 */
async function differentInSize(shadow: Shadow, entries: number, signal?: AbortSignal): Promise<BytePath[]> {
  const index = path.join(shadow.gitDir, 'index');
  const isPresent = (entry: VisitedEntry) => entry.stage === 0 && (entry.mode & 0o170000) === 0o100000 && !entry.skipWorktree;
  const sizes = new Uint32Array(entries);
  const oids = async function* () {
    let asked = 0;
    let lines: string[] = [];
    const pieces = visitIndexFile(index, shadow.objectFormat, (entry) => {
      if (!isPresent(entry)) return;
      sizes[asked++] = entry.size;
      lines.push(`${entry.oid()}\n`);
    });
    for await (const _piece of pieces) {
      yield Buffer.from(lines.join(''));
      lines = [];
    }
  };
  const different = new Set<number>();
  let answered = 0;
  for await (const batch of lineBatches(streamGit(['cat-file', '--buffer', '--batch-check=%(objectsize)'], { ...inShadow(shadow, { signal }), input: oids() }))) {
    // A blob that a partial clone lacks has no size, so its file is read.
    for (const line of batch) if (Number(line) % 2 ** 32 !== sizes[answered++]) different.add(answered - 1);
  }
  if (different.size === 0) return [];
  const names: BytePath[] = [];
  let position = 0;
  for await (const _piece of visitIndexFile(index, shadow.objectFormat, (entry) => { if (isPresent(entry) && different.has(position++)) names.push(entry.path()); }));
  return names;
}
