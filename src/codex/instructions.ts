/** The files in a checkout from which Codex takes instructions: in each directory from the project's root down to the thread's, one. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, realpath } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';

/** The keys of `config.toml` that say which: `project_doc_fallback_filenames`, `project_root_markers`. */
export interface InstructionNames {
  readonly fallbacks: readonly string[];
  readonly markers: readonly string[];
}

export interface InstructionFile {
  readonly path: string;
  /** Where a symbolic link leads in the end. */
  readonly realPath: string;
  readonly name: string;
  readonly sha256: string;
}

/** In this order: Codex takes the first that is a file, also an empty one, and follows links. */
const ownNames = ['AGENTS.override.md', 'AGENTS.md'];

/** Whether a name is that of a file that Codex looks for without being told. */
export const isOwnName = (name: string): boolean => ownNames.includes(name);

/** Outermost first. What cannot be read is left out, as Codex does. */
export async function instructionFiles(directory: string, { fallbacks, markers }: InstructionNames): Promise<InstructionFile[]> {
  const files: InstructionFile[] = [];
  for (const folder of foldersTo(directory, markers)) {
    for (const name of [...ownNames, ...fallbacks]) {
      const path = join(folder, name);
      const content = await readFile(path).catch(() => null);
      if (content === null) continue;
      files.push({ path, realPath: await realpath(path), name, sha256: createHash('sha256').update(content).digest('hex') });
      break;
    }
  }
  return files;
}

/** From the nearest directory above that has a marker; the directory alone where none has. */
function foldersTo(directory: string, markers: readonly string[]): string[] {
  const folders: string[] = [];
  for (let folder = resolve(directory); ; folder = dirname(folder)) {
    folders.unshift(folder);
    if (markers.some((marker) => existsSync(join(folder, marker)))) return folders;
    if (dirname(folder) === folder) return folders.slice(-1);
  }
}
