import { HostError, type HostErrorReason } from '../hostError';
import type { DeviceSummary } from '../deviceSchemas';
import type { Approval, HandoffSummary, HostSummary, ManagedWorktree } from '../protocol';

/** Few characters may stand for an id only where they can hardly be meant as something else. */
const LEAST_PREFIX = 4;

type Kind = { readonly noun: string; readonly none: HostErrorReason; readonly ambiguous: HostErrorReason; readonly list: string };

/**
 * The one candidate that `word` names: by its whole id, else by unique name or unique prefix of an id. Throws the kind's errors;
 * the one for several names them.
 */
function pick<T>(word: string, candidates: readonly T[], id: (candidate: T) => string, name: (candidate: T) => string | null, kind: Kind): T {
  const exact = candidates.find((candidate) => id(candidate) === word);
  if (exact !== undefined) return exact;
  const matches = candidates.filter((candidate) => name(candidate) === word || (word.length >= LEAST_PREFIX && id(candidate).startsWith(word)));
  const [only] = matches;
  if (only === undefined) throw new HostError(kind.none, `There is no ${kind.noun} "${word}" here. \`${kind.list}\` shows those that there are.`);
  if (matches.length === 1) return only;
  const listed = matches.map((candidate) => `${id(candidate)}${name(candidate) === null ? '' : ` (${name(candidate) ?? ''})`}`).join(', ');
  throw new HostError(kind.ambiguous, `"${word}" can mean more than one ${kind.noun}: ${listed}. Give the whole id.`);
}

export type NamedThread = { readonly id: string; readonly name?: string | null | undefined };

/** THREAD of the command line: an id, a unique prefix of one, or a unique name. Throws `no-such-thread`, `ambiguous-thread`. */
export function resolveThread<T extends NamedThread>(word: string, threads: readonly T[]): T {
  return pick(word, threads, (each) => each.id, (each) => each.name ?? null, { noun: 'thread', none: 'no-such-thread', ambiguous: 'ambiguous-thread', list: 'baton threads' });
}

/** HOST of the command line: `here`, a name, an id, or a unique prefix of one. Throws `no-such-host`, `ambiguous-host`. */
export function resolveHost(word: string, hosts: readonly HostSummary[]): HostSummary {
  const self = hosts.find((host) => host.self);
  if (word === 'here' && self !== undefined) return self;
  return pick(word, hosts, (each) => each.hostId, (each) => each.name, { noun: 'host', none: 'no-such-host', ambiguous: 'ambiguous-host', list: 'baton hosts' });
}

/** An approval by its id or a unique prefix of it. Throws `no-such-approval`, also where the prefix fits several, and names them. */
export function resolveApproval(word: string, approvals: readonly Approval[]): Approval {
  return pick(word, approvals, (each) => each.id, () => null, { noun: 'approval', none: 'no-such-approval', ambiguous: 'no-such-approval', list: 'baton approvals' });
}

/** A device or host that is trusted, by its id, a unique prefix of it, or its name. Throws `no-such-device`, also where the word fits several, and names them. */
export function resolveDevice(word: string, devices: readonly DeviceSummary[]): DeviceSummary {
  return pick(word, devices, (each) => each.id, (each) => each.name, { noun: 'device', none: 'no-such-device', ambiguous: 'no-such-device', list: 'baton devices' });
}

/** A handoff by its id or a unique prefix of it. Throws `no-such-handoff`, also where the prefix fits several, and names them. */
export function resolveHandoff(word: string, handoffs: readonly HandoffSummary[]): HandoffSummary {
  return pick(word, handoffs, (each) => each.handoffId, () => null, { noun: 'handoff', none: 'no-such-handoff', ambiguous: 'no-such-handoff', list: 'baton handoffs --all' });
}

/** A worktree by its id, a unique prefix of it, or its path. Throws `no-such-worktree`, also where the prefix fits several, and names them. */
export function resolveWorktree(word: string, worktrees: readonly ManagedWorktree[]): ManagedWorktree {
  return pick(word, worktrees, (each) => each.id, (each) => each.path, { noun: 'worktree', none: 'no-such-worktree', ambiguous: 'no-such-worktree', list: 'baton worktrees' });
}

/** For each id the shortest prefix, of at least 8 characters, that no other of them begins with. */
export function shortIds(ids: readonly string[]): Map<string, string> {
  return new Map(ids.map((id) => {
    let length = 8;
    while (length < id.length && ids.some((other) => other !== id && other.startsWith(id.slice(0, length)))) length++;
    return [id, id.slice(0, length)];
  }));
}
