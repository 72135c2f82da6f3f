import { realpath } from 'node:fs/promises';
import path from 'node:path';
import { pathForPeople, type BytePath } from './bytePath';
import { beginCapture, SUBMODULES, untilStill, type BegunCapture, type CapturedState, type CaptureOptions } from './capture';
import { GitError } from './gitError';
import type { Manifest } from './manifest';
import { readRepository, type ObjectId } from './repository';
import { inGroups } from './sideBySide';
import { DEEPEST_PART, MOST_PARTS, type PopulatedSubmodule } from './submodules';

/** The working state of one repository of a checkout. */
export interface CapturedPart {
  /** Where its worktree lies in the checkout's; empty for the checkout itself. */
  readonly place: BytePath;
  /** Of a submodule, as its superproject's `.gitmodules` has it; null where that has none that one can use. */
  readonly name: string | null;
  readonly state: CapturedState;
}

/** A checkout as parts, parents before their submodules; the first is the checkout itself. */
export type CapturedCheckout = readonly [CapturedPart, ...CapturedPart[]];

/** Submodules beside each other that are looked at at once. */
const AT_ONCE = 4;

/**
 * Takes the working state of a checkout and of all its populated submodules, at any depth: first everything is stored, then
 * everything is looked at once more, so that all parts are of one moment. What each part is: `captureWorkingState`.
 *
 * @throws {GitError} as `captureWorkingState`; `unsupported-state` for a submodule whose repository git cannot find
 */
export async function captureCheckout(options: CaptureOptions): Promise<CapturedCheckout> {
  return (await watchCheckout(options)).parts;
}

/** The same, and a way to see later what is not any more as it was captured: one entry for each that people understand, none where all is. */
export async function watchCheckout(options: CaptureOptions): Promise<{ readonly parts: CapturedCheckout; readonly changes: () => Promise<string[]> }> {
  return untilStill(options, async () => {
    const begun: (Omit<CapturedPart, 'state'> & { readonly capture: BegunCapture })[] = [];
    let spools = 0;
    const begin = async (root: string, place: BytePath, name: string | null, depth: number, spool: string, commits: readonly ObjectId[]): Promise<string> => {
      const submodules = async (populated: readonly PopulatedSubmodule[]): Promise<Manifest['submodules']> => {
        if (populated.length > 0 && depth === DEEPEST_PART) throw tooMany(options.root);
        return inGroups(AT_ONCE, populated, async (submodule) => {
          // Those beside it count on while this one waits.
          const own = ++spools;
          if (own >= MOST_PARTS) throw tooMany(options.root);
          await expectOwnWorktree(submodule, options.signal);
          const below = place === '' ? submodule.path : `${place}/${submodule.path}`;
          return { path: submodule.path, fingerprint: await begin(submodule.directory, below, submodule.name, depth + 1, path.join(options.spool, SUBMODULES, String(own)), submodule.recorded) };
        });
      };
      const capture = await beginCapture({ ...options, root, spool, submodules, commits });
      begun.push({ place, name, capture });
      return capture.fingerprint;
    };
    await begin(options.root, '', null, 0, options.spool, []);
    const parts = await inGroups(AT_ONCE, begun, async ({ place, name, capture }) => ({ place, name, state: await capture.complete() }));
    const changes = async () => (await inGroups(AT_ONCE, begun, async ({ place, capture }) => (await capture.changes()).map((change) => (place === '' ? change : `${change} in ${pathForPeople(place)}`)))).flat();
    // A place begins with the places that it lies in, so they come first.
    return { parts: parts.sort((a, b) => (a.place < b.place ? -1 : 1)) as [CapturedPart, ...CapturedPart[]], changes };
  });
}

/** A submodule's Git directory may be gone, or belong to another directory; git would then speak of that one. */
async function expectOwnWorktree({ path: name, directory }: PopulatedSubmodule, signal?: AbortSignal): Promise<void> {
  const found = await readRepository(directory, signal).catch((cause: unknown) => {
    if (GitError.is(cause, 'cancelled')) throw cause;
    throw new GitError('unsupported-state', `The repository of the submodule ${pathForPeople(name)} cannot be read. Look at it with "git status" in ${directory}, or take it away with "git submodule deinit -f" first.`, { cause });
  });
  if (found.root !== (await realpath(directory))) throw new GitError('unsupported-state', `The submodule ${pathForPeople(name)} belongs to a repository whose working tree is ${found.root}. Run "git submodule update --init" there first.`);
}

function tooMany(root: string): GitError {
  return new GitError('too-large', `${root} holds more than ${MOST_PARTS} submodules, or submodules more than ${DEEPEST_PART} deep.`);
}
