import { existsSync } from 'node:fs';
import path from 'node:path';
import { pathsForPeople, type BytePath } from './bytePath';
import type { GitFinding } from './finding';
import { quoteForPeople } from './git';
import type { LfsReading } from './lfsFiles';
import { hasLength, lfsFile } from './lfsStore';
import type { OperationState } from './operation';
import type { Repository } from './repository';
import { looksSecret } from './secretNames';
import type { SubmodulePlaces } from './submodules';
import type { WorktreeReading } from './worktreeReading';
import type { LeftBehind } from './worktreeScan';

/** The code of a warning that speaks of what travels; the others speak of what does not, or not quite. */
export const SECRETS_TRAVEL = 'secrets-travel';

/** Says in words what of a working state does not travel, or travels otherwise than one may think. */
export async function findingsOf(state: {
  readonly repository: Repository; readonly places: SubmodulePlaces; readonly operation: OperationState;
  readonly read: WorktreeReading; readonly left: LeftBehind; readonly storage: string; readonly sparse: boolean;
}): Promise<GitFinding[]> {
  const { repository, places, operation, read, left } = state;
  const findings: GitFinding[] = [];
  const add = (level: GitFinding['level'], code: string, message: string) => { findings.push({ level, code, message }); };

  if (places.unnameable.length > 0) add('blocker', 'submodule-name', `${pathsForPeople(places.unnameable)}: no destination takes a submodule of such a name. Move it with "git mv", then try again.`);
  if (places.withoutRepository.length > 0) add('warning', 'submodule-files-stay', `${pathsForPeople(places.withoutRepository)}: files in the place of a submodule whose repository is not there. Git does not look at them, and they stay behind.`);
  if (read.nestedRepositories.length > 0) add('warning', 'nested-repository-stays', `${pathsForPeople(read.nestedRepositories)} ${read.nestedRepositories.length === 1 ? 'is a repository of its own that is' : 'are repositories of their own that are'} not tracked here and stay behind.`);
  const secrets = read.untracked.filter(looksSecret);
  if (secrets.length > 0) add('warning', SECRETS_TRAVEL, `${pathsForPeople(secrets)} ${secrets.length === 1 ? 'looks like a secret, and is not ignored' : 'look like secrets, and are not ignored'}: untracked files travel with the thread. To keep ${secrets.length === 1 ? 'it' : 'them'} here, add ${secrets.length === 1 ? 'it' : 'them'} to .gitignore or .git/info/exclude.`);
  const special = [...new Set([...left.special, ...read.special])];
  if (special.length > 0) add('warning', 'special-file-stays', `${pathsForPeople(special)}: a FIFO, socket or device cannot be carried and stays behind.`);
  const lfsMissing = await missingLfs(read.lfs, state.storage);
  if (lfsMissing.length > 0) add('warning', 'lfs-object-missing', `The content of ${pathsForPeople(lfsMissing)} is not on this machine, only the Git LFS pointer${lfsMissing.length === 1 ? '' : 's'}, and so it will be at the destination. Run "git lfs fetch" first if the thread needs it.`);
  if (state.sparse) add('warning', 'sparse-checkout', 'The checkout is sparse. The same files are present at the destination; its sparse patterns apply there only if that repository has extensions.worktreeConfig.');
  if (repository.partial) add('warning', 'partial-clone', 'The repository is a partial clone. What it lacks can only come from the destination\'s own repository.');
  if (repository.shallow.length > 0) add('warning', 'shallow-clone', 'The repository is a shallow clone. At the destination the history ends where it ends here, unless more of it is there.');
  if (operation.unknown.length > 0) add('warning', 'operation-file-stays', `The ${operation.kind ?? 'operation'} in progress keeps files that Baton does not carry: ${operation.unknown.map(quoteForPeople).slice(0, 5).join(', ')}.`);
  if (operation.removed.length > 0) add('warning', 'operation-lines-stay', `The ${operation.kind ?? 'operation'} in progress would run programs or move other branches; these lines do not go on at the destination: ${operation.removed.map(quoteForPeople).slice(0, 5).join(' · ')}`);
  if (existsSync(path.join(repository.gitDir, 'index.lock'))) add('warning', 'index-locked', 'Another git holds index.lock here. What it is about to write is not part of the capture.');
  return findings;
}

/** Paths of the index whose LFS objects this machine does not have. */
async function missingLfs(lfs: LfsReading, storage: string): Promise<BytePath[]> {
  const held = new Set(lfs.files.map(({ oid }) => oid));
  const missing: BytePath[] = [];
  for (const file of lfs.named) if (!held.has(file.oid) && !(await hasLength(lfsFile(storage, file.oid), file))) missing.push(file.path);
  return missing;
}

