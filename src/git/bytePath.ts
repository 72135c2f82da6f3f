import { Buffer } from 'node:buffer';
import path from 'node:path';

/**
 * A path inside a repository as git has it: bytes, with `/` between the parts, not necessarily UTF-8. It is kept as a
 * string with one character (U+0001 to U+00FF) per byte, so that it can be a map key, be compared in git's order and
 * be written as JSON without loss.
 */
export type BytePath = string;

export function bytePath(bytes: Buffer): BytePath {
  return bytes.toString('latin1');
}

export function pathBytes(name: BytePath): Buffer {
  return Buffer.from(name, 'latin1');
}

/** The path in the file system, as bytes where the platform takes bytes. */
export function absolutePath(root: string, name: BytePath): Buffer | string {
  if (process.platform === 'win32') return path.join(root, ...pathBytes(name).toString('utf8').split('/'));
  return Buffer.concat([Buffer.from(root.endsWith('/') ? root : `${root}/`), pathBytes(name)]);
}

/** The name of a directory entry that was read as bytes, below `parent` (empty at the root). */
export function childPath(parent: BytePath, entry: Buffer): BytePath {
  return parent === '' ? bytePath(entry) : `${parent}/${bytePath(entry)}`;
}

/** All directories above a path, the outermost first. */
export function parentPaths(name: BytePath): BytePath[] {
  const parents: BytePath[] = [];
  for (let slash = name.indexOf('/'); slash !== -1; slash = name.indexOf('/', slash + 1)) parents.push(name.slice(0, slash));
  return parents;
}

/** For messages: JSON's escapes keep control characters away from terminals. */
export function pathForPeople(name: BytePath): string {
  const text = pathBytes(name).toString('utf8');
   
  return JSON.stringify(text).replace(/[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** The first five of some paths for messages, and how many there are besides. */
export function pathsForPeople(names: readonly BytePath[]): string {
  const some = names.slice(0, 5).map(pathForPeople).join(', ');
  return names.length > 5 ? `${some} and ${names.length - 5} more` : some;
}

/** NUL-terminated, as git's `-z --stdin` options read paths. */
export function nulTerminated(names: Iterable<BytePath>): Buffer {
  const list = [...names];
  return Buffer.from(list.length === 0 ? '' : `${list.join('\0')}\0`, 'latin1');
}

/** Git's own order: by bytes. */
export function sortedPaths(names: Iterable<BytePath>): BytePath[] {
  return [...names].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}
