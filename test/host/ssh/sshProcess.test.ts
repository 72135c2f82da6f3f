import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../../src/host/log';
import { Ssh } from '../../../src/host/ssh/ssh';
import { lookAround } from '../../../src/host/ssh/remoteShell';
import { appears } from '../../fixtures/appears';

/** A program in place of ssh. The last argument is the command for the other machine, in which the mark stands by itself. */
describe.skipIf(process.platform === 'win32')('an ssh that runs', () => {
  let directory: string;
  let ssh: Ssh;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'baton-fake-ssh-'));
    return () => {
      ssh.dispose();
      rmSync(directory, { recursive: true });
    };
  });
  const never = new AbortController().signal;
  /** `mark` holds the mark, `ready` what says that the command has begun. */
  const fake = (script: string) => {
    writeFileSync(join(directory, 'ssh'), `#!/bin/sh\ncase " $* " in *' -G '*) exit 0 ;; esac\nfor last; do :; done\nmark=$(printf %s "$last" | grep -o ' [0-9a-f]\\{24\\} ' | tr -d ' ')\nready="baton $mark ready"\necho $$ >'${join(directory, 'pid.part')}'\nmv '${join(directory, 'pid.part')}' '${join(directory, 'pid')}'\n${script}\n`);
    chmodSync(join(directory, 'ssh'), 0o755);
    ssh = new Ssh({ env: { PATH: `${directory}:/usr/bin:/bin` }, log: silentLog });
  };
  const pid = () => Number(readFileSync(join(directory, 'pid'), 'utf8'));
  /** Throws once the process is gone. */
  const lives = () => process.kill(pid(), 0);

  it('may be preceded by any noise, and what comes after its mark is not lost', async () => {
    fake('head -c 100000 /dev/zero; printf "baton "; echo "$mark ready?"; echo "$ready"; echo "a line"; printf bytes; cat');
    const session = await ssh.start('box', lookAround, never);
    expect(await session.line()).toBe('a line');
    const stream = session.stream();
    stream.end('echo');
    let text = '';
    for await (const chunk of stream) text += String(chunk);
    expect(text).toBe('bytesecho');
    expect(await session.end()).toBe(0);
  });

  it('is ended where the noise does not', async () => {
    fake('trap "exit 3" TERM; while :; do head -c 100000 /dev/zero; done');
    await expect(ssh.start('box', lookAround, never)).rejects.toMatchObject({ reason: 'ssh-failed', message: expect.stringMatching(/goes on writing/) as string });
  });

  it('is ended by its caller, by a deadline, and with the host, also where it does not heed that', async () => {
    fake("trap '' TERM; echo \"$ready\"; while :; do sleep 1; done");
    const caller = new AbortController();
    const session = await ssh.start('box', lookAround, caller.signal);
    const line = session.line();
    caller.abort();
    await expect(line).rejects.toMatchObject({ reason: 'cancelled' });
    await session.end();
    expect(lives).toThrow();
    rmSync(join(directory, 'pid'));

    fake('exec sleep 60');
    const deadline = new AbortController();
    const late = ssh.start('box', lookAround, deadline.signal);
    await appears(join(directory, 'pid'));
    deadline.abort(new DOMException('Late.', 'TimeoutError'));
    await expect(late).rejects.toMatchObject({ reason: 'ssh-unreachable', message: expect.stringMatching(/did not answer in time/) as string });
    rmSync(join(directory, 'pid'));

    fake('echo "$ready"; exec sleep 60');
    const last = await ssh.start('box', lookAround, never);
    ssh.dispose();
    expect(await last.end()).toBeNull();
    expect(lives).toThrow();
    await expect(ssh.start('box', lookAround, never)).rejects.toMatchObject({ reason: 'connection-lost' });
  });

  it('is told of by what it said first and last, at whatever length', async () => {
    fake('echo "Host key verification failed." >&2; head -c 1000000 /dev/zero | tr "\\0" x >&2; exit 255');
    await expect(ssh.start('box', lookAround, never)).rejects.toMatchObject({ reason: 'ssh-host-key' });
    fake('head -c 1000000 /dev/zero | tr "\\0" x >&2; echo >&2; echo "me@box: Permission denied (publickey)." >&2; exit 255');
    await expect(ssh.start('box', lookAround, never)).rejects.toMatchObject({ reason: 'ssh-refused' });
  });

  it('never asks, forwards nothing, and leaves the checking of host keys to the configuration', async () => {
    fake(`for each; do printf '%s\\n' "$each"; done >'${join(directory, 'arguments')}'; echo "$ready"`);
    (await ssh.start('me@box', lookAround, never)).kill();
    const given = readFileSync(join(directory, 'arguments'), 'utf8').split('\n');
    expect(given).toEqual(expect.arrayContaining(['-T', '-a', '-x', 'BatchMode=yes', 'ClearAllForwardings=yes', 'ControlMaster=no']));
    expect(given.slice(given.indexOf('--'), given.indexOf('--') + 2)).toEqual(['--', 'me@box']);
    expect(given.join()).not.toMatch(/StrictHostKeyChecking|UserKnownHostsFile/);
  });

  it('is not there', async () => {
    ssh = new Ssh({ env: { PATH: directory }, log: silentLog });
    await expect(ssh.start('box', lookAround, never)).rejects.toMatchObject({ reason: 'ssh-not-found' });
    await expect(ssh.start('-v', lookAround, never)).rejects.toMatchObject({ reason: 'invalid-params' });
  });
});
