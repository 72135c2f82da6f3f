/** How JSON texts get to an app-server and back: over its Unix socket, or over the standard streams of a child. */
import type { ChildProcess } from 'node:child_process';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { WebSocket } from 'ws';
import { CodexError } from './codexError';

export type Transport = {
  send: (text: string) => void;
  /** One listener each, set before anything can arrive: right after the transport was made. */
  onText: (listener: (text: string) => void) => void;
  /** Called once, also after `close`. */
  onClose: (listener: (why: string) => void) => void;
  close: () => void;
};

// A thread/read of a long thread is one message; the largest measured thread was 58 MB of JSON.
const maxMessageBytes = 512 * 1024 * 1024;

/**
 * Opens a WebSocket over the Unix socket at `socketPath`, which is what `codex app-server --listen unix://PATH` speaks.
 * @throws CodexError `connection-lost` when nothing listens there or it is not an app-server
 */
export async function connectUnix(socketPath: string): Promise<Transport> {
  // Not a ws+unix: URL, which cannot hold a path with a colon. An Origin header would be refused with 403; ws sends none.
  const socket = new WebSocket('ws://localhost/', { createConnection: () => connect(socketPath), perMessageDeflate: false, maxPayload: maxMessageBytes, handshakeTimeout: 10_000 });
  let onText: ((text: string) => void) | null = null;
  const early: string[] = [];
  socket.on('message', (data: Buffer) => {
    const text = data.toString('utf8');
    if (onText === null) early.push(text);
    else onText(text);
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', (cause) => reject(new CodexError('connection-lost', `No Codex app-server answers on ${socketPath}: ${cause.message}`, { cause })));
  });
  let why = 'the connection was closed';
  socket.on('error', (error) => (why = error.message));
  return {
    send: (text) => socket.send(text),
    onText: (listener) => {
      onText = listener;
      for (const text of early.splice(0)) listener(text);
    },
    onClose: (listener) => {
      if (socket.readyState === WebSocket.CLOSED) listener(why);
      else socket.once('close', () => listener(why));
    },
    close: () => socket.terminate(),
  };
}

/** One JSON text per line over the standard streams of `child`, which must have been spawned with pipes. Closing ends its input, on which it ends itself. */
export function overStdio(child: ChildProcess): Transport {
  const { stdin, stdout } = child;
  if (stdin === null || stdout === null) throw new TypeError('overStdio needs a child with piped stdin and stdout');
  let why = 'the app-server ended';
  // A write after the child has gone is reported by its exit.
  stdin.on('error', (error) => (why = error.message));
  const lines = createInterface({ input: stdout, crlfDelay: Infinity });
  return {
    send: (text) => void stdin.write(`${text}\n`),
    onText: (listener) => void lines.on('line', listener),
    onClose: (listener) => {
      if (child.exitCode !== null || child.signalCode !== null) listener(why);
      else child.once('close', () => listener(why));
    },
    close: () => void stdin.end(),
  };
}
