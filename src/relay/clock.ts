import { uptime } from 'node:os';

/** Time as the relay and its channels see it; tests hand in one that they move themselves. */
export interface Clock {
  /** Milliseconds that never go back, those included in which the machine slept; their zero means nothing. */
  now(): number;
  /** Runs an action once after some milliseconds in which the machine was awake, unless the returned function is called before. */
  after(milliseconds: number, action: () => void): () => void;
}

/** How often it is looked whether the machine has slept. Asking takes a system call or a file. */
const LOOK_MS = 1_000;
/** The time since the start of the machine comes in steps, on macOS of a second. */
const STEP_MS = 2_000;

/**
 * The time of `awake`, which stands still while the machine sleeps (as `performance.now` does on Linux and macOS), and the time slept, as
 * far as `sinceBoot` goes on meanwhile. Who sets the machine's date moves neither.
 */
export function withSleep(awake: () => number, sinceBoot: () => number): () => number {
  const ahead = () => sinceBoot() - awake();
  const start = ahead();
  let slept = 0;
  let lookedAt = awake();
  return () => {
    const now = awake();
    if (now - lookedAt >= LOOK_MS) {
      lookedAt = now;
      const more = ahead() - start - slept;
      if (more > STEP_MS) slept += more;
    }
    return now + slept;
  };
}

export const systemClock: Clock = {
  now: withSleep(() => performance.now(), () => uptime() * 1000),
  after(milliseconds, action) {
    const timer = setTimeout(action, milliseconds);
    return () => clearTimeout(timer);
  },
};
