import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { joinHost, lookAround, remoteCommand, takeBaton } from '../../../src/host/ssh/remoteShell';

const shells = ['/bin/sh', '/bin/dash', '/bin/bash', '/bin/zsh', '/usr/bin/zsh', '/usr/bin/fish', '/bin/ksh', '/usr/bin/ksh', '/bin/tcsh', '/usr/bin/tcsh', '/bin/csh'].filter((path) => existsSync(path));

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'baton home with $spaces & "quotes" '));
  return () => rmSync(home, { recursive: true });
});

/** Runs a script as an ssh server does: the account's shell gets it as one word. */
function run(shell: string, script: string, input: string | Buffer = ''): { status: number | null; said: string; noise: string } {
  const { command, ready } = remoteCommand(script, 'abc123');
  const { status, stdout } = spawnSync(shell, ['-c', command], { encoding: 'utf8', input, env: { HOME: home, SHELL: shell, PATH: `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}` } });
  const at = stdout.indexOf(ready);
  expect(at).toBeGreaterThanOrEqual(0);
  return { status, said: stdout.slice(at + ready.length), noise: stdout.slice(0, at) };
}

describe.skipIf(process.platform === 'win32').each(shells)('under the login shell %s', (shell) => {
  it('what is there is found', () => {
    const { said } = run(shell, lookAround);
    expect(said).toMatch(/^system \S+\npath .+\nnode v\d+\.\d+\.\d+\ngit git version .+\ncodex .*\nlauncher .*\nbaton ?\nversion ?\nend\n$/);
  });

  it('a file is put in its place whole, or not at all', () => {
    const program = Buffer.from('console.log("9.9.9")\n'.repeat(20_000));
    const sha256 = createHash('sha256').update(program).digest('hex');
    const bin = join(home, '.baton', 'bin');
    expect(run(shell, takeBaton(sha256), program.subarray(1)).said).toBe('failed\n');
    expect(readdirSync(bin)).toEqual([]);
    expect(run(shell, takeBaton(sha256), program).said).toBe('installed\n');
    expect(readdirSync(bin)).toEqual(['baton.js']);
    expect(readFileSync(join(bin, 'baton.js'))).toEqual(program);
    expect(statSync(join(bin, 'baton.js')).mode & 0o777).toBe(0o700);
    // What is there stays where something else comes.
    expect(run(shell, takeBaton('0'.repeat(64)), 'else').said).toBe('failed\n');
    expect(readFileSync(join(bin, 'baton.js'))).toEqual(program);
    expect(run(shell, lookAround).said).toContain(`baton ${sha256}\n`);
  });

  it('a program there gets its options, and what is said to it', () => {
    expect(run(shell, joinHost(['--renew'])).said).toBe('missing\n');
    mkdirSync(join(home, '.baton', 'bin'), { recursive: true });
    writeFileSync(join(home, '.baton', 'bin', 'baton.js'), 'process.stdout.write(JSON.stringify([process.argv.slice(2), Object.keys(process.env).filter((name) => name.startsWith("BATON"))]) + "\\n"); process.stdin.pipe(process.stdout)');
    expect(run(shell, joinHost(['--renew', '--meet=-a_B9']), 'bytes').said).toBe('[["host","stdio","--renew","--meet=-a_B9"],[]]\nbytes');
  });
});

it.skipIf(process.platform === 'win32' || !shells.includes('/bin/bash'))('node is found, too, where only interactive shells have it on PATH', () => {
  for (const [place, names] of [['programs', ['sh', 'bash', 'uname', 'tail', 'git']], ['versions', ['node']]] as const) {
    mkdirSync(join(home, place));
    for (const name of names) {
      const path = name === 'node' ? process.execPath : ['/bin', '/usr/bin'].map((each) => join(each, name)).find((each) => existsSync(each));
      if (path !== undefined) symlinkSync(path, join(home, place, name));
    }
  }
  // As Debian has them, with what an installer of Node adds to the end of .bashrc.
  writeFileSync(join(home, '.profile'), 'PATH="$HOME/programs"\n. "$HOME/.bashrc"\n');
  writeFileSync(join(home, '.bashrc'), 'case $- in *i*) ;; *) return ;; esac\nPATH="$HOME/versions:$PATH"\n');
  expect(run('/bin/bash', lookAround).said).toMatch(/\nnode v\d+/);
});

describe('a command for another machine', () => {
  it('does not hold what says that it has begun, should a shell show it', () => {
    const { command, ready } = remoteCommand(lookAround, 'abc123');
    expect(command).not.toContain(ready.trimEnd());
  });

  it.each(["it's", 'a\\b', 'a!b', 'a\nb'])('is not made of what shells understand in different ways: %j', (text) => {
    expect(() => remoteCommand(text, 'abc123')).toThrow();
  });

  it.each(['a b', '$(id)', "';", '`id`', ''])('takes no option %j', (option) => {
    expect(() => joinHost([option])).toThrow();
    expect(() => takeBaton(option)).toThrow();
    expect(() => remoteCommand('true', option)).toThrow();
  });
});

