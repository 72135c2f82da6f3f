/** What must be the case after a handoff that was hurt, taken down before it begins. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { untouchedState, workingState } from '../fixtures/checkout';
import { HostError } from '../../src/host/hostError';
import { said, type Site } from '../integration/pairedHosts';
import { happened, unload } from './carried';
import type { Carrying } from './cases';
import { copiesOf, footprint, leftoversOf, processesOf, rolloutsOf, sha256, standingOf } from './evidence';
import type { Ground } from './ground';
import { within } from './patience';
import { settle } from './settle';
import { worktreeOf, type Diverged } from './stage';

interface Subject {
  readonly threadId: string;
  /** Where the thread works before its handoff. */
  readonly directory: string;
  readonly source: Site;
  /** More than one where several hosts want it at once. */
  readonly destinations: readonly Site[];
  readonly carrying: Carrying;
  /** What the first destination has of the thread. */
  readonly diverged: Diverged | null;
}

export class Expectation {
  private owner: Site | null = null;

  private constructor(
    private readonly ground: Ground,
    private readonly subject: Subject,
    private readonly before: {
      readonly state: Record<string, unknown>;
      readonly rollouts: ReturnType<typeof rolloutsOf>;
      readonly checkouts: readonly Record<string, unknown>[];
      readonly destinations: readonly Record<string, unknown>[];
    },
  ) {}

  static async of(ground: Ground, subject: Subject): Promise<Expectation> {
    const destinations = [];
    for (const site of subject.destinations) destinations.push(await footprint(site));
    return new Expectation(ground, subject, {
      state: await workingState(subject.directory),
      rollouts: rolloutsOf(subject.source, subject.threadId),
      checkouts: ground.sites.map(({ checkout }) => untouchedState(checkout)),
      destinations,
    });
  }

  /** Compares. Once with what is on disk, then by letting the thread run and asking for what must be refused. */
  async verify(): Promise<{ end: 'moved' | 'stayed' | 'unknown'; broken: string[] }> {
    const { ground, subject: { threadId, directory, source, destinations, carrying, diverged }, before } = this;
    const broken: string[] = [];
    const { laptop } = ground.pair;
    const standings = ground.sites.map((site) => ({ site, ...standingOf(site, threadId, site === laptop) }));
    const [first, ...more] = standings.filter(({ owns }) => owns);
    if (first === undefined || more.length > 0) return { end: 'unknown', broken: [`by their ledgers ${first === undefined ? 'nobody owns' : `${[first, ...more].map(({ site }) => site.machine.name).join(' and ')} own`} the thread`] };
    const owner = (this.owner = first.site);
    const others = standings.filter(({ site }) => site !== owner);
    const moved = owner !== source;
    for (const { site, epochs } of standings) {
      if (epochs.some((epoch, index) => index > 0 && epoch <= (epochs[index - 1] ?? 0))) broken.push(`the epochs on ${site.machine.name} do not rise: ${epochs.join(', ')}`);
    }
    const all = standings.flatMap(({ epochs }) => epochs);
    if (all.some((epoch) => all.filter((other) => other === epoch).length !== 2)) broken.push(`not every epoch has one source and one destination: ${standings.map(({ epochs, site }) => `${site.machine.name} ${epochs.join(', ')}`).join('; ')}`);

    broken.push(...this.compareRollouts(owner, others.map(({ site }) => site)));
    const place = moved ? await worktreeOf(owner, threadId) : directory;
    broken.push(...differences(before.state, await workingState(place)).map((what) => `the working state differs at ${owner.machine.name}: ${what}`));
    for (const [index, site] of ground.sites.entries()) {
      if (!isDeepStrictEqual(untouchedState(site.checkout), before.checkouts[index])) broken.push(`the checkout of ${site.machine.name} was touched`);
    }
    for (const [index, site] of destinations.entries()) {
      if (site !== owner) broken.push(...differences(before.destinations[index] ?? {}, await footprint(site)).map((what) => `something is left at ${site.machine.name}: ${what}`));
    }
    if (diverged !== null) broken.push(...(await this.compareDiverged(diverged, place, moved)));
    broken.push(...(await this.leftovers()));

    broken.push(...(await within(unload(owner, others.map(({ site }) => site), threadId, carrying), 'going on with what was carried')));
    const status = await owner.say(threadId, said.hello);
    if (status !== 'completed') broken.push(`a turn on ${owner.machine.name} ended as ${status}`);
    for (const { site, epochs } of others) {
      const refused = await reasonOf(site.say(threadId, said.hello));
      const strange = epochs.length === 0 && (refused === 'no-such-thread' || refused === 'thread-not-found');
      if (refused !== 'thread-moved' && !strange) broken.push(`a turn on ${site.machine.name}, which does not own the thread, gave ${refused}`);
    }
    return { end: moved ? 'moved' : 'stayed', broken };
  }

  /** Nothing stands in the way of the next handoff, to another host. */
  async handOn(): Promise<string[]> {
    const { ground, owner, subject: { threadId, source, destinations, carrying, diverged } } = this;
    if (owner === null) return ['nobody owns the thread'];
    const next = owner === source ? present(destinations[0]) : source;
    const place = owner === source ? this.subject.directory : await worktreeOf(owner, threadId);
    const state = await workingState(place);
    await owner.handOff({ threadId, to: next.hostId, choice: owner === source ? diverged?.choice : undefined });
    await settle(ground, threadId);
    const worktree = await worktreeOf(next, threadId);
    const broken = differences(state, await workingState(worktree)).map((what) => `after the next handoff the working state differs: ${what}`);
    if (diverged !== null) broken.push(...(await this.compareDiverged(diverged, worktree, true)));
    const status = await next.say(threadId, said.hello);
    if (status !== 'completed') broken.push(`after the next handoff a turn ended as ${status}`);
    return [...broken, ...happened(next, threadId, carrying), ...(await this.leftovers())];
  }

  /** The owner's conversation goes on from the one before, byte for byte; what others have of it is a beginning of that. */
  private compareRollouts(owner: Site, others: readonly Site[]): string[] {
    const { threadId, destinations, diverged } = this.subject;
    const broken: string[] = [];
    const owned = rolloutsOf(owner, threadId);
    for (const [name, { body }] of this.before.rollouts) {
      const now = owned.get(name);
      if (now === undefined) broken.push(`${owner.machine.name} owns the thread and lacks ${name}`);
      else if (now.path.includes('archived_sessions')) broken.push(`${owner.machine.name} owns the thread and has it archived`);
      else if (sha256(now.body.subarray(0, body.length)) !== sha256(body)) broken.push(`${name} on ${owner.machine.name} does not go on from what it was`);
    }
    for (const other of others) {
      if (diverged?.choice === 'fork' && other === destinations[0]) continue;
      for (const [name, { body }] of rolloutsOf(other, threadId)) {
        const now = owned.get(name);
        if (now === undefined || sha256(now.body.subarray(0, body.length)) !== sha256(body)) broken.push(`${other.machine.name} has bytes of ${name} that its owner lacks`);
      }
    }
    return broken;
  }

  /** What a destination had of a thread that went on elsewhere, it has still: as it was, or as a fork. */
  private async compareDiverged({ choice, worktree, state, bodies }: Diverged, place: string, moved: boolean): Promise<string[]> {
    const { threadId, destinations } = this.subject;
    const site = present(destinations[0]);
    const broken = differences(state, await workingState(worktree)).map((what) => `${worktree}, which was to stay as it is, differs: ${what}`);
    if (place === worktree) broken.push(`the thread went on in ${worktree}, which had changed`);
    for (const [name, body] of bodies) {
      const copies = copiesOf(site, threadId, body);
      if (copies !== (moved && choice === 'fork' ? 1 : 0)) broken.push(`${site.machine.name} has what it had of ${name} as ${copies} forks`);
      if (!moved && rolloutsOf(site, threadId).get(name)?.body.equals(body) !== true) broken.push(`${site.machine.name} has ${name} no more as it was`);
    }
    return broken;
  }

  private async leftovers(): Promise<string[]> {
    const broken: string[] = [];
    for (const site of this.ground.sites) {
      broken.push(...(await leftoversOf(site, this.ground)).map((what) => `left on ${site.machine.name}: ${what}`));
      const running = processesOf(site);
      const { pid: codex } = JSON.parse(readFileSync(join(site.machine.batonHome, 'app-server.json'), 'utf8')) as { pid: number };
      const due = new Set([site.machine.hostProcess.pid, codex]);
      // Codex reads the user's shell anew in the background whenever it loads a thread; what that runs comes after it in the list or has gone.
      const shell = new Set<number>();
      for (const { pid, parent, command } of running) if (command.includes('__codex_snapshot_command') || shell.has(parent)) shell.add(pid);
      broken.push(...running.filter(({ pid, parent }) => !due.has(pid) && !due.has(parent) && !shell.has(pid)).map(({ command }) => `still running on ${site.machine.name}: ${command}`));
    }
    return broken;
  }
}

/** The reason with which something is refused; null where it is not. */
export async function reasonOf(attempt: Promise<unknown>): Promise<string | null> {
  try {
    await attempt;
    return null;
  } catch (error) {
    if (HostError.is(error)) return error.reason;
    throw error;
  }
}

/** Where two records differ, by key, in few words. */
export function differences(before: Record<string, unknown>, after: Record<string, unknown>): string[] {
  const brief = (value: unknown) => {
    const text = JSON.stringify(value);
    return text.length > 300 ? `${text.slice(0, 300)}…` : text;
  };
  return Object.keys({ ...before, ...after }).filter((key) => !isDeepStrictEqual(before[key], after[key])).map((key) => `${key} was ${brief(before[key])} and is ${brief(after[key])}`);
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('A handoff has a destination.');
  return value;
}
