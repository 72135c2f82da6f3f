import { GitError } from './gitError';
import type { Manifest, StateTrees } from './manifest';
import { objectsNamed } from './objectsNamed';
import { readManifest } from './quarantineChecks';
import { defaultLimits } from './quarantine';
import type { ObjectId } from './repository';
import { inShadow, type Shadow } from './shadow';
import { sideBySide } from './sideBySide';
import type { BytePath } from './bytePath';

/** A captured state as a restore needs it. */
export interface StateToRestore {
  readonly tip: ObjectId;
  readonly manifest: Manifest;
  readonly trees: StateTrees;
  /** Tracked files that are not in the working tree, by their `skip-worktree` flag. */
  readonly absent: ReadonlySet<BytePath>;
}

/** Reads a state from its tip, whose objects the shadow can see. */
export async function readState(shadow: Shadow, tip: ObjectId, signal?: AbortSignal): Promise<StateToRestore> {
  const options = inShadow(shadow, { signal });
  const [manifest, [index, worktree, stages, resolved]] = await sideBySide(
    readManifest(tip, options, defaultLimits, { caseInsensitive: false, windows: process.platform === 'win32' }),
    objectsNamed([`${tip}^1^1^{tree}`, `${tip}^1^{tree}`, `${tip}:stages`, `${tip}:resolved`] as const, options),
  );
  if (index === null || worktree === null) throw new GitError('missing-objects', 'A captured state lacks the trees of its own commits. Nothing was restored.');
  return {
    tip, manifest,
    trees: { index, worktree, stages, resolved },
    absent: new Set(manifest.flags.filter((flag) => !flag.present).map((flag) => flag.path)),
  };
}

/** A change of one path between two trees. */
export interface TreeChange {
  readonly path: BytePath;
  /** `000000` where the path is not in that tree. */
  readonly fromMode: string;
  readonly toMode: string;
  readonly fromOid: ObjectId;
  readonly toOid: ObjectId;
}
