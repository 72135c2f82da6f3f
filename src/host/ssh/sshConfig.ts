/** Which hosts an ssh_config(5) names. What they mean is for `ssh -G` to say; here only the names are read. */
import { join, isAbsolute, dirname, basename } from 'node:path';

/** Looks at configuration files, wherever they are. */
export interface ConfigFiles {
  /** The text of a file; null where it cannot be read. */
  read(path: string): Promise<string | null>;
  /** The names in a directory; none where it cannot be read. */
  list(directory: string): Promise<readonly string[]>;
}

/** A name under which ssh finds a machine, and the file that says so. */
export interface ListedAlias {
  readonly alias: string;
  readonly file: string;
}

/** As in OpenSSH (READCONF_MAX_DEPTH). */
const MAX_DEPTH = 16;
const MOST_FILES = 256;
const MOST_ALIASES = 2000;

/**
 * What ssh can be told to connect to: no option, no pattern, nothing that a shell or a token of ssh_config would act on, as `%n` may stand
 * in a ProxyCommand.
 */
export function isAlias(text: string): boolean {
  return text.length <= 255 && /^[\p{L}\p{N}_][\p{L}\p{N}\p{M}_.@:+-]*$/u.test(text);
}

/** One line of ssh_config(5): its keyword in lower case, and its arguments without quotes. Undefined for one that is empty or a comment. */
export function parseLine(line: string): { readonly keyword: string; readonly args: readonly string[] } | undefined {
  const [, keyword, rest = ''] = /^\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+|$)(.*)$/s.exec(line) ?? [];
  return keyword === undefined ? undefined : { keyword: keyword.toLowerCase(), args: splitArguments(rest) };
}

/** As OpenSSH does: quotes of both kinds, a backslash before what would mean something else, a comment after white space. */
function splitArguments(text: string): string[] {
  const args: string[] = [];
  for (const [word] of text.matchAll(/#.*|(?:"(?:\\["\\]|[^"])*"?|'(?:\\['\\]|[^'])*'?|\\["'\\ ]|[^\s"'])+/gs)) {
    if (word.startsWith('#')) break;
    args.push(word.replace(/"((?:\\["\\]|[^"])*)"?|'((?:\\['\\]|[^'])*)'?|\\(["'\\ ])/gs, (_, double?: string, single?: string, escaped?: string) => double?.replace(/\\(["\\])/g, '$1') ?? single?.replace(/\\(['\\])/g, '$1') ?? escaped ?? ''));
  }
  return args;
}

/** Whether a name fits a list of patterns of a `Host` line: `*`, `?`, and `!` before one that excludes. */
export function matchesHost(patterns: readonly string[], alias: string): boolean {
  let matched = false;
  for (const pattern of patterns) {
    const excludes = pattern.startsWith('!');
    if (!glob(excludes ? pattern.slice(1) : pattern).test(alias)) continue;
    if (excludes) return false;
    matched = true;
  }
  return matched;
}

/** A pattern of a shell, for one name. */
function glob(pattern: string): RegExp {
  const source = pattern.replace(/\[(!?)([^\]/]+)\]|[\s\S]/g, (part, not: string | undefined, set: string | undefined) =>
    set !== undefined ? `[${not === '!' ? '^' : ''}${set.replace(/[\\\]^]/g, '\\$&')}]` : part === '*' ? '[^/]*' : part === '?' ? '[^/]' : part.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'));
  return new RegExp(`^${source}$`, 'su');
}

/**
 * The concrete names of the `Host` lines of a configuration, in their order, each once. `Include` is followed, relative to `sshDirectory`;
 * one below a `Host` line gives those names only that the line fits, as ssh reads it for no others.
 */
export async function listAliases(options: { readonly path: string; readonly sshDirectory: string; readonly home: string; readonly env: Readonly<Record<string, string | undefined>>; readonly files: ConfigFiles }): Promise<ListedAlias[]> {
  const { sshDirectory, home, env, files } = options;
  const found = new Map<string, string>();
  let filesRead = 0;

  const include = async (word: string, conditions: readonly (readonly string[])[], depth: number): Promise<void> => {
    const path = word.replace(/^~(?=\/|$)/, home).replace(/\$\{(\w+)\}/g, (_, name: string) => env[name] ?? '');
    for (const file of await expand(isAbsolute(path) ? path : join(sshDirectory, path), files)) await read(file, conditions, depth);
  };

  const read = async (file: string, conditions: readonly (readonly string[])[], depth: number): Promise<void> => {
    if (depth > MAX_DEPTH || ++filesRead > MOST_FILES) return;
    const text = await files.read(file);
    if (text === null) return;
    let block: readonly (readonly string[])[] = conditions;
    for (const line of text.split('\n')) {
      const { keyword, args } = parseLine(line) ?? { keyword: '', args: [] };
      if (keyword === 'include') for (const word of args) await include(word, block, depth + 1);
      // What a Match asks is for ssh to find out: names below one are shown.
      else if (keyword === 'match') block = conditions;
      else if (keyword === 'host') {
        block = [...conditions, args];
        for (const alias of args) if (isAlias(alias) && block.every((patterns) => matchesHost(patterns, alias)) && found.size < MOST_ALIASES && !found.has(alias)) found.set(alias, file);
      }
    }
  };
  await read(options.path, [], 0);
  return [...found].map(([alias, file]) => ({ alias, file }));
}

/** The files that a pattern of an `Include` names, in the order of glob(7). */
async function expand(path: string, files: ConfigFiles): Promise<string[]> {
  if (!/[*?[]/.test(path)) return [path];
  const directories = await expand(dirname(path), files);
  const name = basename(path);
  if (!/[*?[]/.test(name)) return directories.map((directory) => join(directory, name));
  const pattern = glob(name);
  const fits = (entry: string) => pattern.test(entry) && (name.startsWith('.') || !entry.startsWith('.'));
  const found = await Promise.all(directories.map(async (directory) => [...(await files.list(directory))].filter(fits).sort().map((entry) => join(directory, entry))));
  return found.flat();
}
