import { existsSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { brotliCompressSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { receiptHash, type Holdings } from '../../src/handoff/receipt';
import type { PeerHandlers, PeerLink } from '../../src/host/peerLink';
import type { PeerParams } from '../../src/host/peerProtocol';
import { PROTOCOL_VERSION } from '../../src/host/protocol';
import { generateKeyPair, publicKeyOf } from '../../src/relay/keys';
import { openChannel } from '../../src/relay/openChannel';
import { dialThroughRelay } from '../../src/relay/relayDial';
import { refsOf, untouchedState } from '../fixtures/checkout';
import { explainFailures, refusal, said, saying, startPair, type PairedHosts, type Site } from './pairedHosts';
import { attemptHandoff, honestAttempt, sendTransfer, sha256, StrangePeer, type Attempt } from './strangePeer';

let pair: PairedHosts;
let laptop: Site;
let server: Site;
let threadId: string;
let rolloutPath: string;
const peers: StrangePeer[] = [];

const joined = async (site: Site, name: string) => {
  const peer = await StrangePeer.join((await site.client.call('host/invite', {})).invite, name);
  peers.push(peer);
  return peer;
};

beforeAll(async () => {
  pair = await startPair();
  ({ laptop, server } = pair);
  threadId = await laptop.begin(said.hello);
  ({ path: rolloutPath } = (await laptop.thread(threadId)) as unknown as { path: string });
});
beforeEach(() => explainFailures(pair));
afterAll(async () => {
  for (const peer of peers) peer.dispose();
  await pair.close();
});

describe('a source that is wrong or hostile', () => {
  let mallory: StrangePeer;
  let link: PeerLink;
  let before: Record<string, unknown>;

  beforeAll(async () => {
    mallory = await joined(server, 'mallory');
    link = await mallory.connect();
  });
  beforeEach(async () => {
    before = { ...(await server.traces()), checkout: untouchedState(server.checkout), refs: await refsOf(server.checkout) };
  });

  const attempt = async (): Promise<Attempt> => honestAttempt({ threadId, checkout: laptop.checkout, rolloutPath, spool: await mkdtemp(join(pair.directory, 'spool-')) });
  const withdraw = ({ handoffId }: Attempt) => link.call('handoff/withdraw', { handoffId, threadId, reason: 'done' });
  const expectNothingLeft = async () => {
    expect({ ...(await server.traces()), checkout: untouchedState(server.checkout), refs: await refsOf(server.checkout) }).toEqual(before);
    await expect(server.client.codex('thread/read', { threadId })).rejects.toThrow();
  };

  it('gets the receipt that is due where it is honest, and takes everything back', async () => {
    const honest = await attempt();
    const receipt = await attemptHandoff(mallory, link, honest);
    expect(receipt).toMatchObject({ handoffId: honest.handoffId, threadId, source: mallory.hostId, destination: server.hostId, channel: link.binding, holdings: honest.holdings });
    await withdraw(honest);
    await expectNothingLeft();
  });

  const flipped = (bytes: Buffer, at: number) => {
    const copy = Buffer.from(bytes);
    copy[at] = (copy[at] ?? 0) ^ 1;
    return copy;
  };
  const cases: [string, (honest: Attempt) => void, RegExp][] = [
    ['a bundle with one bit changed', (it) => (it.bytes = flipped(it.bytes, it.manifest.parts[0].bundle.bytes - 30)), /^corrupt-bundle$/],
    ['a bundle with one bit changed, announced so', (it) => {
      it.bytes = flipped(it.bytes, it.manifest.parts[0].bundle.bytes - 30);
      it.manifest.parts[0].bundle.sha256 = sha256(it.bytes.subarray(0, it.manifest.parts[0].bundle.bytes));
    }, /^corrupt-bundle$/],
    ['something that is no bundle', (it) => {
      it.bytes.fill('x', 0, it.manifest.parts[0].bundle.bytes);
      it.manifest.parts[0].bundle.sha256 = sha256(it.bytes.subarray(0, it.manifest.parts[0].bundle.bytes));
    }, /^corrupt-bundle$/],
    ['another tip than the bundle has', (it) => (it.manifest.parts[0].bundle.tip = 'd'.repeat(40)), /^corrupt-bundle$/],
    ['a rollout with one bit changed', (it) => (it.bytes = flipped(it.bytes, it.bytes.length - 30)), /^rollout-/],
    ['a rollout that claims to begin where this host has nothing', (it) => {
      const [rollout] = it.manifest.rollouts;
      if (rollout === undefined) throw new Error('There is a rollout.');
      rollout.from = 100;
      rollout.tail.pieces = rollout.tail.pieces.map(({ bytes, sha256 }) => ({ bytes: bytes - 100, sha256 }));
      it.bytes = Buffer.concat([it.bytes.subarray(0, it.manifest.parts[0].bundle.bytes), it.bytes.subarray(it.manifest.parts[0].bundle.bytes + 100)]);
    }, /^(rollout-|transfer-corrupt)/],
    ['a rollout that says it is compressed and is not', (it) => {
      const [rollout] = it.manifest.rollouts;
      if (rollout !== undefined) rollout.tail.encoding = 'br';
    }, /^transfer-corrupt$/],
    ['a rollout that decompresses to far more than announced', (it) => {
      const [rollout] = it.manifest.rollouts;
      if (rollout === undefined) throw new Error('There is a rollout.');
      const bomb = brotliCompressSync(Buffer.alloc(64 * 1024 * 1024));
      rollout.tail = { encoding: 'br', pieces: [{ bytes: bomb.length, sha256: sha256(bomb) }] };
      it.bytes = Buffer.concat([it.bytes.subarray(0, it.manifest.parts[0].bundle.bytes), bomb]);
    }, /^rollout-/],
    ["a rollout under another thread's name", (it) => {
      const [rollout] = it.manifest.rollouts;
      if (rollout !== undefined) rollout.name = rollout.name.replace(threadId, '0199abcd-0000-7000-8000-000000000000');
    }, /^(rollout-|invalid-params|transfer-corrupt)/],
    ['a rollout whose first line is of another thread', (it) => {
      const [rollout] = it.manifest.rollouts;
      if (rollout !== undefined) rollout.metaLine = rollout.metaLine.replaceAll(threadId, '0199abcd-0000-7000-8000-000000000000');
    }, /^rollout-/],
    ['fewer bytes than announced', (it) => (it.bytes = it.bytes.subarray(0, -10)), /^transfer-incomplete$/],
    ['more bytes than announced', (it) => (it.bytes = Buffer.concat([it.bytes, Buffer.from('more')])), /^transfer-corrupt$/],
    ['a rollout with a way out of its folder for a name', (it) => {
      const [rollout] = it.manifest.rollouts;
      if (rollout !== undefined) rollout.name = '../../../.ssh/authorized_keys';
    }, /^invalid-params$/],
    ['a handoff with a way out of its folder for an id', (it) => (it.handoffId = '../../../escape'), /^invalid-params$/],
    ['a thread with a way out of its folder for an id', (it) => (it.threadId = '../../../escape'), /^invalid-params$/],
    ['another repository', (it) => (it.offer.repository = { objectFormat: 'sha1', rootCommits: ['a'.repeat(40)], remotes: [] }), /^preflight-blocked$/],
    ['a subdirectory that leads out of the repository', (it) => (it.offer.facts.subdirectory = '../..'), /^preflight-blocked$/],
    ['more than the disk holds', (it) => (it.offer.facts.bytes = 2 ** 52), /^preflight-blocked$/],
    ['a model provider that is unknown here', (it) => (it.offer.facts.modelProvider = 'evil'), /^preflight-blocked$/],
    ['an epoch that is none', (it) => (it.epoch = 0), /^(preflight-blocked|stale-epoch|invalid-params)$/],
  ];
  it.each(cases)('is refused %s, and nothing is left', async (_, spoil, reason) => {
    const spoilt = await attempt();
    spoil(spoilt);
    const refused = await refusal(attemptHandoff(mallory, link, spoilt));
    expect(refused.reason).toMatch(reason);
    expect(refused.message).not.toMatch(/\n {4}at /);
    // It gives up; what the destination refused by itself is gone already, so this finds nothing then.
    await withdraw({ ...spoilt, handoffId: /^[0-9a-f]{32}$/.test(spoilt.handoffId) ? spoilt.handoffId : '0'.repeat(32) });
    expect(existsSync(join(server.machine.batonHome, '..', 'escape'))).toBe(false);
    await expectNothingLeft();
  });

  it.each(['-x', 'refs/heads/../../../../escape', 'refs/heads/main', 'refs/heads/a b', 'HEAD', 'refs/baton/x'])('cannot choose a ref of the destination by calling its branch %s', async (branch) => {
    const spoilt = await attempt();
    spoilt.manifest.parts[0].branch = branch;
    const outcome = await attemptHandoff(mallory, link, spoilt).then(() => 'restored', () => 'refused');
    const refs = await refsOf(server.checkout);
    for (const [name, value] of Object.entries(before['refs'] as Record<string, string>)) expect(refs[name]).toBe(value);
    for (const name of Object.keys(refs)) expect(name in (before['refs'] as object) || /^refs\/heads\/(baton\/|comets)/.test(name), `${outcome}: ${name}`).toBe(true);
    await withdraw(spoilt);
    await expectNothingLeft();
  });

  it('is told in preflight that the disk is too small', async () => {
    const { offer, epoch } = await attempt();
    const { findings } = await link.call('handoff/offer', { threadId, epoch, offer: { ...offer, facts: { ...offer.facts, bytes: 2 ** 52 } } });
    expect(findings).toContainEqual(expect.objectContaining({ level: 'blocker', code: 'disk-full', message: saying('free some space') }));
  });

  it('gets a receipt of what was restored, not of what it claims; and cannot commit on another one', async () => {
    const honest = await attempt();
    const lie: Holdings = { ...honest.holdings, workingState: 'f'.repeat(64) };
    const receipt = await attemptHandoff(mallory, link, { ...honest, holdings: lie });
    expect(receipt.holdings).toEqual(honest.holdings);
    const { handoffId, epoch } = honest;
    for (const wrong of ['f'.repeat(64), receiptHash({ ...receipt, holdings: lie })]) {
      expect((await refusal(link.call('handoff/commit', { handoffId, threadId, epoch, receiptHash: wrong }))).reason).toBe('no-such-handoff');
    }
    await withdraw(honest);
    expect((await refusal(link.call('handoff/commit', { handoffId, threadId, epoch, receiptHash: receiptHash(receipt) }))).reason).toBe('no-such-handoff');
    await expectNothingLeft();
  });

  it('cannot send, prepare or commit what it never began', async () => {
    const { manifest, holdings, bytes } = await attempt();
    const unknown = { handoffId: 'e'.repeat(32), threadId };
    const ticket = '0'.repeat(32);
    expect((await refusal(link.call('handoff/receive', { ...unknown, manifest }))).reason).toBe('no-such-handoff');
    expect((await refusal(link.call('handoff/prepare', { ...unknown, holdings }))).reason).toBe('no-such-handoff');
    expect((await refusal(link.call('handoff/commit', { ...unknown, epoch: 1, receiptHash: 'a'.repeat(64) }))).reason).toBe('no-such-handoff');
    expect((await refusal(link.call('handoff/wait', { handoffId: unknown.handoffId }))).reason).toBe('no-such-handoff');
    expect((await refusal(link.call('handoff/cancel', { handoffId: unknown.handoffId }))).reason).toBe('no-such-handoff');
    expect((await refusal(sendTransfer(mallory, { ...unknown, ticket }, bytes))).reason).toBe('no-such-handoff');
    for (const header of [{ handoffId: '../..', threadId, ticket }, unknown, 'x'.repeat(5000), null]) {
      expect((await refusal(sendTransfer(mallory, header, bytes))).reason).toBe('transfer-corrupt');
    }
    await expectNothingLeft();
  });

  it("cannot touch another host's handoff", async () => {
    const eve = await joined(server, 'eve');
    const theirs = await eve.connect();
    const honest = await attempt();
    const receipt = await attemptHandoff(mallory, link, honest);
    const { handoffId, manifest, holdings, epoch, offer } = honest;
    expect((await refusal(theirs.call('handoff/receive', { handoffId, threadId, manifest }))).reason).toBe('no-such-handoff');
    expect((await refusal(theirs.call('handoff/prepare', { handoffId, threadId, holdings }))).reason).toBe('no-such-handoff');
    expect((await refusal(theirs.call('handoff/commit', { handoffId, threadId, epoch, receiptHash: receiptHash(receipt) }))).reason).toBe('no-such-handoff');
    expect((await refusal(theirs.call('handoff/withdraw', { handoffId, threadId, reason: 'mine' }))).reason).toBe('not-permitted');
    expect((await refusal(theirs.call('handoff/begin', { handoffId: 'b'.repeat(32), threadId, epoch, offer }))).reason).not.toBe('internal');
    expect(await theirs.call('handoff/outcome', { handoffId, threadId })).toEqual({ outcome: 'undecided' });
    expect((await refusal(sendTransfer(eve, { handoffId, threadId, ticket: '0'.repeat(32) }, honest.bytes))).reason).toBe('no-such-handoff');
    // What was prepared is as it was, and its own source can still take it back.
    expect((await server.traces())['handoffs']).not.toEqual(before['handoffs']);
    await withdraw(honest);
    await expectNothingLeft();
  });

  it("cannot take a thread that never came from it, nor look at one, nor steer the host", async () => {
    const own = await server.begin(said.hello);
    expect((await refusal(link.call('handoff/request', { threadId: own }))).reason).toBe('not-permitted');
    expect((await refusal(link.call('handoff/preview', { threadId: own }))).reason).toBe('not-permitted');
    for (const method of ['host/stop', 'thread/read', 'turn/start', 'approval/decide', 'host/invite']) {
      expect((await refusal(link.call(method as 'host/hello', { threadId: own } as never))).reason).toBe('unknown-method');
    }
    expect(await server.say(own, said.hello)).toBe('completed');
  });

  it('cannot put its copy in place of a thread that is this host’s own', async () => {
    const own = await server.begin(said.hello);
    const { path } = (await server.thread(own)) as unknown as { path: string };
    const honest = await honestAttempt({ threadId: own, checkout: laptop.checkout, rolloutPath: path, spool: await mkdtemp(join(pair.directory, 'spool-')) });
    const { reason, message } = await refusal(attemptHandoff(mallory, link, { ...honest, epoch: 99 }));
    expect(reason).toBe('preflight-blocked');
    expect(message).toContain('must not be overwritten');
    expect(await server.say(own, said.hello)).toBe('completed');
  });

  it('cannot have more than a few handoffs unfinished at a time', async () => {
    const { offer } = await attempt();
    const begun = (index: number) => ({ handoffId: index.toString(16).padStart(32, '0'), threadId: `0199aaaa-0000-7000-8000-${String(index).padStart(12, '0')}` });
    const many = Array.from({ length: 18 }, (_, index) => begun(index));
    const answers = await Promise.allSettled(many.map((each) => link.call('handoff/begin', { ...each, epoch: 1, offer: { ...offer, rollouts: [] } })));
    const refused = answers.filter((answer) => answer.status === 'rejected').map(({ reason }) => (reason as { reason: string }).reason);
    expect(refused).toEqual(['too-many-handoffs', 'too-many-handoffs']);
    for (const each of many) await link.call('handoff/withdraw', { ...each, reason: 'done' });
    await expectNothingLeft();
    await link.call('handoff/begin', { ...begun(99), epoch: 1, offer: { ...offer, rollouts: [] } });
    await link.call('handoff/withdraw', { ...begun(99), reason: 'done' });
  });

  it('is not believed when it says that it owns a thread that it never had, at whatever epoch', async () => {
    const own = await server.begin(said.hello);
    await laptop.handOff({ threadId: await laptop.begin(said.hello), to: server.hostId });
    const [came] = (await server.client.call('handoff/list', { all: true })).handoffs;
    for (const claimed of [own, came?.threadId ?? '', threadId]) {
      const claim = { threadId: claimed, epoch: 2 ** 31, owner: { hostId: mallory.hostId, name: 'mallory' } };
      expect(await link.call('handoff/claims', { claims: [claim] })).toEqual({ claims: [{ ...claim, known: false }] });
    }
    expect(await server.say(own, said.hello)).toBe('completed');
    expect(await server.say(came?.threadId ?? '', said.hello)).toBe('completed');
    expect((await refusal(link.call('handoff/claims', { claims: [{ threadId: own, epoch: 2 ** 40, owner: { hostId: mallory.hostId, name: 'mallory' } }] }))).reason).toBe('invalid-params');
    expect((await refusal(link.call('handoff/claims', { claims: [{ threadId: '../x', epoch: 1, owner: { hostId: mallory.hostId, name: 'mallory' } }] }))).reason).toBe('invalid-params');
  });

  it('cannot offer a thread that this host got from another one, whatever epoch it says', async () => {
    const shared = await laptop.begin(said.hello);
    await laptop.handOff({ threadId: shared, to: server.hostId });
    const { path } = (await server.thread(shared)) as unknown as { path: string };
    const forged = await honestAttempt({ threadId: shared, checkout: laptop.checkout, rolloutPath: path, spool: await mkdtemp(join(pair.directory, 'spool-')) });
    for (const epoch of [1, 2, 1000]) expect((await refusal(attemptHandoff(mallory, link, { ...forged, epoch }))).reason).toMatch(/^(thread-owned|preflight-blocked)$/);
    expect((await server.thread(shared)).baton).toMatchObject({ owner: server.hostId, epoch: 1, moving: false });
    // Nor can it take up the handoff of another: the same id from two sources.
    const other = await attempt();
    const receipt = await attemptHandoff(mallory, link, other);
    const eve = await joined(server, 'eve twice');
    const theirs = await eve.connect();
    expect((await refusal(theirs.call('handoff/commit', { handoffId: other.handoffId, threadId: other.threadId, epoch: 1, receiptHash: receiptHash(receipt) }))).reason).toBe('no-such-handoff');
    expect((await refusal(attemptHandoff(eve, theirs, { ...other }))).reason).toBe('thread-moving');
    await withdraw(other);
  });

  it('is not heard at all where it was never invited', async () => {
    const stream = await dialThroughRelay({ url: pair.relay.url, hostId: server.hostId });
    await expect(openChannel(stream, { keyPair: generateKeyPair(), remoteKey: publicKeyOf(server.hostId), purpose: 'control' })).rejects.toMatchObject({ reason: saying(/^(handshake-failed|channel-closed)$/) });
  });
});

describe('a destination that is wrong or hostile', () => {
  type Answers = Partial<PeerHandlers> & { transferred?: string };

  /** A peer of the laptop that takes everything and answers as told; gives what became of a handoff to it. */
  async function handedTo(name: string, answers: (offer: { begun: PeerParams<'handoff/begin'> | null }) => Answers) {
    const peer = await joined(laptop, name);
    const seen: { begun: PeerParams<'handoff/begin'> | null; withdrawn: boolean } = { begun: null, withdrawn: false };
    const { transferred = '{"received":true}\n', ...handlers } = answers(seen);
    await peer.answer(
      {
        'host/hello': () => Promise.resolve({ protocolVersion: PROTOCOL_VERSION, name, batonVersion: '0', codexVersion: '0.169.0' }),
        'handoff/offer': () => Promise.resolve({ findings: [], worktree: '/somewhere', parts: [] }),
        'handoff/negotiate': () => Promise.resolve({ commits: [] }),
        'handoff/begin': (params) => {
          seen.begun = params;
          return Promise.resolve({ findings: [], parts: [], rollouts: [] });
        },
        'handoff/receive': ({ manifest }) => Promise.resolve({ offsets: [0, ...manifest.rollouts.flatMap(({ tail }) => tail.pieces.map(() => 0))], ticket: '0'.repeat(32) }),
        'handoff/withdraw': () => {
          seen.withdrawn = true;
          return Promise.resolve({});
        },
        ...handlers,
      },
      (channel) => {
        channel.resume();
        channel.once('end', () => channel.end(transferred));
      },
    );
    const refused = await refusal(laptop.handOff({ threadId, to: peer.hostId }));
    expect((await laptop.thread(threadId)).baton).toMatchObject({ owner: laptop.hostId, epoch: 0, movedTo: null, moving: false });
    expect((await laptop.traces())['handoffs']).toEqual([]);
    expect(await laptop.say(threadId, said.hello)).toBe('completed');
    expect(seen.withdrawn).toBe(true);
    return refused;
  }

  it('that gives a receipt for another state gets no commit', async () => {
    const { reason, message } = await handedTo('liar', () => ({
      'handoff/prepare': ({ handoffId, threadId: thread, holdings }, link) =>
        Promise.resolve({ receipt: { version: 1, handoffId, threadId: thread, epoch: 1, source: laptop.hostId, destination: link.hostId, channel: link.binding, holdings: { ...holdings, workingState: 'f'.repeat(64) } } }),
      'handoff/commit': () => Promise.reject(new Error('It must never be asked to commit.')),
    }));
    expect(reason).toBe('receipt-mismatch');
    expect(message).toContain('The thread stays here');
  });

  it('that answers with something else than a receipt is told from a broken connection', async () => {
    const { reason } = await handedTo('babbler', () => ({ 'handoff/prepare': () => Promise.resolve({ receipt: 'certainly' } as never) }));
    expect(reason).toBe('protocol-mismatch');
  });

  it.each([
    ['says that it refuses the bytes', '{"error":{"reason":"disk-full","message":"The disk is full."}}\n', 'disk-full'],
    ['answers a transfer with nonsense', 'thanks\n', 'protocol-mismatch'],
    ['says nothing', '', 'protocol-mismatch'],
  ])('that %s leaves the thread here', async (what, transferred, expected) => {
    const { reason } = await handedTo(what.slice(0, 20), () => ({ transferred }));
    expect(reason).toBe(expected);
  });

  it('that answers a question about commits with more than was asked gets nothing', async () => {
    const { reason } = await handedTo('braggart', (seen) => ({ 'handoff/negotiate': () => Promise.resolve({ commits: Array.from({ length: seen.begun === null ? 0 : 513 }, (_, number) => String(number).padStart(40, '0')) }) }));
    expect(reason).toBe('protocol-mismatch');
  });

  it('that claims to hold more than was announced gets nothing', async () => {
    const { reason } = await handedTo('hoarder', () => ({ 'handoff/receive': () => Promise.resolve({ offsets: [2 ** 40, 2 ** 40], ticket: '0'.repeat(32) }) }));
    expect(reason).toBe('protocol-mismatch');
  });
});
