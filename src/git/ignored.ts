import { bytePath, nulTerminated, type BytePath } from './bytePath';
import { nulRecords, runGit, streamGit, type GitOptions } from './git';

/** Which of the paths are ignored. `git check-ignore` knows no literal paths, so a leading `./` keeps `:(top)x` a name. */
export async function ignoredAmong(names: readonly BytePath[], options: GitOptions): Promise<Set<BytePath>> {
  if (names.length === 0) return new Set();
  const { stdout } = await runGit(['check-ignore', '-z', '--stdin'], { ...options, env: { ...options.env, GIT_LITERAL_PATHSPECS: '0' }, input: nulTerminated(names.map((name) => `./${name}`)), answers: [1] });
  return new Set(stdout.toString('latin1').split('\0').filter((name) => name !== '').map((name) => name.slice('./'.length)));
}

/** The same for any number of paths, as they come: each with whether it is ignored and not tracked, in the order given. */
export async function* tellIgnored(names: AsyncIterable<BytePath>, options: GitOptions): AsyncGenerator<{ readonly path: BytePath; readonly ignored: boolean }, void, undefined> {
  const input = (async function* () {
    for await (const name of names) yield Buffer.from(`./${name}\0`, 'latin1');
  })();
  const fields = nulRecords(streamGit(['check-ignore', '--verbose', '--non-matching', '-z', '--stdin'], { ...options, env: { ...options.env, GIT_LITERAL_PATHSPECS: '0' }, input, answers: [1] }));
  for (;;) {
    // Where the rule is: its file and its line.
    await fields.next();
    await fields.next();
    const pattern = await fields.next();
    const name = await fields.next();
    if (pattern.done === true || name.done === true) return;
    // The pattern that decides may be one that takes back another.
    const decides = bytePath(pattern.value);
    yield { path: bytePath(name.value).slice('./'.length), ignored: decides !== '' && !decides.startsWith('!') };
  }
}
