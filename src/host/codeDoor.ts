import type { Duplex } from 'node:stream';
import type { Channel } from '../relay/channel';
import { inviteByCode } from '../relay/codeExchange';
import { hostIdOf, type KeyPair } from '../relay/keys';
import { placeKeyPair, type PairingCode } from '../relay/pairingCode';
import { RelayClient } from '../relay/relayClient';
import { RelayMembership } from '../relay/relayMembership';
import type { Log } from './log';
import type { RelayAccess } from './relayAccess';
import { describeError } from './wireError';

export interface CodeDoorOptions {
  readonly url: string;
  readonly code: PairingCode;
  readonly keyPair: KeyPair;
  readonly relays: RelayAccess;
  readonly log: Log;
  /** Somebody tries the code; throws where they may not. */
  readonly onGuess: () => void;
  readonly onMissed: () => void;
  readonly onChannel: (channel: Channel) => void;
}

/** The place at a relay where whoever has a code is met, for as long as the invite is open. One attempt at a time: a second one beside it is turned away. */
export class CodeDoor {
  private busy = false;

  private constructor(
    private readonly options: CodeDoorOptions,
    private relay: RelayClient | null,
  ) {}

  /** Takes the place of the code. Null where the relay does not give it: somebody else has it, or the relay cannot be reached. */
  static async open(options: CodeDoorOptions, signal?: AbortSignal): Promise<CodeDoor | null> {
    const { url, code, relays, log } = options;
    const place = placeKeyPair(code.place);
    const door = new CodeDoor(options, null);
    // A relay that does not let everybody in gives those who are in a grant for others; the place is one of them.
    const grant = relays.knows(url) ? await relays.at(url).grantFor(hostIdOf(place.publicKey)) : undefined;
    const membership = grant === undefined ? undefined : new RelayMembership({ url, keyPair: place, credential: () => Promise.resolve({ grant }) });
    const relay = new RelayClient({ url, keyPair: place, membership, onIncoming: (stream) => void door.answer(stream), log });
    door.relay = relay;
    const settled = new Promise<boolean>((resolve) => {
      relay.onStatusChange(() => relay.status !== 'connecting' && resolve(relay.status === 'connected'));
      signal?.addEventListener('abort', () => resolve(false), { once: true });
    });
    relay.start();
    if (await settled) return door;
    log.warn(`No place for a code at ${url}: ${relay.statusMessage ?? 'it was given up'}`);
    door.close();
    return null;
  }

  close(): void {
    this.relay?.dispose();
  }

  private async answer(stream: Duplex): Promise<void> {
    if (this.busy) return void stream.on('error', () => undefined).destroy();
    this.busy = true;
    const attempt = { counted: false };
    try {
      const { keyPair, code } = this.options;
      const channel = await inviteByCode(stream, {
        keyPair, code,
        onGuess: () => {
          this.options.onGuess();
          attempt.counted = true;
        },
      });
      this.options.onChannel(channel);
    } catch (error) {
      stream.on('error', () => undefined).destroy();
      this.options.log.warn(`An attempt with a code was refused: ${describeError(error).message}`);
      if (attempt.counted) this.options.onMissed();
    } finally {
      this.busy = false;
    }
  }
}
