import { describe, expect, it } from 'vitest';
import { HostError } from '../../src/host/hostError';
import { looksLikeCode, looksLikeLink } from '../../src/host/protocol';
import { inviteFromPage, type InviteViewState } from '../../src/views/inviteMessages';
import { InviteSession } from '../../src/views/inviteSession';
import { durationWords, remaining } from '../../src/views/page/inviteText';

const hostId = 'A'.repeat(43);
const wish = { role: 'viewer', threadId: null, accessMs: 3_600_000, lifetimeMs: 600_000 } as const;
const made = { id: '0badcafe', invite: 'baton:join#secret', code: 'WOLF-MAPLE-7482', role: 'viewer', threadId: null, accessMs: 3_600_000, expiresAt: '2026-01-01T00:10:00.000Z' };
const summary = (more: object) => ({ ...made, state: 'open', wrongCodes: 0, claimedBy: null, ...more });

/** A session with a host that answers as it is told. */
function session(answers: Record<string, () => unknown> = {}) {
  const states: InviteViewState[] = [];
  let end: (ended: unknown) => void = () => undefined;
  let lose: (error: Error) => void = () => undefined;
  let hear: (changed: { what: string[] }) => void = () => undefined;
  const called: string[] = [];
  const all: Record<string, () => unknown> = { 'host/invite': () => made, 'invite/wait': () => new Promise((resolve, reject) => ([end, lose] = [resolve, reject])), 'invite/list': () => ({ invites: [summary({ wrongCodes: 1 })] }), ...answers };
  const client = {
    host: { baton: { name: 'laptop' } },
    call: async (method: string) => {
      called.push(method);
      return await Promise.resolve(all[method]?.() ?? {});
    },
    codex: () => Promise.resolve({ data: [{ id: '0199abcd-0000-7000-8000-000000000000', preview: 'Comets', cwd: '/', updatedAt: 1, status: { type: 'idle' } }], nextCursor: null }),
    on: (_: string, handler: typeof hear) => {
      hear = handler;
      return () => undefined;
    },
  };
  const invite = new InviteSession(client as never, (state) => states.push(state));
  const next = () => new Promise<void>((resolve) => setImmediate(resolve));
  return { invite, states, called, next, end: (ended: object) => end(summary(ended)), lose: () => lose(new HostError('connection-lost', 'gone')), changed: () => hear({ what: ['hosts'] }) };
}

describe('an invite in VS Code', () => {
  it('is chosen, made, tried and used, and its secrets are shown only while it is open', async () => {
    const { invite, states, next, end, changed } = session();
    await invite.begin();
    expect(invite.state).toMatchObject({ kind: 'form', threads: [{ name: 'Comets' }], problem: null });
    await invite.make(wish);
    expect(invite.state).toMatchObject({ kind: 'open', link: made.invite, code: made.code });
    changed();
    await next();
    expect(invite.state).toMatchObject({ kind: 'open', invite: { wrongCodes: 1 } });
    end({ state: 'claimed', claimedBy: { id: hostId, name: 'phone\u202Eenohp', words: 'a b c d' } });
    await next();
    expect(invite.state).toMatchObject({ kind: 'ended', outcome: 'claimed', claimedBy: { name: 'phone enohp', words: 'a b c d' } });
    expect(JSON.stringify(states.at(-1))).not.toContain('secret');
    await invite.revoke();
    expect(invite.state).toMatchObject({ kind: 'ended', revoked: true });
    invite.again();
    expect(invite.state.kind).toBe('form');
  });

  it.each(['expired', 'cancelled', 'void'] as const)('that is %s says so', async (state) => {
    const { invite, next, end } = session();
    await invite.make(wish);
    end({ state });
    await next();
    expect(invite.state).toMatchObject({ kind: 'ended', outcome: state, claimedBy: null });
  });

  it('is lost with its host', async () => {
    const { invite, next, lose } = session();
    await invite.make(wish);
    lose();
    await next();
    expect(invite.state).toMatchObject({ kind: 'ended', outcome: 'lost' });
  });

  it('that cannot be made leaves the form with the reason, and one that is being made is not made twice', async () => {
    const { invite, called } = session({ 'host/invite': () => Promise.reject(new HostError('relay-not-set', 'An invite needs a relay.')) });
    await Promise.all([invite.make(wish), invite.make(wish)]);
    expect(invite.state).toMatchObject({ kind: 'form', busy: false, problem: 'An invite needs a relay.' });
    expect(called).toEqual(['host/invite']);
  });

  it('takes nothing from its page that is not one of its messages', () => {
    for (const message of [null, {}, { type: 'run' }, { type: 'copy', what: 'key' }, { type: 'make', wish: { ...wish, role: 'king' } }, { type: 'make', wish: { ...wish, threadId: '../..' } }, { type: 'make', wish: { ...wish, lifetimeMs: 1.5 } }]) expect(inviteFromPage.safeParse(message).success).toBe(false);
    expect(inviteFromPage.parse({ type: 'make', wish })).toEqual({ type: 'make', wish });
  });

  it('is told in words: how long, and how long still', () => {
    expect([3_600_000, 60_000, 7 * 86_400_000, 90_000].map(durationWords)).toEqual(['1 hour', '1 minute', '7 days', '90 seconds']);
    const at = '2026-01-01T00:10:00.000Z';
    expect([0, 599_001, 600_000, 700_000].map((past) => remaining(at, Date.parse('2026-01-01T00:00:00Z') + past))).toEqual(['10:00', '0:01', '0:00', '0:00']);
  });

  it('is told from other texts by either of its forms', () => {
    expect([' baton:join#x', 'https://baton/join#x', 'wolf-maple-7482'].map(looksLikeLink)).toEqual([true, false, false]);
    expect(['wolf-maple-7482', ' Wolf  maple 7482 ', 'baton:join#x', 'wolf-7482'].map(looksLikeCode)).toEqual([true, true, false, false]);
  });
});
