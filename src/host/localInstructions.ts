import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { isAbsolute, join, relative, sep } from 'node:path';
import { instructionFiles, type InstructionNames } from '../codex/instructions';
import { bytePath, pathForPeople, type BytePath } from '../git/bytePath';
import { ignoredAmong } from '../git/ignored';
import { includedFiles, readIncludeList } from '../git/includedFiles';

/** A file of instructions that no commit and no working state carries, named from the root of the checkout. */
export interface LocalInstructions {
  readonly name: BytePath;
  readonly sha256: string;
}

export interface FoundInstructions {
  readonly local: LocalInstructions[];
  /** Further names than Codex's own, by which files are read here that do travel. */
  readonly fallbacks: string[];
}

/** What Codex reads in a thread's directory, and what of it belongs to this machine: what Git ignores, and what lies outside the checkout. */
export async function findInstructions(root: string, directory: string, names: InstructionNames, signal?: AbortSignal): Promise<FoundInstructions> {
  const top = await realpath(root);
  const within = (path: string): BytePath | null => {
    const name = relative(top, path);
    return name === '..' || name.startsWith(`..${sep}`) || isAbsolute(name) ? null : bytePath(Buffer.from(name.replaceAll(sep, '/')));
  };
  const files = (await instructionFiles(await realpath(directory), names)).map((file) => ({ ...file, named: within(file.path), real: within(file.realPath) }));
  const inside = [...new Set(files.flatMap(({ named, real }) => [named, real]).filter((name) => name !== null))];
  const ignored = await ignoredAmong(inside, { cwd: top, signal });
  const stays = (name: BytePath | null) => name === null || ignored.has(name);
  const local = files.filter(({ named, real }) => stays(named) || stays(real));
  return {
    local: local.map(({ named, path, sha256 }) => ({ name: named ?? bytePath(Buffer.from(relative(top, path).replaceAll(sep, '/'))), sha256 })),
    fallbacks: [...new Set(files.filter((file) => !local.includes(file)).map(({ name }) => name))],
  };
}

/** Those that a worktree that is yet to be made would have: what its checkout gives it by `.worktreeinclude`. */
export async function inNewWorktree(root: string, found: readonly LocalInstructions[], signal?: AbortSignal): Promise<LocalInstructions[]> {
  const list = found.length === 0 ? null : await readIncludeList(root).catch(() => null);
  if (list === null) return [];
  const temporary = await mkdtemp(join(tmpdir(), 'baton-instructions-'));
  try {
    const given = new Set<BytePath>();
    for await (const name of includedFiles(root, list, temporary, () => undefined, signal)) if (found.some((one) => one.name === name)) given.add(name);
    return found.filter(({ name }) => given.has(name));
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

export const shown = ({ name, sha256 }: LocalInstructions) => ({ name: pathForPeople(name), sha256 });
