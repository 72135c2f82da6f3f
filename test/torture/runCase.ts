/** One case: a thread is made, its handoff is hurt, everything is healed, and what then is the case is compared with what must be. */
import type { Site } from '../integration/pairedHosts';
import type { HandoffCase, TortureCase } from './cases';
import { Expectation } from './expectation';
import { inRole, type Ground } from './ground';
import { heardOf } from './orders';
import { dieAgain, killedAt, killRelay, part, patiently, suspend } from './inflict';
import { within } from './patience';
import { runReclaim } from './reclaim';
import { runRing } from './ring';
import { runRivals } from './rivals';
import { settle } from './settle';
import { choiceOf, stage } from './stage';

export interface CaseResult {
  /** Whether what was to be done to the handoff was: a point may not be passed, a phase not be reached. */
  readonly happened: boolean;
  readonly end: 'moved' | 'stayed' | 'unknown';
  /** What must hold and does not, in words. */
  readonly broken: readonly string[];
  readonly milliseconds: number;
}

/** Runs a case. Only what the harness itself cannot do is thrown; all else is in `broken`. */
export async function runCase(ground: Ground, asked: TortureCase): Promise<CaseResult> {
  const startedAt = performance.now();
  const result = await run(ground, asked).catch((error: unknown) => ({ happened: false, end: 'unknown' as const, broken: [error instanceof Error ? error.message : String(error)] }));
  return { ...result, milliseconds: Math.round(performance.now() - startedAt) };
}

async function run(ground: Ground, asked: TortureCase): Promise<Omit<CaseResult, 'milliseconds'>> {
  switch (asked.kind) {
    case 'ring':
      return runRing(ground, asked);
    case 'reclaim':
      return runReclaim(ground, asked);
    case 'rivals':
      return runRivals(ground, asked);
    default:
      return runHandoff(ground, asked);
  }
}

async function runHandoff(ground: Ground, asked: HandoffCase): Promise<Omit<CaseResult, 'milliseconds'>> {
  const { threadId, directory, diverged } = await within(stage(ground, asked), 'making the thread');
  const source = inRole(ground.pair, asked.leg, 'source');
  const destination = inRole(ground.pair, asked.leg, 'destination');
  const expected = await Expectation.of(ground, { threadId, directory, source, destinations: [destination], carrying: asked.carrying, diverged });
  const happened = await within(inflict(ground, asked, source, destination, threadId), 'the handoff');
  await within(settle(ground, threadId), 'settling');
  for (const site of ground.sites) ground.disarm(site);
  const { end, broken } = await within(expected.verify(), 'looking at what is there');
  return { happened, end, broken: broken.length > 0 ? broken : await within(expected.handOn(), 'the next handoff') };
}

/** A host that ends in order interrupts what runs, and Codex then holds the queue, whatever became of the handoff. */
const endedBy = ({ carrying }: HandoffCase): NodeJS.Signals => (carrying === 'queue' ? 'SIGKILL' : 'SIGTERM');

/** Begins the handoff and does to it what the case says. Resolves once it has ended for its source, and all is healed. */
async function inflict(ground: Ground, asked: HandoffCase, source: Site, destination: Site, threadId: string): Promise<boolean> {
  const site = 'role' in asked && asked.role === 'destination' ? destination : source;
  const phase = 'phase' in asked ? source.phase(asked.phase, threadId) : null;
  /** Ends also where the host does that was asked for it. */
  const begin = () => source.handOff({ threadId, to: destination.hostId, choice: choiceOf(asked.leg) }).then(() => null, () => null);
  switch (asked.kind) {
    case 'kill':
      return killedAt(ground, site, asked, begin);
    case 'killAgain':
      return killedAt(ground, site, asked, begin, () => dieAgain(ground, site, asked.again));
    case 'killBoth':
      return killedAt(ground, site, asked, begin, () => (site === source ? destination : source).stop('SIGKILL'));
    case 'killInPhase': {
      const ended = begin();
      const reached = await Promise.race([phase, ended]);
      if (reached !== null) {
        const { victim } = asked;
        if (victim === 'source' || victim === 'both') await source.stop('SIGKILL');
        if (victim === 'destination' || victim === 'both') await destination.stop('SIGKILL');
        if (victim === 'relay' || victim === 'relayTwice' || victim === 'relayMoves') await killRelay(ground, source, victim);
        await ground.revive();
      }
      await ended;
      return reached !== null;
    }
    case 'suspend': {
      const ended = begin();
      const reached = await Promise.race([phase, ended]);
      const child = { source: source.machine.hostProcess, destination: destination.machine.hostProcess, relay: ground.pair.relay.child }[asked.victim];
      if (reached !== null) await suspend(ground, child, ended);
      await ended;
      return reached !== null;
    }
    case 'wire': {
      ground.wire.fail(asked.fault, asked.afterBytes);
      const ended = begin();
      // What a stalled line holds back comes later, when everybody has long given up; or never, where nobody does.
      await (asked.fault === 'stall' ? patiently(ended) : ended);
      const happened = ground.wire.heal();
      await ended;
      return happened;
    }
    case 'partition': {
      const ended = begin();
      const reached = await Promise.race([phase, ended]);
      if (reached !== null) {
        await part(ground, ended, asked.hours, () => {
          if (asked.cancel) source.client.call('handoff/cancel', { handoffId: reached.handoffId }).catch(() => undefined);
        });
      }
      ground.wire.heal();
      await ended;
      return reached !== null;
    }
    case 'diskFull':
    case 'readOnly': {
      const ended = begin();
      const reached = await Promise.race([phase, ended]);
      if (reached !== null) await (asked.kind === 'diskFull' ? ground.fill(site, asked.freeBytes) : ground.makeReadOnly(site));
      await ended;
      await ground.healDisks();
      if (asked.restart) await ground.restart(site, endedBy(asked));
      return reached !== null;
    }
    case 'ioError': {
      const { call, nth, code } = asked;
      const id = ground.order(site, { fail: { call, nth, code } });
      await begin();
      ground.disarm(site);
      if (asked.restart) await ground.restart(site, endedBy(asked));
      return heardOf(ground.ordersOf(site), id).some(({ failed }) => failed !== undefined);
    }
    case 'clock': {
      ground.order(site, { clockShiftMs: asked.shiftMs });
      await begin();
      return true;
    }
  }
}
