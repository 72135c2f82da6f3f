/** What can be done to a handoff, and in which order a run does it. */
import { z } from 'zod';
import { wireFaults } from './faultyWire';

export const phases = ['quiesce', 'capture', 'transfer', 'stage', 'receipt', 'commit', 'activate'] as const;
/** `relayTwice`: again as soon as the source is back at it. `relayMoves`: it comes back at another address. */
const victims = ['source', 'destination', 'both', 'relay', 'relayTwice', 'relayMoves'] as const;
const role = z.enum(['source', 'destination']);
export type Role = z.infer<typeof role>;
const phase = z.enum(phases);

const carrying = z.enum(['nothing', 'approval', 'queue', 'revert']);
/** Beside its conversation: nothing; a goal and a queue that wait for a pending approval; both, and a turn that runs; or a revert, which begins another file of the conversation. */
export type Carrying = z.infer<typeof carrying>;

/**
 * `there`: the thread's first handoff. `back`: it returns, changed, to where it began. The others: it goes there again, where both sides
 * changed meanwhile, with that choice.
 */
const leg = z.enum(['there', 'back', 'fork', 'second-worktree']);
export type Leg = z.infer<typeof leg>;

const subject = {
  leg,
  carrying,
};
/** Whether the host is started anew once its disk works again; else it has to find its way by itself. */
const restart = z.boolean().default(true);
/** See orders.ts. */
const place = { role, point: z.string(), nth: z.number().int().positive() };

export const tortureCase = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('kill'), ...subject, ...place }),
  /** Once more in the recovery, at its `again`th point. */
  z.strictObject({ kind: z.literal('killAgain'), ...subject, ...place, again: z.number().int().positive() }),
  /** The other host too, as soon as the one is dead. */
  z.strictObject({ kind: z.literal('killBoth'), ...subject, ...place }),
  z.strictObject({ kind: z.literal('killInPhase'), ...subject, phase, victim: z.enum(victims) }),
  /** That process is stopped for longer than any heartbeat takes, and goes on. */
  z.strictObject({ kind: z.literal('suspend'), ...subject, phase, victim: z.enum(['source', 'destination', 'relay']) }),
  z.strictObject({ kind: z.literal('wire'), ...subject, fault: z.enum(wireFaults), afterBytes: z.number().int().nonnegative() }),
  /** No connection from that phase on: for a while, or until the handoff was cancelled or is the destination's; of which so many hours pass at once. */
  z.strictObject({ kind: z.literal('partition'), ...subject, phase, cancel: z.boolean(), hours: z.number().int().nonnegative().default(0) }),
  z.strictObject({ kind: z.literal('diskFull'), ...subject, role, phase, freeBytes: z.number().int().nonnegative(), restart }),
  z.strictObject({ kind: z.literal('readOnly'), ...subject, role, phase, restart }),
  z.strictObject({ kind: z.literal('ioError'), ...subject, role, call: z.string(), nth: z.number().int().positive(), code: z.enum(['EIO', 'ENOSPC']), restart }),
  z.strictObject({ kind: z.literal('clock'), ...subject, role, shiftMs: z.number().int() }),
  /** Round three hosts; a host dies on the leg `hurt`. */
  z.strictObject({ kind: z.literal('ring'), carrying, hurt: z.number().int().min(0).max(3), ...place }),
  /** The destination dies there for long, or after the handoff, and the thread is taken back; a host dies `again` in that, or in letting go. */
  z.strictObject({ kind: z.literal('reclaim'), ...subject, leg: z.enum(['there', 'back']), point: place.point, nth: place.nth, wiped: z.boolean(), again: z.strictObject({ role, nth: place.nth }).nullable() }),
  /** Two hosts want the thread at once. On its way back the one that it came from asks for it itself. */
  z.strictObject({ kind: z.literal('rivals'), ...subject, leg: z.enum(['there', 'back']), first: z.enum(['other', 'desk']), kill: z.strictObject({ host: z.enum(['source', 'other', 'desk']), point: place.point, nth: place.nth }).nullable() }),
]);
export type TortureCase = z.infer<typeof tortureCase>;
export type Kind = TortureCase['kind'];
export type CaseOf<K extends Kind> = Extract<TortureCase, { readonly kind: K }>;
/** One handoff that is hurt. */
export type HandoffCase = Exclude<TortureCase, { readonly kind: 'ring' | 'reclaim' | 'rivals' }>;
export const kinds = tortureCase.options.map((option) => option.shape.kind.value);

/** Legs that are counted; where a second worktree is chosen, less happens than where a fork is. */
export const surveyed = ['there', 'back', 'fork'] as const;
type Surveyed = (typeof surveyed)[number];
const asSurveyed = (of: Leg): Surveyed => (of === 'second-worktree' ? 'fork' : of);

/** What one undisturbed handoff passes through, found out by counting. */
export interface Terrain {
  /** By `leg role`: how often each point is passed. */
  readonly points: ReadonlyMap<string, ReadonlyMap<string, number>>;
  /** Bytes on the wire, by leg. */
  readonly bytes: Readonly<Record<Surveyed, number>>;
  /** Whether a file system can be filled and made read-only here. */
  readonly disks: boolean;
}

/** A sequence of numbers from 0 to 1 that a seed decides (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** In one round each kind has its turn so often. */
export const round: readonly Kind[] = [
  'kill', 'wire', 'kill', 'killAgain', 'kill', 'killInPhase', 'kill', 'diskFull', 'kill', 'wire', 'killBoth', 'kill', 'ioError', 'killAgain', 'partition', 'kill', 'readOnly', 'wire', 'killInPhase', 'clock', 'suspend', 'ring', 'reclaim', 'rivals',
];
const DAY_MS = 86_400_000;
/** Kills of a second kind come in the first so many points of a recovery; what they do not reach has fewer. */
const RECOVERY_POINTS = 120;

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('There is nothing to choose from.');
  return value;
}

/** Every point of the terrain at which a host can be killed, in an order that `random` decides. */
export function killPlaces({ points }: Terrain, random: () => number): { readonly leg: Leg; readonly role: Role; readonly point: string; readonly nth: number }[] {
  const places = [...points].flatMap(([where, counts]) => {
    const [leg, side] = where.split(' ') as [Leg, Role];
    return [...counts].flatMap(([point, count]) => Array.from({ length: count }, (_, index) => ({ leg, role: side, point, nth: index + 1 })));
  });
  // What runs side by side is counted in another order each time; the names decide which is which for a seed.
  places.sort((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b)));
  const shuffled: typeof places = [];
  while (places.length > 0) shuffled.push(...places.splice(Math.floor(random() * places.length), 1));
  // The many points at which only a spool or a shadow is written, or git reads, have every second turn.
  const outlasts = /baton\/(ledger|audit|[a-z]+\.json|worktrees)|\/(incoming|undo)\.json|^sync baton|codex\/|objects\/pack|index\.baton|^git (update-ref|worktree|symbolic-ref|read-tree|checkout-index|update-index)/;
  const lasting = shuffled.filter(({ point }) => outlasts.test(point) && !/\/shadow\/|\/preflight-/.test(point));
  const passing = shuffled.filter((place) => !lasting.includes(place));
  return Array.from({ length: Math.max(lasting.length, passing.length) }, (_, index) => [passing[index], lasting[index]]).flat().filter((place) => place !== undefined);
}

/** Cases without end, of kinds in these turns: every point is killed at once before one is a second time. */
export function* cases(terrain: Terrain, seed: number, turns: readonly Kind[] = round): Generator<TortureCase> {
  const random = randomFrom(seed);
  const among = <T>(values: readonly T[]): T => present(values[Math.floor(random() * values.length)]);
  const upTo = (most: number) => Math.floor(random() * (most + 1));
  let places: ReturnType<typeof killPlaces> = [];
  const nextPlace = () => {
    if (places.length === 0) places = killPlaces(terrain, random);
    const place = present(places.shift());
    return place.leg === 'fork' && random() < 0.5 ? { ...place, leg: 'second-worktree' as const } : place;
  };
  const possible = turns.filter((kind) => (kind === 'diskFull' || kind === 'readOnly' ? terrain.disks : kind !== 'suspend' || process.platform !== 'win32'));
  if (possible.length === 0) throw new Error('None of the kinds that were asked for is possible here: a disk can be filled only by root on Linux, and a process be suspended not on Windows.');
  for (let turn = 0; ; turn++) {
    const kind = present(possible[turn % possible.length]);
    const carries = among(['nothing', 'nothing', 'approval', 'queue', 'revert'] as const);
    const leg = among(['there', 'there', 'back', 'back', 'fork', 'second-worktree'] as const);
    const where = { kind, leg, carrying: carries };
    const side = among(['source', 'destination'] as const);
    switch (kind) {
      case 'kill':
      case 'killBoth':
        yield { ...where, kind, ...nextPlace() };
        break;
      case 'killAgain':
        yield { ...where, kind, ...nextPlace(), again: 1 + upTo(RECOVERY_POINTS - 1) };
        break;
      case 'killInPhase':
        yield { ...where, kind, phase: among(phases), victim: among(victims) };
        break;
      case 'suspend':
        yield { ...where, kind, phase: among(phases), victim: among(['source', 'destination', 'relay'] as const) };
        break;
      case 'wire':
        yield { ...where, kind, fault: among(wireFaults), afterBytes: upTo(terrain.bytes[asSurveyed(leg)]) };
        break;
      case 'partition':
        yield { ...where, kind, phase: among(phases), cancel: random() < 0.5, hours: among([0, 7]) };
        break;
      case 'diskFull':
        yield { ...where, kind, role: side, phase: among(phases), freeBytes: upTo(among([4096, 65_536, 400_000])), restart: random() < 0.5 };
        break;
      case 'readOnly':
        yield { ...where, kind, role: side, phase: among(phases), restart: random() < 0.5 };
        break;
      case 'ioError': {
        const call = among(['sync', 'write', 'appendFile', 'rename', 'open', 'mkdir', 'copyFile']);
        const most = [...(terrain.points.get(`${asSurveyed(leg)} ${side}`) ?? [])].filter(([point]) => point.startsWith(call) && point.endsWith('before')).reduce((sum, [, count]) => sum + count, 0);
        yield { ...where, kind, role: side, call, nth: 1 + upTo(Math.max(0, most - 1)), code: among(['EIO', 'ENOSPC'] as const), restart: random() < 0.5 };
        break;
      }
      case 'clock':
        yield { ...where, kind, role: side, shiftMs: among([-DAY_MS, DAY_MS]) };
        break;
      case 'ring': {
        const { role: dies, point, nth } = nextPlace();
        yield { kind, carrying: carries, hurt: upTo(3), role: dies, point, nth };
        break;
      }
      case 'reclaim': {
        const { leg: on, role: of, point, nth } = nextPlace();
        const back = on === 'back';
        // A point that the destination does not pass has it die after the handoff.
        const again = random() < 0.5 ? { role: side, nth: 1 + upTo(RECOVERY_POINTS - 1) } : null;
        yield { kind, carrying: carries, leg: back ? 'back' : 'there', point: of === 'source' ? 'none' : point, nth, wiped: !back && random() < 0.3, again };
        break;
      }
      case 'rivals': {
        const { leg: on, role: of, point, nth } = nextPlace();
        const host = of === 'source' ? of : among(['other', 'desk'] as const);
        yield { kind, carrying: carries, leg: on === 'back' ? 'back' : 'there', first: among(['other', 'desk'] as const), kill: random() < 0.3 ? null : { host, point, nth } };
        break;
      }
    }
  }
}
