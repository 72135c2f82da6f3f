import { runGit, type GitOptions } from './git';
import type { ObjectId } from './repository';

/** What revisions (gitrevisions(7)) name, asked of one git process; null for what is not there. They must hold no line feed. */
export async function objectsNamed<N extends readonly string[]>(revisions: N, options: GitOptions): Promise<{ [K in keyof N]: ObjectId | null }> {
  if (revisions.length === 0) return [] as unknown as { [K in keyof N]: ObjectId | null };
  const { stdout } = await runGit(['cat-file', '--batch-check=%(objectname)'], { ...options, input: revisions.map((revision) => `${revision}\n`).join('') });
  const answers = stdout.toString('latin1').split('\n');
  return revisions.map((_revision, position) => { const answer = answers[position] ?? ''; return /^[0-9a-f]{40,64}$/.test(answer) ? answer : null; }) as { [K in keyof N]: ObjectId | null };
}
