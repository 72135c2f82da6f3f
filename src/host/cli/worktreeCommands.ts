import { resolve } from 'node:path';
import { InvalidArgumentError } from 'commander';
import type { z } from 'zod';
import type { HostClient } from '../hostClient';
import { HostError } from '../hostError';
import { methods, type ManagedWorktree, type ParamsOf, type RemoteMethod, type ResultOf } from '../protocol';
import type { CommandTable } from './commandTable';
import { inertLine } from './inertText';
import { bytesText, counted, wrap } from './layout';
import { resolveHost, resolveWorktree } from './resolve';
import { UsageError, type Session } from './session';
import { listThreads } from './threadList';
import { snapshotsText, sweepText, worktreesText, worktreeText } from './worktreeText';

type HostOption = { readonly host?: string };

/** The host whose worktrees a command is about: this one, or a paired one that trusts this one as an operator. */
class Worktrees {
  private constructor(
    readonly client: HostClient,
    /** Its id, where it is another host. */
    private readonly other: string | null,
  ) {}

  static async of(session: Session, { host }: HostOption): Promise<Worktrees> {
    const client = await session.host();
    if (host === undefined) return new Worktrees(client, null);
    const found = resolveHost(host, (await client.call('host/list')).hosts);
    return new Worktrees(client, found.self ? null : found.hostId);
  }

  async ask<M extends RemoteMethod>(method: M, params: ParamsOf<M>): Promise<ResultOf<M>> {
    if (this.other === null) return this.client.call(method, params);
    const { result } = await this.client.call('host/ask', { host: this.other, method, params: params ?? {} });
    const parsed = (methods[method].result as z.ZodType).safeParse(result);
    if (!parsed.success) throw new HostError('protocol-mismatch', `The other host answered ${method} with something that does not fit the protocol. Bring Baton to the same version on both machines.`, { cause: parsed.error });
    return parsed.data as ResultOf<M>;
  }

  /** Names of the threads of some worktrees; another host's are known by id only, and so are all where Codex does not answer. */
  async titles(worktrees: readonly ManagedWorktree[]): Promise<Map<string, string>> {
    if (this.other !== null || worktrees.every(({ threadIds }) => threadIds.length === 0)) return new Map();
    const threads = await listThreads(this.client).catch(() => []);
    return new Map(threads.map((thread) => [thread.id, thread.name ?? thread.preview]));
  }

  async find(word: string): Promise<ManagedWorktree> {
    const { worktrees } = await this.ask('worktree/list', { records: true });
    return resolveWorktree(word, worktrees.filter(({ state }) => state !== 'foreign'));
  }
}

const number = (text: string): number => {
  if (!/^\d{1,5}$/.test(text)) throw new InvalidArgumentError('It is a whole number.');
  return Number(text);
};
const HOST = ['--host <HOST>', 'of a paired host that lets this one steer it'] as const;
const ID = ['<ID>', 'a worktree: its id, a unique prefix of one, or its path'] as const;

export function addWorktreeCommands({ program, session }: CommandTable): void {
  const shown = (worktree: ManagedWorktree, titles: ReadonlyMap<string, string>) => worktreeText(worktree, titles, session.columns, new Date());
  program
    .command('worktrees')
    .option(...HOST)
    .option('--sizes', 'how much room each takes on disk, which takes its time')
    .option('--keep <N>', 'from now on, keep the newest N (15 unless set)', number)
    .description('list the managed worktrees, and why each may be removed or not')
    .action(async (options: HostOption & { sizes?: true; keep?: number }) => {
      const on = await Worktrees.of(session, options);
      if (options.keep !== undefined) await on.ask('worktree/retention', { keep: options.keep });
      const { worktrees } = await on.ask('worktree/list', { sizes: options.sizes === true });
      const titles = session.json ? new Map<string, string>() : await on.titles(worktrees);
      session.result({ worktrees }, () => {
        const text = worktreesText(worktrees, titles, session.columns, new Date());
        const bytes = worktrees.reduce((sum, each) => sum + (each.bytes ?? 0), 0);
        return options.sizes === true && worktrees.length > 0 ? `${text}\n\n${counted(worktrees.length, 'worktree')}, ${bytesText(bytes)} on disk.` : text;
      });
    });

  const command = program.command('worktree').description('make, keep, remove and restore managed worktrees');
  command
    .command('create')
    .argument('<PROJECT>', 'a saved project: its id or its folder')
    .option(...HOST)
    .option('--branch <B>', 'the branch to be on; made where there is none. Without it HEAD is detached')
    .option('--permanent', 'Baton never removes it')
    .description('make a worktree of a project, for one thread or several: `baton new <its path> TEXT`')
    .action(async (word: string, options: HostOption & { branch?: string; permanent?: true }) => {
      const on = await Worktrees.of(session, options);
      // A folder of another machine is not this one's to complete.
      const project = options.host !== undefined || /^[0-9a-f]{16}$/.test(word) ? word : resolve(word);
      const result = await on.ask('worktree/create', { project, ...(options.branch === undefined ? {} : { branch: options.branch }), ...(options.permanent === true ? { permanent: true } : {}) });
      session.result(result, () => [shown(result.worktree, new Map()), ...notes(result.notes, session.columns)].join('\n'));
    });

  const change = (name: 'pin' | 'unpin', description: string, done: string) =>
    command
      .command(name)
      .argument(...ID)
      .option(...HOST)
      .description(description)
      .action(async (word: string, options: HostOption) => {
        const on = await Worktrees.of(session, options);
        const { worktree } = await on.ask(`worktree/${name}`, { id: (await on.find(word)).id });
        session.result({ worktree }, () => `${worktree.id} ${done}`);
      });
  change('pin', 'keep a worktree until it is unpinned', 'is pinned: it is not removed until you unpin it.');
  change('unpin', 'let a pinned worktree be removed when its time comes', 'is not pinned any more.');
  command
    .command('permanent')
    .argument(...ID)
    .option(...HOST)
    .option('--off', 'let Baton remove it again when its time comes')
    .description('keep a worktree for good')
    .action(async (word: string, options: HostOption & { off?: true }) => {
      const on = await Worktrees.of(session, options);
      const { worktree } = await on.ask('worktree/permanent', { id: (await on.find(word)).id, permanent: options.off !== true });
      session.result({ worktree }, () => `${worktree.id} is ${worktree.permanent ? 'permanent: Baton never removes it.' : 'not permanent any more.'}`);
    });
  command
    .command('remove')
    .argument(...ID)
    .option(...HOST)
    .option('--discard-ignored <CODE>', 'also where it has ignored files that nothing else has: those that the refusal named with this code are lost')
    .description('remove a worktree; a snapshot keeps all of its working state')
    .action(async (word: string, options: HostOption & { discardIgnored?: string }) => {
      const on = await Worktrees.of(session, options);
      const { id, path } = await on.find(word);
      const result = await on.ask('worktree/remove', { id, ...(options.discardIgnored === undefined ? {} : { discardIgnored: options.discardIgnored }) });
      session.result(result, () => (result.snapshot === null
        ? `Forgot ${id}, which was gone.`
        : [`Removed ${inertLine(path)}.`, `Its working state is in the snapshot ${inertLine(result.snapshot)}.`, `\`baton worktree restore ${id}\`, or opening its thread, brings it back.`, ...notes(result.notes, session.columns)].join('\n')));
    });
  command
    .command('restore')
    .argument(...ID)
    .option(...HOST)
    .description('bring a removed worktree back, exactly as it was')
    .action(async (word: string, options: HostOption) => {
      const on = await Worktrees.of(session, options);
      const { id } = await on.find(word);
      const result = await on.ask('worktree/restore', { id });
      const path = inertLine(result.worktree.path);
      session.result(result, () => [!result.restored ? `${path} is there; nothing had to be restored.` : `Restored ${path}.`, ...notes(result.notes, session.columns)].join('\n'));
    });
  command
    .command('repair')
    .argument(...ID)
    .option(...HOST)
    .option('--at <DIR>', 'where it was moved to')
    .option('--anew', 'it was deleted: make it again from what git still has')
    .description('mend a worktree that was moved or deleted by hand')
    .action(async (word: string, options: HostOption & { at?: string; anew?: true }) => {
      if (options.at !== undefined && options.anew === true) throw new UsageError('A worktree was either moved (`--at`) or deleted (`--anew`).');
      const on = await Worktrees.of(session, options);
      const directory = options.at === undefined ? {} : { directory: options.host === undefined ? resolve(options.at) : options.at };
      const result = await on.ask('worktree/repair', { id: (await on.find(word)).id, ...directory, ...(options.anew === true ? { anew: true } : {}) });
      session.result(result, () => wrap(inertLine(result.done), session.columns, 0));
    });
  command
    .command('sweep')
    .option(...HOST)
    .option('--dry-run', 'show what would be removed, and why the rest is kept')
    .description('remove what is beyond the newest worktrees and safe to remove; done by itself every hour')
    .action(async (options: HostOption & { dryRun?: true }) => {
      const on = await Worktrees.of(session, options);
      const report = await on.ask('worktree/sweep', { dryRun: options.dryRun === true });
      session.result(report, () => sweepText(report, options.dryRun === true, session.columns));
    });

  program
    .command('snapshots')
    .argument('[REF...]', 'with `--expire`: those to drop; without any, all that are past their time')
    .option(...HOST)
    .option('--days <N>', 'from now on, let snapshots expire after N days (30 unless set)', number)
    .option('--expire', 'drop snapshots')
    .option('--even-only-copies', 'with `--expire`: also those that hold what nothing else has; it is lost')
    .description('list the snapshots of worktrees, or let them expire')
    .action(async (refs: string[], options: HostOption & { days?: number; expire?: true; evenOnlyCopies?: true }) => {
      if (options.expire !== true && (refs.length > 0 || options.evenOnlyCopies === true)) throw new UsageError('A snapshot is named to drop it: add `--expire`.');
      const on = await Worktrees.of(session, options);
      if (options.days !== undefined) await on.ask('worktree/retention', { snapshotDays: options.days });
      if (options.expire !== true) {
        const { snapshots } = await on.ask('snapshot/list', {});
        session.result({ snapshots }, () => snapshotsText(snapshots, session.columns, new Date()));
        return;
      }
      const result = await on.ask('snapshot/expire', { ...(refs.length === 0 ? {} : { refs }), ...(options.evenOnlyCopies === true ? { evenOnlyCopies: true } : {}) });
      session.result(result, () => [
        ...result.expired.map((ref) => `  dropped  ${inertLine(ref)}`),
        ...result.kept.map(({ ref, reason }) => `  kept     ${inertLine(ref)}\n           ${wrap(inertLine(reason), session.columns, 11)}`),
        `${counted(result.expired.length, 'snapshot')} dropped, ${result.kept.length} kept.`,
      ].join('\n'));
    });
}

function notes(lines: readonly string[], width: number): string[] {
  return lines.map((line) => `  ${wrap(inertLine(line), width, 2)}`);
}
