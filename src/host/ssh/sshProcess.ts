import type { ChildProcessByStdio } from 'node:child_process';
import { Buffer } from 'node:buffer';
import type { Readable, Writable } from 'node:stream';
import { Duplex } from 'node:stream';
import { HostError } from '../hostError';
import { sshFailure } from './sshFailure';

/** What login scripts print before the command is skipped up to this; more is no noise. */
const MOST_NOISE_BYTES = 1024 * 1024;
const MOST_LINE_BYTES = 64 * 1024;
/** Of what is written as errors, so much of the beginning and of the end is kept. */
const KEPT_ERRORS = 8 * 1024;
/** For so long an ssh that was told to end may take. */
const END_MS = 2_000;

export type SshChild = ChildProcessByStdio<Writable, Readable, Readable>;

/** One running ssh: first what the far command says in lines, then, maybe, a stream of bytes. */
export class SshProcess {
  private received: Buffer = Buffer.alloc(0);
  private head = '';
  private tail = '';
  private over = false;
  private wake: () => void = () => undefined;
  private failure: HostError | null = null;
  private readonly ended: Promise<number | null>;

  constructor(
    private readonly child: SshChild,
    private readonly alias: string,
    signal: AbortSignal,
  ) {
    child.stderr.setEncoding('utf8');
    child.stderr.on('data', (text: string) => this.note(text));
    // Nobody need hear how a pipe to an ssh ends that has ended.
    for (const stream of [child.stdin, child.stdout, child.stderr]) stream.on('error', () => undefined);
    child.stdout.on('data', this.onData).on('end', this.onOver).on('close', this.onOver);
    // The pipe for errors may be held open by a connection that was left to others; so nobody waits for it.
    this.ended = new Promise((resolve) => {
      child.once('exit', (code) => resolve(code));
      child.once('error', () => resolve(null));
    });
    void this.ended.then(() => signal.removeEventListener('abort', onAbort));
    const onAbort = () => {
      const late = (signal.reason as Error | undefined)?.name === 'TimeoutError';
      this.failure ??= late ? new HostError('ssh-unreachable', `${alias} did not answer in time. A login script there may wait for something: try "ssh ${alias} true" in a terminal.`) : new HostError('cancelled', 'Cancelled.');
      this.kill();
      this.wake();
    };
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  }

  /** Skips all that came before `text`. Throws HostError as `sshFailure`, `cancelled`. */
  async skipTo(text: string): Promise<void> {
    await this.take((received) => {
      const at = received.indexOf(text);
      return at < 0 ? undefined : { value: undefined, end: at + Buffer.byteLength(text) };
    }, MOST_NOISE_BYTES);
  }

  /** The next line, without its end. Throws as `skipTo`. */
  line(): Promise<string> {
    return this.take((received) => {
      const at = received.indexOf(0x0a);
      return at < 0 ? undefined : { value: received.toString('utf8', 0, at).replace(/\r$/, ''), end: at + 1 };
    }, MOST_LINE_BYTES);
  }

  /** Gives the far command its whole standard input. */
  write(bytes: Uint8Array): void {
    this.child.stdin.end(bytes);
  }

  /** From here on the bytes belong to whoever speaks over the stream; when that ends, so does the ssh. */
  stream(): Duplex {
    const { child } = this;
    child.stdout.off('data', this.onData).off('end', this.onOver).off('close', this.onOver);
    return new SshStream(child, this.received, this.over, () => this.kill());
  }

  /** Ends it, if it has not ended. */
  kill(): void {
    const { child } = this;
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGTERM');
    const last = setTimeout(() => child.kill('SIGKILL'), END_MS);
    void this.ended.then(() => clearTimeout(last));
  }

  /** Resolves with its exit code once it has ended. */
  end(): Promise<number | null> {
    return this.ended;
  }

  private async take<T>(find: (received: Buffer) => { readonly value: T; readonly end: number } | undefined, limit: number): Promise<T> {
    for (;;) {
      if (this.failure !== null) throw this.failure;
      const found = find(this.received);
      if (found !== undefined) {
        this.received = this.received.subarray(found.end);
        return found.value;
      }
      if (this.received.length > limit) {
        this.kill();
        throw new HostError('ssh-failed', `${this.alias} says more than Baton would: a login script there goes on writing. Let it be silent where no terminal is attached.`);
      }
      if (this.over) {
        const code = await this.ended;
        this.failure ??= sshFailure(this.alias, { code, errors: `${this.head}\n${this.tail}` });
        throw this.failure;
      }
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  private readonly onData = (chunk: Buffer): void => {
    this.received = Buffer.concat([this.received, chunk]);
    this.wake();
  };

  private readonly onOver = (): void => {
    this.over = true;
    // Its end may never come where it waits for something that is not there any more.
    this.child.stdin.end();
    this.wake();
  };

  private note(text: string): void {
    const room = KEPT_ERRORS - this.head.length;
    this.head += text.slice(0, Math.max(0, room));
    if (text.length > room) this.tail = (this.tail + text.slice(Math.max(0, room))).slice(-KEPT_ERRORS);
  }
}

/** The standard input and output of a running ssh as one stream. */
class SshStream extends Duplex {
  constructor(
    private readonly child: SshChild,
    early: Buffer,
    over: boolean,
    private readonly kill: () => void,
  ) {
    super();
    if (early.length > 0) this.push(early);
    child.stdout.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) child.stdout.pause();
    });
    if (over) this.push(null);
    child.stdout.once('end', () => this.push(null));
    child.stdout.once('close', () => this.push(null));
    child.stdin.once('close', () => {
      if (!this.writableFinished) this.destroy();
    });
    child.stdout.pause();
  }

  override _read(): void {
    this.child.stdout.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.child.stdin.write(chunk, callback);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.child.stdin.end(callback);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    // What was written must get out first; ssh ends by itself then, as its input has.
    if (error !== null || !this.writableFinished || !this.readableEnded) this.kill();
    this.child.stdout.resume();
    callback(error);
  }
}
