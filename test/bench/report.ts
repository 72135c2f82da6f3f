/** What the bench found, for people and for programs. */
import { bytesTable, type BytesRun } from './bytesBench';
import type { ChannelRun } from './channelBench';
import type { HandoffRun, Run } from './handoffBench';
import { includeTable, type IncludeRun } from './includeBench';
import { connectTable, type ConnectRun } from './connectBench';
import { crowdTable, relayTable, type CrowdRun, type RelayRun } from './relayBench';
import { resumeTable, type ResumeRun } from './resumeBench';
import { summarise, type Summary } from './statistics';
import { bytes, formatTable, milliseconds, ratio, spread } from './table';
import { goalsOf, scaleTable } from './scaleReport';
import type { ScaleMeasurement } from './workingState';
import type { WorkingStateRun } from './workingStateBench';
import { worktreesTable, type WorktreesRun } from './worktreesBench';

export interface Measurements {
  readonly machine: string;
  readonly runs: number;
  readonly carriers: readonly string[];
  readonly handoffs: readonly { readonly title: string; readonly runs: readonly Run[] }[];
  readonly workingState: { readonly title: string; readonly runs: readonly WorkingStateRun[] };
  readonly channel: readonly ChannelRun[];
  readonly relay: readonly RelayRun[];
  readonly crowd: CrowdRun | null;
  readonly connect: readonly ConnectRun[];
  /** Repositories of growing size, each with the same few changes. */
  readonly scale: readonly ScaleMeasurement[];
  readonly include: readonly IncludeRun[];
  readonly worktrees: readonly WorktreesRun[];
  /** Bytes of a bundle, for each way in which the destination may be related to the source. */
  readonly sent: readonly BytesRun[];
  /** A transfer that breaks near its end. */
  readonly resume: readonly ResumeRun[];
}

/** Every figure of every run, and medians with their spread. */
export function jsonReport(measured: Measurements): Record<string, unknown> {
  return {
    ...measured,
    goals: measured.scale.map((measurement) => ({ files: measurement.files, figures: goalsOf(measurement, measured.scale[0] ?? measurement).map((goal) => ({ ...goal, ratio: goal.value / goal.base })) })),
    medians: measured.handoffs.map(({ title, runs }) => ({
      title,
      there: medians(runs.map((run) => run.there)),
      back: medians(runs.map((run) => run.back)),
      again: medians(runs.map((run) => run.again)),
      byHand: measured.carriers.map((name, index) => {
        const moves = runs.flatMap((run) => run.byHand[index] ?? []);
        const time = summarise(moves.map((move) => move.milliseconds));
        return { name, milliseconds: time, wireBytes: wire(moves.map((move) => move.wireBytes)), ratioOfHandoff: summarise(runs.map((run) => run.there.milliseconds)).median / time.median };
      }),
    })),
  };
}

function medians(runs: readonly HandoffRun[]) {
  return { milliseconds: time(runs), wireBytes: wire(runs.map((run) => run.wireBytes)), phases: phasesOf(runs) };
}

const time = (runs: readonly { readonly milliseconds: number }[]): Summary => summarise(runs.map((run) => run.milliseconds));

function wire(values: readonly (number | null)[]): Summary | null {
  const counted = values.filter((value) => value !== null);
  return counted.length === 0 ? null : summarise(counted);
}

function phasesOf(runs: readonly HandoffRun[]): { phase: string; milliseconds: Summary }[] {
  return (runs[0]?.phases ?? []).map(({ phase }) => ({ phase, milliseconds: summarise(runs.flatMap((run) => run.phases.filter((other) => other.phase === phase).map((other) => other.milliseconds))) }));
}

/** Tables of 80 columns. */
export function textReport(measured: Measurements): string {
  const sections = [`Baton bench: medians of ${measured.runs} runs each. ${measured.machine}`];
  for (const { title, runs } of measured.handoffs) sections.push(handoffTable(title, runs, measured.carriers));
  if (measured.handoffs.length > 0) sections.push(`By hand\n${measured.carriers.map((name, index) => `  ${index + 1}. ${name}`).join('\n')}\nBy hand nothing is checked, and the index, pending approvals and ownership\nstay behind; stopping and resuming the thread is not counted there.`);
  for (const { title, runs } of measured.handoffs) sections.push(phaseTable(title, runs));
  if (measured.channel.length > 0) sections.push(pieces(measured));
  if (measured.relay.length > 0) sections.push(relayTable(measured.relay));
  if (measured.crowd !== null) sections.push(crowdTable(measured.crowd));
  if (measured.connect.length > 0) sections.push(connectTable(measured.connect));
  for (const measurement of measured.scale) sections.push(scaleTable(measurement, measured.scale[0] ?? measurement));
  if (measured.sent.length > 0) sections.push(bytesTable(measured.sent));
  if (measured.include.length > 0) sections.push(includeTable(measured.include));
  if (measured.worktrees.length > 0) sections.push(worktreesTable(measured.worktrees));
  if (measured.resume.length > 0) sections.push(resumeTable(measured.resume));
  return sections.join('\n\n');
}

function handoffTable(title: string, runs: readonly Run[], carriers: readonly string[]): string {
  const there = time(runs.map((run) => run.there));
  const sent = wire(runs.map((run) => run.there.wireBytes))?.median ?? 0;
  const row = (name: string, { median, least, most }: Summary, onWire: number | null) => [
    name, milliseconds(median), spread(least, most), ratio(there.median, median), bytes(onWire), onWire === null ? '-' : ratio(sent, onWire),
  ];
  return formatTable([
    [`Handoff: ${title}`, 'time', 'spread', 'handoff is', 'wire', 'wire is'],
    row('handoff', there, sent),
    row('handed back', time(runs.map((run) => run.back)), wire(runs.map((run) => run.back.wireBytes))?.median ?? null),
    row('and off again', time(runs.map((run) => run.again)), wire(runs.map((run) => run.again.wireBytes))?.median ?? null),
    ...carriers.map((_, index) => {
      const moves = runs.flatMap((run) => run.byHand[index] ?? []);
      return row(`by hand ${index + 1}`, time(moves), wire(moves.map((move) => move.wireBytes))?.median ?? null);
    }),
  ]);
}

function phaseTable(title: string, runs: readonly Run[]): string {
  const later = [runs.map((run) => run.back), runs.map((run) => run.again)].map((list) => new Map(phasesOf(list).map((entry) => [entry.phase, entry.milliseconds.median])));
  const rows = phasesOf(runs.map((run) => run.there)).map(({ phase, milliseconds: { median } }) => [phase, milliseconds(median), ...later.map((list) => milliseconds(list.get(phase) ?? 0))]);
  return formatTable([[`Phases: ${title}`, 'handoff', 'back', 'again'], ...rows]);
}

function pieces({ workingState, channel }: Measurements): string {
  const of = (name: keyof WorkingStateRun) => summarise(workingState.runs.map((run) => run[name])).median;
  const speed = (name: keyof ChannelRun) => summarise(channel.map((run) => run[name])).median;
  const compared = (name: string, value: number, baseName: string, base: number) => [name, milliseconds(value), baseName, milliseconds(base), ratio(value, base)];
  return formatTable([
    [`Pieces: ${workingState.title}`, 'Baton', 'against', 'it', 'Baton is'],
    compared('capture', of('capture'), 'git status', of('gitStatus')),
    compared('restore and read back', of('restore'), 'git worktree add', of('worktreeAdd')),
    ['bundle', milliseconds(of('bundle')), '', '', ''],
    ['unpack and check', milliseconds(of('receive')), '', '', ''],
    ['channel through relay', `${speed('channel').toFixed(0)} MiB/s`, 'bare TCP relay', `${speed('bareTcp').toFixed(0)} MiB/s`, ratio(speed('channel'), speed('bareTcp'))],
  ]);
}
