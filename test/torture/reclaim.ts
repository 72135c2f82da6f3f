/** A thread is taken back from a host that died in its handoff or after it, and that comes back, or was set up anew. */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { untouchedState, workingState } from '../fixtures/checkout';
import { isDeepStrictEqual } from 'node:util';
import { endLeftAppServer, said, type Site } from '../integration/pairedHosts';
import { unload } from './carried';
import type { CaseOf } from './cases';
import { copiesOf, footprint, leftoversOf, ledgerOf, rolloutsOf, standingOf } from './evidence';
import { differences, reasonOf } from './expectation';
import { inRole, type Ground } from './ground';
import { dieAgain, patiently } from './inflict';
import { heardOf } from './orders';
import { within } from './patience';
import type { CaseResult } from './runCase';
import { settle } from './settle';
import { stage, worktreeOf } from './stage';

/** What a host has of a thread, as its disk says while it is dead. */
interface Had {
  readonly owned: boolean;
  readonly bodies: readonly Buffer[];
  readonly worktree: string | null;
  readonly state: Record<string, unknown> | null;
}

export async function runReclaim(ground: Ground, asked: CaseOf<'reclaim'>): Promise<Omit<CaseResult, 'milliseconds'>> {
  const { threadId, directory } = await within(stage(ground, asked), 'making the thread');
  const source = inRole(ground.pair, asked.leg, 'source');
  const destination = inRole(ground.pair, asked.leg, 'destination');
  const native = (site: Site) => site === ground.pair.laptop;
  const before = { state: await workingState(directory), bodies: wholeLines(source, threadId), checkouts: ground.sites.map(({ checkout }) => untouchedState(checkout)), destination: await footprint(destination) };
  const broken: string[] = [];

  const happened = await within(lose(ground, asked, source, destination, threadId), 'the handoff');
  const had = await hadBy(destination, threadId, standingOf(destination, threadId, native(destination)).owns);
  const left = !standingOf(source, threadId, native(source)).owns;
  const acknowledged = ledgerOf(source, threadId).findLast(({ side, event }) => side === 'source' && ['begun', 'delivered'].includes(event.type))?.event.type === 'delivered';
  if (left) await within(takeBack(ground, asked, source, threadId), 'taking the thread back');
  else {
    const refused = await reasonOf(source.client.call('handoff/reclaim', { threadId }));
    if (refused !== 'thread-here') broken.push(`what had not left could be taken back, or was refused with ${refused}`);
  }
  if (!standingOf(source, threadId, native(source)).owns) return { happened, end: 'unknown', broken: [...broken, `${source.machine.name} does not own the thread that it took back`] };

  // It goes on here while the other is away.
  broken.push(...differences(before.state, await workingState(directory)).map((what) => `the working state differs at ${source.machine.name}: ${what}`));
  const now = wholeLines(source, threadId);
  if (!before.bodies.every((body, index) => now[index]?.subarray(0, body.length).equals(body) === true)) broken.push(`the conversation on ${source.machine.name} does not go on from what it was`);
  if (!acknowledged) broken.push(...(await within(unload(source, [], threadId, asked.carrying), 'going on with what was carried')));
  else if ((await source.approvals(threadId)).length > 0) broken.push(`${source.machine.name} raises an approval again that had gone along`);
  const status = await within(source.say(threadId, said.hello), 'a turn');
  if (status !== 'completed') broken.push(`a turn on ${source.machine.name} ended as ${status}`);

  if (asked.wiped) await setUpAnew(ground, destination);
  else if (asked.again?.role === 'destination') await dieAgain(ground, destination, asked.again.nth);
  await within(settle(ground, threadId), 'settling');
  for (const site of ground.sites) ground.disarm(site);

  if (had.owned) ground.forked.add(threadId);
  if (had.owned && !asked.wiped) await within(heard(ground, destination, threadId), 'hearing of it');

  if (!asked.wiped) broken.push(...(await letGo(destination, threadId, native(destination), had, before.destination)));
  for (const [index, site] of ground.sites.entries()) {
    if (!isDeepStrictEqual(untouchedState(site.checkout), before.checkouts[index])) broken.push(`the checkout of ${site.machine.name} was touched`);
    if (!asked.wiped || site !== destination) broken.push(...(await leftoversOf(site, ground)).map((what) => `left on ${site.machine.name}: ${what}`));
  }
  if (broken.length > 0) return { happened, end: left ? 'moved' : 'stayed', broken };

  await within(source.handOff({ threadId, to: destination.hostId }), 'the next handoff');
  await within(settle(ground, threadId), 'settling');
  const worktree = await worktreeOf(destination, threadId);
  broken.push(...differences(before.state, await workingState(worktree)).map((what) => `after the next handoff the working state differs: ${what}`));
  if (!asked.wiped && had.owned && had.state !== null && had.worktree !== null) {
    if (worktree === had.worktree) broken.push('the thread came into the worktree of its fork');
    broken.push(...differences(had.state, await workingState(had.worktree)).map((what) => `the next handoff changed the worktree of the fork: ${what}`));
  }
  if ((await within(destination.say(threadId, said.hello), 'a turn')) !== 'completed') broken.push('after the next handoff no turn completes');
  return { happened, end: left ? 'moved' : 'stayed', broken };
}

/** The destination is gone, with its app-server: in the handoff, where it passes that point, else after it, with work of its own. */
async function lose(ground: Ground, { point, nth, carrying }: CaseOf<'reclaim'>, source: Site, destination: Site, threadId: string): Promise<boolean> {
  ground.order(destination, { kill: { point, nth } });
  const begun = source.client.call('handoff/start', { threadId, to: destination.hostId });
  const ended = begun.then(({ handoffId }) => source.client.call('handoff/wait', { handoffId })).then(() => true, () => false);
  const moved = await Promise.race([ended, ground.death(destination).then(() => false)]);
  const happened = !ground.isAlive(destination);
  if (moved && !happened) {
    await writeFile(join(await worktreeOf(destination, threadId), 'only-there.txt'), 'written after the handoff\n');
    if (carrying === 'nothing') await destination.say(threadId, said.hello);
  }
  await destination.stop('SIGKILL');
  endLeftAppServer(destination.machine, 'SIGKILL');
  if (!(await patiently(ended))) {
    const { handoffId } = await begun;
    await source.client.call('handoff/cancel', { handoffId });
  }
  await ended;
  return happened;
}

async function hadBy(site: Site, threadId: string, owned: boolean): Promise<Had> {
  const file = join(site.machine.batonHome, 'worktrees.json');
  const records = (existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : []) as { path: string; threadIds: string[] }[];
  const worktree = records.find(({ threadIds }) => threadIds.includes(threadId))?.path ?? null;
  return { owned, bodies: wholeLines(site, threadId), worktree, state: owned && worktree !== null ? await workingState(worktree) : null };
}

/** The bodies of a thread's rollouts up to their last whole line: a host that is killed may tear one. */
function wholeLines(site: Site, threadId: string): Buffer[] {
  return [...rolloutsOf(site, threadId)].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, { body }]) => body.subarray(0, body.lastIndexOf(0x0a) + 1));
}

async function takeBack(ground: Ground, { again }: CaseOf<'reclaim'>, source: Site, threadId: string): Promise<void> {
  const reclaim = () => source.client.call('handoff/reclaim', { threadId });
  const taken = () => ledgerOf(source, threadId).some(({ side, event }) => side === 'owner' && event.type === 'reclaimed');
  if (again?.role !== 'source') await reclaim();
  else {
    // Only this host is started again; the other is gone.
    const id = ground.order(source, { kill: { nth: again.nth } });
    await reclaim().catch(() => undefined);
    ground.disarm(source);
    if (heardOf(ground.ordersOf(source), id).some(({ killed }) => killed !== undefined)) {
      await ground.death(source);
      await ground.restart(source, 'SIGKILL');
    }
    if (!taken()) await reclaim();
  }
  await source.until(() => Promise.resolve(standingOf(source, threadId, source === ground.pair.laptop).settled));
}

/** A machine of the same name, with the same clone, that knows nothing more. */
async function setUpAnew(ground: Ground, site: Site): Promise<void> {
  const { machine: { batonHome, codexHome } } = site;
  for (const name of readdirSync(batonHome)) rmSync(join(batonHome, name), { recursive: true, force: true });
  for (const name of readdirSync(codexHome)) if (name !== 'config.toml') rmSync(join(codexHome, name), { recursive: true, force: true });
  ground.spent = true;
  await site.start(`ws://127.0.0.1:${ground.wire.port}`);
  await ground.pair.introduce(site, ground.sites.filter((other) => other !== site));
}

/** The host that was gone has learned that it owns the thread no more, and has done what follows from that. */
async function heard(ground: Ground, site: Site, threadId: string): Promise<void> {
  await site.until(() => {
    const { owns, settled } = standingOf(site, threadId, site === ground.pair.laptop);
    return Promise.resolve(!owns && settled);
  });
}

/** The host that was gone runs nothing of the thread; what it had, it keeps as a fork. */
async function letGo(site: Site, threadId: string, native: boolean, had: Had, before: Record<string, unknown>): Promise<string[]> {
  const { name } = site.machine;
  const broken: string[] = [];
  const { owns, epochs } = standingOf(site, threadId, native);
  if (owns) broken.push(`${name} still owns the thread by its ledger`);
  if ((await site.approvals(threadId)).length > 0) broken.push(`${name} still asks about the thread`);
  const refused = await reasonOf(site.say(threadId, said.hello));
  if (refused !== 'thread-moved' && (epochs.length > 0 || (refused !== 'no-such-thread' && refused !== 'thread-not-found'))) broken.push(`a turn on ${name}, which does not own the thread, gave ${refused}`);
  if (!had.owned) return [...broken, ...differences(before, await footprint(site)).map((what) => `something is left at ${name}: ${what}`)];
  for (const body of had.bodies) {
    const copies = copiesOf(site, threadId, body);
    if (copies !== 1) broken.push(`${name} keeps what it had of the thread as ${copies} forks`);
  }
  if (had.worktree !== null && had.state !== null) broken.push(...differences(had.state, await workingState(had.worktree)).map((what) => `the worktree of the fork differs: ${what}`));
  return broken;
}
