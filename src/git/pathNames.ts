import { pathForPeople, pathBytes, type BytePath } from './bytePath';
import { GitError } from './gitError';

/** What the file system that receives names makes of them. */
export interface NameRules {
  /** `A` and `a`, or NFC and NFD of one name, are one file. */
  readonly caseInsensitive: boolean;
  /** Backslash separates, some characters and names are taken, trailing dots and spaces vanish. */
  readonly windows: boolean;
}

/** Code points that HFS+ ignores in names (utf8.c, `next_hfs_char`). */
const hfsIgnored = /[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]/g;
/** Everything that some file system takes for `.git`: NTFS's short names, streams, trailing dots and spaces, ignored code points. */
const gitDirectory = /^(\.git|git~\d+)[ .]*(:.*)?$/i;
// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const windowsForbidden = /[<>:"|?*\\\u0001-\u001f]|[. ]$|^(con|prn|aux|nul|com[1-9]|lpt[1-9])(\..*)?$/i;

/** Parts of letters, digits and a few signs, which begin with a letter, a digit or an underscore: no dot, so no `.git`; no tilde, so no short name. */
const unsuspicious = /^[A-Za-z0-9_][\w+@=,. -]*(?:\/[A-Za-z0-9_][\w+@=,. -]*)*$/;

/**
 * Checks one path of a tree, of any kind. Honest oddities (line feeds, tabs, leading dashes, bytes that are not UTF-8)
 * pass where the file system holds them; names that some file system or git takes for `.git` or for a step upwards never do.
 *
 * @param mode octal, as git prints it
 * @throws {GitError} `hostile-content`, or `unsupported-state` for an honest name that this machine cannot hold
 */
export function checkPath(name: BytePath, mode: string, rules: NameRules): void {
  const refuse = (why: string) => new GitError('hostile-content', `The bundle that arrived holds the path ${pathForPeople(name)}, which ${why}. Nothing of it was used.`);
  if (name.length > 4096) throw refuse('is longer than 4096 bytes');
  // Nearly all names; what follows would find nothing in them.
  if (!rules.windows && mode !== '160000' && unsuspicious.test(name)) return;
  for (const part of name.split('/')) {
    if (part === '' || part === '.' || part === '..') throw refuse('has an empty part or one that leads elsewhere');
    const text = pathBytes(part).toString('utf8').replace(hfsIgnored, '');
    // A backslash is an honest character here and a separator on other machines.
    for (const piece of text.split('\\')) {
      if (gitDirectory.test(piece)) throw refuse('is, or is taken by some file system for, a Git directory');
      if (piece === '..') throw refuse('leads upwards on some systems');
    }
    // CVE-2025-48384: a submodule's path is written into config files and read back changed.
    // eslint-disable-next-line no-control-regex -- control characters are what is looked for
    if (mode === '160000' && (/[\u0000-\u001f\u007f]/.test(part) || part.startsWith('-'))) throw refuse('is a submodule with control characters or a leading dash');
    if (rules.windows && windowsForbidden.test(text)) {
      throw new GitError('unsupported-state', `The path ${pathForPeople(name)} cannot exist on this machine's file system. Rename it at the source first.`);
    }
  }
}

/** A symbolic link may lead anywhere, as in any checkout, but not into a Git directory. @throws {GitError} `hostile-content` */
export function checkLinkTarget(name: BytePath, target: Buffer): void {
  if (target.length > 4096 || target.includes(0) || target.length === 0) throw new GitError('hostile-content', `The symbolic link ${pathForPeople(name)} in the bundle that arrived has no target that a file system takes. Nothing of the bundle was used.`);
  if (target.toString('utf8').replace(hfsIgnored, '').split(/[/\\]/).some((part) => gitDirectory.test(part))) {
    throw new GitError('hostile-content', `The symbolic link ${pathForPeople(name)} in the bundle that arrived leads into a Git directory. Nothing of the bundle was used; remove the link at the source if it is meant.`);
  }
}

/** Tells names apart as the file system does. */
export class NameTwins {
  private readonly seen = new Map<string, BytePath>();
  constructor(private readonly rules: NameRules) {}

  /** @throws {GitError} `unsupported-state` when another path already has this name here */
  add(name: BytePath): void {
    if (!this.rules.caseInsensitive) return;
    const folded = pathBytes(name).toString('utf8').normalize('NFC').toLowerCase();
    const twin = this.seen.get(folded);
    if (twin !== undefined && twin !== name) {
      throw new GitError('unsupported-state', `The paths ${pathForPeople(twin)} and ${pathForPeople(name)} are one file on this machine. Rename one of them at the source first.`);
    }
    this.seen.set(folded, name);
  }
}
