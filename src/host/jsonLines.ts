/**
 * JSON-RPC framed by line feeds, one object per line, over any duplex stream: the host's local socket, a channel, a pipe.
 *
 * As Codex does on its stdio, `jsonrpc` may be left out and a line that holds no message is skipped while the connection lives.
 */
import type { Duplex } from 'node:stream';
import {
  AbstractMessageReader, AbstractMessageWriter, createMessageConnection, Disposable,
  type DataCallback, type Message, type MessageConnection, type MessageReader, type MessageWriter,
} from 'vscode-jsonrpc/node';
import { silentLog, type Log } from './log';

/** Longest line, in bytes, that is read or written. A transcript with diffs can be long; anything longer is an attack or a fault. */
export const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
/** Bytes that may wait for a reader that does not read; beyond them the connection is given up, as nobody else bounds them. */
export const MAX_QUEUED_BYTES = 2 * MAX_MESSAGE_BYTES;

const LINE_FEED = 0x0a;
const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * Parses one line as a JSON-RPC message. Returns undefined for what is none: no JSON, not UTF-8, a batch, an id of a wrong type,
 * params that are neither object nor array. Keys named `__proto__` are dropped at every depth, so that no later copy of
 * the value can reach a prototype.
 */
export function parseMessage(line: Uint8Array): Message | undefined {
  let value: unknown;
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(line);
    // A reviver is slow, and the key is never there in earnest: use it only where the text can spell it.
    value = /__proto__|\\u005f/i.test(text)
      ? JSON.parse(text, (key, member: unknown) => (key === '__proto__' ? undefined : member))
      : JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(value)) return undefined;
  const { id, method, params } = value;
  const idIsGood = id === undefined || id === null || typeof id === 'string' || typeof id === 'number';
  if (!idIsGood || (method !== undefined && typeof method !== 'string')) return undefined;
  if (params === null) delete value['params'];
  else if (params !== undefined && typeof params !== 'object') return undefined;
  // vscode-jsonrpc reads `params.id` of a cancellation and `error.code` of a reply without looking.
  if (method === '$/cancelRequest' && !isRecord(value['params'])) return undefined;
  if (method === undefined && value['error'] !== undefined && value['error'] !== null && !isRecord(value['error'])) return undefined;
  return { ...value, jsonrpc: '2.0' };
}

/** Cuts a stream of bytes into lines, each of at most `maxBytes`; at one that is longer it says so and gives no more. */
export class LineSplitter {
  #chunks: Buffer[] = [];
  #length = 0;
  constructor(
    private readonly maxBytes: number,
    private readonly onTooLong: () => void,
  ) {}

  /** The lines that a chunk ends, without their line feeds. */
  *split(chunk: Buffer): Generator<Buffer, void, undefined> {
    let start = 0;
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, start)) {
      if (!this.#append(chunk.subarray(start, end))) return;
      start = end + 1;
      const line = Buffer.concat(this.#chunks);
      this.#chunks = [];
      this.#length = 0;
      yield line;
    }
    this.#append(chunk.subarray(start));
  }

  #append(part: Buffer): boolean {
    this.#length += part.length;
    if (this.#length > this.maxBytes) {
      this.#chunks = [];
      this.onTooLong();
      return false;
    }
    if (part.length > 0) this.#chunks.push(part);
    return true;
  }
}

/** Ends a stream whose other side sent a line that is over the limit: it cannot be followed any more. */
export function endOverlong(stream: Duplex, maxMessageBytes: number): void {
  stream.destroy(new Error(`A JSON-RPC message longer than ${maxMessageBytes} bytes was received; the connection was closed.`));
}

/** Reads messages from a stream. A line over `maxMessageBytes` ends the stream with an error: its sender cannot be followed any more. */
export class JsonLinesReader extends AbstractMessageReader implements MessageReader {
  readonly #lines: LineSplitter;
  constructor(
    private readonly stream: Duplex,
    private readonly log: Log = silentLog,
    maxMessageBytes = MAX_MESSAGE_BYTES,
  ) {
    super();
    this.#lines = new LineSplitter(maxMessageBytes, () => endOverlong(stream, maxMessageBytes));
  }

  listen(callback: DataCallback): Disposable {
    const onData = (chunk: Buffer) => {
      for (const line of this.#lines.split(chunk)) {
        // A handler may have ended it.
        if (this.stream.destroyed) return;
        this.#deliver(line, callback);
      }
    };
    const onError = (error: Error) => this.fireError(error);
    const onClose = () => this.fireClose();
    this.stream.on('data', onData).on('error', onError).on('end', onClose).on('close', onClose);
    // Who looked at its beginning has paused it.
    this.stream.resume();
    return Disposable.create(() => this.stream.off('data', onData).off('error', onError).off('end', onClose).off('close', onClose));
  }

  #deliver(line: Buffer, callback: DataCallback): void {
    if (line.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d)) return;
    const message = parseMessage(line);
    // Its content stays out of the log: it may be a prompt.
    if (message === undefined) this.log.warn(`Ignored a line of ${line.length} bytes that is no JSON-RPC message.`);
    else callback(message);
  }
}

/** Writes messages to a stream; each `write` settles when the stream has taken the bytes, so awaiting it follows the reader's pace. */
export class JsonLinesWriter extends AbstractMessageWriter implements MessageWriter {
  constructor(
    private readonly stream: Duplex,
    private readonly maxQueuedBytes = MAX_QUEUED_BYTES,
    private readonly maxMessageBytes = MAX_MESSAGE_BYTES,
  ) {
    super();
    stream.on('error', (error) => this.fireError(error));
    stream.on('close', () => this.fireClose());
  }

  write(message: Message): Promise<void> {
    return new Promise((resolve, reject) => {
      const line = Buffer.from(`${JSON.stringify(message)}\n`);
      if (line.length > this.maxMessageBytes) throw new Error(`a message of ${line.length} bytes is over the limit of ${this.maxMessageBytes}`);
      if (this.stream.writableLength + line.length > this.maxQueuedBytes) {
        this.stream.destroy(new Error('The other side of the connection does not read what it is sent; the connection was closed.'));
      }
      this.stream.write(line, (error) => {
        if (error) reject(error);
        else resolve();
      });
    });
  }

  end(): void {
    this.stream.end();
  }
}

/**
 * A JSON-RPC connection over `stream`. Register handlers, then call `listen()`. When the stream closes the connection is disposed,
 * which rejects every request still waiting for its reply; disposing the connection destroys the stream.
 */
export function connect(stream: Duplex, options: { readonly log?: Log; readonly maxMessageBytes?: number } = {}): MessageConnection {
  const log = options.log ?? silentLog;
  const logger = { error: (m: string) => log.error(m), warn: (m: string) => log.warn(m), info: (m: string) => log.info(m), log: (m: string) => log.info(m) };
  const connection = createMessageConnection(
    new JsonLinesReader(stream, log, options.maxMessageBytes),
    new JsonLinesWriter(stream, undefined, options.maxMessageBytes),
    logger,
  );
  // Reader and writer stop listening when they are disposed, and an error may come after that.
  stream.on('error', () => undefined);
  let disposed = false;
  connection.onError(([error]) => log.warn(`Connection failed: ${error.message}`));
  connection.onDispose(() => {
    disposed = true;
    stream.destroy();
  });
  connection.onClose(() => {
    // Handlers of onClose that were added after this one still have to hear of it.
    queueMicrotask(() => {
      if (!disposed) connection.dispose();
    });
  });
  return connection;
}
