import { setTimeout } from 'node:timers/promises';
import { CodexError } from './codexError';

const DELAYS_MS = [25, 50, 100, 200, 400, 800, 1600];

/**
 * Codex 0.169 writes a new thread's rollout some moments into its first turn. Until then it refuses what reads the thread
 * (`list_turns is not supported yet`), without any event that would tell when, so what fails for that is tried again.
 */
export async function onceWritten<T>(request: () => Promise<T>): Promise<T> {
  for (const delayMs of DELAYS_MS) {
    try {
      return await request();
    } catch (error) {
      const early = CodexError.is(error, 'rollout-missing') || (CodexError.is(error, 'refused') && error.message.includes('not supported yet'));
      if (!early) throw error;
      await setTimeout(delayMs);
    }
  }
  return request();
}
