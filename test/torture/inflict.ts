/** What can be done to hosts while they hand a thread over. */
import type { Site } from '../integration/pairedHosts';
import type { Ground } from './ground';
import { heardOf, type Orders } from './orders';
import { within } from './patience';

/** How long a line says nothing, at most. */
const SILENCE_MS = 5_000;

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
