import type { WebSocket } from 'ws';
import type { z } from 'zod';
import type { Clock } from './clock';
import { createChallenge } from './relayChallenge';
import type { RelayLimits } from './relayLimits';
import type { RelayLog } from './relayLog';
import { readMessage, type registration } from './relayMessages';
import { CloseCode } from './webSocketStream';

/** Answers to pings are dropped once so much waits to be sent: a flood of pings costs its sender only. */
const MAX_UNSENT_PONG_BYTES = 64 * 1024;

export interface GreetingOptions {
  readonly limits: RelayLimits;
  readonly clock: Clock;
  readonly log: RelayLog;
}

/**
 * Challenges who says that it is `hostId`, and calls back once it has proven that. It has one message, of the form `schema`,
 * and a limited time; whatever else it does ends the connection.
 */
export function greet<S extends typeof registration>(socket: WebSocket, hostId: string, schema: S, { limits, clock, log }: GreetingOptions, onProven: (message: z.output<S>) => void): void {
  const { challenge, check } = createChallenge();
  const stopTimer = clock.after(limits.proofTimeoutMs, () => socket.close(CloseCode.proofRefused));
  socket.on('error', () => undefined);
  socket.on('ping', (payload: Buffer) => {
    if (socket.bufferedAmount < MAX_UNSENT_PONG_BYTES) socket.pong(payload);
  });
  socket.once('close', stopTimer);
  socket.once('message', (raw, isBinary) => {
    stopTimer();
    // One message is all that a host ever says here.
    socket.on('message', () => socket.close(CloseCode.protocolError));
    const message = readMessage(schema, raw, isBinary);
    if (message === undefined || !check(hostId, message)) {
      log({ event: 'proof-refused', hostId });
      socket.close(CloseCode.proofRefused);
      return;
    }
    onProven(message);
  });
  socket.send(JSON.stringify(challenge));
}
