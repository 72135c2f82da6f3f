import { chmodSync, existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loadIdentity } from '../../src/host/identity';
import { JsonStore, removeTornJson } from '../../src/host/jsonStore';
import { PeerStore } from '../../src/host/peers';
import { ProjectStore } from '../../src/host/projects';
import { SettingsStore } from '../../src/host/settings';
import { generateKeyPair } from '../../src/relay/keys';

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'baton-stores-'));
});
afterEach(() => rm(home, { recursive: true, force: true }));
const modeOf = (path: string) => statSync(path).mode & 0o777;
const counter = z.object({ count: z.number() });

describe('a JSON file of the host', () => {
  it('holds what was last written, privately, with nothing left beside it', async () => {
    const path = join(home, 'counter.json');
    const store = await JsonStore.open(path, counter, { count: 0 });
    await Promise.all(Array.from({ length: 20 }, () => store.update(({ count }) => ({ count: count + 1 }))));
    expect((await JsonStore.open(path, counter, { count: 0 })).value).toEqual({ count: 20 });
    expect(modeOf(path)).toBe(0o600);
    expect(await readdir(home)).toEqual(['counter.json']);
  });

  it('is alone again once what a killed writer left beside it was removed', async () => {
    const store = await JsonStore.open(join(home, 'counter.json'), counter, { count: 0 });
    await store.update(() => ({ count: 1 }));
    // As write-file-atomic names them; the others are somebody else's.
    for (const name of ['counter.json.3372392661', 'identity.json.17', 'app-server.json.log', 'counter.json.bak']) writeFileSync(join(home, name), '{"cou');
    await removeTornJson(home);
    expect((await readdir(home)).sort()).toEqual(['app-server.json.log', 'counter.json', 'counter.json.bak']);
    expect((await JsonStore.open(store.path, counter, { count: 0 })).value).toEqual({ count: 1 });
  });

  it('keeps its value when a change fails or does not fit, and takes the next', async () => {
    const store = await JsonStore.open(join(home, 'counter.json'), counter, { count: 1 });
    await expect(store.update(() => { throw new Error('no'); })).rejects.toThrow('no');
    await expect(store.update(() => ({ count: 'many' }) as never)).rejects.toThrow();
    expect(store.value).toEqual({ count: 1 });
    expect(existsSync(store.path)).toBe(false);
    expect(await store.update(({ count }) => ({ count: count + 1 }))).toEqual({ count: 2 });
  });

  it.each([['cut off', '{"count":'], ['of another shape', '{"count":"x"}'], ['empty', '']])('is refused, by name and with a way out, when it is %s; and stays as it is', async (_, content) => {
    const path = join(home, 'counter.json');
    writeFileSync(path, content);
    await expect(JsonStore.open(path, counter, { count: 0 })).rejects.toMatchObject({ reason: 'state-invalid', message: expect.stringMatching(/counter\.json cannot be used.*move it aside/) as string });
    expect(readFileSync(path, 'utf8')).toBe(content);
  });
});

describe('the identity of a host', () => {
  it('is made once, privately, and is the same ever after', async () => {
    const made = await loadIdentity({ batonHome: home });
    expect(made.hostId).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(modeOf(join(home, 'identity.json'))).toBe(0o600);
    expect(await loadIdentity({ batonHome: home, generateKeyPair: () => { throw new Error('a second key'); } })).toEqual(made);
  });

  it('is refused when others could read it, and not replaced', async () => {
    const path = join(home, 'identity.json');
    await loadIdentity({ batonHome: home });
    const before = readFileSync(path, 'utf8');
    chmodSync(path, 0o644);
    await expect(loadIdentity({ batonHome: home })).rejects.toMatchObject({ reason: 'identity-invalid', message: expect.stringContaining('chmod 600') as string });
    expect(readFileSync(path, 'utf8')).toBe(before);
  });

  it('is refused when it is a link', async () => {
    await loadIdentity({ batonHome: home });
    const other = await mkdtemp(join(tmpdir(), 'baton-other-'));
    symlinkSync(join(home, 'identity.json'), join(other, 'identity.json'));
    await expect(loadIdentity({ batonHome: other })).rejects.toMatchObject({ reason: 'identity-invalid' });
    await rm(other, { recursive: true });
  });

  it('is refused when its keys do not belong together, and its secret is not in the message', async () => {
    const path = join(home, 'identity.json');
    await loadIdentity({ batonHome: home });
    const file = JSON.parse(readFileSync(path, 'utf8')) as { secretKey: string; publicKey: string };
    writeFileSync(path, JSON.stringify({ ...file, publicKey: Buffer.from(generateKeyPair().publicKey).toString('base64url') }));
    await expect(loadIdentity({ batonHome: home })).rejects.toMatchObject({ reason: 'identity-invalid', message: expect.not.stringContaining(file.secretKey) as string });
    writeFileSync(path, file.secretKey);
    await expect(loadIdentity({ batonHome: home })).rejects.toMatchObject({ reason: 'identity-invalid', message: expect.not.stringContaining(file.secretKey) as string });
  });
});

describe('what a host remembers', () => {
  const peer = { hostId: 'p'.repeat(43), name: 'server', role: 'peer' as const, relayUrl: null, addedAt: '2026-01-01T00:00:00.000Z', expiresAt: null };

  it('is its peers', async () => {
    const peers = await PeerStore.open(home);
    await peers.save(peer);
    await peers.save({ ...peer, relayUrl: 'wss://relay.example' });
    await peers.rename(peer.hostId, 'big server');
    await peers.rename('x'.repeat(43), 'nobody');
    expect((await PeerStore.open(home)).list()).toEqual([{ ...peer, ssh: [], address: null, comes: false, name: 'big server', relayUrl: 'wss://relay.example' }]);
    expect([await peers.remove(peer.hostId), await peers.remove(peer.hostId)]).toEqual([true, false]);
    expect((await PeerStore.open(home)).get(peer.hostId)).toBeUndefined();
  });

  it('is its projects, each folder once', async () => {
    const projects = await ProjectStore.open(home);
    const entry = { root: '/src/app', subdirectory: '', identity: { objectFormat: 'sha1' as const, rootCommits: [], remotes: ['example.org/app'] } };
    const first = await projects.add(entry);
    const again = await projects.add({ ...entry, identity: { ...entry.identity, remotes: [] } });
    await projects.add({ ...entry, subdirectory: 'web' });
    expect(again).toEqual({ ...entry, identity: { ...entry.identity, remotes: [] }, id: first.id });
    expect((await ProjectStore.open(home)).list().map((each) => each.subdirectory)).toEqual(['', 'web']);
    expect([await projects.remove(first.id), await projects.remove(first.id)]).toEqual([true, false]);
  });

  it('is its name and relay, and no relay that is none', async () => {
    const settings = await SettingsStore.open(home);
    expect(settings.value.relayUrl).toBeNull();
    await settings.change({ relayUrl: 'ws://127.0.0.1:7440' });
    await settings.change({ name: 'laptop' });
    await expect(settings.change({ relayUrl: 'file:///etc/passwd' })).rejects.toThrow();
    expect((await SettingsStore.open(home)).value).toMatchObject({ name: 'laptop', relayUrl: 'ws://127.0.0.1:7440' });
  });
});
