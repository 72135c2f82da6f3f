/** JSON-RPC as the app-server speaks it, over one transport. Its quirks: `jsonrpc` is left out, its own request ids start at 0, and it may ask to be asked again later. */
import { z } from 'zod';
import { CodexError } from './codexError';
import type { Transport } from './transport';

const rpcError = z.looseObject({ code: z.number(), message: z.string(), data: z.unknown().optional() });
const rpcId = z.union([z.string(), z.number()]);
const incoming = z.looseObject({
  id: rpcId.optional(),
  method: z.string().optional(),
  params: z.unknown().optional(),
  result: z.unknown().optional(),
  error: rpcError.optional(),
});
export type RpcId = z.infer<typeof rpcId>;

export type RpcListener = {
  notification: (method: string, params: unknown) => void;
  request: (id: RpcId, method: string, params: unknown) => void;
  closed: (why: string) => void;
};

export type RpcOptions = {
  /** Requests on the wire at once; further ones wait here instead of overloading the server. */
  maxInFlight?: number;
  /** Milliseconds for an answer; 0 waits for ever. */
  timeoutMs?: number;
  random?: () => number;
};

const OVERLOADED = -32001;
/** A thread that is being let go of cannot be loaded for a moment: "thread … is closing; retry thread/resume after the thread is closed". */
const CLOSING = /\bis closing; retry\b/;
const maxAttempts = 8;
const firstDelayMs = 50;
const longestDelayMs = 3_000;

/** One connection to an app-server. A request is retried when the server asks for that (it was then not begun), with growing, jittered delays. */
export class RpcConnection {
  readonly #transport: Transport;
  readonly #options: Required<RpcOptions>;
  readonly #pending = new Map<number, (answer: { result: unknown } | { error: z.infer<typeof rpcError> } | { lost: string }) => void>();
  readonly #waiting: (() => void)[] = [];
  #inFlight = 0;
  #nextId = 1;
  #closed: string | null = null;

  constructor(transport: Transport, listener: RpcListener, options: RpcOptions = {}) {
    this.#transport = transport;
    this.#options = { maxInFlight: options.maxInFlight ?? 32, timeoutMs: options.timeoutMs ?? 120_000, random: options.random ?? Math.random };
    transport.onClose((why) => {
      this.#closed = why;
      for (const settle of [...this.#pending.values()]) settle({ lost: why });
      for (const go of this.#waiting.splice(0)) go();
      listener.closed(why);
    });
    transport.onText((text) => this.#receive(text, listener));
  }

  get isClosed(): boolean {
    return this.#closed !== null;
  }

  /** @throws CodexError `connection-lost`, `timed-out`, `overloaded`, or what {@link errorOf} makes of the server's refusal */
  async request(method: string, params: unknown): Promise<unknown> {
    await this.#enter();
    try {
      for (let attempt = 1; ; attempt += 1) {
        const answer = await this.#once(method, params);
        if ('lost' in answer) throw new CodexError('connection-lost', `The connection to the Codex app-server was lost before it answered ${method} (${answer.lost}).`);
        if ('result' in answer) return answer.result;
        const overloaded = answer.error.code === OVERLOADED;
        if (!overloaded && (!CLOSING.test(answer.error.message) || attempt === maxAttempts)) throw errorOf(method, answer.error);
        if (attempt === maxAttempts) throw new CodexError('overloaded', `The Codex app-server is overloaded and refused ${method} ${maxAttempts} times. Try again in a while.`);
        const ceiling = Math.min(longestDelayMs, firstDelayMs * 2 ** attempt);
        await new Promise((resolve) => setTimeout(resolve, ceiling * (0.5 + this.#options.random() / 2)));
      }
    } finally {
      this.#inFlight -= 1;
      this.#waiting.shift()?.();
    }
  }

  notify(method: string, params?: unknown): void {
    this.#send({ method, ...(params === undefined ? {} : { params }) });
  }

  reply(id: RpcId, result: unknown): void {
    this.#send({ id, result });
  }

  refuse(id: RpcId, code: number, message: string): void {
    this.#send({ id, error: { code, message } });
  }

  close(): void {
    this.#transport.close();
  }

  async #enter(): Promise<void> {
    while (this.#inFlight >= this.#options.maxInFlight && this.#closed === null) await new Promise<void>((go) => this.#waiting.push(go));
    this.#inFlight += 1;
  }

  #once(method: string, params: unknown): Promise<{ result: unknown } | { error: z.infer<typeof rpcError> } | { lost: string }> {
    return new Promise((resolve, reject) => {
      if (this.#closed !== null) {
        resolve({ lost: this.#closed });
        return;
      }
      const id = this.#nextId++;
      const timer =
        this.#options.timeoutMs === 0
          ? undefined
          : setTimeout(() => {
              this.#pending.delete(id);
              reject(new CodexError('timed-out', `The Codex app-server did not answer ${method} within ${this.#options.timeoutMs / 1000} s. It may be hung: restart the host.`));
            }, this.#options.timeoutMs);
      this.#pending.set(id, (answer) => {
        clearTimeout(timer);
        this.#pending.delete(id);
        resolve(answer);
      });
      this.#send({ id, method, ...(params === undefined ? {} : { params }) });
    });
  }

  #send(message: object): void {
    if (this.#closed === null) this.#transport.send(JSON.stringify(message));
  }

  #receive(text: string, listener: RpcListener): void {
    let parsed;
    try {
      parsed = incoming.safeParse(JSON.parse(text));
    } catch {
      return;
    }
    if (!parsed.success) return;
    const { id, method, params, result, error } = parsed.data;
    if (method !== undefined) {
      // Id 0 is a valid one, so compare with undefined.
      if (id === undefined) listener.notification(method, params);
      else listener.request(id, method, params);
      return;
    }
    const settle = typeof id === 'number' ? this.#pending.get(id) : undefined;
    if (settle !== undefined) settle(error === undefined ? { result } : { error });
  }
}

const errorData = z.looseObject({ type: z.string().optional(), modelProvider: z.string().optional() });

/** Turns the server's error into a reason. Nearly all of them have code -32600, so the text decides; it was read from Codex 0.169. */
export function errorOf(method: string, error: { message: string; data?: unknown }): CodexError {
  const { message } = error;
  const data = errorData.safeParse(error.data);
  if (data.success && data.data.type === 'modelProviderNotConfigured') {
    const provider = data.data.modelProvider ?? 'unknown';
    return new CodexError('provider-missing', `The thread's model provider "${provider}" is not configured on this machine. Add [model_providers.${provider}] to config.toml of its Codex home.`);
  }
  if (message.includes('already has an active writer')) return new CodexError('thread-in-use', `Another Codex process on this machine has the thread open (${message}). Close it there, then try again.`);
  if (/\bis archived\b/.test(message)) return new CodexError('thread-archived', `The thread is archived, so Codex refused ${method} (${message}).`);
  if (/thread (id )?not (found|loaded)|no rollout found|not found: thread|thread not found/i.test(message)) return new CodexError('thread-not-found', `Codex does not know the thread of ${method}: ${message}`);
  return new CodexError('refused', `Codex refused ${method}: ${message}`);
}
