import { bytePath, type BytePath } from './bytePath';
import { GitError } from './gitError';
import type { IndexEntry, IndexListing } from './indexListing';
import type { ObjectFormat, ObjectId } from './repository';

/** What an index file says, read without git: at tens of thousands of files a process that prints them all costs more than `git status`. */
export interface IndexFile extends IndexListing {
  /** The tree of the whole index, where git has noted it and nothing has been staged since. */
  readonly tree: ObjectId | null;
  /** Bytes of the listed files when git last looked, those that are not in the working tree left out. */
  readonly bytes: number;
  /** Entries whose files are as young as the index itself, so that git reads them whenever it is asked about them. */
  readonly young: number;
  /** Holds whole directories as entries, or stands on a shared index: git has to write it out in full first. */
  readonly abridged: boolean;
}

const ASSUME_UNCHANGED = 0x8000;
const EXTENDED = 0x4000;
const SKIP_WORKTREE = 0x4000;
const INTENT_TO_ADD = 0x2000;
const FIXED_BYTES = 40;
const MODIFIED_OFFSET = 8;
const MODE_OFFSET = 24;
const SIZE_OFFSET = 36;
const SLASH = 0x2f;
const attributes = Buffer.from('.gitattributes');

/**
 * Reads an index of version 2, 3 or 4 (gitformat-index(5)). Of the plain entries, which are nearly all, nothing is kept.
 *
 * @param written when the file was written, Unix time in whole seconds
 * @throws {GitError} `unsupported-state` for another version, or a file that is none
 */
export function parseIndex(file: Buffer, format: ObjectFormat, written: number, shownAs: string): IndexFile {
  const damaged = (what: string) => new GitError('unsupported-state', `The index ${shownAs} ${what}. Look at it with "git status" first.`);
  const hashBytes = format === 'sha1' ? 20 : 32;
  if (file.length < 12 + hashBytes || file.toString('latin1', 0, 4) !== 'DIRC') throw damaged('is not one that git writes');
  const version = file.readUInt32BE(4);
  if (version < 2 || version > 4) throw damaged(`has version ${version}, which Baton does not know`);
  const end = file.length - hashBytes;
  const found = { unmerged: [] as IndexEntry[], intentToAdd: [] as IndexEntry[], flagged: [] as IndexListing['flagged'][number][], gitlinks: [] as IndexEntry[], attributeFiles: [] as IndexEntry[] };
  let bytes = 0;
  let young = 0;
  let name: Buffer = Buffer.alloc(0);
  let at = 12;
  for (let left = file.readUInt32BE(8); left > 0; left--) {
    const start = at;
    if (start + FIXED_BYTES + hashBytes + 2 > end) throw damaged('ends in the middle of an entry');
    at += FIXED_BYTES + hashBytes;
    const flags = file.readUInt16BE(at);
    at += 2;
    let more = 0;
    if ((flags & EXTENDED) !== 0) {
      more = file.readUInt16BE(at);
      at += 2;
    }
    let kept = 0;
    if (version === 4) {
      let byte = file[at++] ?? 0;
      let strip = byte & 0x7f;
      while ((byte & 0x80) !== 0) {
        byte = file[at++] ?? 0;
        strip = (strip + 1) * 128 + (byte & 0x7f);
      }
      kept = name.length - strip;
    }
    const nul = file.indexOf(0, at);
    if (nul === -1 || nul >= end || kept < 0) throw damaged('has an entry without a name');
    const suffix = file.subarray(at, nul);
    name = kept === 0 ? suffix : Buffer.concat([name.subarray(0, kept), suffix]);
    at = version === 4 ? nul + 1 : start + ((nul - start + 8) & ~7);

    const stage = ((flags >> 12) & 3) as IndexEntry['stage'];
    const mode = file.readUInt32BE(start + MODE_OFFSET);
    const skipWorktree = (more & SKIP_WORKTREE) !== 0;
    if (!skipWorktree && stage <= 2) bytes += file.readUInt32BE(start + SIZE_OFFSET);
    if (file.readUInt32BE(start + MODIFIED_OFFSET) >= written) young++;
    const isAttributes = name.length >= attributes.length && name.subarray(-attributes.length).equals(attributes) && (name.length === attributes.length || name[name.length - attributes.length - 1] === SLASH);
    if (flags < EXTENDED && mode !== 0o160000 && stage === 0 && !isAttributes) continue;
    const entry = { path: bytePath(name), mode: mode.toString(8).padStart(6, '0'), oid: file.toString('hex', start + FIXED_BYTES, start + FIXED_BYTES + hashBytes), stage };
    const assumeUnchanged = (flags & ASSUME_UNCHANGED) !== 0;
    if (stage !== 0) found.unmerged.push(entry);
    else if (assumeUnchanged || skipWorktree) found.flagged.push({ path: entry.path, assumeUnchanged, skipWorktree });
    if ((more & INTENT_TO_ADD) !== 0) found.intentToAdd.push(entry);
    if (mode === 0o160000) found.gitlinks.push(entry);
    if (isAttributes) found.attributeFiles.push(entry);
  }
  return { ...found, bytes, young, ...parseExtensions(file.subarray(at, end), hashBytes, damaged) };
}

function parseExtensions(rest: Buffer, hashBytes: number, damaged: (what: string) => GitError): Pick<IndexFile, 'tree' | 'resolved' | 'abridged'> {
  let tree: ObjectId | null = null;
  let resolved: IndexEntry[] = [];
  let abridged = false;
  for (let at = 0; at + 8 <= rest.length;) {
    const signature = rest.toString('latin1', at, at + 4);
    const size = rest.readUInt32BE(at + 4);
    const content = rest.subarray(at + 8, at + 8 + size);
    if (content.length !== size) throw damaged('ends in the middle of an extension');
    at += 8 + size;
    switch (signature) {
      case 'TREE': {
        // Of the tree of trees only its root: an empty name, how many entries it covers (-1: not known), its subtrees, its object.
        const feed = content.indexOf(10);
        const covered = /^\0(-?\d+) \d+$/.exec(content.toString('latin1', 0, feed))?.[1];
        if (covered !== undefined && Number(covered) >= 0) tree = content.toString('hex', feed + 1, feed + 1 + hashBytes);
        break;
      }
      case 'REUC':
        resolved = parseResolveUndo(content, hashBytes);
        break;
      case 'link':
      case 'sdir':
        abridged = true;
    }
  }
  return { tree, resolved, abridged };
}

/** Per path: its name, three octal modes, and an object name for each of them that is not 0. */
function parseResolveUndo(content: Buffer, hashBytes: number): IndexEntry[] {
  const entries: IndexEntry[] = [];
  let at = 0;
  const text = () => {
    const nul = content.indexOf(0, at);
    const value = bytePath(content.subarray(at, nul));
    at = nul + 1;
    return value;
  };
  while (at < content.length && content.includes(0, at)) {
    const path: BytePath = text();
    const modes = [text(), text(), text()];
    for (const [position, mode] of modes.entries()) {
      if (Number.parseInt(mode, 8) === 0) continue;
      entries.push({ path, mode: mode.padStart(6, '0'), oid: content.toString('hex', at, at + hashBytes), stage: (position + 1) as 1 | 2 | 3 });
      at += hashBytes;
    }
  }
  return entries;
}
