/** The ratios of the bench of scale, with the goals beside them. */
import { summarise } from './statistics';
import { formatTable, milliseconds, ratio } from './table';
import type { ScaleMeasurement, ScaleRun } from './workingState';

export interface Goal {
  readonly name: string;
  readonly value: number;
  readonly against: string;
  readonly base: number;
  readonly unit: 'ms' | 'MiB';
  /** The most that the value may be, as a multiple of the base; null where none is set. */
  readonly most: number | null;
}

/** Each figure with what it is compared to in the same run; memory with that of the smallest repository. */
export function goalsOf({ runs, costs }: ScaleMeasurement, smallest: ScaleMeasurement): Goal[] {
  const of = (name: keyof ScaleRun) => summarise(runs.map((run) => run[name])).median;
  const { status, capture, memory } = costs;
  const whole = (run: ScaleRun) => run.capture + run.bundle + run.receive + run.restore;
  const first = summarise(runs.map(whole)).median;
  const compared = (name: string, value: number | null, against: string, base: number | null, most: number | null, unit: Goal['unit'] = 'ms'): Goal[] => (value === null || base === null ? [] : [{ name, value, against, base, unit, most }]);
  return [
    ...compared('capture', capture.milliseconds, 'git status', status.milliseconds, 3),
    ...compared('  time of processors', capture.processor, 'git status', status.processor, 3),
    ...compared('  memory, own', memory.own, `at ${smallest.files} files`, smallest.costs.memory.own, 1.1, 'MiB'),
    ...compared('  memory, largest git', memory.git, 'git status', memory.status, null, 'MiB'),
    ...compared('restore and read back', of('restore'), 'git worktree add', of('worktreeAdd'), 1),
    ...compared('whole, no transport', first, 'stash, push, apply', of('byHand'), 0.5),
    ...compared('again, same worktree', of('again'), 'the first time', first, null),
    ...compared('  estimate', of('estimate'), 'git status', status.milliseconds, null),
    ...compared('  bundle', of('bundle'), 'git status', status.milliseconds, null),
    ...compared('  unpack and check', of('receive'), 'git worktree add', of('worktreeAdd'), null),
  ];
}

/** A table of 80 columns. */
export function scaleTable(measurement: ScaleMeasurement, smallest: ScaleMeasurement): string {
  const shown = (value: number, unit: Goal['unit']) => (unit === 'ms' ? milliseconds(value) : `${value.toFixed(0)} MiB`);
  return formatTable([
    [`Scale: ${measurement.files} files`, 'Baton', 'against', 'it', 'Baton is', 'goal'],
    ...goalsOf(measurement, smallest).map(({ name, value, against, base, unit, most }) => [name, shown(value, unit), against, shown(base, unit), ratio(value, base), most === null ? '' : `${value / base <= most ? 'met' : 'missed'}: ${most} x`]),
  ]);
}
