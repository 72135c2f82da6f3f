import type { BytePath } from './bytePath';

/** Files of one directory that are worked on side by side. */
const AT_ONCE = 16;

/** A file's name within its directory, and that directory, empty for the root. */
export function placeInTree(name: BytePath): { readonly directory: BytePath; readonly file: BytePath } {
  const slash = name.lastIndexOf('/');
  return { directory: slash === -1 ? '' : name.slice(0, slash), file: name.slice(slash + 1) };
}

/** Files of one directory that follow each other, a few at a time. */
export async function* together<T extends { readonly path: BytePath }>(all: AsyncIterable<T>): AsyncGenerator<{ readonly directory: BytePath; readonly files: readonly T[] }, void, undefined> {
  let directory = '';
  let files: T[] = [];
  for await (const file of all) {
    const above = placeInTree(file.path).directory;
    if (files.length >= AT_ONCE || (above !== directory && files.length > 0)) {
      yield { directory, files };
      files = [];
    }
    directory = above;
    files.push(file);
  }
  if (files.length > 0) yield { directory, files };
}
