import { basename } from 'node:path';
import { captureCheckout } from '../git/captureCheckout';
import { digestOf } from '../handoff/canonicalJson';
import type { Ledger } from '../handoff/ownership';
import { receiptHash, type Receipt, type RolloutHash } from '../handoff/receipt';
import { HostError } from './hostError';
import type { VerifyReport } from './protocol';
import { describeError } from './wireError';

export interface VerifyPorts {
  /** The thread's rollouts that are on this host: how long each is, and the hash of its body's first bytes. */
  rollouts(threadId: string): Promise<readonly { readonly name: string; readonly bodyBytes: number; hashPrefix(bytes: number): Promise<string> }[]>;
  /** The directory in which the thread works here, or worked when it left; null where nothing of it is known. */
  directoryOf(threadId: string): Promise<string | null>;
  /** An empty directory of Baton's own, removed afterwards. */
  withSpool<T>(act: (spool: string) => Promise<T>): Promise<T>;
}

/**
 * Computes the hashes of a thread's last receipt anew, from what is on this disk now. Rollouts only grow, so all that the
 * receipt covers must still be there; the working state is the receipt's only until somebody works in it.
 * Throws HostError `no-such-handoff` where the thread has no receipt here.
 */
export async function verifyThread(threadId: string, ledger: Ledger, ports: VerifyPorts): Promise<VerifyReport> {
  const { receipt, at } = lastReceipt(ledger);
  const held = await ports.rollouts(threadId);
  const checks: VerifyReport['checks'] = [];
  for (const rollout of receipt.holdings.rollouts) checks.push(await checkRollout(rollout, held));
  checks.push(await checkWorkingState(threadId, receipt, ports), ...notKept(receipt));
  const { handoffId, epoch, source, destination } = receipt;
  return { threadId, handoffId, epoch, source, destination, side: at, receipt: receiptHash(receipt), holdings: digestOf(receipt.holdings), intact: checks.every(({ is }) => is !== 'broken' && is !== 'missing'), checks };
}

/** The receipt of the thread's last handoff that this host gave or let go on. */
function lastReceipt({ source, destination }: Ledger): { readonly receipt: Receipt; readonly at: 'source' | 'destination' } {
  const given = 'receipt' in destination ? destination.receipt : null;
  const taken = 'receipt' in source ? source.receipt : null;
  if (taken !== null && (given === null || taken.epoch > given.epoch)) return { receipt: taken, at: 'source' };
  if (given !== null) return { receipt: given, at: 'destination' };
  throw new HostError('no-such-handoff', 'No handoff of this thread has come as far as a receipt on this host, so there is nothing to verify.');
}

async function checkRollout({ name, bodyBytes, bodySha256 }: RolloutHash, held: Awaited<ReturnType<VerifyPorts['rollouts']>>): Promise<VerifyReport['checks'][number]> {
  const what = basename(name);
  const here = held.find((candidate) => candidate.name === name);
  if (here === undefined) return { what, is: 'missing', message: 'This rollout of the receipt is not on this host.' };
  if (here.bodyBytes < bodyBytes) return { what, is: 'broken', message: `${here.bodyBytes} bytes are here, and the receipt says ${bodyBytes}.` };
  if ((await here.hashPrefix(bodyBytes)) !== bodySha256) return { what, is: 'broken', message: `The first ${bodyBytes} bytes are not those of the receipt.` };
  return here.bodyBytes === bodyBytes
    ? { what, is: 'same', message: `All ${bodyBytes} bytes are those of the receipt.` }
    : { what, is: 'grown', message: `The first ${bodyBytes} bytes are those of the receipt; ${here.bodyBytes - bodyBytes} came since.` };
}

/** Of these a receipt has the digest only, and they are not kept as they were: name, goal and queue change with the thread. */
function notKept({ holdings: { included } }: Receipt): VerifyReport['checks'] {
  const compared = 'was compared when the receipt was made, and is not kept as it was then.';
  return [
    { what: 'name, policy, goal, queue', is: 'unchecked', message: `What travelled beside the conversation ${compared}` },
    ...(included === undefined ? [] : [{ what: 'ignored files', is: 'unchecked' as const, message: `What crossed at your wish ${compared}` }]),
  ];
}

async function checkWorkingState(threadId: string, { holdings }: Receipt, ports: VerifyPorts): Promise<VerifyReport['checks'][number]> {
  const what = 'working state';
  const directory = await ports.directoryOf(threadId);
  if (directory === null) return { what, is: 'changed', message: 'The directory in which the thread worked is not on this host any more, so it cannot be compared.' };
  try {
    const [{ state }] = await ports.withSpool((spool) => captureCheckout({ root: directory, spool }));
    return state.fingerprint === holdings.workingState
      ? { what, is: 'same', message: `${directory} is exactly as the receipt says.` }
      : { what, is: 'changed', message: `${directory} has changed since the receipt, as it does when somebody works there.` };
  } catch (error) {
    return { what, is: 'changed', message: `${directory} cannot be compared: ${describeError(error).message}` };
  }
}
