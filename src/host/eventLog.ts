import { randomBytes } from 'node:crypto';

/** One notification, and where it stands among those of its host's run. */
export interface LoggedEvent {
  /** Counts from 1. */
  readonly position: number;
  readonly method: string;
  readonly params: unknown;
}

/** What is kept, at most. Who missed more has to read what it shows again. */
const MOST_EVENTS = 4_096;
const MOST_BYTES = 8 * 1024 * 1024;

/** The newest of what a host told its controllers, so that one whose connection broke is told what it missed, and nothing twice. */
export class EventLog {
  /** Of this run of the host: positions of another mean nothing. */
  readonly run = randomBytes(16).toString('hex');
  #events: (LoggedEvent & { readonly bytes: number })[] = [];
  #bytes = 0;
  #position = 0;
  #isKept = false;

  /** Of the newest. */
  get position(): number {
    return this.#position;
  }

  /** From now on there is a controller that may ask; before, nothing had to be kept. */
  keep(): void {
    this.#isKept = true;
  }

  append(method: string, params: unknown): LoggedEvent {
    const event = { position: ++this.#position, method, params };
    if (!this.#isKept) return event;
    const bytes = Buffer.byteLength(JSON.stringify(params ?? null));
    this.#events.push({ ...event, bytes });
    this.#bytes += bytes;
    let over = 0;
    while (this.#events.length - over > MOST_EVENTS || this.#bytes > MOST_BYTES) this.#bytes -= this.#events[over++]?.bytes ?? 0;
    // In one go, as each removal from the front moves all the others.
    if (over > 0) this.#events = this.#events.slice(over);
    return event;
  }

  /** What came after a position; null where that is not all there any more, or is of another run. */
  since({ run, after }: { readonly run: string; readonly after: number }): readonly LoggedEvent[] | null {
    if (run !== this.run || after > this.#position || this.#position - after > this.#events.length) return null;
    return after === this.#position ? [] : this.#events.slice(after - this.#position);
  }
}
