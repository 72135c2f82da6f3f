/** The second half of a transfer: what was sealed goes over a channel of its own, from where the destination's part of it ends, until it has all. */
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import type { HandoffIdentity } from '../handoff/sourceTransaction';
import type { Channel } from '../relay/channel';
import { HostError } from './hostError';
import { overBreaks } from './overBreaks';
import type { PeerLink } from './peerLink';
import type { HandoffPhase } from './protocol';
import type { SealedTransfer } from './sendTransfer';

export type Announce = (phase: HandoffPhase, message: string, bytesDone?: number, bytesTotal?: number) => void;

export interface SendingSide {
  readonly ports: {
    connect(hostId: string, signal?: AbortSignal): Promise<PeerLink>;
    openTransfer(hostId: string, signal?: AbortSignal): Promise<Channel>;
  };
  readonly handoff: HandoffIdentity;
  readonly announce: Announce;
}

export type AskingLink = Pick<PeerLink, 'call'>;

const CLOSE_TIMEOUT_MS = 10_000;
/** More than can be under way: what was sent before it has arrived. */
const UNDER_WAY_BYTES = 16 * 1024 * 1024;

/** What the user is told while the connection is gone. */
export const waiting = ({ destinationName }: HandoffIdentity): string => `Connection lost; waiting for ${destinationName}`;

/** Asks the destination, over a new connection where one breaks. What is asked must be such that it can be asked again. */
export function persistentLink({ ports, handoff, announce }: SendingSide, signal: AbortSignal): AskingLink {
  return {
    call: (method, params) => overBreaks(async () => (await ports.connect(handoff.destination, signal)).call(method, params, signal), { signal, onBreak: () => announce('transfer', waiting(handoff)) }),
  };
}

/**
 * Sends what the destination lacks of a sealed transfer. A connection that breaks is opened again, and then goes on at the last
 * byte that is safe there. Throws HostError with the destination's reason, or `connection-lost` at the end of patience.
 *
 * @param onSent told of the encrypted bytes of each try
 */
export async function sendSealed(side: SendingSide, { manifest, files }: SealedTransfer, onSent: (bytes: number) => void, signal: AbortSignal): Promise<void> {
  const { ports, handoff, announce } = side;
  const { handoffId, threadId, destination, destinationName } = handoff;
  const total = sum(files.map(({ bytes }) => bytes));
  let safe = 0;
  let done = 0;
  let mended = false;
  const attempt = async (progressed: () => void) => {
    const link = await ports.connect(destination, signal);
    const { offsets, ticket } = await link.call('handoff/receive', { handoffId, threadId, manifest }, signal);
    if (offsets.length !== files.length || offsets.some((offset, index) => offset > (files[index]?.bytes ?? 0))) {
      throw new HostError('protocol-mismatch', `${destinationName} says that it has more than was announced. Bring Baton to the same version on both machines.`);
    }
    // What lies in the working tree is sealed before any of it is sent.
    const missing: { path: string; start: number }[] = [];
    for (const [index, file] of files.entries()) {
      const start = offsets[index] ?? 0;
      if (start < file.bytes) missing.push({ path: await file.seal(), start });
    }
    done = sum(offsets);
    if (done > safe) progressed();
    safe = done;
    let told = done;
    const content = async function* (): AsyncIterable<Buffer> {
      yield Buffer.from(`${JSON.stringify({ handoffId, threadId, ticket })}\n`);
      for (const { path, start } of missing) {
        for await (const chunk of createReadStream(path, { start })) {
          done += (chunk as Buffer).length;
          if (done - safe > UNDER_WAY_BYTES) progressed();
          // A hundred steps are as fine as anybody sees.
          if (done === total || done - told >= total / 100) {
            told = done;
            announce('transfer', `Sending to ${destinationName}`, done, total);
          }
          yield chunk as Buffer;
        }
      }
    };
    const channel = await ports.openTransfer(destination, signal);
    try {
      await sendAndHear(content(), channel, signal);
    } catch (error) {
      // What did not fit together there is gone there, and is sent once more.
      if (!HostError.is(error, 'transfer-corrupt') || mended || safe === 0) throw error;
      mended = true;
      throw new HostError('transfer-incomplete', error.message, { cause: error });
    } finally {
      onSent(channel.bytesSent);
    }
    // Both sides have said all: the channel closes by itself, unless the other side holds it open.
    channel.resume();
    setTimeout(() => channel.destroy(), CLOSE_TIMEOUT_MS).unref();
  };
  await overBreaks(attempt, { signal, onBreak: () => announce('transfer', waiting(handoff), done, total) });
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

async function sendAndHear(content: AsyncIterable<Buffer>, channel: Channel, signal: AbortSignal): Promise<void> {
  const answered = readAnswer(channel);
  // A channel that is destroyed fails it before the pipeline gives up; nobody may have asked by then.
  answered.catch(() => undefined);
  try {
    await pipeline(content, channel, { signal, end: true });
  } catch (error) {
    // Where the destination ended the transfer it said why.
    await Promise.race([answered, new Promise((_, reject) => setImmediate(reject, error))]);
    throw error;
  }
  await answered;
}

const answer = z.union([z.object({ received: z.literal(true) }), z.object({ error: z.object({ reason: z.string(), message: z.string() }) })]);

/** The destination's one line at the end of a transfer. */
async function readAnswer(channel: Channel): Promise<void> {
  let text = '';
  for await (const chunk of channel.iterator({ destroyOnReturn: false })) {
    text += (chunk as Buffer).toString('utf8');
    if (text.includes('\n') || text.length > 65_536) break;
  }
  const parsed = answer.safeParse(parseJson(text)).data;
  if (parsed === undefined) throw new HostError('protocol-mismatch', 'The destination answered the transfer with something that does not fit the protocol. Bring Baton to the same version on both machines.');
  if ('error' in parsed) throw new HostError(parsed.error.reason as HostError['reason'], parsed.error.message);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
