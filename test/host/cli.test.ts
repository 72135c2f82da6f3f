import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ResponseError } from 'vscode-jsonrpc/node';
import { bundleProgram } from '../fixtures/bundle';
import { scriptedHostId as laptop, startScriptedHost, type Answers } from '../fixtures/scriptedHost';

const threadId = '0199a213-81c0-7800-8aa1-bbab2a035a53';
const moved = '0199a213-0000-7800-8aa1-bbab2a035a53';
const server = 'S'.repeat(43);
const digest = 'd'.repeat(64);
const handoffId = 'f'.repeat(32);
const ownership = { owner: laptop, epoch: 2, movedTo: null, moving: false, worktreeId: null, pendingApprovals: 0 };
const thread = { id: threadId, preview: 'Fix\u001b[2J it', name: 'fix', cwd: '/src', updatedAt: 1, status: { type: 'active', activeFlags: ['waitingOnApproval'] }, baton: ownership };
const movedThread = { ...thread, id: moved, name: 'gone', status: { type: 'notLoaded' }, baton: { ...ownership, owner: server, movedTo: { hostId: server, name: 'server' } } };
const approval = {
  id: 'approval-1', threadId, turnId: 'turn-1', itemId: null, kind: 'command', command: 'make\u001b]52;c;eA==\u0007', changes: [], questions: [], request: null,
  cwd: '/src', reason: null, hostId: laptop, digest, requestedAt: '2026-01-01T00:00:00Z', carriedOver: false,
};
const finding = { level: 'blocker', code: 'no-matching-project', message: 'server has no project of this repository. Save one there with `baton project add`.' };
const result = {
  handoffId, threadId, from: laptop, to: server, epoch: 3, worktree: '/w', branch: 'main', commits: 1, files: 2, bytesSent: 3000, rolloutBytesSent: 500, milliseconds: 1500, receipt: digest, notes: ['The branch is called main-2 there.'],
};
const completed = (status: string) => ({ threadId, turn: { id: 'turn-1', status } });

describe('the command line', () => {
  let directory: string;
  let program: string;
  let home: string;
  let answers: Answers;
  let host: Awaited<ReturnType<typeof startScriptedHost>>;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'baton-cli-'));
    // What is tested here is a client; the host that it would start is left out.
    program = await bundleProgram('src/host/cli/main.ts', directory, ['../service']);
    return () => rm(directory, { recursive: true, force: true });
  });
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'baton-cli-home-'));
    answers = {
      'host/list': () => ({ hosts: [{ hostId: laptop, name: 'laptop', online: true, self: true, codexVersion: '0.169.0' }, { hostId: server, name: 'server', online: false, self: false, codexVersion: null }] }),
      'thread/list': (params) => ({ data: (params as { archived: boolean }).archived ? [movedThread] : [thread], nextCursor: null }),
      'approval/list': () => ({ approvals: [approval] }),
      'approval/decide': () => ({ decided: true }),
      'thread/resume': () => ({}),
      'handoff/start': () => ({ handoffId }),
    };
    host = await startScriptedHost({ batonHome: home, answers });
  });
  afterEach(async () => {
    extraEnv = {};
    await host.close();
    await rm(home, { recursive: true, force: true });
  });

  let extraEnv: Record<string, string> = {};
  const start = (...args: string[]) => spawn(process.execPath, [program, ...args], { env: { PATH: process.env['PATH'], BATON_HOME: home, CODEX_HOME: join(home, 'codex'), ...extraEnv }, stdio: ['pipe', 'pipe', 'pipe'] });
  async function finish(child: ReturnType<typeof start>) {
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk) => (stdout += String(chunk)));
    child.stderr.on('data', (chunk) => (stderr += String(chunk)));
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, stdout, stderr };
  }
  const baton = (...args: string[]) => finish(start(...args));
  async function json(...args: string[]) {
    const { code, stdout, stderr } = await baton(...args, '--json');
    expect(stdout.trimEnd().split('\n')).toHaveLength(1);
    return { code, value: JSON.parse(stdout) as Record<string, unknown>, stderr };
  }
  const params = (method: string) => host.heard.filter((each) => each.method === method).map((each) => each.params);

  it.each([
    [['nonsense']], [[]], [['handoff', threadId]], [['threads', '--nonsense']], [['threads', 'extra']], [['relay', '--listen', 'nowhere']], [['host', '--relay', 'http://x']], [['host', '--name', '\u001b']],
    [['invite', '--role', 'king']], [['new', 'text', '--sandbox', 'none']], [['rpc', 'host/read', '{']], [['rpc', 'host/read', '7']], [['approve', 'a', '--answer', 'x']], [['handoff', threadId, '--to', 'here']], [['handoff', threadId, '--to', 'server', '--yes']], [['handoff', threadId, '--to', 'server', '--from', 'server']],
  ])('ends with 2 on wrong usage: %j', async (args) => {
    const plain = await baton(...args);
    expect(plain).toMatchObject({ code: 2, stdout: '' });
    expect(plain.stderr).toContain('baton help');
    expect(await json(...args)).toMatchObject({ code: 2, value: { error: { reason: 'usage', message: expect.any(String) as string } }, stderr: '' });
  });

  it('shows help and version with 0', async () => {
    expect(await baton('--help')).toMatchObject({ code: 0, stdout: expect.stringContaining('handoff') as string });
    expect(await baton('--version')).toMatchObject({ code: 0, stdout: '0.0.0-test\n' });
  });

  it('lists threads, with those that moved away', async () => {
    expect((await json('threads')).value).toEqual({
      threads: [
        { id: threadId, name: 'fix', preview: 'Fix\u001b[2J it', cwd: '/src', status: 'waitingOnApproval', owner: laptop, epoch: 2, movedTo: null },
        { id: moved, name: 'gone', preview: 'Fix\u001b[2J it', cwd: '/src', status: 'notLoaded', owner: server, epoch: 2, movedTo: { hostId: server, name: 'server' } },
      ],
    });
    const { stdout } = await baton('threads');
    expect(stdout).toContain('moved to server');
    expect(stdout.split('\n').every((line) => line.length <= 80)).toBe(true);
  });

  it('lets no control character of an agent reach the terminal', async () => {
    for (const args of [['approvals'], ['approvals', '--json'], ['threads', '--json'], ['approve', 'approval-1'], ['rpc', 'thread/list']]) {
      const { code, stdout } = await baton(...args);
      expect(code).toBe(0);
      expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/); // eslint-disable-line no-control-regex
    }
  });

  it('reports an error of the host by its reason, in both forms', async () => {
    answers['host/invite'] = () => new ResponseError(-32000, 'No relay is set.\u0007', { reason: 'relay-not-set' });
    expect(await json('invite')).toMatchObject({ code: 1, value: { error: { reason: 'relay-not-set', message: 'No relay is set.\u0007' } } });
    expect(await baton('invite')).toMatchObject({ code: 1, stdout: '', stderr: 'No relay is set.␇\n' });
  });

  it.each([['no-such-thread', 'zzz'], ['ambiguous-thread', '0199']])('says %s for %s', async (reason, word) => {
    expect(await json('send', word, 'hi')).toMatchObject({ code: 1, value: { error: { reason } } });
  });

  it('approves what it showed, by its digest', async () => {
    expect((await json('approve', 'appr')).value).toMatchObject({ decided: true, id: 'approval-1', decision: 'accept' });
    expect((await json('reject', 'approval-1', '--digest', digest)).value).toMatchObject({ decision: 'decline' });
    expect(params('approval/decide')).toEqual([{ id: 'approval-1', digest, decision: 'accept' }, { id: 'approval-1', digest, decision: 'decline' }]);
    expect(await json('approve', 'approval-1', '--digest', 'e'.repeat(64))).toMatchObject({ code: 1, value: { error: { reason: 'approval-outdated' } } });
    expect(params('approval/decide')).toHaveLength(2);
  });

  describe('sending', () => {
    beforeEach(() => {
      answers['approval/list'] = () => ({ approvals: [] });
      answers['turn/start'] = () => ({ turn: { id: 'turn-1', status: 'inProgress' } });
    });

    it('does not wait unless asked to', async () => {
      expect(await json('send', 'fix', 'go')).toMatchObject({ code: 0, value: { turnId: 'turn-1', status: 'inProgress' } });
      expect(params('turn/start')).toEqual([{ threadId, input: [{ type: 'text', text: 'go', text_elements: [] }] }]);
    });

    it.each([['completed', 0], ['interrupted', 0], ['failed', 1]])('waits until the turn is %s, also when that comes before its own reply', async (status, code) => {
      answers['turn/start'] = async (_, connection) => {
        await connection.sendNotification('turn/completed', { ...completed('completed'), threadId: moved });
        await connection.sendNotification('turn/completed', completed(status));
        return { turn: { id: 'turn-1', status: 'inProgress' } };
      };
      expect(await json('send', 'fix', 'go', '--wait')).toMatchObject({ code, value: { turnId: 'turn-1', status } });
    });

    it('stops waiting at an approval, but not at one that an earlier turn carried over', async () => {
      answers['approval/list'] = (_, connection) => {
        setImmediate(() => void connection.sendNotification('approval/requested', { approval }));
        return { approvals: [{ ...approval, id: 'old', turnId: null, carriedOver: true }] };
      };
      expect(await json('send', 'fix', 'go', '--wait')).toMatchObject({ code: 0, value: { status: 'waitingOnApproval' } });
    });

    it('says that the host went away while it waited', async () => {
      answers['approval/list'] = (_, connection) => {
        setImmediate(() => connection.dispose());
        return { approvals: [] };
      };
      expect(await json('send', 'fix', 'go', '--wait')).toMatchObject({ code: 1, value: { error: { reason: 'connection-lost' } } });
    });
  });

  describe('handing off', () => {
    it('prints the result as one object', async () => {
      answers['handoff/wait'] = () => result;
      expect(await json('handoff', 'fix', '--to', 'server')).toMatchObject({ code: 0, value: result, stderr: '' });
      expect(params('handoff/start')).toEqual([{ threadId, to: server }]);
    });

    it('shows each phase once and then a summary of at most 80 columns', async () => {
      answers['handoff/wait'] = async (_, connection) => {
        for (const [phase, bytesDone] of [['capture', null], ['transfer', 1000], ['transfer', 2000]]) await connection.sendNotification('handoff/progress', { handoffId, threadId, phase, message: 'Working', bytesDone, bytesTotal: null });
        return result;
      };
      const { code, stdout, stderr } = await baton('handoff', 'fix', '--to', 'server');
      expect({ code, stderr }).toEqual({ code: 0, stderr: 'capture    Working\ntransfer   Working (1.0 kB)\n' });
      expect(stdout).toContain('laptop → server, epoch 3');
      expect(stdout).toContain('3.0 kB, with 500 B of conversation compressed in it, in 1.5 s');
      expect(stdout).toContain('main-2');
      expect(stdout.split('\n').every((line) => line.length <= 80)).toBe(true);
    });

    it('ends with 3 at a blocker and prints the findings', async () => {
      answers['handoff/wait'] = () => new ResponseError(-32000, 'The handoff is blocked.', { reason: 'preflight-blocked', findings: [finding] });
      expect(await json('handoff', 'fix', '--to', 'server')).toMatchObject({ code: 3, value: { error: { reason: 'preflight-blocked', findings: [finding] } } });
      expect(await baton('handoff', 'fix', '--to', 'server')).toMatchObject({ code: 3, stderr: expect.stringContaining('blocker: server has no project') as string });
    });

    it.each([['blocker', 3], ['warning', 0]])('with --dry-run shows a %s and ends with %d, and starts nothing', async (level, code) => {
      const preflight = { threadId, from: laptop, to: server, destinationName: 'server', worktree: null, branch: 'main', commits: 1, files: 2, bytes: 3000, findings: [{ ...finding, level }] };
      answers['handoff/preflight'] = () => preflight;
      expect(await json('handoff', 'fix', '--to', 'server', '--dry-run')).toMatchObject({ code, value: preflight });
      expect((await baton('handoff', 'fix', '--to', 'server', '--dry-run')).stdout).toContain('1 commit, 2 files, about 3.0 kB');
      expect(params('handoff/start')).toEqual([]);
    });

    describe('with ignored files', () => {
      const included = {
        digest, files: 23, bytes: 4500, names: ['".env"', '"build/\\u001b[2J"'], secrets: { count: 1, names: ['".env"'] }, left: '"build/link" (a symbolic link)', refused: null as string | null,
      };
      const preflight = { threadId, from: laptop, to: server, destinationName: 'server', worktree: null, branch: 'main', commits: 1, files: 2, bytes: 3000, findings: [], included };
      beforeEach(() => {
        answers['handoff/preflight'] = () => preflight;
        answers['handoff/wait'] = () => result;
      });

      it('shows them, and sends them only after a word that names the list', async () => {
        const { code, stderr } = await baton('handoff', 'fix', '--to', 'server', '--with-included');
        expect({ code, said: stderr.includes('say `--yes`') }).toEqual({ code: 2, said: true });
        expect(params('handoff/start')).toEqual([]);
        const agreed = await baton('handoff', 'fix', '--to', 'server', '--with-included', '--yes');
        expect(agreed.code).toBe(0);
        for (const text of ['23 ignored files (4.5 kB) listed in .worktreeinclude', '".env"', '… and 21 more', '1 of them looks like a secret', 'Not among them: "build/link"']) expect(agreed.stderr).toContain(text);
        expect(agreed.stderr.split('\n').every((line) => line.length <= 80)).toBe(true);
        expect(params('handoff/preflight')).toEqual([{ threadId, to: server, included: true }, { threadId, to: server, included: true }]);
        expect(params('handoff/start')).toEqual([{ threadId, to: server, included: digest }]);
      });

      it('shows them with --dry-run, and ends with 3 where they cannot travel', async () => {
        expect(await baton('handoff', 'fix', '--to', 'server', '--with-included', '--dry-run')).toMatchObject({ code: 0, stdout: expect.stringContaining('23 ignored files') as string });
        answers['handoff/preflight'] = () => ({ ...preflight, included: { ...included, refused: 'The Baton of server is too old.' } });
        expect(await baton('handoff', 'fix', '--to', 'server', '--with-included', '--dry-run')).toMatchObject({ code: 3, stdout: expect.stringContaining('blocker The Baton of server is too old.') as string });
        for (const missing of [{ ...included, refused: 'The Baton of server is too old.' }, { ...included, files: 0 }, null]) {
          answers['handoff/preflight'] = () => ({ ...preflight, included: missing });
          expect((await json('handoff', 'fix', '--to', 'server', '--with-included', '--yes')).code).toBe(3);
        }
        expect(params('handoff/start')).toEqual([]);
      });
    });

    it('says in which thread it runs, as a thread must not hand itself off', async () => {
      answers['handoff/wait'] = () => result;
      extraEnv = { CODEX_THREAD_ID: threadId };
      await json('handoff', 'fix', '--to', 'server');
      expect(params('handoff/start')).toEqual([{ threadId, to: server, askedBy: threadId }]);
    });

    it('brings a thread back that moved away', async () => {
      answers['handoff/wait'] = () => result;
      await json('handoff', 'gone', '--to', 'here', '--from', 'server');
      expect(params('handoff/start')).toEqual([{ threadId: moved, to: laptop, from: server }]);
    });

    it('cancels at Ctrl-C and then reports the end', async () => {
      const waiting = new Promise<void>((resolve) => {
        answers['handoff/wait'] = () => new Promise((_, reject) => {
          answers['handoff/cancel'] = () => {
            reject(new ResponseError(-32000, 'The handoff was cancelled.', { reason: 'cancelled' }));
            return { cancelled: true };
          };
          resolve();
        });
      });
      const child = start('handoff', 'fix', '--to', 'server', '--json');
      const finished = finish(child);
      await waiting;
      child.kill('SIGINT');
      const { code, stdout } = await finished;
      expect({ code, value: JSON.parse(stdout) as unknown }).toEqual({ code: 1, value: { error: { reason: 'cancelled', message: 'The handoff was cancelled.' } } });
      expect(params('handoff/cancel')).toEqual([{ handoffId }]);
    });
  });

  it('starts a thread in a folder with a first turn', async () => {
    answers['thread/start'] = () => ({ thread: { id: threadId } });
    answers['turn/start'] = () => ({ turn: { id: 'turn-1', status: 'inProgress' } });
    expect(await json('new', home, 'Fix it', '--sandbox', 'read-only', '--approval-policy', 'never')).toMatchObject({ code: 0, value: { threadId, turnId: 'turn-1' } });
    expect(params('thread/start')).toEqual([{ cwd: home, sandbox: 'read-only', approvalPolicy: 'never' }]);
    expect(await json('new', join(home, 'missing'), 'Fix it')).toMatchObject({ code: 1, value: { error: { reason: 'invalid-params' } } });
  });

  it('shows a thread whose turns are only in its file', async () => {
    answers['host/thread'] = () => ({ thread, plan: { turnId: null, explanation: null, steps: [{ step: 'Look', status: 'completed' }] }, approvals: [approval] });
    answers['thread/turns/list'] = () => ({ data: [], nextCursor: null });
    answers['thread/read'] = () => ({ thread: { ...thread, turns: [{ id: '1', status: 'completed', items: [{ type: 'agentMessage', id: 'i', text: 'Done' }] }] } });
    expect((await json('show', 'fix')).value).toMatchObject({ thread: { id: threadId }, turns: [{ id: '1' }], plan: { steps: [{ step: 'Look' }] }, approvals: [{ id: 'approval-1' }] });
    expect((await baton('show', 'fix')).stdout).toContain('[x] Look');
  });

  it('passes any method on, with params from the command line or from standard input', async () => {
    answers['model/list'] = (given) => ({ given });
    expect((await json('rpc', 'model/list', '{"a":1}')).value).toEqual({ given: { a: 1 } });
    const child = start('rpc', 'model/list', '-', '--json');
    child.stdin.end('{"b":2}');
    expect(JSON.parse((await finish(child)).stdout)).toEqual({ given: { b: 2 } });
    expect(await json('rpc', 'no/such')).toMatchObject({ code: 1, value: { error: { reason: 'unknown-method' } } });
  });

  it('stops a host that does not run without starting one', async () => {
    await host.close();
    expect(await json('stop')).toMatchObject({ code: 0, value: { stopped: true } });
  });

  it('runs a relay on a port of its choice until it is told to end', async () => {
    const child = start('relay', '--listen', '127.0.0.1:0', '--json');
    const [first] = (await once(child.stdout, 'data')) as [Buffer];
    expect(JSON.parse(first.toString())).toEqual({ ready: true, url: expect.stringMatching(/^ws:\/\/127\.0\.0\.1:\d+$/) as string });
    child.kill('SIGTERM');
    expect((await once(child, 'exit'))[0]).toBe(0);
  });
});
