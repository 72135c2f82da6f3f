/** What a connection that breaks near the end of a transfer costs: going on where it broke, beside starting over. */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { HostClient } from '../../src/host/hostClient';
import { cloneOf, makeOrigin } from '../fixtures/checkout';
import { Machine } from '../fixtures/machine';
import { converse } from './conversation';
import { cloneWithoutFiles, pairMachines, type BenchGround } from './handoffBench';
import { quietDisk } from './quietDisk';
import { summarise, timed } from './statistics';
import { bytes, formatTable, milliseconds, ratio } from './table';

/** From the break to the end. */
interface AfterBreak {
  readonly milliseconds: number;
  readonly wireBytes: number;
}

export interface ResumeRun {
  /** A handoff that nothing disturbs, as a whole. */
  readonly whole: AfterBreak;
  readonly goesOn: AfterBreak;
  readonly startsOver: AfterBreak;
  /** The most memory that the source's and the destination's host had; null where the system does not tell. */
  readonly peakBytes: readonly [source: number, destination: number] | null;
}

const SIZE = 200_000_000;
const BREAKS_AT = 0.9 * SIZE;

export async function measureResume(directory: string, ground: BenchGround, runs: number): Promise<ResumeRun[]> {
  await mkdir(directory);
  const origin = await makeOrigin(directory);
  const measured: ResumeRun[] = [];
  for (let run = 0; run < runs; run++) measured.push(await breakOnce(origin, join(directory, `run-${run}`), ground));
  await rm(directory, { recursive: true });
  return measured;
}

async function breakOnce(origin: string, directory: string, ground: BenchGround): Promise<ResumeRun> {
  const laptop = new Machine('laptop', join(directory, 'laptop'));
  const server = new Machine('server', join(directory, 'server'));
  let client: HostClient | undefined;
  try {
    const checkout = await cloneOf(origin, join(laptop.directory, 'checkout'));
    client = await pairMachines(laptop, server, ground, [checkout, await cloneWithoutFiles(origin, join(server.directory, 'repository'))]);
    const host = client;
    const { hosts } = await host.call('host/list');
    const to = hosts.find(({ name }) => name === 'server')?.hostId ?? '';
    // What once arrived is in the destination's repository, so each handoff has content of its own.
    const begin = async () => {
      await writeFile(join(checkout, 'large.bin'), randomBytes(SIZE));
      const threadId = await converse(host, checkout, ['Say hello.']);
      await quietDisk();
      return threadId;
    };
    const handOff = async (threadId: string) => host.call('handoff/wait', await host.call('handoff/start', { threadId, to }));
    const counted = async (act: () => Promise<unknown>): Promise<AfterBreak> => {
      const before = ground.wire.bytes().fromClients;
      const { milliseconds: time } = await timed(act);
      return { milliseconds: time, wireBytes: ground.wire.bytes().fromClients - before };
    };
    const broken = async () => {
      const threadId = await begin();
      const halted = ground.wire.haltAfter(BREAKS_AT);
      const { handoffId } = await host.call('handoff/start', { threadId, to });
      await halted;
      return { threadId, handoffId };
    };

    const undisturbed = await begin();
    const whole = await counted(() => handOff(undisturbed));
    const { handoffId } = await broken();
    const goesOn = await counted(async () => {
      ground.wire.mend();
      await host.call('handoff/wait', { handoffId });
    });
    const given = await broken();
    // Other content: a destination that could not be told of the cancellation would go on with what it has.
    const other = join(laptop.directory, 'other.bin');
    await writeFile(other, randomBytes(SIZE));
    const startsOver = await counted(async () => {
      await host.call('handoff/cancel', { handoffId: given.handoffId });
      await rename(other, join(checkout, 'large.bin'));
      ground.wire.mend();
      await handedOffOnceThere(() => handOff(given.threadId));
    });
    const peaks = await Promise.all([laptop, server].map(peakOf));
    const [source, destination] = peaks;
    return { whole, goesOn, startsOver, peakBytes: source == null || destination == null ? null : [source, destination] };
  } catch (error) {
    throw new Error(`The bench broke off. The logs of its hosts:\n${laptop.hostLog}\n${server.hostLog}`, { cause: error });
  } finally {
    client?.dispose();
    ground.wire.mend();
    await Promise.all([laptop.stopHost(), server.stopHost()]);
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Both hosts have to notice the break and come back to the relay first, which the preflight of another handoff does not wait for. */
async function handedOffOnceThere(handOff: () => Promise<unknown>): Promise<void> {
  for (;;) {
    try {
      await handOff();
      return;
    } catch (error) {
      if (!['host-offline', 'connection-lost'].includes((error as { reason?: string }).reason ?? '')) throw error;
    }
  }
}

/** Linux tells the most memory that a process ever had. */
async function peakOf(machine: Machine): Promise<number | null> {
  const status = await readFile(`/proc/${machine.hostProcess.pid}/status`, 'utf8').catch(() => '');
  const match = /^VmHWM:\s+(\d+) kB$/m.exec(status);
  return match === null ? null : Number(match[1]) * 1024;
}

export function resumeTable(runs: readonly ResumeRun[]): string {
  const of = (name: 'whole' | 'goesOn' | 'startsOver') => ({ time: summarise(runs.map((run) => run[name].milliseconds)).median, sent: summarise(runs.map((run) => run[name].wireBytes)).median });
  const over = of('startsOver');
  const row = (title: string, { time, sent }: typeof over) => [title, milliseconds(time), ratio(time, over.time), bytes(sent), ratio(sent, over.sent)];
  const table = formatTable([
    ['A transfer of 200 MB that breaks at 90 %', 'time', 'is', 'wire', 'is'],
    row('goes on, from the break to the end', of('goesOn')),
    row('is cancelled and begun anew', over),
    row('(a handoff that nothing disturbs)', of('whole')),
  ]);
  const peaks = runs.flatMap(({ peakBytes }) => (peakBytes === null ? [] : [peakBytes]));
  return peaks.length === 0 ? table : `${table}\nMost memory that a host had: source ${bytes(Math.max(...peaks.map(([source]) => source)))}, destination ${bytes(Math.max(...peaks.map(([, destination]) => destination)))}.`;
}
