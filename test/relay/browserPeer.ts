/** A page's end of a channel: the handshake and frames that Node runs, from the same source, over the browser's own WebSocket. */
import { ChaCha20Poly1305 } from '@stablelib/chacha20poly1305';
import { ChunkSource, FrameKind, FrameOpener, FrameSealer, frameOf, FrameSplitter } from '../../src/relay/frames';
import { concatBytes, hostIdOf, keyPairOf } from '../../src/relay/keys';
import { encodePreamble, parsePreamble, prologueOf, type Preamble } from '../../src/relay/preamble';
import { proveKey } from '../../src/relay/relayProof';
import { shakeHands, type Established, type MessageLink } from '../../src/relay/shakeHands';

/** Byte strings as hexadecimal digits: what a page can be handed and hand back. */
export interface PageOutcome {
  readonly handshakeHash: string;
  readonly remoteKey: string;
  readonly received: string;
}

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
const bytesOf = (text: string): Uint8Array => Uint8Array.from(text.match(/../g) ?? [], (byte) => parseInt(byte, 16));
const createCipher = (key: Uint8Array): ChaCha20Poly1305 => new ChaCha20Poly1305(key);
/** What a relay takes in one WebSocket message. */
const MAX_FRAME_LENGTH = 64 * 1024;

class PageLink implements MessageLink {
  readonly #splitter = new FrameSplitter();
  #wake: () => void = () => undefined;
  #isClosed = false;

  private constructor(readonly socket: WebSocket) {
    socket.binaryType = 'arraybuffer';
    socket.onmessage = ({ data }) => {
      this.#splitter.push(new Uint8Array(data as ArrayBuffer));
      this.#wake();
    };
    socket.onclose = () => {
      this.#isClosed = true;
      this.#wake();
    };
  }

  static async to(url: string): Promise<PageLink> {
    const link = new PageLink(new WebSocket(url));
    await new Promise((resolve, reject) => {
      link.socket.onopen = resolve;
      link.socket.onerror = () => reject(new Error(`${url} cannot be reached.`));
    });
    return link;
  }

  async read(): Promise<Uint8Array> {
    for (;;) {
      const message = this.#splitter.next();
      if (message !== undefined) return message;
      if (this.#isClosed) throw new Error('The connection was closed.');
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  write(message: Uint8Array): void {
    this.writeFrame(frameOf(message));
  }

  writeFrame(frame: Uint8Array): void {
    for (let offset = 0; offset < frame.length; offset += MAX_FRAME_LENGTH) this.socket.send(frame.slice(offset, offset + MAX_FRAME_LENGTH));
  }
}

/** Sends some bytes under one key and then under the next, ends, and collects what comes until the other side has ended too. */
async function talk(link: PageLink, { session, remoteKey }: Established, sent: Uint8Array): Promise<PageOutcome> {
  const [sealer, opener] = [new FrameSealer(session.sender), new FrameOpener(session.receiver)];
  for (const half of [sent.subarray(0, sent.length / 2), sent.subarray(sent.length / 2)]) {
    for (const source = new ChunkSource([half]); source.remaining > 0; ) link.writeFrame(sealer.data(source));
    link.writeFrame(sealer.control(FrameKind.rekey));
  }
  link.writeFrame(sealer.control(FrameKind.end));
  const received: Uint8Array[] = [];
  for (let [hasEnded, isAcknowledged] = [false, false]; !hasEnded || !isAcknowledged; ) {
    const { kind, data } = opener.open(await link.read());
    if (kind === FrameKind.data) received.push(data.slice());
    else if (kind === FrameKind.endReceived) isAcknowledged = true;
    else if (kind === FrameKind.end) {
      hasEnded = true;
      link.writeFrame(sealer.control(FrameKind.endReceived));
    }
  }
  link.socket.close(1000);
  return { handshakeHash: hex(session.handshakeHash), remoteKey: hex(remoteKey), received: hex(concatBytes(...received)) };
}

/** Dials a host through a relay and shakes hands: KK, or XXpsk3 with an invite's room and psk. */
export async function dial(options: { url: string; secretKey: string; remoteKey: string; sent: string; room?: string; psk?: string }): Promise<PageOutcome> {
  const [staticKey, remoteKey] = [keyPairOf(bytesOf(options.secretKey)), bytesOf(options.remoteKey)];
  const link = await PageLink.to(`${options.url}/v1/dial/${hostIdOf(remoteKey)}`);
  const preamble: Preamble = options.room === undefined ? { pattern: 'KK', purpose: 'control', initiatorKey: staticKey.publicKey, room: '' } : { pattern: 'XXpsk3', purpose: 'pairing', initiatorKey: undefined, room: options.room };
  const preambleBytes = encodePreamble(preamble);
  link.write(preambleBytes);
  const known = options.psk === undefined ? { remoteStaticKey: remoteKey } : { psks: [bytesOf(options.psk)] };
  return talk(link, await shakeHands(link, preamble, { ...known, role: 'initiator', createCipher, staticKey, prologue: prologueOf(preambleBytes, remoteKey) }), bytesOf(options.sent));
}

/** Registers at a relay under a key, and answers the first dial: KK as responder. */
export async function answer(options: { url: string; secretKey: string; sent: string }): Promise<PageOutcome> {
  const staticKey = keyPairOf(bytesOf(options.secretKey));
  const control = new WebSocket(`${options.url}/v1/register/${hostIdOf(staticKey.publicKey)}`);
  const ticket = await new Promise<string>((resolve) => {
    control.onmessage = ({ data }) => {
      const message = JSON.parse(data as string) as { type: string; relayKey: string; nonce: string; ticket: string };
      if (message.type === 'challenge') control.send(JSON.stringify(proveKey(staticKey, message)));
      else if (message.type === 'dial') resolve(message.ticket);
    };
  });
  const link = await PageLink.to(`${options.url}/v1/accept/${ticket}`);
  const preambleBytes = await link.read();
  const preamble = parsePreamble(preambleBytes);
  if (preamble.pattern !== 'KK') throw new Error('Only KK was expected.');
  const established = await shakeHands(link, preamble, { role: 'responder', createCipher, staticKey, remoteStaticKey: preamble.initiatorKey, prologue: prologueOf(preambleBytes, staticKey.publicKey) });
  const outcome = await talk(link, established, bytesOf(options.sent));
  control.close();
  return outcome;
}
