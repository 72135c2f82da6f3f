import { randomBytes } from 'node:crypto';
import type { Clock } from '../relay/clock';
import type { PairingCode } from '../relay/pairingCode';
import type { Actor } from './audit';
import type { InviteSummary } from './deviceSchemas';
import { HostError } from './hostError';
import type { Role } from './protocol';

/** What an invite lets whoever uses it do. */
export interface Invitation {
  readonly role: Role;
  readonly threadId: string | null;
  /** For how long after pairing, in milliseconds; null for good. */
  readonly accessMs: number | null;
  readonly by: Actor;
}

/** One invite, with the secrets that it has for as long as it is open. */
export interface Invite extends Invitation {
  readonly id: string;
  readonly room: string;
  readonly psk: Uint8Array;
  readonly code: PairingCode | null;
  /** The only host that may use it, where that is known. */
  readonly onlyFor?: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
}

type Outcome = 'claimed' | 'expired' | 'cancelled' | 'void';

interface Entry {
  readonly invite: Invite;
  state: InviteSummary['state'];
  guesses: number;
  claimedBy: InviteSummary['claimedBy'];
  readonly ended: Promise<void>;
  readonly end: () => void;
  readonly stopTimer: () => void;
}

/** Wrong codes after which an invite is void. */
const GUESSES = 3;
const MOST_REMEMBERED = 100;

/** The invites of a run of the host. Each is used once, by link or by code, ends by itself, and is remembered for a while after that. */
export class Invites {
  private readonly entries = new Map<string, Entry>();

  constructor(
    private readonly clock: Clock,
    /** Milliseconds since 1970. */
    private readonly now: () => number,
    private readonly onEnded: (invite: Invite, outcome: Outcome) => void,
    /** Somebody uses an invite, or has tried to. */
    private readonly onTried: () => void = () => undefined,
  ) {}

  static newId(): string {
    return randomBytes(4).toString('hex');
  }

  add(invite: Invite): void {
    let end: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => (end = resolve));
    const stopTimer = this.clock.after(invite.expiresAt - this.now(), () => this.end(invite.id, 'expired'));
    this.entries.set(invite.id, { invite, state: 'open', guesses: 0, claimedBy: null, ended, end, stopTimer });
    for (const [id, { state }] of this.entries) if (this.entries.size > MOST_REMEMBERED && state !== 'open') this.entries.delete(id);
  }

  /** Gives the invite of a room out for its one attempt. What a scan of the same link finds afterwards is `used`. */
  take(room: string): { readonly invite: Invite } | { readonly used: InviteSummary } | undefined {
    const entry = [...this.entries.values()].find(({ invite }) => invite.room === room);
    if (entry === undefined) return undefined;
    if (!this.isOpen(entry)) return { used: summary(entry) };
    entry.state = 'claiming';
    this.onTried();
    return { invite: entry.invite };
  }

  /** Counts an attempt with a code. Throws HostError `invite-used` where none is left. */
  guess(id: string): void {
    const entry = this.get(id);
    if (!this.isOpen(entry) || entry.guesses >= GUESSES) throw new HostError('invite-used', 'The code was used, has expired, or was mistyped three times.');
    entry.guesses += 1;
    entry.state = 'claiming';
    this.onTried();
  }

  /** The attempt that was last counted was wrong, or broke off. */
  missed(id: string): void {
    const entry = this.get(id);
    if (entry.state !== 'claiming') return;
    if (entry.guesses >= GUESSES) this.end(id, 'void');
    else {
      entry.state = 'open';
      this.onTried();
    }
  }

  claimed(id: string, by: NonNullable<InviteSummary['claimedBy']>): void {
    this.get(id).claimedBy = by;
    this.end(id, 'claimed');
  }

  /** Ends an invite. False where it had ended already, or is being used this moment and that is not its end. */
  end(id: string, outcome: Outcome): boolean {
    const entry = this.get(id);
    if (entry.state !== 'open' && entry.state !== 'claiming') return false;
    entry.state = outcome;
    entry.stopTimer();
    this.onEnded(entry.invite, outcome);
    entry.end();
    return true;
  }

  /** An invite that is being used, as long as it may be: it was not cancelled meanwhile, and its time is not over. */
  claiming(id: string): Invite | undefined {
    const { state, invite } = this.get(id);
    return state === 'claiming' && invite.expiresAt > this.now() ? invite : undefined;
  }

  /** The invite with this room, or with this code to type. */
  find(fits: (invite: Invite) => boolean): InviteSummary | undefined {
    const entry = [...this.entries.values()].find(({ invite }) => fits(invite));
    return entry === undefined ? undefined : summary(entry);
  }

  list(): InviteSummary[] {
    return [...this.entries.values()].map(summary);
  }

  /** How an invite ended, once it has. Throws HostError `no-such-invite`. */
  async wait(id: string): Promise<InviteSummary> {
    const entry = this.get(id);
    await entry.ended;
    return summary(entry);
  }

  dispose(): void {
    for (const { stopTimer, end } of this.entries.values()) {
      stopTimer();
      end();
    }
  }

  private isOpen({ state, invite }: Entry): boolean {
    return state === 'open' && invite.expiresAt > this.now();
  }

  private get(id: string): Entry {
    const entry = this.entries.get(id);
    if (entry === undefined) throw new HostError('no-such-invite', `There is no invite ${id}. Invites are forgotten when the host ends.`);
    return entry;
  }
}

function summary({ invite: { id, role, threadId, accessMs, expiresAt }, state, guesses, claimedBy }: Entry): InviteSummary {
  return { id, role, threadId, accessMs, expiresAt: new Date(expiresAt).toISOString(), state, wrongCodes: state === 'claimed' ? Math.max(0, guesses - 1) : guesses, claimedBy };
}
