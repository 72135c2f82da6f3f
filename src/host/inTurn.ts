/** Acts upon the same thing, one at a time and in the order in which they came. One that fails does not keep the next from its turn. */
export class InTurn {
  private readonly tails = new Map<string, Promise<unknown>>();

  /** Runs `act` once all that came before it under this key has ended. */
  async take<T>(key: string, act: () => Promise<T>): Promise<T> {
    const turn = (this.tails.get(key) ?? Promise.resolve()).then(act);
    const tail = turn.catch(() => undefined).then(() => {
      if (this.tails.get(key) === tail) this.tails.delete(key);
    });
    this.tails.set(key, tail);
    return turn;
  }

  /** Whether anything under this key runs or waits. */
  has(key: string): boolean {
    return this.tails.has(key);
  }
}
