/** Two hosts want a thread at once: one gets it, or none, and whoever asked for the other is told. */
import { HostError } from '../../src/host/hostError';
import type { CaseOf } from './cases';
import { Expectation } from './expectation';
import { inRole, type Ground } from './ground';
import { killedAt } from './inflict';
import { within } from './patience';
import type { CaseResult } from './runCase';
import { settle } from './settle';
import { stage } from './stage';

export async function runRivals(ground: Ground, { leg, first, kill, carrying }: CaseOf<'rivals'>): Promise<Omit<CaseResult, 'milliseconds'>> {
  const desk = await within(ground.third(), 'adding a third host');
  const { threadId, directory } = await within(stage(ground, { leg, carrying }), 'making the thread');
  const source = inRole(ground.pair, leg, 'source');
  const other = inRole(ground.pair, leg, 'destination');
  const destinations = first === 'desk' ? [desk, other] : [other, desk];
  const expected = await Expectation.of(ground, { threadId, directory, source, destinations, carrying, diverged: null });
  const outcomes: { readonly to: string; readonly error: unknown }[] = [];
  const begin = () => Promise.all(destinations.map(async (site) => {
    // The host from which a thread came may ask for it itself.
    const asks = leg === 'back' && site === other;
    const error = await (asks ? site : source).handOff({ threadId, to: site.hostId, ...(asks ? { from: source.hostId } : {}) }).then(() => null, (reason: unknown) => reason);
    outcomes.push({ to: site.machine.name, error });
  }));
  const hosts = { source, other, desk };
  const happened = await within(kill === null ? begin().then(() => true) : killedAt(ground, hosts[kill.host], kill, begin), 'two handoffs');
  await within(settle(ground, threadId), 'settling');
  for (const site of ground.sites) ground.disarm(site);
  const { end, broken } = await within(expected.verify(), 'looking at what is there');
  const told = outcomes.filter(({ error }) => error !== null);
  if (told.length === 0) broken.push('both were told that they succeeded');
  if (kill === null) {
    if (told.length === 2) broken.push('both were told that they failed');
    for (const { to, error } of told) if (!HostError.is(error, 'thread-moving') && !HostError.is(error, 'thread-moved')) broken.push(`who asked for ${to} was told: ${String(error)}`);
  }
  if (broken.length === 0) broken.push(...(await within(expected.handOn(), 'the next handoff')));
  return { happened, end, broken };
}
