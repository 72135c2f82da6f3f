import { describe, expect, it } from 'vitest';
import { lacking, type FarFacts } from '../../../src/host/ssh/farSide';
import { compareVersions } from '../../../src/host/ssh/greeting';
import { lastLine, sshFailure } from '../../../src/host/ssh/sshFailure';

describe('what ssh said', () => {
  it.each([
    ['ssh-host-key', /another host key than before/, '@@@@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nOffending ED25519 key in /h/.ssh/known_hosts:3\nHost key for box has changed and you have requested strict checking.\nHost key verification failed.'],
    ['ssh-host-key', /has not met/, 'No ED25519 host key is known for [127.0.0.1]:22 and you have requested strict checking.\nHost key verification failed.'],
    ['ssh-host-key', /has not met/, 'Host key verification failed.'],
    ['ssh-refused', /never asks/, 'me@box: Permission denied (publickey,password).'],
    ['ssh-refused', /never asks/, 'Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures'],
    ['ssh-refused', /never asks/, 'sign_and_send_pubkey: signing failed for ED25519 "/h/key" from agent: agent refused operation'],
    ['ssh-unreachable', /cannot be resolved/, 'ssh: Could not resolve hostname box: Name or service not known'],
    ['ssh-unreachable', /refused the connection/, 'ssh: connect to host box port 22: Connection refused'],
    ['ssh-unreachable', /did not answer in time/, 'ssh: connect to host box port 22: Connection timed out'],
    ['ssh-unreachable', /did not answer in time/, 'Timeout, server box not responding.'],
    ['ssh-unreachable', /no way through the network/, 'ssh: connect to host box port 22: No route to host'],
    ['ssh-unreachable', /was closed/, 'kex_exchange_identification: read: Connection reset by peer'],
    ['ssh-unreachable', /was closed/, 'client_loop: send disconnect: Broken pipe'],
    ['ssh-failed', /does not take its configuration/, '/h/.ssh/config: line 2: Bad configuration option: frobnicate\r\n/h/.ssh/config: terminating, 1 bad configuration options'],
    ['ssh-failed', /Windows machine/, "'sh' is not recognized as an internal or external command,\r\noperable program or batch file."],
    ['ssh-failed', /may not run commands/, 'This account is currently not available.'],
    ['ssh-failed', /ended with code 255.*It said: something else/, 'warned\nsomething else\n'],
    ['ssh-failed', /ended with code 255 before Baton there had answered\. Try/, ''],
  ])('is %s: %s', (reason, words, errors) => {
    expect(sshFailure('box', { code: 255, errors })).toMatchObject({ reason, message: expect.stringMatching(words) as string });
  });

  it('is shown without what a terminal would act on, and not at any length', () => {
    expect(lastLine('x\n\u001b]52;c;aGFja2Vk\u0007\u001b[2Jdone\u202e\r\n\n')).toBe('␛]52;c;aGFja2Vk␇␛[2Jdone<U+202E>');
    expect(lastLine('x'.repeat(1000)).length).toBeLessThan(300);
  });
});

describe('what a machine lacks', () => {
  const all: FarFacts = { system: 'Linux', path: '/usr/bin', node: 'v20.17.0', git: 'git version 2.34.0', codex: 'codex-cli 999.0.0', launcher: '/usr/bin/codex', baton: '', version: '' };
  it.each([
    [{}, []],
    [{ node: '' }, ['node-missing']],
    [{ node: 'v18.19.0' }, ['node-too-old']],
    [{ git: '' }, ['git-missing']],
    [{ git: 'git version 2.20.1' }, ['git-too-old']],
    [{ codex: '', launcher: '' }, ['codex-missing']],
    [{ codex: 'codex-cli 0.1.0' }, ['codex-too-old']],
    [{ codex: 'Segmentation fault' }, ['codex-broken']],
    // A launcher in JavaScript says nothing without node.
    [{ node: '', codex: '' }, ['node-missing']],
    [{ node: '', git: '', codex: '', launcher: '' }, ['node-missing', 'git-missing', 'codex-missing']],
  ])('is found in %j', (missing, codes) => {
    const findings = lacking('box', { ...all, ...missing });
    expect(findings.map(({ code }) => code)).toEqual(codes);
    for (const { level, message } of findings) expect([level, message]).toEqual(['blocker', expect.stringContaining('box')]);
  });
});

it.each([
  ['0.1.0', '0.1.0', 0], ['0.1.0', '0.2.0', -1], ['0.10.0', '0.9.9', 1], ['1.0.0', '0.99.99', 1], ['0.1.0-beta', '0.1.0', 0], ['', '0.0.0', -1], ['0.0.0-source', '0.1.0', -1],
])('version %j beside %j', (left, right, sign) => {
  expect(Math.sign(compareVersions(left, right))).toBe(sign);
});
