import { createInterface } from 'node:readline/promises';
import type { Session } from './session';

/** Asks on the terminal; only `yes` is one. */
export async function confirmed(session: Session, question: string): Promise<boolean> {
  const prompt = createInterface({ input: session.stdin, output: session.stderr });
  try {
    return (await prompt.question(question)).trim().toLowerCase() === 'yes';
  } finally {
    prompt.close();
  }
}
