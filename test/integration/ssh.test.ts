import { execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { bundleProgram } from '../fixtures/bundle';
import { bundle } from '../fixtures/machine';
import { workingState } from '../fixtures/checkout';
import { noSshServer } from '../fixtures/sshServer';
import { refusal, said, saying } from './pairedHosts';
import { startSshGround, type SshGround } from './sshGround';

const copied = (ground: SshGround) => join(ground.box.machine.batonHome, 'bin', 'baton.js');
const hashOf = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

describe.skipIf(noSshServer !== null)(`a machine that ssh finds${noSshServer === null ? '' : ` (skipped: ${noSshServer})`}`, () => {
  let ground: SshGround;
  beforeAll(async () => {
    ground = await startSshGround();
    return () => ground.close();
  });
  const add = (alias: string) => ground.laptop.client.call('host/add', { alias });

  describe('that has no host yet', () => {
    it.each([
      [['git', 'codex'], ['node-missing']],
      [['node', 'codex'], ['git-missing']],
      [['node', 'git'], ['codex-missing']],
      [[], ['node-missing', 'git-missing', 'codex-missing']],
    ] as const)('and only %j on its PATH is told of what is missing, and is left as it is', async (programs, missing) => {
      await ground.provide(...programs);
      const error = await refusal(add('box'));
      expect(error).toMatchObject({ reason: 'host-not-ready', message: saying(/Nothing was changed there/) });
      expect(error.details.findings?.map(({ code }) => code)).toEqual(missing);
      expect(existsSync(ground.box.machine.batonHome)).toBe(false);
      await ground.provide('node', 'git', 'codex');
    });

    it('is not connected to where its host key is unknown, its name leads nowhere, or it does not let this account in', async () => {
      await ground.configure({ hostKey: null });
      expect(await refusal(add('box'))).toMatchObject({ reason: 'ssh-host-key', message: saying(/has not met the machine.*ssh box/) });
      await ground.configure({ identity: join(ground.directory, 'sshd', 'host') });
      expect(await refusal(add('box'))).toMatchObject({ reason: 'ssh-refused', message: saying(/never asks in the background/) });
      await ground.configure({ port: 1 });
      expect(await refusal(add('box'))).toMatchObject({ reason: 'ssh-unreachable', message: saying(/refused the connection/) });
      await ground.configure();
      expect(await refusal(add('nowhere.invalid'))).toMatchObject({ reason: 'ssh-unreachable' });
      for (const alias of ['-oProxyCommand=touch hacked', 'a b', '$(id)', '*']) expect(await refusal(add(alias))).toMatchObject({ reason: 'invalid-params' });
      expect(existsSync(ground.box.machine.batonHome)).toBe(false);
    });

    it('gets Baton and a host, and both know each other, with the same words', async () => {
      const listed = await ground.laptop.machine.json<{ aliases: { alias: string; hostId: string | null; target: { hostName: string } }[] }>('host', 'aliases');
      expect(listed.aliases.map(({ alias, hostId, target }) => [alias, hostId, target.hostName])).toEqual([['box', null, '127.0.0.1'], ['box-by-another-name', null, '127.0.0.1']]);
      const added = await ground.laptop.machine.json<{ hostId: string; words: string; role: string; notes: string[]; copied: boolean; known: boolean }>('host', 'add', 'box');
      expect(added).toMatchObject({ role: 'peer', copied: true, known: false, notes: [] });
      expect(hashOf(copied(ground))).toBe(hashOf(bundle));
      expect(statSync(copied(ground)).mode & 0o777).toBe(0o700);
      await ground.box.attach();
      expect(ground.box.hostId).toBe(added.hostId);
      expect(ground.box.audit()).toContainEqual(expect.objectContaining({ type: 'device-paired', deviceId: ground.laptop.hostId, kind: 'host', role: 'peer', words: added.words }));
      expect(ground.laptop.audit()).toContainEqual(expect.objectContaining({ type: 'host-paired', hostId: added.hostId, words: added.words }));
      expect((await ground.box.client.call('device/list')).devices).toMatchObject([{ id: ground.laptop.hostId, role: 'peer', expiresAt: null }]);
      const { pid, codexVersion } = await ground.box.client.call('host/read');
      expect(codexVersion).not.toBeNull();
      if (process.platform === 'linux') {
        const env = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
        // PATH is the login shell's; of the connection itself nothing is left.
        expect(env).toContain(`PATH=${join(ground.box.machine.directory, 'programs')}`);
        expect(env.filter((entry) => /^(SSH_(CONNECTION|CLIENT|TTY|AUTH_SOCK)|BATON_(THEN|MARK|CALL))=/.test(entry))).toEqual([]);
      }
    });

    it('is one host under two names, and is not copied to again', async () => {
      expect(await add('box-by-another-name')).toMatchObject({ hostId: ground.box.hostId, copied: false, known: true });
      const { hosts } = await ground.laptop.client.call('host/list');
      expect(hosts.filter(({ self }) => !self)).toMatchObject([{ hostId: ground.box.hostId, online: true }]);
      expect((await ground.laptop.client.call('host/aliases')).aliases.map(({ hostId }) => hostId)).toEqual([ground.box.hostId, ground.box.hostId]);
    });
  });

  it('takes a thread over ssh alone and hands it back', async () => {
    const { laptop, box } = ground;
    await box.client.call('project/add', { directory: box.checkout });
    const before = await workingState(laptop.checkout);
    const threadId = await laptop.begin(said.hello);
    const { worktree } = await laptop.handOff({ threadId, to: box.hostId });
    expect(await workingState(worktree)).toEqual(before);
    expect(await box.say(threadId, said.hello)).toBe('completed');
    expect(await laptop.handOff({ threadId, to: laptop.hostId, from: box.hostId })).toMatchObject({ threadId, epoch: 2 });
    expect(await laptop.say(threadId, said.hello)).toBe('completed');
    // Also when it is asked for there.
    await laptop.handOff({ threadId, to: box.hostId });
    expect(await box.handOff({ threadId, to: laptop.hostId })).toMatchObject({ threadId, epoch: 4 });
    expect(await laptop.say(threadId, said.hello)).toBe('completed');
  });

  it('takes a thread also where the connection is cut in the middle of the transfer', async () => {
    const { laptop, box, wire } = ground;
    await writeFile(join(laptop.checkout, 'random.bin'), randomBytes(6_000_000));
    const before = await workingState(laptop.checkout);
    const threadId = await laptop.begin(said.hello);
    const transfer = laptop.phase('transfer', threadId);
    const done = laptop.handOff({ threadId, to: box.hostId });
    await transfer;
    wire.fail('cut', 2_000_000);
    const { worktree } = await done;
    expect(wire.heal()).toBe(true);
    expect(await workingState(worktree)).toEqual(before);
    expect(await box.say(threadId, said.hello)).toBe('completed');
    expect(await laptop.handOff({ threadId, to: laptop.hostId, from: box.hostId })).toMatchObject({ threadId, epoch: 2 });
  });

  describe('with an older Baton', () => {
    const current = async () => (await ground.laptop.client.call('host/read')).batonVersion;
    const running = async () => (await ground.box.client.call('host/read')).batonVersion;

    /** Ends the host there, and starts one of an older Baton in its place. */
    async function goBack(): Promise<void> {
      const { box, directory } = ground;
      await box.endAttached();
      const older = await bundleProgram('src/host/cli/main.ts', join(directory, 'older'));
      await copyFile(older, copied(ground));
      await promisify(execFile)(process.execPath, [copied(ground), 'hosts', '--json'], { env: box.machine.env });
      await box.attach();
      expect(await running()).toBe('0.0.0-test');
    }

    it('is brought to this version before anything else is done with it', async () => {
      const { laptop, box } = ground;
      await goBack();
      const threadId = await laptop.begin(said.hello);
      await laptop.handOff({ threadId, to: box.hostId });
      await box.attach();
      expect(await running()).toBe(await current());
      expect(hashOf(copied(ground))).toBe(hashOf(bundle));
      expect((await laptop.client.call('host/list')).hosts.find(({ self }) => !self)).toMatchObject({ online: true, note: null });
    });

    it('is left alone while a turn runs there, and brought to this version when it rests', async () => {
      const { laptop, box } = ground;
      await goBack();
      const { thread } = (await box.client.codex('thread/start', { cwd: box.checkout })) as { thread: { id: string } };
      const rest = box.rest(thread.id);
      await box.client.codex('turn/start', { threadId: thread.id, input: [{ type: 'text', text: said.slowly, text_elements: [] }] });
      const { notes } = await add('box');
      expect(notes).toEqual([expect.stringMatching(/runs Baton 0\.0\.0-test.*left as it is: A turn of the thread .* runs/)]);
      expect((await laptop.client.call('host/list')).hosts.find(({ self }) => !self)).toMatchObject({ online: true, note: notes[0] });
      expect(await running()).toBe('0.0.0-test');
      await box.client.codex('turn/interrupt', { threadId: thread.id, turnId: ((await box.client.codex('thread/turns/list', { threadId: thread.id, limit: 1 })) as { data: { id: string }[] }).data[0]?.id });
      expect(await rest).toBe('interrupted');
      expect((await add('box')).notes).toEqual([]);
      await box.attach();
      expect(await running()).toBe(await current());
    });
  });

  it('whose key has a passphrase is asked about in the open only, and that connection is used afterwards', async () => {
    const { laptop, directory } = ground;
    const locked = join(directory, 'locked');
    await copyFile(join(directory, 'sshd', 'user'), locked);
    await promisify(execFile)('ssh-keygen', ['-q', '-p', '-P', '', '-N', 'open sesame', '-f', locked]);
    await ground.configure({ identity: locked });
    expect(await refusal(add('box'))).toMatchObject({ reason: 'ssh-refused' });
    const { program, args } = await laptop.client.call('host/ssh', { alias: 'box' });
    // In place of somebody who sits at a terminal.
    await writeFile(join(directory, 'askpass'), '#!/bin/sh\necho open sesame\n', { mode: 0o700 });
    const code = await new Promise((fulfil) => spawn(program, args, { stdio: 'ignore', env: { PATH: process.env['PATH'], SSH_ASKPASS: join(directory, 'askpass'), SSH_ASKPASS_REQUIRE: 'force' } }).once('exit', fulfil));
    try {
      expect(code).toBe(0);
      expect(await add('box')).toMatchObject({ hostId: ground.box.hostId, known: true });
    } finally {
      await ground.endShared();
      await ground.configure();
    }
    expect(await add('box')).toMatchObject({ known: true });
  });

  it('is not connected to any more where another host key is shown, and says so', async () => {
    const { laptop, wire } = ground;
    wire.part();
    await ground.replaceServer();
    wire.heal();
    expect(await refusal(add('box'))).toMatchObject({ reason: 'ssh-host-key', message: saying(/another host key than before.*Nothing was sent/) });
    const threadId = await laptop.begin(said.hello);
    expect(await refusal(laptop.handOff({ threadId, to: ground.box.hostId }))).toMatchObject({ reason: 'ssh-host-key' });
    expect(await laptop.say(threadId, said.hello)).toBe('completed');
  });
});
