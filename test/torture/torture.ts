/** A run: counts what there is to hurt, goes through cases, says of each how it ended, and sums up. */
import { cases, surveyed, type Kind, type Terrain, type TortureCase } from './cases';
import { canMount, Ground, inRole } from './ground';
import { countPoints } from './orders';
import { runCase, type CaseResult } from './runCase';
import { settle } from './settle';
import { choiceOf, stage } from './stage';

export interface TortureOptions {
  readonly seed: number;
  readonly say: (line: string) => void;
  /** No case begins after it. */
  readonly milliseconds?: number;
  /** No more cases than that. */
  readonly count?: number;
  /** Of which kind one case after the other is; over again where there are more. */
  readonly turns?: readonly Kind[];
  /** These cases, and no others. */
  readonly given?: readonly TortureCase[];
  readonly signal?: AbortSignal;
}

/** Cases on the same two hosts, one after the other: what one leaves stands in the way of the next. */
const CASES_PER_GROUND = 8;

/** Runs cases until the time is over. Gives how many broke something. */
export async function torture({ seed, say, milliseconds = Infinity, count = Infinity, turns, given, signal }: TortureOptions): Promise<number> {
  const until = performance.now() + milliseconds;
  const disks = await canMount();
  if (!disks) say('No disk is filled or made read-only: file systems can be mounted only by root on Linux.');
  let ground: Ground | null = null;
  let used = 0;
  const results: { readonly asked: TortureCase; readonly result: CaseResult }[] = [];
  try {
    if (given === undefined) ground = await Ground.make(false);
    const terrain = ground === null ? null : await survey(ground, disks);
    const points = terrain === null ? 0 : [...terrain.points.values()].reduce((sum, counts) => sum + counts.size, 0);
    if (terrain !== null) say(`Seed ${seed}. ${points} points at which a host can be killed, ${Object.values(terrain.bytes).join(', ')} bytes on the wire (${surveyed.join(', ')}).`);
    for (const asked of given ?? (terrain === null ? [] : cases(terrain, seed, turns))) {
      if (performance.now() >= until || results.length >= count || signal?.aborted === true) break;
      const needsDisk = asked.kind === 'diskFull';
      if (ground === null || used >= CASES_PER_GROUND || ground.spent || (needsDisk && !ground.smallDisks)) {
        await ground?.close();
        ground = await Ground.make(disks && (needsDisk || results.length % 2 === 0));
        used = 0;
      }
      used += 1;
      const result = await runCase(ground, asked);
      results.push({ asked, result });
      say(`${String(results.length).padStart(4)} ${inWords(asked)}: ${result.happened ? '' : 'not reached, '}${result.end}, ${(result.milliseconds / 1000).toFixed(1)} s`);
      if (result.broken.length > 0) {
        for (const what of result.broken) say(`     BROKEN: ${what}`);
        const kept = await ground.close(true);
        ground = null;
        say(`     kept: ${kept.join(' ')}`);
        say(`     again: npm run torture -- --replay '${JSON.stringify(asked)}'`);
      }
    }
  } finally {
    await ground?.close();
  }
  for (const line of table(results)) say(line);
  const broken = results.filter(({ result }) => result.broken.length > 0).length;
  say(`Seed ${seed}: ${results.length} cases, ${broken} of them broke something.`);
  return broken;
}

/** Hands a thread there, back and there again unhurt, and counts. */
async function survey(ground: Ground, disks: boolean): Promise<Terrain> {
  const points = new Map<string, Map<string, number>>();
  const bytes = { there: 0, back: 0, fork: 0 };
  for (const leg of surveyed) {
    const { threadId } = await stage(ground, { leg, carrying: 'nothing' });
    const source = inRole(ground.pair, leg, 'source');
    const destination = inRole(ground.pair, leg, 'destination');
    const ids = ([['source', source], ['destination', destination]] as const).map(([role, site]) => ({ role, site, id: ground.order(site, { record: true }) }));
    ground.wire.passed();
    await source.handOff({ threadId, to: destination.hostId, choice: choiceOf(leg) });
    await settle(ground, threadId);
    bytes[leg] = ground.wire.passed();
    for (const { role, site, id } of ids) {
      points.set(`${leg} ${role}`, countPoints(ground.ordersOf(site), id));
      ground.disarm(site);
    }
  }
  return { points, bytes, disks };
}

function inWords({ kind, carrying, ...rest }: TortureCase): string {
  const word = (name: string, value: unknown) => (name === 'nth' && value === 1 ? '' : [...(['leg', 'point', 'role'].includes(name) ? [] : [name]), typeof value === 'string' ? value : JSON.stringify(value)].join(' '));
  return [kind, ...(carrying === 'nothing' ? [] : [`with ${carrying}`]), ...Object.entries(rest).map(([name, value]) => word(name, value))].filter((part) => part !== '').join(', ');
}

function table(results: readonly { readonly asked: TortureCase; readonly result: CaseResult }[]): string[] {
  const rows = [...new Set(results.map(({ asked }) => asked.kind))].map((kind) => {
    const of = results.filter(({ asked }) => asked.kind === kind).map(({ result }) => result);
    const count = (fits: (result: CaseResult) => boolean) => of.filter(fits).length;
    return [kind, of.length, count(({ happened }) => happened), count(({ end }) => end === 'moved'), count(({ end }) => end === 'stayed'), count(({ broken }) => broken.length > 0)];
  });
  const total = ['all', ...[1, 2, 3, 4, 5].map((column) => rows.reduce((sum, row) => sum + Number(row[column]), 0))];
  return [['kind', 'cases', 'reached', 'moved', 'stayed', 'broken'], ...rows, total].map((row) => row.map((cell, index) => (index === 0 ? String(cell).padEnd(12) : String(cell).padStart(8))).join(''));
}
