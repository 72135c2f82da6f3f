import { constants, existsSync } from 'node:fs';
import { lstat, mkdir, open, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { pathBytes, type BytePath } from './bytePath';

/** A path as the platform takes it: bytes, or text on Windows. */
export type Place = Buffer | string;

interface Step {
  readonly part: BytePath;
  readonly place: Place;
  /** Null where directories cannot be opened; then they are only looked at. */
  readonly handle: FileHandle | null;
}

/** Where the kernel gives a name to what is open, a path can begin at a directory that nobody can exchange any more. */
const byHandle = process.platform === 'linux' && existsSync('/proc/self/fd');

/** A directory that should be one is a symbolic link, or something else. */
export class NoDirectory extends Error {
  override readonly name = 'NoDirectory';
}

/**
 * Walks into directories below a root, one name at a time, and never through a symbolic link: each is opened as a directory
 * (`O_NOFOLLOW`) from the one above it and stays open while it is in use, so that a link which takes its place meanwhile leads
 * nobody anywhere. Where the platform has no paths that begin at an open directory (all but Linux), each is looked at before
 * it is used instead.
 */
export class DirectoryTrail {
  private readonly steps: Step[] = [];

  private constructor(private readonly root: Step) {}

  static async at(root: string): Promise<DirectoryTrail> {
    return new DirectoryTrail(await step('', root));
  }

  /**
   * Where the names directly in `directory` are, empty for the root.
   *
   * @param make gives the permission bits of a directory that is missing, which is then made
   * @throws {NoDirectory}; the file system's own errors
   */
  async enter(directory: BytePath, make?: (directory: BytePath) => Promise<number>): Promise<Place> {
    const parts = directory === '' ? [] : directory.split('/');
    let common = 0;
    while (common < parts.length && this.steps[common]?.part === parts[common]) common++;
    for (const left of this.steps.splice(common)) await left.handle?.close();
    for (const part of parts.slice(common)) {
      const place = within(this.current.place, part);
      const made = make !== undefined && (await mkdir(place, 0o700).then(() => true, unlessThere));
      const entered = await step(part, place);
      this.steps.push(entered);
      // Whoever made it may write into it, whatever the model's mode says.
      if (made) await entered.handle?.chmod((await make(parts.slice(0, this.steps.length).join('/'))) | 0o700);
    }
    return this.current.place;
  }

  /** Permission bits of a directory on the way to where the trail is. */
  async modeOf(directory: BytePath): Promise<number> {
    const { handle, place } = this.steps[directory.split('/').length - 1] ?? this.root;
    return (await (handle === null ? lstat(place) : handle.stat())).mode & 0o777;
  }

  async close(): Promise<void> {
    for (const { handle } of [this.root, ...this.steps.splice(0)]) await handle?.close();
  }

  private get current(): Step {
    return this.steps.at(-1) ?? this.root;
  }
}

function unlessThere(error: unknown): false {
  if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
  throw error;
}

async function step(part: BytePath, place: Place): Promise<Step> {
  const no = (cause: unknown) => new NoDirectory(`${place.toString()} is no directory`, { cause });
  if (!byHandle) {
    if (!(await lstat(place)).isDirectory()) throw no(undefined);
    return { part, place, handle: null };
  }
  const handle = await open(place, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    throw code === 'ELOOP' || code === 'ENOTDIR' ? no(error) : error;
  });
  return { part, place: Buffer.from(`/proc/self/fd/${handle.fd}`), handle };
}

/** A name in a directory. */
export function within(place: Place, part: BytePath): Place {
  if (typeof place === 'string' && process.platform === 'win32') return path.join(place, pathBytes(part).toString('utf8'));
  return Buffer.concat([Buffer.from(place), Buffer.from('/'), pathBytes(part)]);
}

/** An open file as something that can be opened again; null where the platform has no such name. */
export function placeOf(handle: FileHandle): Place | null {
  return byHandle ? `/proc/self/fd/${handle.fd}` : null;
}
