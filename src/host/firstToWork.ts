import { systemClock, type Clock } from '../relay/clock';

/** One of several ways to the same end. */
export interface Way<T> {
  readonly name: string;
  /** So long the ways before it have a start on it, unless they have all failed. */
  readonly afterMs: number;
  /** `signal` says that another way was faster, or that nobody waits any more. */
  readonly open: (signal: AbortSignal) => Promise<T>;
}

/** How each way failed, in their order. */
export class NoWay extends Error {
  override readonly name = 'NoWay';
  constructor(readonly failures: readonly { readonly name: string; readonly error: unknown }[]) {
    super(failures.map(({ name, error }) => `${name}: ${error instanceof Error ? error.message : String(error)}`).join(' '));
  }
}

/**
 * What the first way that works gives. The others are given up, and what one of them still gives is handed to `tooLate`. Throws NoWay when all have
 * failed, and the reason of `signal`.
 */
export async function firstToWork<T>(ways: readonly Way<T>[], options: { readonly signal?: AbortSignal | undefined; readonly tooLate: (late: T) => void; readonly clock?: Clock }): Promise<T> {
  const { signal, tooLate, clock = systemClock } = options;
  return new Promise<T>((resolve, reject) => {
    const failures = new Map<Way<T>, unknown>();
    const begun = new Map<Way<T>, AbortController>();
    const stops = new Set<() => void>();
    let settled = false;
    const settle = (winner: Way<T> | null): void => {
      settled = true;
      for (const stop of stops) stop();
      signal?.removeEventListener('abort', onAbort);
      for (const [way, controller] of begun) if (way !== winner) controller.abort();
    };
    const begin = (way: Way<T>): void => {
      if (settled || begun.has(way)) return;
      const controller = new AbortController();
      begun.set(way, controller);
      way.open(controller.signal).then((value) => {
        if (settled) {
          tooLate(value);
          return;
        }
        settle(way);
        resolve(value);
      }, (error: unknown) => {
        failures.set(way, error);
        if (settled) return;
        if (failures.size === ways.length) {
          settle(null);
          reject(new NoWay(ways.map((each) => ({ name: each.name, error: failures.get(each) }))));
        } else if (failures.size === begun.size) {
          // Nobody is on the way any more: the next one need not wait.
          const next = ways.find((each) => !begun.has(each));
          if (next !== undefined) begin(next);
        }
      });
    };
    const onAbort = (): void => {
      settle(null);
      reject(signal?.reason instanceof Error ? signal.reason : new Error('Given up.'));
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted === true) onAbort();
    else if (ways.length === 0) {
      settle(null);
      reject(new NoWay([]));
    }
    for (const way of ways) {
      if (way.afterMs === 0) begin(way);
      else stops.add(clock.after(way.afterMs, () => begin(way)));
    }
  });
}
