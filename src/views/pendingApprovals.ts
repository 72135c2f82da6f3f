import type { Approval } from '../host/protocol';
import type { HostClient } from '../host/hostClient';

/** The pending approvals of the connected host, kept up by its notifications. */
export class PendingApprovals {
  #approvals = new Map<string, Approval>();
  readonly #handlers = new Set<() => void>();
  #ends: (() => void)[] = [];

  get all(): readonly Approval[] {
    return [...this.#approvals.values()];
  }

  countOf(threadId: string): number {
    return this.all.filter((approval) => approval.threadId === threadId).length;
  }

  onChange(handler: () => void): () => void {
    this.#handlers.add(handler);
    return () => this.#handlers.delete(handler);
  }

  /** Follows `client`, or none; what the one before had pending is forgotten. */
  async follow(client: Pick<HostClient, 'call' | 'on'> | undefined): Promise<void> {
    for (const end of this.#ends.splice(0)) end();
    const approvals = new Map<string, Approval>();
    this.#approvals = approvals;
    this.#tell();
    if (client === undefined) return;
    // An approval may be resolved while the list is on its way.
    const resolved = new Set<string>();
    this.#ends.push(
      client.on('approval/requested', ({ approval }) => {
        approvals.set(approval.id, approval);
        this.#tell();
      }),
      client.on('approval/resolved', ({ id }) => {
        resolved.add(id);
        if (approvals.delete(id)) this.#tell();
      }),
    );
    const listed = await client.call('approval/list', {});
    if (this.#approvals !== approvals) return;
    for (const approval of listed.approvals) if (!resolved.has(approval.id)) approvals.set(approval.id, approval);
    this.#tell();
  }

  dispose(): void {
    for (const end of this.#ends.splice(0)) end();
    this.#handlers.clear();
  }

  #tell(): void {
    for (const handler of [...this.#handlers]) handler();
  }
}
