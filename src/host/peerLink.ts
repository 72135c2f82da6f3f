import type { Duplex } from 'node:stream';
import { CancellationTokenSource, type MessageConnection } from 'vscode-jsonrpc/node';
import { askedBy } from './audit';
import { HostError } from './hostError';
import { connect } from './jsonLines';
import type { Log } from './log';
import { peerMethods, type PeerMethodName, type PeerParams, type PeerResult } from './peerProtocol';
import { handoffProgress, type HandoffProgress } from './protocol';
import { fromResponseError, toResponseError } from './wireError';

/** What a host answers to another host, by method. */
export type PeerHandlers = {
  readonly [M in PeerMethodName]: (params: PeerParams<M>, link: PeerLink) => Promise<PeerResult<M>>;
};

/** The control channel to one other host. Calls go both ways; params and results are validated on both sides. */
export class PeerLink {
  private readonly connection: MessageConnection;

  constructor(
    stream: Duplex,
    /** Id of the host at the other end, proven by the channel's handshake. */
    readonly hostId: string,
    /** Handshake hash of the channel, hex: what is bound to it is good for this meeting only. */
    readonly binding: string,
    handlers: Partial<PeerHandlers>,
    log: Log,
    onProgress: (progress: HandoffProgress) => void = () => undefined,
  ) {
    this.connection = connect(stream, { log, maxMessageBytes: 32 * 1024 * 1024 });
    this.connection.onRequest(async (method: string, params: unknown) => {
      try {
        return await this.answer(method, params, handlers);
      } catch (error) {
        log.warn(`${hostId.slice(0, 8)} asked ${method}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
        throw toResponseError(error);
      }
    });
    this.connection.onNotification('handoff/progress', (params: unknown) => {
      const progress = handoffProgress.safeParse(params);
      if (progress.success) onProgress(progress.data);
    });
    this.connection.listen();
  }

  private async answer(method: string, params: unknown, handlers: Partial<PeerHandlers>): Promise<unknown> {
    const name = method as PeerMethodName;
    const handler = Object.hasOwn(peerMethods, method) ? (handlers[name] as ((params: unknown, link: PeerLink) => Promise<unknown>) | undefined) : undefined;
    if (handler === undefined) throw new HostError('unknown-method', `This host has no method ${method} for other hosts.`);
    return askedBy({ over: 'channel', key: this.hostId }, () => handler(peerMethods[name].params.parse(params), this));
  }

  /** Asks the other host. Throws HostError with the other host's reason, `connection-lost`, or `protocol-mismatch`. */
  async call<M extends PeerMethodName>(method: M, params: PeerParams<M>, signal?: AbortSignal): Promise<PeerResult<M>> {
    const cancellation = new CancellationTokenSource();
    let abort: () => void = () => undefined;
    // The other side may not answer a cancellation, so nobody waits for that.
    const aborted = new Promise<never>((_, reject) => {
      abort = () => {
        cancellation.cancel();
        reject(new HostError('cancelled', 'Cancelled.'));
      };
    });
    signal?.addEventListener('abort', abort);
    try {
      signal?.throwIfAborted();
      const result: unknown = await Promise.race([this.connection.sendRequest(method, params, cancellation.token), aborted]);
      const parsed = peerMethods[method].result.safeParse(result);
      if (!parsed.success) throw new HostError('protocol-mismatch', `The other host answered ${method} with something that does not fit the protocol. Bring Baton to the same version on both machines.`, { cause: parsed.error });
      return parsed.data as PeerResult<M>;
    } catch (error) {
      if (signal?.aborted === true) throw new HostError('cancelled', 'Cancelled.');
      if (HostError.is(error, 'protocol-mismatch')) throw error;
      const known = fromResponseError(error);
      throw known instanceof HostError ? known : new HostError('connection-lost', `The connection to the other host broke while it was asked ${method}.`, { cause: error });
    } finally {
      signal?.removeEventListener('abort', abort);
      cancellation.dispose();
    }
  }

  progress(progress: HandoffProgress): void {
    this.connection.sendNotification('handoff/progress', progress).catch(() => undefined);
  }

  onClose(listener: () => void): void {
    this.connection.onDispose(listener);
  }

  dispose(): void {
    try {
      this.connection.end();
      this.connection.dispose();
    } catch {
      // Disposed already.
    }
  }
}

