/** What the disk and the processes say of a handoff, read by nothing of Baton's: plain JSON, plain git, file hashes, /proc. */
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { Site } from '../integration/pairedHosts';
import { git } from '../fixtures/checkout';
import type { Ground } from './ground';

interface LedgerLine {
  readonly side: 'source' | 'destination' | 'owner';
  readonly event: { readonly type: string; readonly epoch?: number; readonly handoffId?: string };
}

/** What one host's ledger tells of a thread. */
export interface Standing {
  /** It has the thread by its last commit, or by never having given it away. */
  readonly owns: boolean;
  /** The handoff that it took part in last has ended. */
  readonly settled: boolean;
  /** Epochs of its commits and reclaims, in their order. */
  readonly epochs: readonly number[];
}

export function ledgerOf(site: Site, threadId: string): LedgerLine[] {
  const file = join(site.machine.batonHome, 'ledger', `${threadId}.jsonl`);
  // The last line may be half a one: its host was killed.
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1).map((line) => JSON.parse(line) as LedgerLine) : [];
}

/** @param native whether the thread began on this host */
export function standingOf(site: Site, threadId: string, native: boolean): Standing {
  const lines = ledgerOf(site, threadId);
  let owns = native;
  const epochs: number[] = [];
  const offered = { source: 0, destination: 0 };
  const settled = { source: true, destination: true, owner: true };
  for (const { side, event } of lines) {
    if (side === 'owner') {
      if (event.type === 'reclaimed' || event.type === 'superseded') {
        // Who had it keeps it as a fork; who takes it back makes it usable.
        if (owns || event.type === 'reclaimed') settled.owner = false;
        settled.source = true;
        owns = event.type === 'reclaimed';
        if (owns) epochs.push(event.epoch ?? 0);
      } else if (event.type === 'taken' || event.type === 'kept') settled.owner = true;
    } else if (event.type === 'begun' || event.type === 'offered') {
      offered[side] = event.epoch ?? 0;
      settled[side] = false;
    } else if (event.type === 'committed') {
      owns = side === 'destination';
      epochs.push(offered[side]);
      // A thread that came back proves that its handoff away from here was taken.
      if (side === 'destination') settled.source = true;
    } else if (['undone', 'delivered', 'activated', 'discarded'].includes(event.type)) settled[side] = true;
  }
  return { owns, settled: settled.source && settled.destination && settled.owner, epochs };
}

interface Rollout {
  readonly path: string;
  readonly body: Buffer;
}

function bodyOf(path: string): Buffer {
  const bytes = readFileSync(path);
  return bytes.subarray(bytes.indexOf(0x0a) + 1);
}

/** How many rollouts of other threads a host has whose body begins so: it is kept as a fork. */
export function copiesOf(site: Site, threadId: string, body: Buffer): number {
  return filesBelow(join(site.machine.codexHome, 'sessions')).filter((name) => name.endsWith('.jsonl') && !name.includes(threadId) && bodyOf(name).subarray(0, body.length).equals(body)).length;
}

/** The bodies of a thread's rollout files on a host, by name: all after the first line, which every host writes for itself. */
export function rolloutsOf(site: Site, threadId: string): Map<string, Rollout> {
  const found = new Map<string, Rollout>();
  for (const place of ['sessions', 'archived_sessions']) {
    const directory = join(site.machine.codexHome, place);
    for (const path of filesBelow(directory).filter((name) => name.includes(threadId))) {
      const name = path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1);
      if (found.has(name)) throw new Error(`${site.machine.name} has ${name} twice: ${found.get(name)?.path ?? ''} and ${path}.`);
      found.set(name, { path, body: bodyOf(path) });
    }
  }
  return found;
}

export const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

function filesBelow(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return (readdirSync(directory, { recursive: true }) as string[]).map((name) => join(directory, name)).filter((path) => lstatSync(path, { throwIfNoEntry: false })?.isFile() === true);
}

/** Programs that run for a machine (its home is in their environment). Empty where there is no /proc. */
export function processesOf(site: Site): { readonly pid: number; readonly parent: number; readonly command: string }[] {
  if (process.platform !== 'linux') return [];
  const found = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
      if (!environment.includes(`HOME=${site.machine.directory}`)) continue;
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').filter((word) => word !== '');
      // A process that has ended and is not yet reaped has no command line any more.
      const parent = Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
      if (command.length > 0) found.push({ pid: Number(pid), parent, command: command.join(' ') });
    } catch {
      // It has ended meanwhile.
    }
  }
  return found;
}

/** Names that only something unfinished has: of write-file-atomic, of git, of Baton's own. */
const unfinished = /\.json\.\d+$|\.lock$|\btmp_|\.tmp$|\.temporary|^\.tmp|\.partial$/;
/** Codex's and the system's own, which live as long as the host. */
const lasting = /\/(host|codex|app-server)[^/]*\.(sock|lock|pid|log)$|\/codex\/(?!sessions|archived_sessions)/;

/** Everything on a machine that no handoff may leave behind, as paths and names; empty when all is in order. */
export async function leftoversOf(site: Site, { deserted, forked }: Pick<Ground, 'deserted' | 'forked'>): Promise<string[]> {
  const { machine, checkout } = site;
  const found: string[] = [];
  // What broke off is kept for the next handoff where it is a megabyte or more; it is not, here.
  for (const spool of ['handoffs', 'snapshots', 'arrived', 'sealed']) {
    const directory = join(machine.batonHome, spool);
    if (existsSync(directory)) found.push(...readdirSync(directory).map((name) => `${spool}/${name}`));
  }
  for (const path of [...filesBelow(machine.batonHome), ...filesBelow(machine.codexHome), ...filesBelow(join(checkout, '.git'))]) {
    if (unfinished.test(path) && !lasting.test(path)) found.push(relative(machine.directory, path));
  }
  const records = JSON.parse(readIfThere(join(machine.batonHome, 'worktrees.json')) ?? '[]') as { id: string; path: string; threadIds: string[] }[];
  const recorded = new Set(records.map(({ path }) => path));
  const entries = (await git(checkout, 'worktree', 'list', '--porcelain')).split('\n').filter((line) => line.startsWith('worktree ')).map((line) => line.slice('worktree '.length));
  for (const entry of entries) if (entry !== checkout && (!recorded.has(entry) || !existsSync(entry))) found.push(`entry of the worktree ${entry}`);
  const worktrees = join(machine.batonHome, 'worktrees');
  for (const name of existsSync(worktrees) ? readdirSync(worktrees) : []) if (!records.some(({ id }) => id === name)) found.push(`worktrees/${name}`);
  for (const { path, threadIds } of records) if (!entries.includes(path) || (threadIds.length === 0 && !deserted.has(path))) found.push(`the record of ${path}`);
  const refs = (await git(checkout, 'for-each-ref', '--format=%(refname)', 'refs/baton', 'refs/heads/baton')).split('\n').filter((ref) => ref !== '');
  const threads = [...records.flatMap(({ threadIds }) => threadIds), ...forked];
  for (const ref of refs) if (!threads.some((id) => ref.includes(id.slice(0, 13)))) found.push(ref);
  return found;
}

/** Refs, packs and worktrees: what a handoff that did not take place must not have changed at its destination. */
export async function footprint(site: Site): Promise<Record<string, unknown>> {
  const traces = await site.traces();
  const packs = join(site.checkout, '.git', 'objects', 'pack');
  return { ...traces, records: String(traces['records']).replace(/"lastUsedAt": "[^"]*"/g, ''), packs: existsSync(packs) ? readdirSync(packs).sort() : [] };
}

function readIfThere(path: string): string | null {
  return existsSync(path) ? readFileSync(path, 'utf8') : null;
}
