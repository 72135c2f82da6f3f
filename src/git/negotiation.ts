import type { ObjectId } from './repository';

/** A piece of history, each commit before its parents. Kept flat: there may be a million of them. */
export interface History {
  readonly commits: readonly ObjectId[];
  /** Of each commit, the positions of those parents that belong to the piece. */
  parentsOf(position: number): readonly number[];
}

/** Asks the other side which of some commits it has together with all that they stand on. */
export type Ask = (commits: readonly ObjectId[]) => Promise<readonly ObjectId[]>;

/** Most commits in one question. */
export const QUESTION_LIMIT = 512;
/** Most questions. Three find the exact border in a straight line of a million commits; branches may want one more. */
export const QUESTIONS = 4;

/** Of the first question: so many of the youngest commits, one by one, and at most so many of the tips and of the roots. */
const YOUNGEST = 192;
const ENDS = 64;

const OPEN = 0;
const THERE = 1;
const LACKING = 2;

/**
 * Finds out which commits of a history the other side has, so that as little as possible of it travels. Whoever has a commit
 * has its ancestors, and whoever lacks one lacks its descendants, so each answer settles more than was asked. The first
 * question samples the youngest commits densely and the others ever more thinly, since most histories part late; the next
 * ones search what is still open. What is open after the last one counts as lacking: then more travels than would have to,
 * and nothing is missing.
 *
 * @returns the youngest commits that are there: what they lead to is there too. Never one that was not both asked and named
 */
export async function findCommon(history: History, ask: Ask): Promise<ObjectId[]> {
  const known = new Uint8Array(history.commits.length);
  for (let question = 0; question < QUESTIONS; question++) {
    const asked = question === 0 ? firstSamples(history) : openSamples(known);
    if (asked.length === 0) break;
    const there = new Set(await ask(asked.map((position) => history.commits[position] ?? '')));
    for (const position of asked) known[position] = there.has(history.commits[position] ?? '') ? THERE : LACKING;
    conclude(history, known);
  }
  return youngest(history, known);
}

/** Positions for the first question. */
function firstSamples(history: History): number[] {
  const { length } = history.commits;
  const samples = new Set<number>();
  for (let position = 0; position < Math.min(length, YOUNGEST); position++) samples.add(position);
  const hasChild = new Uint8Array(length);
  const roots: number[] = [];
  let tips = 0;
  for (let position = 0; position < length; position++) {
    if (hasChild[position] === 0 && tips++ < ENDS) samples.add(position);
    const parents = history.parentsOf(position);
    for (const parent of parents) hasChild[parent] = 1;
    if (parents.length === 0) roots.push(position);
  }
  for (const position of roots.slice(-ENDS)) samples.add(position);
  // The rest in steps that grow evenly, from the youngest to the last.
  const rest = QUESTION_LIMIT - samples.size;
  for (let step = 1; step <= rest && length > YOUNGEST; step++) samples.add(Math.min(length - 1, Math.round(YOUNGEST * (length / YOUNGEST) ** (step / rest))));
  return [...samples];
}

/** Evenly spread over what is not settled yet. */
function openSamples(known: Uint8Array): number[] {
  const open: number[] = [];
  for (const [position, is] of known.entries()) if (is === OPEN) open.push(position);
  if (open.length <= QUESTION_LIMIT) return open;
  return Array.from({ length: QUESTION_LIMIT }, (_, step) => open[Math.floor((step * open.length) / QUESTION_LIMIT)] ?? 0);
}

/** Has what is there lead to its ancestors, and what is lacking to its descendants. */
function conclude(history: History, known: Uint8Array): void {
  for (let position = 0; position < known.length; position++) {
    if (known[position] === THERE) for (const parent of history.parentsOf(position)) known[parent] = THERE;
  }
  for (let position = known.length - 1; position >= 0; position--) {
    if (known[position] === OPEN && history.parentsOf(position).some((parent) => known[parent] === LACKING)) known[position] = LACKING;
  }
}

/** Those that are there and have no child that is there. */
function youngest(history: History, known: Uint8Array): ObjectId[] {
  const led = new Uint8Array(known.length);
  const found: ObjectId[] = [];
  for (const [position, is] of known.entries()) {
    if (is !== THERE) continue;
    if (led[position] === 0) found.push(history.commits[position] ?? '');
    for (const parent of history.parentsOf(position)) led[parent] = 1;
  }
  return found;
}
