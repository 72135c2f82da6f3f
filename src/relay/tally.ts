import type { Clock } from './clock';

/** How many of something each name has now. Names that have none take no room. */
export class Tally {
  readonly #counts = new Map<string, number>();

  of(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  /** Counts one more, until the returned function is called; calling that again is harmless. */
  add(name: string): () => void {
    this.#counts.set(name, this.of(name) + 1);
    let counted = true;
    return () => {
      if (!counted) return;
      counted = false;
      const left = this.of(name) - 1;
      if (left === 0) this.#counts.delete(name);
      else this.#counts.set(name, left);
    };
  }
}

/** So many names are told apart in one minute; what comes after them is refused rather than remembered. */
const MAX_NAMES = 100_000;

/** How often each name did something in this minute. */
export class MinuteRate {
  readonly #counts = new Map<string, number>();
  #minute = 0;

  constructor(private readonly clock: Pick<Clock, 'now'>) {}

  /** Counts one more; false when the name has had its share of this minute. */
  admits(name: string, most: number): boolean {
    const minute = Math.floor(this.clock.now() / 60_000);
    if (minute !== this.#minute) {
      this.#minute = minute;
      this.#counts.clear();
    }
    const count = (this.#counts.get(name) ?? 0) + 1;
    if (count === 1 && this.#counts.size >= MAX_NAMES) return false;
    this.#counts.set(name, count);
    return count <= most;
  }
}
