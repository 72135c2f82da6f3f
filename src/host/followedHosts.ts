import { ControlLink, type ControlLinkOptions, type ControlState } from './controlLink';
import type { FollowedHost } from './followSchemas';
import { HostError } from './hostError';
import type { NotificationName, NotificationOf } from './protocol';

interface FollowedHostsPorts {
  connect(hostId: string, ...options: Parameters<ControlLinkOptions['connect']>): ReturnType<ControlLinkOptions['connect']>;
  /** Whether this host knows that one at all. */
  isKnown(hostId: string): boolean;
  notify<N extends NotificationName>(method: N, params: NotificationOf<N>): void;
  readonly now: () => Date;
}

/** The hosts to which this one keeps a control channel, for the controllers that asked for it. */
export class FollowedHosts {
  private readonly links = new Map<string, { readonly link: ControlLink; readonly followers: Set<AbortSignal>; state: FollowedHost }>();

  constructor(private readonly ports: FollowedHostsPorts) {}

  /** Follows a host until `ended`. Throws HostError `no-such-host`. */
  follow(hostId: string, ended: AbortSignal): FollowedHost {
    if (!this.ports.isKnown(hostId)) throw new HostError('no-such-host', 'That host is not paired with this one. Make an invite there and join it here.');
    const known = this.links.get(hostId);
    const { followers } = known ?? this.begin(hostId);
    if (!followers.has(ended)) {
      followers.add(ended);
      ended.addEventListener('abort', () => this.unfollow(hostId, ended), { once: true });
    }
    const state = this.links.get(hostId)?.state;
    if (state === undefined) throw new HostError('cancelled', 'The connection ended.');
    // Who begins has missed nothing.
    return { ...state, missed: false };
  }

  /** False where it was not followed. */
  unfollow(hostId: string, ended: AbortSignal): boolean {
    const followed = this.links.get(hostId);
    if (followed?.followers.delete(ended) !== true) return false;
    if (followed.followers.size === 0) {
      this.links.delete(hostId);
      followed.link.dispose();
    }
    return true;
  }

  /** Something has changed that may let those through that wait. */
  retry(): void {
    for (const { link } of this.links.values()) link.retry();
  }

  dispose(): void {
    for (const { link } of this.links.values()) link.dispose();
    this.links.clear();
  }

  private begin(hostId: string) {
    const { ports } = this;
    const link = new ControlLink({
      connect: (options) => ports.connect(hostId, options),
      onEvent: (method, params) => ports.notify('host/heard', { hostId, method, params }),
      onState: (state) => {
        const followed = this.links.get(hostId);
        if (followed?.link !== link) return;
        followed.state = this.described(hostId, state);
        ports.notify('host/followed', followed.state);
      },
    });
    const followed = { link, followers: new Set<AbortSignal>(), state: this.described(hostId, link.state) };
    this.links.set(hostId, followed);
    link.start();
    return followed;
  }

  private described(hostId: string, state: ControlState): FollowedHost {
    return {
      hostId,
      state: state.kind,
      message: state.kind === 'connected' ? null : state.message,
      retryAt: state.kind === 'waiting' ? new Date(this.ports.now().getTime() + state.retryInMs).toISOString() : null,
      missed: state.kind === 'connected' && state.missed,
    };
  }
}
