import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { generateKeyPair, hostIdOf, type KeyPair } from '../../src/relay/keys';
import { Admission, proveSecret, type AdmissionRules } from '../../src/relay/relayAdmission';
import { dialThroughRelay } from '../../src/relay/relayDial';
import type { RelayEvent } from '../../src/relay/relayLog';
import { RelayMembership, type RelayCredential } from '../../src/relay/relayMembership';
import { createChallenge } from '../../src/relay/relayChallenge';
import { proveKey } from '../../src/relay/relayProof';
import type { RunningRelay } from '../../src/relay/relayServer';
import { failureOf, ManualClock, receivedBy } from './channelPair';
import { closers, dial, host, relay, statusOf } from './relayLaboratory';

const secret = 'correct-horse-battery-staple-0123456789';
const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const rules = (changes: Partial<AdmissionRules> = {}): AdmissionRules => ({ secrets: [secret], issuerKeys: [], denied: new Set(), ...changes });
const memberOf = (url: string, credential: RelayCredential, keyPair: KeyPair = generateKeyPair()) => new RelayMembership({ url, keyPair, credential: () => Promise.resolve(credential) });
const bearer = (permit: string | undefined) => ({ authorization: `Bearer ${permit ?? ''}` });

let directory: string;
let events: RelayEvent[];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'baton-admission-'));
  closers.push(() => rm(directory, { recursive: true }));
  events = [];
});

/** A relay that lets in who knows the secret; `next` resolves with the next event of a kind. */
async function closedRelay(files: { issuerKeyFile?: string; denyFile?: string } = {}): Promise<RunningRelay & { secretFile: string; next: (event: RelayEvent['event']) => Promise<RelayEvent> }> {
  const secretFile = join(directory, 'secret');
  await writeFile(secretFile, `${secret}\n`);
  const waiting: [RelayEvent['event'], (event: RelayEvent) => void][] = [];
  const running = await relay({
    admission: { secretFile, ...files },
    log: (event) => {
      events.push(event);
      for (const [kind, resolve] of waiting) if (kind === event.event) resolve(event);
    },
  });
  return { ...running, secretFile, next: (kind) => new Promise((resolve) => waiting.push([kind, resolve])) };
}

describe('a relay with a secret', () => {
  it('lets nobody register or dial who shows nothing, or the token of somebody else', async () => {
    const { url } = await closedRelay();
    const [victim, other] = [generateKeyPair(), generateKeyPair()].map((pair) => hostIdOf(pair.publicKey));
    for (const path of [`register/${victim}`, `dial/${victim}`]) {
      for (const headers of [{}, bearer('A'.repeat(98)), bearer(secret), { authorization: secret }]) expect(await statusOf(`${url}/v1/${path}`, headers)).toBe(401);
    }
    const stranger = memberOf(url, { secret });
    expect(await statusOf(`${url}/v1/register/${other}`, bearer(await stranger.token()))).toBe(401);
  });

  it('lets in who knows the secret, and carries what they say', async () => {
    const { url } = await closedRelay();
    const [near, far] = [generateKeyPair(), generateKeyPair()];
    const server = await host(url, far, memberOf(url, { secret }, far));
    const stream = await dial(url, server.hostId, { membership: memberOf(url, { secret }, near) });
    stream.end('hello');
    expect((await receivedBy(await server.incoming())).toString()).toBe('hello');
  });

  it('does not let in who knows another secret, and says so', async () => {
    const { url } = await closedRelay();
    const guess = memberOf(url, { secret: `${secret}x` });
    await expect(guess.token()).rejects.toMatchObject({ reason: 'not-admitted', message: expect.stringContaining('--relay-secret-file') as string });
    expect(events.map(({ event }) => event)).toContain('permit-refused');
    await expect(dialThroughRelay({ url, hostId: hostIdOf(generateKeyPair().publicKey) })).rejects.toMatchObject({ reason: 'not-admitted' });
  });

  it('is never sent the secret', async () => {
    const { url, port } = await closedRelay();
    const passed: Buffer[] = [];
    const between = createServer((socket) => {
      const onward = connect(port, '127.0.0.1');
      socket.on('data', (chunk: Buffer) => passed.push(chunk)).pipe(onward).pipe(socket);
      for (const end of [socket, onward]) end.on('error', () => undefined);
    });
    between.listen(0, '127.0.0.1');
    await once(between, 'listening');
    closers.push(() => void between.close());
    const { port: listening } = between.address() as AddressInfo;
    const keyPair = generateKeyPair();
    await host(`ws://127.0.0.1:${listening}`, keyPair, memberOf(`ws://127.0.0.1:${listening}`, { secret }, keyPair));
    const text = Buffer.concat(passed).toString('latin1');
    expect(text).toContain('/v1/token/');
    expect(text).not.toContain(secret);
    expect(text).not.toContain(Buffer.from(secret).toString('base64url'));
    expect(url).not.toContain(secret);
  });

  it('gives a token that serves for several dials, and is asked for anew when the relay does not take it', async () => {
    const { url } = await closedRelay();
    const [near, far] = [generateKeyPair(), generateKeyPair()];
    const server = await host(url, far, memberOf(url, { secret }, far));
    const membership = memberOf(url, { secret }, near);
    const given = () => events.filter(({ event, hostId }) => event === 'permit-given' && hostId === hostIdOf(near.publicKey)).length;
    for (let count = 0; count < 3; count++) await dial(url, server.hostId, { membership });
    expect(given()).toBe(1);
    let stale = true;
    const spoilt = { token: async () => (stale ? 'A'.repeat(98) : membership.token()), forget: () => (stale = false) };
    await dial(url, server.hostId, { membership: spoilt });
    expect(stale).toBe(false);
  });

  it('has no use for a proof that answered another challenge, with or without the secret', async () => {
    const { url } = await closedRelay();
    const keyPair = generateKeyPair();
    const open = async () => {
      const socket = new WebSocket(`${url}/v1/token/${hostIdOf(keyPair.publicKey)}`);
      closers.push(() => socket.terminate());
      const [message] = (await once(socket, 'message')) as [Buffer];
      return { socket, challenge: JSON.parse(message.toString()) as { relayKey: string; nonce: string } };
    };
    const recorded = await open();
    const proof = proveKey(keyPair, recorded.challenge);
    const said = JSON.stringify({ ...proof, by: { secret: proveSecret(secret, proof.mac) }, want: { kind: 'token' } });
    recorded.socket.send(said);
    expect(JSON.parse(String(((await once(recorded.socket, 'message')) as [Buffer])[0]))).toMatchObject({ type: 'permit' });
    const replay = await open();
    replay.socket.send(said);
    expect((await once(replay.socket, 'close'))[0]).toBe(4004);
    const fresh = await open();
    const freshProof = proveKey(keyPair, fresh.challenge);
    fresh.socket.send(JSON.stringify({ ...freshProof, by: { secret: proveSecret(secret, proof.mac) }, want: { kind: 'token' } }));
    expect((await once(fresh.socket, 'close'))[0]).toBe(4005);
  });

  it('takes no token any more that was given under a secret which the operator has replaced', async () => {
    const { url, secretFile, next } = await closedRelay();
    const member = memberOf(url, { secret });
    const token = await member.token();
    const absent = hostIdOf(generateKeyPair().publicKey);
    expect(await statusOf(`${url}/v1/dial/${absent}`, bearer(token))).toBe(404);
    const read = next('settings-read');
    await writeFile(secretFile, `${secret.toUpperCase()}\n`);
    await read;
    expect(await statusOf(`${url}/v1/dial/${absent}`, bearer(token))).toBe(401);
    await expect(memberOf(url, { secret }).token()).rejects.toMatchObject({ reason: 'not-admitted' });
  });

  it('goes on with what it had when a file becomes unusable, and says why without what is in it', async () => {
    const { url, secretFile, next } = await closedRelay();
    const refused = next('settings-refused');
    await writeFile(secretFile, 'too short\n');
    expect((await refused).message).toMatch(/shorter than 32/);
    expect(JSON.stringify(events)).not.toContain('too short');
    await memberOf(url, { secret }).token();
  });

  it('puts a host out at once that the operator denies', async () => {
    const denyFile = join(directory, 'denied');
    await writeFile(denyFile, '# nobody yet\n');
    const running = await closedRelay({ denyFile });
    const { url, next } = running;
    const keyPair = generateKeyPair();
    const server = await host(url, keyPair, memberOf(url, { secret }, keyPair));
    const stream = await dial(url, server.hostId, { membership: memberOf(url, { secret }) });
    const closed = failureOf(stream);
    const lost = new Promise<void>((resolve) => server.client.onStatusChange(() => server.client.status === 'errored' && resolve()));
    const read = next('settings-read');
    await writeFile(denyFile, `${server.hostId} # lost laptop\n`);
    await Promise.all([read, lost, closed]);
    expect(server.client.statusMessage).toContain('does not let this host in');
    while (running.statistics().hosts + running.statistics().pairs > 0) await new Promise((resolve) => setImmediate(resolve));
    await expect(memberOf(url, { secret }, keyPair).token()).rejects.toMatchObject({ reason: 'not-admitted' });
  });
});

describe('what was let in', () => {
  const others = 'n'.repeat(40);
  const issuer = generateKeyPairSync('ed25519');
  const issuedTo = ({ publicKey }: KeyPair, until: number): RelayCredential => {
    const text = [{ alg: 'EdDSA' }, { aud: 'baton-relay', sub: hostIdOf(publicKey), exp: until / 1000 }].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
    return { grant: `${text}.${sign(null, Buffer.from(text), issuer.privateKey).toString('base64url')}` };
  };
  const pem = (key: KeyObject) => String(key.export({ type: 'spki', format: 'pem' }));

  /** A host and a dialer that are joined, each by its own right; `gone` resolves when both its registration and the pair have ended. */
  async function joined(running: RunningRelay, ofHost: (keyPair: KeyPair) => RelayCredential, ofDialer = ofHost) {
    const [near, far] = [generateKeyPair(), generateKeyPair()];
    const server = await host(running.url, far, memberOf(running.url, ofHost(far), far));
    const stream = await dial(running.url, server.hostId, { membership: memberOf(running.url, ofDialer(near), near) });
    const broken = failureOf(stream);
    const lost = new Promise<void>((resolve) => server.client.onStatusChange(() => server.client.status === 'errored' && resolve()));
    return { near, far, stream, broken, lost, server };
  }

  /** A host that has proven its key and answers nothing by itself. */
  async function registeredWith(url: string, keyPair: KeyPair): Promise<WebSocket> {
    const control = new WebSocket(`${url}/v1/register/${hostIdOf(keyPair.publicKey)}`, { headers: bearer(await memberOf(url, { secret }, keyPair).token()) });
    closers.push(() => control.on('error', () => undefined).terminate());
    const [asked] = (await once(control, 'message')) as [Buffer];
    control.send(JSON.stringify(proveKey(keyPair, JSON.parse(asked.toString()) as { relayKey: string; nonce: string })));
    await once(control, 'message');
    return control;
  }

  it('by a secret ends when the operator takes that back, and not when another is put before it', async () => {
    const running = await closedRelay();
    const { stream, broken, lost } = await joined(running, () => ({ secret }));
    let read = running.next('settings-read');
    await writeFile(running.secretFile, `${others}\n${secret}\n`);
    await read;
    const later = await joined(running, () => ({ secret }));
    expect(stream.destroyed).toBe(false);
    read = running.next('settings-read');
    await writeFile(running.secretFile, `${others}\n`);
    await Promise.all([read, broken, lost]);
    // What was given since then was sealed with the secret that stays.
    expect([later.stream.destroyed, later.server.client.status]).toEqual([false, 'connected']);
  });

  it('by an issuer ends when its key is taken back', async () => {
    const issuerKeyFile = join(directory, 'issuer.pem');
    await writeFile(issuerKeyFile, pem(issuer.publicKey));
    const running = await closedRelay({ issuerKeyFile });
    const bySecret = await joined(running, () => ({ secret }));
    const { broken, lost } = await joined(running, (keyPair) => issuedTo(keyPair, Date.now() + MINUTE));
    const mixed = await joined(running, () => ({ secret }), (keyPair) => issuedTo(keyPair, Date.now() + MINUTE));
    await writeFile(issuerKeyFile, pem(generateKeyPairSync('ed25519').publicKey));
    await Promise.all([broken, lost, mixed.broken]);
    expect([bySecret.stream.destroyed, mixed.server.client.status]).toEqual([false, 'connected']);
  });

  it('by an issuer ends when that right does', async () => {
    const issuerKeyFile = join(directory, 'issuer.pem');
    await writeFile(issuerKeyFile, pem(issuer.publicKey));
    const clock = new ManualClock();
    const running = await relay({ admission: { issuerKeyFile }, clock });
    const until = Date.now() + 4000;
    const { stream, broken, lost } = await joined(running, (keyPair) => issuedTo(keyPair, until));
    clock.advance(12_000);
    expect(stream.destroyed).toBe(Date.now() >= until);
    await new Promise((resolve) => setTimeout(resolve, until - Date.now() + 10));
    clock.advance(12_000);
    await Promise.all([broken, lost]);
  });

  it.each(['dials', 'is dialled'])('and is denied while a host that %s is waited for comes to nothing', async (role) => {
    const denyFile = join(directory, 'denied');
    await writeFile(denyFile, '');
    const running = await closedRelay({ denyFile });
    const [near, far] = [generateKeyPair(), generateKeyPair()];
    const control = await registeredWith(running.url, far);
    const dialling = dialThroughRelay({ url: running.url, hostId: hostIdOf(far.publicKey), membership: memberOf(running.url, { secret }, near) }).catch((error: unknown) => error);
    const [message] = (await once(control, 'message')) as [Buffer];
    const read = running.next('settings-read');
    await writeFile(denyFile, hostIdOf((role === 'dials' ? near : far).publicKey));
    await read;
    expect(await statusOf(`${running.url}/v1/accept/${(JSON.parse(message.toString()) as { ticket: string }).ticket}`)).toBe(404);
    expect(await dialling).toMatchObject({ reason: 'not-admitted' });
    expect(running.statistics().pairs).toBe(0);
  });

  it('and is denied while an earlier connection is asked whether it lives is not registered', async () => {
    const [denyFile, secretFile] = [join(directory, 'denied'), join(directory, 'secret')];
    await writeFile(denyFile, '');
    await writeFile(secretFile, secret);
    const clock = new ManualClock();
    const running = await relay({ admission: { secretFile, denyFile }, clock, limits: { aliveProbeMs: 5000 }, log: (event) => events.push(event) });
    const keyPair = generateKeyPair();
    const first = await registeredWith(running.url, keyPair);
    // Its machine has gone without a word.
    (first as unknown as { _socket: { pause(): void } })._socket.pause();
    const token = await memberOf(running.url, { secret }, keyPair).token();
    const second = new WebSocket(`${running.url}/v1/register/${hostIdOf(keyPair.publicKey)}`, { headers: bearer(token) });
    closers.push(() => second.terminate());
    const [asked] = (await once(second, 'message')) as [Buffer];
    second.send(JSON.stringify(proveKey(keyPair, JSON.parse(asked.toString()) as { relayKey: string; nonce: string })));
    const closed = once(second, 'close');
    await writeFile(denyFile, hostIdOf(keyPair.publicKey));
    // The files are looked at; only then time goes on in which the earlier connection is given up.
    clock.advance(2000);
    while (!events.some(({ event }) => event === 'settings-read')) await new Promise((resolve) => setImmediate(resolve));
    for (let step = 0; step < 100; step++) {
      clock.advance(100);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await closed)[0]).toBe(4005);
    expect(running.statistics().hosts).toBe(0);
  });
});

describe('a membership', () => {
  it('keeps the token that it got after it had forgotten one which fails late', async () => {
    const { url } = await closedRelay();
    const credentials: { resolve: (credential: RelayCredential) => void; reject: (error: Error) => void }[] = [];
    const membership = new RelayMembership({ url, keyPair: generateKeyPair(), credential: () => new Promise((resolve, reject) => credentials.push({ resolve, reject })) });
    const first = membership.token().catch((error: unknown) => error);
    membership.forget();
    const second = membership.token();
    credentials[1]?.resolve({ secret });
    const token = await second;
    credentials[0]?.reject(new Error('too late'));
    await first;
    expect(await membership.token()).toBe(token);
    expect(credentials).toHaveLength(2);
  });
});

describe('a pass', () => {
  it('lets a stranger dial the inviting host and nothing else', async () => {
    const { url } = await closedRelay();
    const keyPair = generateKeyPair();
    const membership = memberOf(url, { secret }, keyPair);
    const server = await host(url, keyPair, membership);
    const bystander = await host(url, ...(() => { const pair = generateKeyPair(); return [pair, memberOf(url, { secret }, pair)] as const; })());
    const pass = await membership.pass();
    await dial(url, server.hostId, { pass });
    expect(await statusOf(`${url}/v1/dial/${bystander.hostId}`, bearer(pass))).toBe(401);
    expect(await statusOf(`${url}/v1/register/${server.hostId}`, bearer(pass))).toBe(401);
    await expect(memberOf(url, { grant: pass ?? '' }, keyPair).token()).rejects.toMatchObject({ reason: 'not-admitted' });
  });
});

describe('a grant', () => {
  it('lets its holder in, who lets in others, and is of no use with another key', async () => {
    const { url } = await closedRelay();
    const [second, third] = [generateKeyPair(), generateKeyPair()];
    const grant = (await memberOf(url, { secret }).grantFor(hostIdOf(second.publicKey))) ?? '';
    const membership = memberOf(url, { grant }, second);
    await host(url, second, membership);
    const further = (await membership.grantFor(hostIdOf(third.publicKey))) ?? '';
    await host(url, third, memberOf(url, { grant: further }, third));
    await expect(memberOf(url, { grant }, third).token()).rejects.toMatchObject({ reason: 'not-admitted' });
    expect(await statusOf(`${url}/v1/register/${hostIdOf(second.publicKey)}`, bearer(grant))).toBe(401);
  });
});

/** An Admission that is asked without a relay around it; time stands where the test puts it. */
function gate(changes: Partial<AdmissionRules> = {}) {
  const time = { now: Date.parse('2026-01-01T00:00:00Z') };
  const admission = new Admission(() => time.now);
  admission.replace(rules(changes));
  const ask = (keyPair: KeyPair, by: (mac: string) => RelayCredential, want: Parameters<Admission['exchange']>[1]['want']) => {
    const proof = proveKey(keyPair, createChallenge().challenge);
    return admission.exchange(hostIdOf(keyPair.publicKey), { ...proof, by: by(proof.mac), want });
  };
  const byGrant = (grant: string) => () => ({ grant });
  return { time, admission, ask, byGrant, bySecret: (mac: string) => ({ secret: proveSecret(secret, mac) }) };
}

describe('admission', () => {
  it('gives tokens for five minutes, passes for twelve, and nothing is taken for what it is not', () => {
    const { time, admission, ask, bySecret } = gate();
    const [member, other] = [generateKeyPair(), generateKeyPair()];
    const [id, otherId] = [member, other].map(({ publicKey }) => hostIdOf(publicKey)) as [string, string];
    const permits = (['token', 'pass'] as const).map((kind) => ask(member, bySecret, { kind })?.permit);
    const grant = ask(member, bySecret, { kind: 'grant', hostId: id })?.permit;
    const admitted = () => [...permits, grant].map((permit) => [['register', id], ['dial', otherId], ['dial', id]].map(([action, hostId]) => admission.admits(`Bearer ${permit ?? ''}`, action as 'dial', hostId ?? '') !== undefined));
    const [no, token, pass] = [[false, false, false], [true, true, true], [false, false, true]];
    expect(admitted()).toEqual([token, pass, no]);
    time.now += 5 * MINUTE;
    expect(admitted()).toEqual([no, pass, no]);
    time.now += 7 * MINUTE;
    expect(admitted()).toEqual([no, no, no]);
  });

  it('refuses every permit with one bit changed', () => {
    const { admission, ask, bySecret } = gate();
    const keyPair = generateKeyPair();
    const token = ask(keyPair, bySecret, { kind: 'token' })?.permit ?? '';
    const bytes = Buffer.from(token, 'base64url');
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const forged = Buffer.from(bytes);
      forged.writeUInt8(forged.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect(admission.admits(`Bearer ${forged.toString('base64url')}`, 'dial', hostIdOf(keyPair.publicKey))).toBeUndefined();
    }
    expect(admission.admits(`Bearer ${token}`, 'dial', hostIdOf(keyPair.publicKey))).toBeDefined();
  });

  it('replaces a grant that is used when half of its 90 days are over, and ends one that is not', () => {
    const { time, ask, bySecret, byGrant } = gate();
    const keyPair = generateKeyPair();
    const grant = ask(generateKeyPair(), bySecret, { kind: 'grant', hostId: hostIdOf(keyPair.publicKey) })?.permit ?? '';
    expect(ask(keyPair, byGrant(grant), { kind: 'token' })).not.toHaveProperty('grant');
    time.now += 50 * DAY;
    const renewed = ask(keyPair, byGrant(grant), { kind: 'token' })?.grant ?? '';
    time.now += 60 * DAY;
    expect(ask(keyPair, byGrant(grant), { kind: 'token' })).toBeUndefined();
    expect(ask(keyPair, byGrant(renewed), { kind: 'token' })).toBeDefined();
  });

  it('lets two secrets stand side by side while one is replaced', () => {
    const { admission, ask, byGrant, bySecret } = gate();
    const keyPair = generateKeyPair();
    const grant = ask(keyPair, bySecret, { kind: 'grant', hostId: hostIdOf(keyPair.publicKey) })?.permit ?? '';
    admission.replace(rules({ secrets: ['n'.repeat(40), secret] }));
    expect(ask(keyPair, bySecret, { kind: 'token' })).toBeDefined();
    expect(ask(keyPair, byGrant(grant), { kind: 'token' })).toBeDefined();
    admission.replace(rules({ secrets: ['n'.repeat(40)] }));
    expect(ask(keyPair, bySecret, { kind: 'token' })).toBeUndefined();
    expect(ask(keyPair, byGrant(grant), { kind: 'token' })).toBeUndefined();
  });

  describe('by an issuer', () => {
    const issuer = generateKeyPairSync('ed25519');
    const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const signed = (header: unknown, claims: unknown, key: KeyObject = issuer.privateKey) => {
      const text = `${encode(header)}.${encode(claims)}`;
      return `${text}.${sign(null, Buffer.from(text), key).toString('base64url')}`;
    };
    const keyPair = generateKeyPair();
    const sub = hostIdOf(keyPair.publicKey);
    const at = Date.parse('2026-01-01T00:00:00Z') / 1000;
    const claims = { aud: 'baton-relay', sub, exp: at + 3600 };
    const header = { alg: 'EdDSA', typ: 'JWT' };

    it('lets in the host that its token names, as long as the token lasts, and nobody whom that host names', () => {
      const { time, ask, byGrant } = gate({ secrets: [], issuerKeys: [issuer.publicKey] });
      const by = byGrant(signed(header, claims));
      expect(ask(keyPair, by, { kind: 'token' })).toMatchObject({ lifetimeMs: 5 * MINUTE });
      expect(ask(generateKeyPair(), by, { kind: 'token' })).toBeUndefined();
      expect(ask(keyPair, by, { kind: 'grant', hostId: sub })).toBeUndefined();
      time.now += 58 * MINUTE;
      expect(ask(keyPair, by, { kind: 'token' })).toMatchObject({ lifetimeMs: 2 * MINUTE });
      time.now += 2 * MINUTE;
      expect(ask(keyPair, by, { kind: 'token' })).toBeUndefined();
    });

    it.each([
      ['another signature', signed(header, claims, generateKeyPairSync('ed25519').privateKey)],
      ['no algorithm', `${encode({ alg: 'none' })}.${encode(claims)}.`],
      ['another algorithm', signed({ ...header, alg: 'HS256' }, claims)],
      ['extensions that must be understood', signed({ ...header, crit: ['b64'] }, claims)],
      ['another audience', signed(header, { ...claims, aud: 'billing' })],
      ['no end', signed(header, { aud: claims.aud, sub })],
      ['an end that is past', signed(header, { ...claims, exp: at })],
      ['a beginning to come', signed(header, { ...claims, nbf: at + 60 })],
      ['claims that are none', signed(header, 'admin')],
      ['a fourth part', `${signed(header, claims)}.AAAA`],
    ])('refuses a token with %s', (_what, token) => {
      const { ask, byGrant } = gate({ secrets: [], issuerKeys: [issuer.publicKey] });
      expect(ask(keyPair, byGrant(token), { kind: 'token' })).toBeUndefined();
    });
  });
});
