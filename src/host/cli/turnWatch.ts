import { z } from 'zod';
import type { HostClient } from '../hostClient';
import { HostError } from '../hostError';
import type { Approval } from '../protocol';

export type TurnOutcome = 'completed' | 'interrupted' | 'failed' | 'waitingOnApproval' | 'inProgress';

const turnCompleted = z.looseObject({ threadId: z.string(), turn: z.looseObject({ id: z.string(), status: z.enum(['completed', 'interrupted', 'failed']) }) });

/** Follows the turns of one thread from the moment that it is made, so that nothing is missed between asking and waiting. */
export class TurnWatch {
  readonly #ended = new Map<string, TurnOutcome>();
  #approvals: Approval[] = [];
  #wake: (() => void) | undefined;
  #closed = false;
  readonly #unsubscribe: readonly (() => void)[];

  constructor(
    private readonly client: HostClient,
    private readonly threadId: string,
  ) {
    this.#unsubscribe = [
      client.onCodex((method, params) => {
        const { data } = method === 'turn/completed' ? turnCompleted.safeParse(params) : {};
        if (data?.threadId !== threadId) return;
        this.#ended.set(data.turn.id, data.turn.status);
        this.#wake?.();
      }),
      client.on('approval/requested', ({ approval }) => {
        if (approval.threadId !== threadId) return;
        this.#approvals.push(approval);
        this.#wake?.();
      }),
      client.on('approval/resolved', ({ id }) => {
        this.#approvals = this.#approvals.filter((approval) => approval.id !== id);
      }),
      client.onClose(() => {
        this.#closed = true;
        this.#wake?.();
      }),
    ];
  }

  /** Resolves when the turn has ended or waits for an approval, one that was already pending included. Throws `connection-lost`. */
  async settled(turnId: string): Promise<TurnOutcome> {
    this.#approvals.push(...(await this.client.call('approval/list', { threadId: this.threadId })).approvals);
    for (;;) {
      const outcome = this.#ended.get(turnId);
      if (outcome !== undefined) return outcome;
      // One that was carried over belongs to a turn that ended on another host.
      if (this.#approvals.some((approval) => !approval.carriedOver && (approval.turnId === null || approval.turnId === turnId))) return 'waitingOnApproval';
      if (this.#closed) throw new HostError('connection-lost', `The connection to the host ended while the turn ${turnId} ran. The turn may go on; \`baton show ${this.threadId}\` tells.`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  dispose(): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
  }
}
