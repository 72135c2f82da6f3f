import { z } from 'zod';
import { approvalPolicy, approvalsReviewer, isNoLaxer, meets, policy, policyOf, requirements, sandboxMode, type Policy } from '../handoff/policy';
import { webSearchMode } from '../handoff/constraints';
import { HostError } from './hostError';
import type { JsonStore } from './jsonStore';
import { threadId } from './protocol';

const heldPolicy = z.object({
  policy,
  approvalsReviewer,
  /** Constraints of the administrators of the hosts that the thread came from; they hold here, and go on holding at the next one. */
  requirements: requirements.nullable(),
  /** The web search that those constraints leave it. */
  webSearch: webSearchMode.nullish(),
  /** A bound on the network came with it that this host does not have: its commands reach none. */
  offline: z.boolean().optional(),
});
export type HeldPolicy = z.output<typeof heldPolicy>;
export const heldPolicies = z.record(threadId, heldPolicy);

/** The parts of `thread/resume`, `thread/fork` and `turn/start` that say what a thread may do. */
const asked = z.looseObject({
  approvalPolicy: approvalPolicy.nullish(),
  approvalsReviewer: approvalsReviewer.nullish(),
  sandbox: sandboxMode.nullish(),
  sandboxPolicy: z.unknown().optional(),
  permissions: z.unknown().optional(),
  config: z.unknown().optional(),
  modelProvider: z.string().nullish(),
});

const refused = () => new HostError('policy-refused', 'The requirements.toml of a host that the thread came from does not allow this policy, and they hold here too. Choose one that they allow, or begin a thread of this host.');

/** Whether a request says anything about what its thread may do. */
export function asksForPolicy(params: unknown): boolean {
  const { data } = asked.safeParse(params);
  return data === undefined || [data.approvalPolicy, data.approvalsReviewer, data.sandbox, data.sandboxPolicy, data.permissions, data.config].some((value) => value != null);
}

/**
 * What the threads that were handed over, or were about to be, may do on this host. Codex 0.169 does not keep the sandbox of a
 * thread that it unloads: loaded again, the thread runs with this machine's `sandbox_mode`, network and writable folders. So what
 * was agreed on is kept here, and said again each time such a thread is loaded.
 */
export class HeldPolicies {
  /** What is on its way to the disk: the next load must not miss it. */
  private readonly writing = new Map<string, HeldPolicy>();

  constructor(private readonly store: Pick<JsonStore<typeof heldPolicies>, 'value' | 'update'>) {}

  of(id: string): HeldPolicy | undefined {
    return this.writing.get(id) ?? this.store.value[id];
  }

  async hold(id: string, held: HeldPolicy): Promise<void> {
    this.writing.set(id, held);
    try {
      await this.store.update((all) => ({ ...all, [id]: held }));
    } finally {
      if (this.writing.get(id) === held) this.writing.delete(id);
    }
  }

  /** Somebody on this host changed what a thread may do, as they may: it is held to that from now on. */
  async follow(id: string, inForce: { readonly policy: Policy | null; readonly approvalsReviewer: HeldPolicy['approvalsReviewer'] }): Promise<void> {
    const held = this.of(id);
    if (held === undefined || inForce.policy === null) return;
    const next = { ...held, policy: inForce.policy, approvalsReviewer: inForce.approvalsReviewer };
    if (JSON.stringify(next) !== JSON.stringify(held)) await this.hold(id, next);
  }

  /** Throws HostError `policy-refused` for a request that goes beyond the constraints that came with its thread. */
  requirePermitted(id: string, params: unknown): void {
    const held = this.of(id);
    if (held?.requirements == null) return;
    const { data } = asked.safeParse(params);
    if (data?.modelProvider != null && held.requirements.allowedModelProviders?.includes(data.modelProvider) === false) throw refused();
    if (!asksForPolicy(params)) return;
    const approval = data?.approvalPolicy ?? held.policy.approvalPolicy;
    const wanted = data?.sandboxPolicy != null ? policyOf(approval, data.sandboxPolicy) : { ...held.policy, approvalPolicy: approval, sandbox: data?.sandbox ?? held.policy.sandbox };
    // A named profile or a piece of configuration could hold anything.
    const plain = data !== undefined && data.permissions == null && data.config == null;
    const within = wanted !== null && !(held.offline === true && (wanted.networkAccess || wanted.sandbox === 'danger-full-access'));
    if (plain && within && meets(held.requirements, wanted, data.approvalsReviewer ?? held.approvalsReviewer)) return;
    throw refused();
  }

  /** Throws HostError `policy-refused` where Codex, asked for what a thread is held to, applied something laxer without a word. */
  requireHeld(id: string, inForce: Policy | null): void {
    const held = this.of(id);
    if (held === undefined || (inForce !== null && isNoLaxer(inForce, held.policy))) return;
    throw new HostError('policy-refused', 'Codex here would run the thread under a wider policy than it is held to, so no turn was started. Look at config.toml and requirements.toml of this machine.');
  }
}
