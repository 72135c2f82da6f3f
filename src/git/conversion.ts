import { existsSync } from 'node:fs';
import { lstat, readFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { absolutePath, bytePath, type BytePath } from './bytePath';
import { nulRecords, runGit, streamGit } from './git';
import type { IndexListing } from './indexListing';
import type { ObjectId, Repository } from './repository';
import { inShadow, type RepositorySettings, type Shadow } from './shadow';

export interface ConvertedPaths {
  /** Tracked files whose bytes in the working tree may differ from the blob although git calls them unchanged. */
  readonly paths: readonly BytePath[];
  /** Of these, the ones with `filter=lfs`. */
  readonly lfs: readonly BytePath[];
}

const converting = /\b(text|eol|crlf|ident|filter|binary|working-tree-encoding)\b/;
const asked = ['text', 'eol', 'crlf', 'ident', 'filter', 'working-tree-encoding'];

/**
 * Finds the tracked files that a conversion (line ends, `ident`, encoding, a filter) stands behind. Their bytes must be
 * taken as they are, since no other machine can be trusted to convert them alike. Repositories without such settings
 * answer from their attribute files alone. No filter runs.
 *
 * @param dirty paths known to differ from the index; they are captured anyway
 */
export async function convertedPaths(repository: Repository, settings: RepositorySettings, shadow: Shadow, listing: IndexListing, dirty: ReadonlySet<BytePath>, untracked: readonly BytePath[], signal?: AbortSignal): Promise<ConvertedPaths> {
  const autocrlf = /^(true|input|yes|on|1)$/i.test(settings.values.get('core.autocrlf') ?? '');
  const attributeFiles = [...listing.attributeFiles.map((entry) => entry.path), ...untracked.filter((name) => /(^|\/)\.gitattributes$/.test(name))];
  if (!autocrlf && !(await anyConverts(repository, settings, listing, attributeFiles, signal))) return { paths: [], lfs: [] };

  const byContent = new Set<BytePath>();
  const bySize = new Set<BytePath>();
  const lfs = new Set<BytePath>();
  const attributesDirty = attributeFiles.some((name) => dirty.has(name) || untracked.includes(name));
  // Files were written under the attributes of their time: the staged ones count too where they differ.
  for (const source of attributesDirty ? [[], ['--cached']] : [[]]) {
    const names = streamGit(['ls-files', '-z'], inShadow(shadow, { signal }));
    const fields = nulRecords(streamGit(['check-attr', '-z', '--stdin', ...source, ...asked], { cwd: repository.root, input: names, signal }));
    for (;;) {
      const name = await fields.next();
      const attribute = await fields.next();
      const value = await fields.next();
      if (name.done === true || attribute.done === true || value.done === true) break;
      const file = bytePath(name.value);
      const state = value.value.toString('latin1');
      if (dirty.has(file)) continue;
      switch (attribute.value.toString('latin1')) {
        case 'text':
          if ((state === 'unspecified' && autocrlf) || (state !== 'unspecified' && state !== 'unset')) bySize.add(file);
          break;
        case 'eol':
        case 'crlf':
          if (state !== 'unspecified' && state !== 'unset') bySize.add(file);
          break;
        case 'filter':
          if (state === 'lfs') lfs.add(file);
          if (state !== 'unspecified' && state !== 'unset') byContent.add(file);
          break;
        default:
          if (state !== 'unspecified' && state !== 'unset') byContent.add(file);
      }
    }
  }
  const sizes = await differentInSize(repository.root, shadow, [...bySize].filter((name) => !byContent.has(name)), signal);
  return { paths: [...byContent, ...sizes], lfs: [...lfs] };
}

async function anyConverts(repository: Repository, settings: RepositorySettings, listing: IndexListing, attributeFiles: readonly BytePath[], signal?: AbortSignal): Promise<boolean> {
  const configured = settings.values.get('core.attributesfile');
  const outside = [
    path.join(repository.commonDir, 'info', 'attributes'),
    configured === undefined ? path.join(process.env['XDG_CONFIG_HOME'] ?? path.join(os.homedir(), '.config'), 'git', 'attributes') : path.resolve(repository.root, configured.replace(/^~(?=\/|$)/, os.homedir())),
    '/etc/gitattributes',
  ].filter((file) => existsSync(file));
  for (const file of [...outside, ...attributeFiles.map((name) => absolutePath(repository.root, name))]) {
    const text = await readFile(file, 'latin1').catch(() => '');
    if (converting.test(text)) return true;
  }
  if (listing.attributeFiles.length === 0) return false;
  const { stdout } = await runGit(['cat-file', '--batch'], { cwd: repository.root, signal, input: listing.attributeFiles.map((entry) => `${entry.oid}\n`).join('') });
  return converting.test(stdout.toString('latin1'));
}

/** Line ends change a file's length, so files as long as their blob need not be read. */
async function differentInSize(root: string, shadow: Shadow, names: readonly BytePath[], signal?: AbortSignal): Promise<BytePath[]> {
  if (names.length === 0) return [];
  const wanted = new Set(names);
  const oids = new Map<BytePath, ObjectId>();
  for await (const record of nulRecords(streamGit(['ls-files', '-s', '-z'], inShadow(shadow, { signal })))) {
    const text = bytePath(record);
    const tab = text.indexOf('\t');
    const name = text.slice(tab + 1);
    if (wanted.has(name)) oids.set(name, text.split(' ', 2)[1] ?? '');
  }
  const listed = [...oids];
  const { stdout } = await runGit(['cat-file', '--batch-check=%(objectsize)'], { ...inShadow(shadow, { signal }), input: listed.map(([, oid]) => `${oid}\n`).join('') });
  const sizes = stdout.toString('latin1').split('\n');
  const different: BytePath[] = [];
  for (const [position, [name]] of listed.entries()) {
    const found = await lstat(absolutePath(root, name)).catch(() => null);
    if (found?.isFile() === true && String(found.size) !== sizes[position]) different.push(name);
  }
  return different;
}
