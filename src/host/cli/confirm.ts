import { once } from 'node:events';
import { createInterface } from 'node:readline/promises';
import type { Session } from './session';

/** One line from the terminal, which is asked for, or of what is piped in; empty where there is none. */
export async function asked({ stdin, stderr }: Session, question: string): Promise<string> {
  const prompt = createInterface({ input: stdin, output: stderr });
  try {
    const ended = once(prompt, 'close').then(() => '');
    return (await Promise.race([prompt.question(stdin.isTTY ? question : ''), ended])).trim();
  } finally {
    prompt.close();
  }
}

/** Asks on the terminal; only `yes` is one. */
export async function confirmed(session: Session, question: string): Promise<boolean> {
  return (await asked(session, question)).toLowerCase() === 'yes';
}
