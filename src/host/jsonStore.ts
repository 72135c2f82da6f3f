import { readdir, readFile, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import type { z } from 'zod';
import { syncDirectory } from '../git/durable';
import { HostError } from './hostError';

/**
 * A small JSON file that one process owns: read and checked once, then kept in memory. A change is on disk (temporary
 * file, fsync, rename, fsync of the directory; mode 0600) before it can be seen in `value`.
 */
export class JsonStore<S extends z.ZodType> {
  #value: z.output<S>;
  #tail: Promise<unknown> = Promise.resolve();

  private constructor(
    readonly path: string,
    private readonly schema: S,
    value: z.output<S>,
  ) {
    this.#value = value;
  }

  /** Reads the file, or begins with `initial` where there is none. Throws `state-invalid` for a file that does not fit `schema`. */
  static async open<S extends z.ZodType>(path: string, schema: S, initial: z.output<S>): Promise<JsonStore<S>> {
    return new JsonStore(path, schema, (await readJson(path, schema)) ?? initial);
  }

  get value(): z.output<S> {
    return this.#value;
  }

  /** Puts what `change` makes of the current value in its place, one change after the other. Throws what `change` throws, with nothing written. */
  update(change: (value: z.output<S>) => z.input<S>): Promise<z.output<S>> {
    const next = this.#tail.then(async () => {
      const value = this.schema.parse(change(this.#value));
      await writeJson(this.path, value);
      this.#value = value;
      return value;
    });
    this.#tail = next.catch(() => undefined);
    return next;
  }
}

/** Reads and checks a JSON file; undefined where there is none. Throws `state-invalid`, which names the file and the way out. */
export async function readJson<S extends z.ZodType>(path: string, schema: S): Promise<z.output<S> | undefined> {
  const invalid = (why: string, cause: unknown) =>
    new HostError('state-invalid', `${path} cannot be used: ${why}. Mend it, or move it aside to begin with an empty ${basename(path)}.`, { cause });
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw invalid((error as Error).message, error);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    // The parser's own message would quote the file, which may hold a key.
    throw invalid('it is not JSON', error);
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw invalid(`at ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'it has another shape'}`, parsed.error);
}

/** Writes a JSON file so that after a crash it holds the old content or the new one, whole. Mode 0600. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(value, undefined, 2)}\n`, { mode: 0o600, fsync: true });
  // The rename itself is durable only with its directory.
  await syncDirectory(dirname(path));
}

/**
 * Removes what `writeJson` left beside the files of a directory in a process that was killed in the middle of it: among them
 * may be a key. Only for the one process that writes there, before it does.
 */
export async function removeTornJson(directory: string): Promise<void> {
  for (const name of await readdir(directory)) if (/^[a-z-]+\.json\.\d+$/.test(name)) await rm(join(directory, name), { force: true });
}
