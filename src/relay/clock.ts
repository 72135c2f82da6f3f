/** Time as the relay and its channels see it; tests hand in one that they move themselves. */
export interface Clock {
  /** Milliseconds that never go back; their zero means nothing. */
  now(): number;
  /** Runs an action once after some milliseconds, unless the returned function is called before. */
  after(milliseconds: number, action: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after(milliseconds, action) {
    const timer = setTimeout(action, milliseconds);
    return () => clearTimeout(timer);
  },
};
