import { isWhole, partOf } from '../fixtures/whole';
import { git, write, type Pair } from './laboratory';

/** A state that a checkout can be in, and how it gets there from a clean clone. */
export interface State {
  readonly name: string;
  /** Makes it; returns the checkout to capture where that is not `root`. */
  readonly make: (root: string, pair: Pair) => unknown;
  /** What the destination's repository is like, where that matters. */
  readonly there?: (server: string) => unknown;
  readonly format?: 'sha256';
  /** One of those that differ most from each other. */
  readonly typical?: true;
}

/** Where going through a whole table takes long: one in so many of those that differ most from each other. */
export function someOf(states: readonly State[], oneIn: number): readonly State[] {
  return isWhole ? states : partOf(states.filter(({ typical }) => typical === true), oneIn);
}

export function commit(root: string, message: string): void {
  git(root, 'add', '-A');
  git(root, 'commit', '-qm', message);
}

/** One commit of one file. */
export function change(root: string, name: string, content: string): void {
  write(root, name, content);
  git(root, 'add', '--', name);
  git(root, 'commit', '-qm', `${name} is now ${content.trim()}`);
}

/** Two branches that change the same lines, and `main` checked out. */
export function diverge(root: string): void {
  git(root, 'checkout', '-q', '-b', 'topic');
  write(root, 'a.txt', 'one\nTOPIC\nthree\nfour\nfive\n');
  write(root, 'topic.txt', 'topic\n');
  commit(root, 'topic one');
  change(root, 'b.txt', 'topic b\n');
  git(root, 'checkout', '-q', 'main');
  change(root, 'a.txt', 'one\nMAIN\nthree\nfour\nfive\n');
}
