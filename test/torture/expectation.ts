/** What must be the case after a handoff that was hurt, taken down before it begins. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { untouchedState, workingState } from '../fixtures/checkout';
import { HostError } from '../../src/host/hostError';
import { said, type Site } from '../integration/pairedHosts';
import { happened, unload } from './carried';
import type { Carrying } from './cases';
import { footprint, leftoversOf, processesOf, rolloutsOf, sha256, standingOf } from './evidence';
import type { Ground } from './ground';
import { within } from './patience';
import { settle } from './settle';
import { worktreeOf } from './stage';

interface Subject {
  readonly threadId: string;
  /** Where the thread works before its handoff. */
  readonly directory: string;
  readonly source: Site;
  readonly destination: Site;
  readonly carrying: Carrying;
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
      readonly destination: Record<string, unknown>;
    },
  ) {}

  static async of(ground: Ground, subject: Subject): Promise<Expectation> {
    return new Expectation(ground, subject, {
      state: await workingState(subject.directory),
      rollouts: rolloutsOf(subject.source, subject.threadId),
      checkouts: ground.sites.map(({ checkout }) => untouchedState(checkout)),
      destination: await footprint(subject.destination),
    });
  }

  /** Compares. Once with what is on disk, then by letting the thread run and asking for what must be refused. */
  async verify(): Promise<{ end: 'moved' | 'stayed' | 'unknown'; broken: string[] }> {
    const { ground, subject: { threadId, directory, source, destination, carrying }, before } = this;
    const broken: string[] = [];
    const { laptop } = ground.pair;
    const standings = ground.sites.map((site) => ({ site, ...standingOf(site, threadId, site === laptop) }));
    const [first, ...more] = standings.filter(({ owns }) => owns);
    if (first === undefined || more.length > 0) return { end: 'unknown', broken: [`by the two ledgers ${first === undefined ? 'nobody owns' : 'both own'} the thread`] };
    const owner = (this.owner = first.site);
    const other = owner === source ? destination : source;
    const moved = owner === destination;
    for (const { site, epochs } of standings) {
      if (epochs.some((epoch, index) => index > 0 && epoch <= (epochs[index - 1] ?? 0))) broken.push(`the epochs on ${site.machine.name} do not rise: ${epochs.join(', ')}`);
    }
    if (!isDeepStrictEqual(standings[0]?.epochs, standings[1]?.epochs)) broken.push(`the ledgers tell of other epochs: ${standings.map(({ epochs }) => epochs.join(', ')).join(' and ')}`);

    broken.push(...this.compareRollouts(owner, other));
    const place = moved ? await worktreeOf(owner, threadId) : directory;
    broken.push(...differences(before.state, await workingState(place)).map((what) => `the working state differs at ${owner.machine.name}: ${what}`));
    for (const [index, site] of ground.sites.entries()) {
      if (!isDeepStrictEqual(untouchedState(site.checkout), before.checkouts[index])) broken.push(`the checkout of ${site.machine.name} was touched`);
    }
    if (!moved) broken.push(...differences(before.destination, await footprint(destination)).map((what) => `something is left at ${destination.machine.name}: ${what}`));
    broken.push(...(await this.leftovers()));

    broken.push(...(await within(unload(owner, [other], threadId, carrying), 'going on with what was carried')));
    const status = await owner.say(threadId, said.hello);
    if (status !== 'completed') broken.push(`a turn on ${owner.machine.name} ended as ${status}`);
    const refused = await reasonOf(other.say(threadId, said.hello));
    if (refused !== 'thread-moved' && (refused !== 'no-such-thread' || moved) && (refused !== 'thread-not-found' || moved)) broken.push(`a turn on ${other.machine.name}, which does not own the thread, gave ${refused}`);
    return { end: moved ? 'moved' : 'stayed', broken };
  }

  /** Nothing stands in the way of the next handoff, to the other host. */
  async handOn(): Promise<string[]> {
    const { ground, owner, subject: { threadId, source, destination, carrying } } = this;
    if (owner === null) return ['nobody owns the thread'];
    const next = owner === source ? destination : source;
    const place = owner === source ? this.subject.directory : await worktreeOf(owner, threadId);
    const state = await workingState(place);
    await owner.handOff({ threadId, to: next.hostId });
    await settle(ground, threadId);
    const broken = differences(state, await workingState(await worktreeOf(next, threadId))).map((what) => `after the next handoff the working state differs: ${what}`);
    const status = await next.say(threadId, said.hello);
    if (status !== 'completed') broken.push(`after the next handoff a turn ended as ${status}`);
    return [...broken, ...happened(next, threadId, carrying), ...(await this.leftovers())];
  }

  /** The owner's conversation goes on from the one before, byte for byte; what the other has of it is a beginning of that. */
  private compareRollouts(owner: Site, other: Site): string[] {
    const { threadId } = this.subject;
    const broken: string[] = [];
    const owned = rolloutsOf(owner, threadId);
    for (const [name, { body }] of this.before.rollouts) {
      const now = owned.get(name);
      if (now === undefined) broken.push(`${owner.machine.name} owns the thread and lacks ${name}`);
      else if (now.path.includes('archived_sessions')) broken.push(`${owner.machine.name} owns the thread and has it archived`);
      else if (sha256(now.body.subarray(0, body.length)) !== sha256(body)) broken.push(`${name} on ${owner.machine.name} does not go on from what it was`);
    }
    for (const [name, { body }] of rolloutsOf(other, threadId)) {
      const now = owned.get(name);
      if (now === undefined || sha256(now.body.subarray(0, body.length)) !== sha256(body)) broken.push(`${other.machine.name} has bytes of ${name} that its owner lacks`);
    }
    return broken;
  }

  private async leftovers(): Promise<string[]> {
    const broken: string[] = [];
    for (const site of this.ground.sites) {
      broken.push(...(await leftoversOf(site)).map((what) => `left on ${site.machine.name}: ${what}`));
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
async function reasonOf(attempt: Promise<unknown>): Promise<string | null> {
  try {
    await attempt;
    return null;
  } catch (error) {
    if (HostError.is(error)) return error.reason;
    throw error;
  }
}

/** Where two records differ, by key, in few words. */
function differences(before: Record<string, unknown>, after: Record<string, unknown>): string[] {
  const brief = (value: unknown) => {
    const text = JSON.stringify(value);
    return text.length > 300 ? `${text.slice(0, 300)}…` : text;
  };
  return Object.keys({ ...before, ...after }).filter((key) => !isDeepStrictEqual(before[key], after[key])).map((key) => `${key} was ${brief(before[key])} and is ${brief(after[key])}`);
}
