import type { WebSocket } from 'ws';
import { greet, type GreetingOptions } from './relayGreeting';
import { registration } from './relayMessages';
import type { RelayPresence } from './relayPresence';
import { CloseCode } from './webSocketStream';

/** Whether what let somebody in still does. */
export type Standing = () => boolean;

interface RegisteredHost {
  readonly hostId: string;
  readonly standing: Standing;
  readonly socket: WebSocket;
  readonly since: number;
  /** Pings without an answer. */
  unanswered: number;
}

/** The hosts that are at this relay now. Only who proves possession of a host id's key is listed under it. */
export class RelayHosts {
  readonly #hosts = new Map<string, RegisteredHost>();
  readonly #sockets = new Set<WebSocket>();

  /** With other nodes, who is where is settled with them. */
  presence: Pick<RelayPresence, 'claim' | 'release'> | undefined;

  constructor(private readonly options: GreetingOptions & { readonly at: string | undefined; readonly onRegistered?: (hostId: string) => void }) {}

  get size(): number {
    return this.#hosts.size;
  }

  has(hostId: string): boolean {
    return this.#hosts.has(hostId);
  }

  /** Whether a host that is here is still let in. */
  standingOf(hostId: string): Standing {
    return this.#hosts.get(hostId)?.standing ?? (() => false);
  }

  /** Tells a host that somebody dials it; false where it is not here. */
  announceDial(hostId: string, ticket: string): boolean {
    const host = this.#hosts.get(hostId);
    if (host?.socket.readyState !== host?.socket.OPEN) return false;
    host?.socket.send(JSON.stringify({ type: 'dial', ticket, at: this.options.at }));
    return host !== undefined;
  }

  /** Challenges a WebSocket that wants to be known under a host id, and lists it once it has answered. */
  receive(hostId: string, socket: WebSocket, standing: Standing): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    greet(socket, hostId, registration, this.options, () => void this.#claim(hostId, socket, standing));
  }

  /** Ends the registrations that nothing lets in any more. */
  dropUnadmitted(): void {
    for (const { socket, standing } of this.#hosts.values()) if (!standing()) socket.close(CloseCode.notAdmitted);
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

  /** Asks every host to register anew, where another node may take it. */
  sendAway(): void {
    for (const socket of this.#sockets) socket.close(CloseCode.restart);
  }

  /** Ends every connection. */
  close(): void {
    for (const socket of this.#sockets) socket.terminate();
  }

  async #claim(hostId: string, socket: WebSocket, standing: Standing): Promise<void> {
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
    const isClaimed = this.presence === undefined || (await this.#claimOfAll(this.presence, hostId, socket));
    // It may have been put out meanwhile.
    if (isClaimed && !standing()) socket.close(CloseCode.notAdmitted);
    if (!isClaimed || socket.readyState !== socket.OPEN) {
      if (!this.#hosts.has(hostId)) void this.presence?.release(hostId);
      return;
    }
    // Two connections of one host may have been through all of this at once.
    this.#hosts.get(hostId)?.socket.close(CloseCode.alreadyRegistered);
    const host: RegisteredHost = { hostId, socket, standing, since: this.options.clock.now(), unanswered: 0 };
    this.#hosts.set(hostId, host);
    socket.on('pong', () => (host.unanswered = 0));
    socket.once('close', () => {
      if (this.#hosts.get(hostId) !== host) return;
      this.#hosts.delete(hostId);
      void this.presence?.release(hostId);
      this.options.log({ event: 'unregistered', hostId, milliseconds: Math.round(this.options.clock.now() - host.since) });
    });
    socket.send(JSON.stringify({ type: 'registered' }));
    this.options.log({ event: 'registered', hostId });
    this.options.onRegistered?.(hostId);
  }

  /** Asks the other nodes for a host; false where it is another's, or nobody can say. */
  async #claimOfAll(presence: Pick<RelayPresence, 'claim'>, hostId: string, socket: WebSocket): Promise<boolean> {
    try {
      if (await presence.claim(hostId)) return true;
      this.options.log({ event: 'claim-refused', hostId });
      socket.close(CloseCode.alreadyRegistered);
    } catch {
      socket.close(CloseCode.tryAgain);
    }
    return false;
  }

  /** Whether a host that is registered here answers; one that does not is let go. */
  async answers(hostId: string): Promise<boolean> {
    const host = this.#hosts.get(hostId);
    if (host === undefined || (await this.#isAlive(host.socket))) return host !== undefined;
    host.socket.terminate();
    return false;
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
