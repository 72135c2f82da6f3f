import { createWorktree } from '../git/worktreeCreate';
import type { Access } from './access';
import type { Implementations } from './controllers';
import { HostError } from './hostError';
import { methods, type RemoteMethod, type WorktreeRetention } from './protocol';
import type { HostService } from './service';
import { inspected, inventory, recorded } from './worktreeSurvey';

/** What a host does with its worktrees and snapshots, for its controllers and for paired hosts that it trusts as operators. */
export function worktreeMethods(host: HostService): Pick<Implementations, RemoteMethod> {
  const { worktrees, keeper, sweep } = host;
  const change = async (id: string, change: { pinned: boolean } | { permanent: boolean }) => {
    keeper.known(id);
    const record = await worktrees.save({ id, ...change });
    host.changed('worktrees');
    return { worktree: await inspected(record, keeper) };
  };
  return {
    'worktree/list': async (params) => ({ worktrees: params?.records === true ? recorded(worktrees) : await inventory(worktrees, keeper, params?.sizes ?? false) }),
    'worktree/create': async ({ project: word, branch, permanent }, { by }) => {
      const project = host.projects.list().find(({ id, root }) => id === word || root === word);
      if (project === undefined) throw new HostError('no-such-project', `No project "${word}" is saved on this host. "baton project list" shows those that are.`);
      const { id, path } = await worktrees.plan(project.root);
      const gitDir = await createWorktree({ root: project.root, path, branch: branch ?? null });
      const record = await worktrees.save({ id, path, gitDir, projectRoot: project.root, permanent: permanent ?? false });
      await host.audit.append({ type: 'worktree-created', worktreeId: id, path, snapshot: null, by });
      const notes = await keeper.include(project.root, path);
      host.changed('worktrees');
      return { worktree: await inspected(record, keeper), notes };
    },
    'worktree/pin': ({ id }) => change(id, { pinned: true }),
    'worktree/unpin': ({ id }) => change(id, { pinned: false }),
    'worktree/permanent': ({ id, permanent }) => change(id, { permanent }),
    'worktree/remove': async ({ id, discardIgnored }, { by }) => {
      if (keeper.known(id).life.is === 'here' && (await keeper.isGone(id))) {
        return { removed: true as const, snapshot: await keeper.forget(id), notes: [] };
      }
      const { ref, notes } = await keeper.remove(id, by, { discardIgnored });
      return { removed: true as const, snapshot: ref, notes: [...notes] };
    },
    'worktree/restore': async ({ id }, { by }) => {
      const notes = await keeper.restore(id, by);
      return { worktree: await inspected(keeper.known(id), keeper), notes: [...(notes ?? [])], restored: notes !== null };
    },
    'worktree/repair': async ({ id, ...how }) => {
      const done = await keeper.repair(id, how);
      return { worktree: await inspected(keeper.known(id), keeper), done };
    },
    'worktree/sweep': (params) => (params?.dryRun === true ? sweep.preview() : sweep.sweep()),
    'worktree/retention': async (change) => {
      const settings = await host.settings.change({ ...(change.keep === undefined ? {} : { worktreesKeep: change.keep }), ...(change.snapshotDays === undefined ? {} : { snapshotDays: change.snapshotDays }) });
      return { keep: settings.worktreesKeep, snapshotDays: settings.snapshotDays } satisfies WorktreeRetention;
    },
    'snapshot/list': async () => ({ snapshots: await sweep.snapshots() }),
    'snapshot/expire': ({ refs, evenOnlyCopies }, { by }) => sweep.expire(refs, evenOnlyCopies ?? false, by),
  };
}

/** Answers a paired host one of the methods above, with its params checked as a controller's are. */
export async function answerPeer(host: HostService, method: RemoteMethod, params: unknown, caller: Access): Promise<unknown> {
  const implementation = worktreeMethods(host)[method] as (params: unknown, caller: Access) => Promise<unknown>;
  return implementation(methods[method].params.parse(params ?? {}), caller);
}
