import type { Writable } from 'node:stream';

/** Where a part of the host reports what it does; VS Code's `LogOutputChannel` is one. Never a secret, a token or a prompt. */
export interface Log {
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

/** For callers that have nowhere to report to. */
export const silentLog: Log = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** Writes one line per entry, `<ISO time> <level> <message>`; line breaks inside a message are escaped, so an entry cannot fake another. */
export function streamLog(stream: Writable, now: () => Date = () => new Date()): Log {
  const write = (level: string) => (message: string) => {
    stream.write(`${now().toISOString()} ${level} ${message.replace(/\r?\n/g, '\\n')}\n`);
  };
  return { info: write('info'), warn: write('warn'), error: write('error') };
}
