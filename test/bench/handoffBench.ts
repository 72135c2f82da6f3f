/** End-to-end handoffs between two hosts of their own for each run, beside the same move by hand. */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { HostClient } from '../../src/host/hostClient';
import type { HandoffResult } from '../../src/host/protocol';
import { git } from '../fixtures/checkout';
import { Machine } from '../fixtures/machine';
import { writeCodexConfig } from '../fixtures/scriptedModel';
import type { Carrier } from './byHand';
import { converse, resting } from './conversation';
import type { CountingProxy } from './countingProxy';
import { growRollout } from './growRollout';
import { quietDisk } from './quietDisk';
import { timed } from './statistics';
import type { BenchSubject } from './subjects';

/** One handoff as its user sees it: from the request on the local socket until the result is there. */
export interface HandoffRun {
  readonly milliseconds: number;
  /** All that both hosts sent to the relay meanwhile, control channel included. */
  readonly wireBytes: number;
  readonly rolloutBytes: number;
  readonly commits: number;
  readonly files: number;
  /** From the first word of a phase to the first word of the next, in order. */
  readonly phases: readonly { readonly phase: string; readonly milliseconds: number }[];
}

export interface ManualRun {
  readonly milliseconds: number;
  readonly wireBytes: number | null;
}

export interface Run {
  readonly there: HandoffRun;
  readonly back: HandoffRun;
  /** Off once more, into the worktree that the thread had at the destination. */
  readonly again: HandoffRun;
  /** In the order of the carriers. */
  readonly byHand: readonly ManualRun[];
}

export interface BenchGround {
  /** Of the relay, through `wire`. */
  readonly relayUrl: string;
  readonly wire: CountingProxy;
  readonly modelUrl: string;
  readonly carriers: readonly Carrier[];
}

/**
 * Hands a thread off, back and off again, between machines of its own below `directory`, which is made and removed.
 * `checkout` is the laptop's; a handoff leaves it as it is, so the next run can use it again.
 */
export async function handOffOnce(subject: BenchSubject, origin: string, checkout: string, directory: string, ground: BenchGround): Promise<Run> {
  const laptop = new Machine('laptop', join(directory, 'laptop'));
  const server = new Machine('server', join(directory, 'server'));
  const clients: HostClient[] = [];
  try {
    const onServer = await cloneWithoutFiles(origin, join(server.directory, 'repository'));
    const client = await pairMachines(laptop, server, ground, [checkout, onServer]);
    const there = await server.client();
    clients.push(client, there);

    const threadId = await converse(client, checkout, subject.conversation);
    if (subject.rolloutBytes !== undefined) await growRollout(laptop, threadId, subject.rolloutBytes);
    const rollout = await rolloutOf(laptop, threadId);
    const byHand: ManualRun[] = [];
    for (const [index, carrier] of ground.carriers.entries()) {
      const place = join(directory, `by-hand-${index}`);
      const clone = await cloneWithoutFiles(origin, join(place, 'repository'));
      byHand.push(await moveByHand(carrier, { checkout, branch: subject.branch, clone, worktree: join(place, 'worktree'), rollout, rolloutDirectory: join(place, 'sessions') }));
    }

    const { hosts } = await client.call('host/list');
    const idOf = (name: string) => hosts.find((host) => host.name === name)?.hostId ?? '';
    const first = await handOff(client, threadId, idOf('server'), ground.wire);
    await decideAll(there, threadId);
    await subject.workThere(first.result.worktree);
    const second = await handOff(there, threadId, idOf('laptop'), ground.wire);
    await writeFile(join(second.result.worktree, 'once more.txt'), 'once more\n');
    const third = await handOff(client, threadId, idOf('server'), ground.wire);
    if (third.result.worktree !== first.result.worktree) throw new Error('The thread did not come back to the worktree that it had.');
    return { there: first.run, back: second.run, again: third.run, byHand };
  } catch (error) {
    throw new Error(`The bench broke off. The logs of its hosts:\n${laptop.hostLog}\n${server.hostLog}`, { cause: error });
  } finally {
    for (const client of clients) client.dispose();
    await Promise.all([laptop.stopHost(), server.stopHost()]);
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    await git(checkout, 'worktree', 'prune');
  }
}

/** A clone at the destination: its own checkout plays no part in a handoff. */
export async function cloneWithoutFiles(origin: string, clone: string): Promise<string> {
  await mkdir(dirname(clone), { recursive: true });
  await git(dirname(clone), 'clone', '-q', '--no-checkout', origin, clone);
  return clone;
}

/** Starts both hosts, joins them, saves the projects, and has both Codexes running, as they are on machines in use. */
export async function pairMachines(laptop: Machine, server: Machine, ground: BenchGround, projects: readonly [string, string]): Promise<HostClient> {
  for (const machine of [laptop, server]) await writeCodexConfig(machine.codexHome, { modelUrl: ground.modelUrl, approvalPolicy: 'on-request', sandboxMode: 'workspace-write' });
  await Promise.all([laptop.startHost(ground.relayUrl), server.startHost(ground.relayUrl)]);
  const [client, there] = await Promise.all([laptop.client(), server.client()]);
  const { invite } = await client.call('host/invite', {});
  await there.call('host/join', { invite });
  await client.call('project/add', { directory: projects[0] });
  await there.call('project/add', { directory: projects[1] });
  await Promise.all([client.codex('thread/list', {}), there.codex('thread/list', {})]);
  there.dispose();
  return client;
}

async function moveByHand(carrier: Carrier, job: Parameters<Carrier['move']>[0]): Promise<ManualRun> {
  await mkdir(job.rolloutDirectory, { recursive: true });
  await quietDisk();
  const before = carrier.bytes();
  const { milliseconds } = await timed(() => carrier.move(job));
  await carrier.rest();
  const after = carrier.bytes();
  return { milliseconds, wireBytes: before === null || after === null ? null : after - before };
}

async function handOff(client: HostClient, threadId: string, to: string, wire: CountingProxy): Promise<{ run: HandoffRun; result: HandoffResult }> {
  await quietDisk();
  const marks: { phase: string; at: number }[] = [{ phase: 'preflight', at: performance.now() }];
  const stop = client.on('handoff/progress', (progress) => {
    if (progress.threadId === threadId && marks.at(-1)?.phase !== progress.phase) marks.push({ phase: progress.phase, at: performance.now() });
  });
  const before = wire.bytes().fromClients;
  try {
    const { milliseconds, value: result } = await timed(async () => {
      const { handoffId } = await client.call('handoff/start', { threadId, to });
      return client.call('handoff/wait', { handoffId });
    });
    const end = (marks[0]?.at ?? 0) + milliseconds;
    const phases = marks.map(({ phase, at }, index) => ({ phase, milliseconds: (marks[index + 1]?.at ?? end) - at }));
    return { result, run: { milliseconds, wireBytes: wire.bytes().fromClients - before, rolloutBytes: result.rolloutBytesSent, commits: result.commits, files: result.files, phases } };
  } finally {
    stop();
  }
}

/** Approves what is pending and waits for the turn that this lets go on, so that the conversation grows at the destination too. */
async function decideAll(client: HostClient, threadId: string): Promise<void> {
  await client.codex('thread/resume', { threadId, excludeTurns: true });
  const { approvals } = await client.call('approval/list', { threadId });
  for (const { id, digest } of approvals) {
    const rests = resting(client, threadId);
    await client.call('approval/decide', { id, digest, decision: 'accept' });
    await rests;
  }
}

async function rolloutOf(machine: Machine, threadId: string): Promise<string> {
  const sessions = join(machine.codexHome, 'sessions');
  const path = (await readdir(sessions, { recursive: true })).find((candidate) => candidate.includes(threadId));
  if (path === undefined) throw new Error(`${sessions} has no rollout of ${threadId}.`);
  return join(sessions, path);
}
