import type { HostClient } from '../host/hostClient';
import type { ResultOf } from '../host/protocol';
import { plainLabel } from './displayText';
import type { InviteViewState, InviteWish, ShownInvite } from './inviteMessages';
import { listThreads } from './threadList';

type Made = ResultOf<'host/invite'>;
type Summary = ResultOf<'invite/wait'>;
type Client = Pick<HostClient, 'call' | 'codex' | 'on' | 'host'>;

/** More threads than this are not offered. */
const MOST_THREADS = 100;

/** One invite after the other: what it is to be, what it is, and what became of it. Its secrets are kept here, for as long as it is open. */
export class InviteSession {
  #state: InviteViewState;
  #made: { readonly invite: Made; readonly thread: string | null } | null = null;
  #threads: readonly { id: string; name: string }[] = [];
  #disposed = false;
  readonly #stop: () => void;

  constructor(
    private readonly client: Client,
    private readonly onChanged: (state: InviteViewState) => void,
  ) {
    this.#state = this.#form(null);
    this.#stop = client.on('host/changed', ({ what }) => {
      if (this.#state.kind === 'open' && what.includes('hosts')) void this.#look();
    });
  }

  get state(): InviteViewState {
    return this.#state;
  }

  /** Reads the threads among which one can be chosen. Never rejects: without them an invite is for all. */
  async begin(): Promise<void> {
    const threads = await listThreads(this.client).catch(() => []);
    this.#threads = threads.slice(0, MOST_THREADS).map(({ id, name, preview }) => ({ id, name: plainLabel(name ?? preview, 80) }));
    if (this.#state.kind === 'form') this.#enter({ ...this.#state, threads: [...this.#threads] });
  }

  /** Makes the invite. Never rejects: what stood in the way is in the form. */
  async make({ role, threadId, accessMs, lifetimeMs }: InviteWish): Promise<void> {
    if (this.#state.kind !== 'form' || this.#state.busy) return;
    this.#enter({ ...this.#form(null), busy: true });
    try {
      const invite = await this.client.call('host/invite', { role, lifetimeMs, ...(threadId === null ? {} : { threadId }), ...(accessMs === null ? {} : { accessMs }) });
      this.#made = { invite, thread: threadId === null ? null : (this.#threads.find(({ id }) => id === threadId)?.name ?? threadId) };
      this.#enter({ kind: 'open', hostName: this.#hostName, invite: this.#shown(0), link: invite.invite, code: invite.code, claiming: false });
      this.client.call('invite/wait', { id: invite.id }).then((ended) => this.#ended(invite, ended), () => this.#ended(invite, null));
    } catch (error) {
      this.#enter(this.#form(error instanceof Error ? error.message : String(error)));
    }
  }

  /** Makes the invite useless; it ends by itself where it was used first. */
  async cancel(): Promise<void> {
    if (this.#made !== null) await this.client.call('invite/cancel', { id: this.#made.invite.id });
  }

  /** Ends the trust in whoever was let in. */
  async revoke(): Promise<void> {
    const state = this.#state;
    if (state.kind !== 'ended' || state.claimedBy === null) return;
    await this.client.call('device/revoke', { id: state.claimedBy.id });
    this.#enter({ ...state, revoked: true });
  }

  /** Back to the form, unless an invite is open. */
  again(): void {
    if (this.#state.kind !== 'ended') return;
    this.#made = null;
    this.#enter(this.#form(null));
  }

  dispose(): void {
    this.#disposed = true;
    this.#stop();
  }

  get #hostName(): string {
    return plainLabel(this.client.host.baton.name, 64);
  }

  #form(problem: string | null): Extract<InviteViewState, { kind: 'form' }> {
    return { kind: 'form', hostName: this.#hostName, threads: [...this.#threads], busy: false, problem };
  }

  #shown(wrongCodes: number): ShownInvite {
    if (this.#made === null) throw new Error('No invite was made.');
    const { invite: { role, accessMs, expiresAt }, thread } = this.#made;
    return { role, thread, accessMs, expiresAt, wrongCodes };
  }

  /** Somebody may be using it. */
  async #look(): Promise<void> {
    const { invites } = await this.client.call('invite/list').catch(() => ({ invites: [] }));
    const summary = invites.find(({ id }) => id === this.#made?.invite.id);
    if (summary === undefined || this.#state.kind !== 'open' || this.#disposed) return;
    this.#enter({ ...this.#state, invite: this.#shown(summary.wrongCodes), claiming: summary.state === 'claiming' });
  }

  #ended(invite: Made, summary: Summary | null): void {
    if (this.#made?.invite !== invite || this.#disposed) return;
    const { claimedBy = null, wrongCodes = 0, state = 'open' } = summary ?? {};
    // A host that ends lets go of who waits, and forgets its invites.
    const outcome = state === 'open' || state === 'claiming' ? 'lost' : state;
    const who = claimedBy === null ? null : { id: claimedBy.id, name: plainLabel(claimedBy.name, 64), words: plainLabel(claimedBy.words, 80) };
    this.#enter({ kind: 'ended', hostName: this.#hostName, invite: this.#shown(wrongCodes), outcome, claimedBy: who, revoked: false });
  }

  #enter(state: InviteViewState): void {
    if (this.#disposed) return;
    this.#state = state;
    this.onChanged(state);
  }
}
