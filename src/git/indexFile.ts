import { open, type FileHandle } from 'node:fs/promises';
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
  readonly entries: number;
  /** Every directory in which an entry lies directly; those above are not repeated. The root is ''. */
  readonly directories: readonly BytePath[];
  /** Entries whose files are as young as the index itself, so that git reads them whenever it is asked about them. */
  readonly young: number;
  /** Holds whole directories as entries, or stands on a shared index: git has to write it out in full first. */
  readonly abridged: boolean;
}

/** One entry, as long as a visitor looks at it. What takes a string is only made when it is asked for. */
export interface VisitedEntry {
  readonly mode: number;
  readonly stage: IndexEntry['stage'];
  /** Bytes of the file when git last looked, modulo 2^32. */
  readonly size: number;
  readonly skipWorktree: boolean;
  path(): BytePath;
  oid(): ObjectId;
  /** Where it begins in the file. */
  offset(): number;
}

const ASSUME_UNCHANGED = 0x8000;
const EXTENDED = 0x4000;
const SKIP_WORKTREE = 0x4000;
const INTENT_TO_ADD = 0x2000;
const HEADER_BYTES = 12;
const FIXED_BYTES = 40;
const MODIFIED_OFFSET = 8;
const MODE_OFFSET = 24;
const SIZE_OFFSET = 36;
const SLASH = 0x2f;
const LAST_LETTER = 0x73;
const attributes = '.gitattributes';
/** Of the file is held in memory at a time, however large it is. No path comes near it. */
const WINDOW_BYTES = 512 * 1024;
/** Of resolve-undo records, the only extension that is taken whole. */
const RECORDS_LIMIT = 256 * 1024 * 1024;

/**
 * Reads an index of version 2, 3 or 4 (gitformat-index(5)). Of the plain entries, which are nearly all, nothing is kept, and
 * of the file only a piece at a time.
 *
 * @throws {GitError} `unsupported-state` for another version, or a file that is none
 */
export async function readIndexFile(file: string, format: ObjectFormat): Promise<IndexFile> {
  const pieces = visitIndexFile(file, format, () => undefined);
  for (;;) {
    const { done, value } = await pieces.next();
    if (done === true) return value;
  }
}

/**
 * {@link readIndexFile} that shows every entry to `visit`, and yields after each piece of the file: whoever takes the next one
 * when he is done with the last holds no more in memory than a piece.
 */
export async function* visitIndexFile(file: string, format: ObjectFormat, visit: (entry: VisitedEntry) => void): AsyncGenerator<void, IndexFile, undefined> {
  const damaged = (what: string) => new GitError('unsupported-state', `The index ${file} ${what}. Look at it with "git status" first.`);
  const hashBytes = format === 'sha1' ? 20 : 32;
  const handle = await open(file);
  try {
    const { size, mtimeMs } = await handle.stat();
    const window = new Window(handle, size - hashBytes);
    await window.load(0);
    if (size < HEADER_BYTES + hashBytes || window.bytes.toString('latin1', 0, 4) !== 'DIRC') throw damaged('is not one that git writes');
    const version = window.bytes.readUInt32BE(4);
    if (version < 2 || version > 4) throw damaged(`has version ${version}, which Baton does not know`);
    const scan = new EntryScan(version, hashBytes, Math.floor(mtimeMs / 1000), damaged, visit);
    let at = HEADER_BYTES;
    const entries = window.bytes.readUInt32BE(8);
    for (let left = entries; left > 0;) {
      scan.base = window.start;
      const taken = scan.take(window.bytes, at - window.start, left);
      left -= taken.entries;
      at = window.start + taken.end;
      yield;
      if (left === 0) break;
      if (window.reachesEnd || taken.entries === 0 && window.start === at) throw damaged('ends in the middle of an entry');
      await window.load(at);
    }
    return { ...scan.found, entries, bytes: scan.bytes, young: scan.young, ...(await readExtensions(window, at, hashBytes, damaged)) };
  } finally {
    await handle.close();
  }
}

/** The part of a file that is in memory. */
class Window {
  private readonly buffer: Buffer;
  bytes: Buffer;
  start = 0;

  constructor(
    private readonly handle: FileHandle,
    readonly end: number,
  ) {
    this.buffer = Buffer.allocUnsafe(Math.max(0, Math.min(WINDOW_BYTES, end)));
    this.bytes = this.buffer.subarray(0, 0);
  }

  get reachesEnd(): boolean {
    return this.start + this.bytes.length >= this.end;
  }

  /** Moves the window to `start`. */
  async load(start: number): Promise<void> {
    this.bytes = this.buffer.subarray(0, await this.read(this.buffer, start));
    this.start = start;
  }

  /** As many bytes from `start` as there are, `length` at most. */
  async slice(start: number, length: number): Promise<Buffer> {
    const within = start - this.start;
    if (within >= 0 && within + length <= this.bytes.length) return this.bytes.subarray(within, within + length);
    const bytes = Buffer.allocUnsafe(length);
    return bytes.subarray(0, await this.read(bytes, start));
  }

  private async read(into: Buffer, start: number): Promise<number> {
    const wanted = Math.max(0, Math.min(into.length, this.end - start));
    let length = 0;
    while (length < wanted) {
      const { bytesRead } = await this.handle.read(into, length, wanted - length, start + length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return length;
  }
}

/** Goes through entries, and keeps what is not plain. */
class EntryScan implements VisitedEntry {
  readonly found = { unmerged: [] as IndexEntry[], intentToAdd: [] as IndexEntry[], flagged: [] as IndexListing['flagged'][number][], gitlinks: [] as IndexEntry[], attributeFiles: [] as IndexEntry[], directories: [] as BytePath[] };
  bytes = 0;
  young = 0;

  mode = 0;
  stage: IndexEntry['stage'] = 0;
  size = 0;
  skipWorktree = false;
  private entry: Buffer = Buffer.alloc(0);
  private start = 0;
  /** Where the bytes that {@link take} is given begin in the file. */
  base = 0;
  /** Where the name is: in the entry itself or, from version 4 on, put together here. */
  private named: Buffer = Buffer.alloc(0);
  private nameStart = 0;
  private nameEnd = 0;
  private assembled = Buffer.alloc(4096);
  /** The directory of the entry before: entries are sorted, so most lie in the same one. */
  private directory: Buffer | null = null;

  constructor(
    private readonly version: number,
    private readonly hashBytes: number,
    /** When the file was written, Unix time in whole seconds. */
    private readonly written: number,
    private readonly damaged: (what: string) => GitError,
    private readonly visit: (entry: VisitedEntry) => void,
  ) {}

  path(): BytePath {
    return bytePath(this.named.subarray(this.nameStart, this.nameEnd));
  }

  oid(): ObjectId {
    return this.entry.toString('hex', this.start + FIXED_BYTES, this.start + FIXED_BYTES + this.hashBytes);
  }

  offset(): number {
    return this.base + this.start;
  }

  /** Takes the entries from `from` on that lie in `bytes` as a whole, `most` at most. `end` is where the first one begins that does not. */
  take(bytes: Buffer, from: number, most: number): { readonly entries: number; readonly end: number } {
    const flagsOffset = FIXED_BYTES + this.hashBytes;
    this.entry = bytes;
    let at = from;
    let entries = 0;
    for (; entries < most; entries++) {
      const start = at;
      if (start + flagsOffset + 4 > bytes.length) break;
      const flags = bytes.readUInt16BE(start + flagsOffset);
      const isExtended = (flags & EXTENDED) !== 0;
      const more = isExtended ? bytes.readUInt16BE(start + flagsOffset + 2) : 0;
      const end = this.readName(bytes, start, start + flagsOffset + (isExtended ? 4 : 2));
      if (end === null) break;
      if (this.nameEnd === this.nameStart) throw this.damaged('has an entry without a name');
      at = end;
      this.start = start;
      this.stage = ((flags >> 12) & 3) as IndexEntry['stage'];
      this.mode = bytes.readUInt32BE(start + MODE_OFFSET);
      this.size = bytes.readUInt32BE(start + SIZE_OFFSET);
      this.skipWorktree = (more & SKIP_WORKTREE) !== 0;
      if (!this.skipWorktree && this.stage <= 2) this.bytes += this.size;
      if (bytes.readUInt32BE(start + MODIFIED_OFFSET) >= this.written) this.young++;
      this.noteDirectory();
      this.visit(this);
      const isAttributes = this.isAttributesFile();
      if (flags >= EXTENDED || this.mode === 0o160000 || this.stage !== 0 || isAttributes) this.keep((flags & ASSUME_UNCHANGED) !== 0, (more & INTENT_TO_ADD) !== 0, isAttributes);
    }
    return { entries, end: at };
  }

  /** @returns where the next entry begins; null where this one goes on beyond the bytes */
  private readName(bytes: Buffer, start: number, from: number): number | null {
    if (this.version < 4) {
      const nul = bytes.indexOf(0, from);
      const end = start + ((nul - start + 8) & ~7);
      if (nul === -1 || end > bytes.length) return null;
      this.named = bytes;
      this.nameStart = from;
      this.nameEnd = nul;
      return end;
    }
    // How much of the name before to drop, in git's own variable-length form, then what comes instead.
    let at = from;
    let byte = bytes[at++] ?? 0;
    let strip = byte & 0x7f;
    while ((byte & 0x80) !== 0) {
      byte = bytes[at++] ?? 0;
      strip = (strip + 1) * 128 + (byte & 0x7f);
    }
    const nul = bytes.indexOf(0, at);
    if (nul === -1) return null;
    const kept = this.nameEnd - strip;
    if (kept < 0) throw this.damaged('has an entry without a name');
    const length = kept + nul - at;
    if (length > this.assembled.length) this.assembled = Buffer.concat([this.assembled], length * 2);
    bytes.copy(this.assembled, kept, at, nul);
    this.named = this.assembled;
    this.nameEnd = length;
    return nul + 1;
  }

  private noteDirectory(): void {
    let end = this.nameEnd;
    while (end > this.nameStart && this.named[end - 1] !== SLASH) end--;
    const length = Math.max(0, end - this.nameStart - 1);
    if (this.directory?.length === length && this.named.compare(this.directory, 0, length, this.nameStart, this.nameStart + length) === 0) return;
    this.directory = Buffer.from(this.named.subarray(this.nameStart, this.nameStart + length));
    this.found.directories.push(bytePath(this.directory));
  }

  private isAttributesFile(): boolean {
    const from = this.nameEnd - attributes.length;
    return this.named[this.nameEnd - 1] === LAST_LETTER && from >= this.nameStart && (from === this.nameStart || this.named[from - 1] === SLASH) && this.named.toString('latin1', from, this.nameEnd) === attributes;
  }

  private keep(assumeUnchanged: boolean, intended: boolean, isAttributes: boolean): void {
    const { skipWorktree } = this;
    const entry = { path: this.path(), mode: this.mode.toString(8).padStart(6, '0'), oid: this.oid(), stage: this.stage };
    if (this.stage !== 0) this.found.unmerged.push(entry);
    else if (assumeUnchanged || skipWorktree) this.found.flagged.push({ path: entry.path, assumeUnchanged, skipWorktree });
    if (intended) this.found.intentToAdd.push(entry);
    if (this.mode === 0o160000) this.found.gitlinks.push(entry);
    if (isAttributes) this.found.attributeFiles.push(entry);
  }
}

async function readExtensions(window: Window, from: number, hashBytes: number, damaged: (what: string) => GitError): Promise<Pick<IndexFile, 'tree' | 'resolved' | 'abridged'>> {
  let tree: ObjectId | null = null;
  let resolved: IndexEntry[] = [];
  let abridged = false;
  for (let at = from; at + 8 <= window.end;) {
    const header = await window.slice(at, 8);
    const signature = header.toString('latin1', 0, 4);
    const size = header.readUInt32BE(4);
    const content = at + 8;
    at = content + size;
    if (at > window.end) throw damaged('ends in the middle of an extension');
    switch (signature) {
      case 'TREE': {
        // Of the tree of trees only its root: an empty name, how many entries it covers (-1: not known), its subtrees, its object.
        const root = await window.slice(content, Math.min(size, 64 + hashBytes));
        const feed = root.indexOf(10);
        const covered = /^\0(-?\d+) \d+$/.exec(root.toString('latin1', 0, feed))?.[1];
        if (covered !== undefined && Number(covered) >= 0) {
          if (root.length < feed + 1 + hashBytes) throw damaged('ends in the middle of an extension');
          tree = root.toString('hex', feed + 1, feed + 1 + hashBytes);
        }
        break;
      }
      case 'REUC':
        if (size > RECORDS_LIMIT) throw damaged('has more records of resolved conflicts than Baton takes');
        resolved = parseResolveUndo(await window.slice(content, size), hashBytes, damaged);
        break;
      case 'link':
      case 'sdir':
        abridged = true;
    }
  }
  return { tree, resolved, abridged };
}

/** Per path: its name, three octal modes, and an object name for each of them that is not 0. */
function parseResolveUndo(content: Buffer, hashBytes: number, damaged: (what: string) => GitError): IndexEntry[] {
  const entries: IndexEntry[] = [];
  let at = 0;
  const text = () => {
    const nul = content.indexOf(0, at);
    if (nul === -1) throw damaged('has a record of a resolved conflict that is not whole');
    const value = bytePath(content.subarray(at, nul));
    at = nul + 1;
    return value;
  };
  while (at < content.length) {
    const path: BytePath = text();
    const modes = [text(), text(), text()];
    for (const [position, mode] of modes.entries()) {
      if (Number.parseInt(mode, 8) === 0) continue;
      if (!/^[0-7]{1,6}$/.test(mode) || at + hashBytes > content.length) throw damaged('has a record of a resolved conflict that is not whole');
      entries.push({ path, mode: mode.padStart(6, '0'), oid: content.toString('hex', at, at + hashBytes), stage: (position + 1) as 1 | 2 | 3 });
      at += hashBytes;
    }
  }
  return entries;
}
