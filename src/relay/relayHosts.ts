import type { WebSocket } from 'ws';
import { z } from 'zod';
import type { Clock } from './clock';
import type { RelayLimits } from './relayLimits';
import type { RelayLog } from './relayServer';
import { createChallenge } from './relayProof';
import { CloseCode } from './webSocketStream';

const proofMessage = z.strictObject({ type: z.literal('proof'), nonce: z.string().length(43), mac: z.string().length(43) });
/** Answers to pings are dropped once so much waits to be sent: a flood of pings costs its sender only. */
const MAX_UNSENT_PONG_BYTES = 64 * 1024;

interface RegisteredHost {
  readonly hostId: string;
  readonly socket: WebSocket;
  readonly since: number;
  /** Pings without an answer. */
  unanswered: number;
}

/** The hosts that are at this relay now. Only who proves possession of a host id's key is listed under it. */
export class RelayHosts {
  readonly #hosts = new Map<string, RegisteredHost>();
  readonly #greeted = new Set<WebSocket>();

  constructor(private readonly options: { readonly limits: RelayLimits; readonly clock: Clock; readonly log: RelayLog }) {}

  get size(): number {
    return this.#hosts.size;
  }

  has(hostId: string): boolean {
    return this.#hosts.has(hostId);
  }

  /** Tells a host that somebody dials it; false where it is not here. */
  announceDial(hostId: string, ticket: string): boolean {
    const host = this.#hosts.get(hostId);
    if (host?.socket.readyState !== host?.socket.OPEN) return false;
    host?.socket.send(JSON.stringify({ type: 'dial', ticket }));
    return host !== undefined;
  }

  /** Challenges a WebSocket that wants to be known under a host id, and lists it once it has answered. */
  greet(hostId: string, socket: WebSocket): void {
    const { challenge, check } = createChallenge();
    this.#greeted.add(socket);
    const stopTimer = this.options.clock.after(this.options.limits.proofTimeoutMs, () => socket.close(CloseCode.proofRefused));
    socket.on('error', () => undefined);
    socket.on('ping', (payload: Buffer) => {
      if (socket.bufferedAmount < MAX_UNSENT_PONG_BYTES) socket.pong(payload);
    });
    socket.once('close', () => {
      stopTimer();
      this.#greeted.delete(socket);
    });
    socket.once('message', (message, isBinary) => {
      stopTimer();
      // One proof is all that a host ever says here.
      socket.on('message', () => socket.close(CloseCode.protocolError));
      const proof = isBinary || !Buffer.isBuffer(message) ? undefined : proofMessage.safeParse(parseJson(message)).data;
      if (proof === undefined || !check(hostId, proof)) {
        this.options.log({ event: 'proof-refused', hostId });
        socket.close(CloseCode.proofRefused);
        return;
      }
      void this.#claim(hostId, socket);
    });
    socket.send(JSON.stringify(challenge));
  }

  /** Pings every host, and ends what does not answer or is too old. */
  heartbeat(): void {
    for (const host of this.#hosts.values()) {
      if (host.unanswered >= 2) host.socket.terminate();
      else if (this.options.clock.now() - host.since > this.options.limits.maxAgeMs) host.socket.close(CloseCode.goingAway);
      else {
        host.unanswered += 1;
        host.socket.ping();
      }
    }
  }

  /** Ends every connection. */
  close(): void {
    for (const socket of this.#greeted) socket.terminate();
  }

  async #claim(hostId: string, socket: WebSocket): Promise<void> {
    const earlier = this.#hosts.get(hostId);
    if (earlier !== undefined) {
      const isAlive = await this.#isAlive(earlier.socket);
      const present = this.#hosts.get(hostId);
      if (isAlive || (present !== undefined && present !== earlier)) {
        this.options.log({ event: 'claim-refused', hostId });
        socket.close(CloseCode.alreadyRegistered);
        return;
      }
      if (socket.readyState !== socket.OPEN) return;
      this.options.log({ event: 'replaced', hostId });
      // Its connection is dead: it would not read a close frame.
      this.#hosts.delete(hostId);
      earlier.socket.terminate();
    }
    if (socket.readyState !== socket.OPEN) return;
    const host: RegisteredHost = { hostId, socket, since: this.options.clock.now(), unanswered: 0 };
    this.#hosts.set(hostId, host);
    socket.on('pong', () => (host.unanswered = 0));
    socket.once('close', () => {
      if (this.#hosts.get(hostId) !== host) return;
      this.#hosts.delete(hostId);
      this.options.log({ event: 'unregistered', hostId, milliseconds: Math.round(this.options.clock.now() - host.since) });
    });
    socket.send(JSON.stringify({ type: 'registered' }));
    this.options.log({ event: 'registered', hostId });
  }

  /** Whether an earlier connection answers a ping in time. It holds the same key, so this is a question of life, not of right. */
  async #isAlive(socket: WebSocket): Promise<boolean> {
    if (socket.readyState !== socket.OPEN) return false;
    return new Promise((resolve) => {
      const settle = (alive: boolean) => (): void => {
        stopTimer();
        socket.off('pong', onPong).off('close', onClose);
        resolve(alive);
      };
      const onPong = settle(true);
      const onClose = settle(false);
      const stopTimer = this.options.clock.after(this.options.limits.aliveProbeMs, onClose);
      socket.once('pong', onPong).once('close', onClose);
      socket.ping();
    });
  }
}

function parseJson(message: Buffer): unknown {
  try {
    return JSON.parse(message.toString('utf8'));
  } catch {
    return undefined;
  }
}
