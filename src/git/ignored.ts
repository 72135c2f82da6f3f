import { nulTerminated, type BytePath } from './bytePath';
import { runGit, type GitOptions } from './git';

/** Which of the paths are ignored. `git check-ignore` knows no literal paths, so a leading `./` keeps `:(top)x` a name. */
export async function ignoredAmong(names: readonly BytePath[], options: GitOptions): Promise<Set<BytePath>> {
  if (names.length === 0) return new Set();
  const { stdout } = await runGit(['check-ignore', '-z', '--stdin'], { ...options, env: { ...options.env, GIT_LITERAL_PATHSPECS: '0' }, input: nulTerminated(names.map((name) => `./${name}`)), answers: [1] });
  return new Set(stdout.toString('latin1').split('\0').filter((name) => name !== '').map((name) => name.slice('./'.length)));
}
