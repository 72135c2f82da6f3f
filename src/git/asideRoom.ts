import { lstat, mkdir, readdir, readFile, rename, rm, stat, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { absolutePath, parentPaths, type BytePath } from './bytePath';
import { within, type Place } from './directoryTrail';
import { syncDirectory, writeDurably } from './durable';
import { GitError } from './gitError';
import { isThere } from './worktreeDirectories';

const exchange = z.strictObject({
  /** Bytes. */
  path: z.string(),
  /** Identities (`Sighting.identity`) of the file that goes and of the one that comes; null where there is none. */
  old: z.string().nullable(),
  new: z.string().nullable(),
});
export type Exchange = z.infer<typeof exchange>;

const plan = z.strictObject({
  version: z.literal(1),
  /** What lies in the room under its position here. */
  exchanges: z.array(exchange),
  /** Directories that may go because they are empty, or are the places of submodules: they come back with the files. */
  directories: z.array(z.string()),
});
export type ExchangePlan = z.infer<typeof plan>;

const PLAN = 'plan.json';
/** The room in a Git directory; in the working tree, where that is another file system; and what is beside a file on another mount. */
const IN_GIT_DIRECTORY = 'baton-aside';
const IN_WORKTREE = '.baton-aside';
const BESIDE = '.baton-beside';

/** Which side of an exchange lies in the room: `old` went first, `out` came and was taken out again. */
export type Side = 'old' | 'out';

/**
 * A private directory of a worktree in which files lie that are moved out of it, or wait to come into it: on the same file system, so
 * that a move is a rename. As long as its plan is there, what lies in it may be needed; without one it is rubbish.
 */
export class AsideRoom {
  /** Directories of the worktree with a hidden one that belongs to the room, as far as they were looked for. */
  private readonly besides = new Set<BytePath>();

  private constructor(
    readonly directory: string,
    private readonly root: string,
  ) {}

  /** Of the worktree; whether it is there is another question. */
  static async of({ root, gitDir }: { readonly root: string; readonly gitDir: string }): Promise<AsideRoom> {
    const [files, git] = await Promise.all([stat(root), stat(gitDir)]);
    return new AsideRoom(files.dev === git.dev ? path.join(gitDir, IN_GIT_DIRECTORY) : path.join(root, IN_WORKTREE), root);
  }

  /** A directory that mirrors the worktree, for the files that are to come. */
  get staging(): string {
    return path.join(this.directory, 'new');
  }

  /** Makes it, empty. @throws {GitError} `failed` where one is in use */
  async make(): Promise<void> {
    if ((await this.readPlan()) !== null) throw new GitError('failed', `${this.directory} holds files of a change that was cut off. They are put back first: try again.`);
    await rm(this.directory, { recursive: true, force: true });
    await makeHidden(this.directory);
    for (const name of ['new', 'old', 'out']) await mkdir(path.join(this.directory, name), { mode: 0o700 });
  }

  /** Null where there is none: nothing was moved then. */
  async readPlan(): Promise<ExchangePlan | null> {
    const text = await readFile(path.join(this.directory, PLAN), 'utf8').catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    });
    if (text === null) return null;
    const parsed = plan.safeParse(JSON.parse(text));
    if (parsed.success) for (const above of new Set(parsed.data.exchanges.flatMap((each) => directoriesAbove(each.path)))) if (await isThere(this.besideOf(above))) this.besides.add(above);
    if (!parsed.success) throw new GitError('failed', `${path.join(this.directory, PLAN)} is not what Baton writes; the files beside it must be looked at by hand.`);
    return parsed.data;
  }

  /** Durable when this returns. */
  async writePlan(exchanges: ExchangePlan): Promise<void> {
    await writeDurably(path.join(this.directory, PLAN), JSON.stringify(exchanges));
  }

  /**
   * Moves a file into the room; where that is on another mount, into a hidden directory as far up on the file's own as it goes, so that no
   * directory is in use because of it.
   *
   * @param file the path, and where that is now
   * @returns where it is
   */
  async take(side: Side, position: number, file: BytePath, at: Place): Promise<Place> {
    const here = this.placeOf(side, position);
    if (await isRenamed(at, here)) return here;
    for (const above of directoriesAbove(file)) {
      const hidden = this.besideOf(above);
      await makeHidden(hidden);
      this.besides.add(above);
      const there = within(hidden, nameOf(side, position));
      if (await isRenamed(at, there)) return there;
      await removeHidden(hidden);
      this.besides.delete(above);
    }
    throw new Error(`no directory above ${file} is on its own file system`);
  }

  /** Where a file is that was moved here; null where there is none. */
  async find(side: Side, position: number, file: BytePath): Promise<Place | null> {
    const here = this.placeOf(side, position);
    if (await isThere(here)) return here;
    for (const above of directoriesAbove(file)) {
      const there = within(this.besideOf(above), nameOf(side, position));
      if (this.besides.has(above) && (await isThere(there))) return there;
    }
    return null;
  }

  /** Removes it with all that lies in it, which is rubbish from the moment that the plan is gone. */
  async remove(): Promise<void> {
    for (const above of this.besides) await rm(this.besideOf(above), { recursive: true, force: true });
    const hasPlan = await unlink(path.join(this.directory, PLAN)).then(() => true, () => false);
    if (hasPlan) await syncDirectory(this.directory);
    await rm(this.directory, { recursive: true, force: true });
  }

  private placeOf(side: Side, position: number): string {
    return path.join(this.directory, side, String(position));
  }

  private besideOf(above: BytePath): Place {
    return within(absolutePath(this.root, above), BESIDE);
  }
}

const nameOf = (side: Side, position: number): BytePath => `${side}-${position}`;

/** The root first. */
function directoriesAbove(file: BytePath): BytePath[] {
  return ['', ...parentPaths(file)];
}

/** False where the two are on different mounts. */
async function isRenamed(from: Place, to: Place): Promise<boolean> {
  return rename(from, to).then(() => true, (error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'EXDEV') return false;
    throw error;
  });
}

/** A directory of which git takes no notice, wherever it is. */
async function makeHidden(directory: Place): Promise<void> {
  await mkdir(directory, { mode: 0o700 }).catch(async (error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !(await lstat(directory)).isDirectory()) throw error;
  });
  await writeFile(within(directory, '.gitignore'), '*\n');
}

/** Unless something lies in it. */
async function removeHidden(directory: Place): Promise<void> {
  if ((await readdir(directory)).length === 1) await rm(directory, { recursive: true });
}
