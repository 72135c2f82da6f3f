/** What can be done to hosts while they hand a thread over. */
import type { ChildProcess } from 'node:child_process';
import { endProcess } from '../fixtures/machine';
import type { Site } from '../integration/pairedHosts';
import type { Ground } from './ground';
import { heardOf, type Orders } from './orders';
import { within } from './patience';

/** How long a line says nothing, at most: until each side has looked once whether it hears the other. */
const SILENCE_MS = 6_000;
/** Longer than any heartbeat takes. */
const LONG_MS = 120_000;
const HOUR_MS = 3_600_000;

/** Has a host die at a point of what `begin` sets going, and starts it again, and whatever else dies. Gives whether it died there. */
export async function killedAt(ground: Ground, site: Site, kill: NonNullable<Orders['kill']>, begin: () => Promise<unknown>, whileDead?: () => Promise<void>): Promise<boolean> {
  const id = ground.order(site, { kill });
  const ended = begin();
  await Promise.race([ended, ground.death(site)]);
  if (!ground.isAlive(site)) {
    await whileDead?.();
    await ground.revive();
  }
  await ground.reviveUntil(ended);
  return heardOf(ground.ordersOf(site), id).some(({ killed }) => killed !== undefined);
}

/** Starts a host that died, under orders to die again in its recovery. It may come up before it does, or not. */
export async function dieAgain(ground: Ground, site: Site, again: number): Promise<void> {
  ground.order(site, { kill: { nth: again } });
  await ground.restart(site, 'SIGKILL').catch(() => undefined);
}

/** Waits for the end of a handoff, but not for long: a source waits for a destination that it cannot reach. Gives whether it came. */
export async function patiently(ended: Promise<unknown>): Promise<boolean> {
  return within(ended, 'a handoff without a connection', SILENCE_MS).then(() => true, () => false);
}

/** Ends the relay, and starts it again; or another one, at another address. */
export async function killRelay(ground: Ground, source: Site, how: 'relay' | 'relayTwice' | 'relayMoves'): Promise<void> {
  if (how === 'relayMoves') {
    await ground.moveRelay();
    return;
  }
  await endProcess(ground.pair.relay.child, 'SIGKILL');
  await ground.revive();
  if (how === 'relay') return;
  await source.until(async () => (await source.client.call('host/read', {})).relay.status === 'connected');
  await killRelay(ground, source, 'relay');
}

/** Stops a process for long, as when a machine sleeps. What is stopped, and who waits for it, both find that much time has passed. */
export async function suspend(ground: Ground, child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  child.kill('SIGSTOP');
  try {
    ground.letPass(LONG_MS);
    await patiently(ended);
  } finally {
    child.kill('SIGCONT');
  }
}

/** Nobody reaches anybody, for long; `meanwhile` is done then. */
export async function part(ground: Ground, ended: Promise<unknown>, hours: number, meanwhile: () => void): Promise<void> {
  ground.wire.part();
  if (hours > 0) ground.letPass(hours * HOUR_MS);
  meanwhile();
  await patiently(ended);
}
