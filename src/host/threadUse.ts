/**
 * When the threads that this host's app-server has loaded are used. It is let go of one only between two uses: a turn that begins on a
 * thread just as nobody follows it any more would ask for approvals that nobody sees.
 */
export class ThreadUse {
  private readonly users = new Map<string, number>();
  private readonly last = new Map<string, number>();
  private readonly leaving = new Map<string, Promise<void>>();

  /** @param now milliseconds of a clock that only goes forward */
  constructor(private readonly now: () => number) {}

  /** Begins a use, once nobody is about to let go of the thread. @returns what ends it */
  async begin(threadId: string): Promise<() => void> {
    for (let leaving; (leaving = this.leaving.get(threadId)) !== undefined; ) await leaving;
    this.users.set(threadId, (this.users.get(threadId) ?? 0) + 1);
    return () => {
      const left = (this.users.get(threadId) ?? 1) - 1;
      if (left > 0) this.users.set(threadId, left);
      else this.users.delete(threadId);
      this.note(threadId);
    };
  }

  async during<T>(threadId: string, act: () => Promise<T>): Promise<T> {
    const end = await this.begin(threadId);
    try {
      return await act();
    } finally {
      end();
    }
  }

  /** Something was heard of the thread. */
  note(threadId: string): void {
    this.last.set(threadId, this.now());
  }

  /** Since when nothing was done with the thread or heard of it, as far as this host remembers: at least since now. */
  since(threadId: string): number {
    if (!this.last.has(threadId)) this.note(threadId);
    return this.last.get(threadId) ?? this.now();
  }

  /** Runs `act`, which lets go of the thread, unless it is used; a use that begins meanwhile waits. */
  async leave(threadId: string, act: () => Promise<void>): Promise<void> {
    if (this.users.has(threadId) || this.leaving.has(threadId)) return;
    const leaving = act();
    this.leaving.set(threadId, leaving.catch(() => undefined));
    try {
      await leaving;
    } finally {
      this.leaving.delete(threadId);
    }
  }

  /** Nobody has the thread loaded here any more. */
  forget(threadId: string): void {
    this.last.delete(threadId);
  }
}
