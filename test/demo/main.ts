/**
 * The main job on one machine: a real Codex thread moves from "laptop" to "server" and back, through a real relay. What is
 * printed as checked was looked at by plain git and by hashing files, not by asking Baton. Any check that fails fails the demo.
 */
import { existsSync } from 'node:fs';
import { cp, mkdtemp, readdir, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Approval, HandoffResult, ManagedWorktree, Thread } from '../../src/host/protocol';
import { cloneOf, git, makeOrigin, refsOf, untouchedState, workInProgress, workingState } from '../fixtures/checkout';
import { endProcess, Machine, startRelayProcess } from '../fixtures/machine';
import { startScriptedModel, writeCodexConfig, type ScriptedModel } from '../fixtures/scriptedModel';
import { demoScript, riskyCommand, said } from './script';

const real = process.argv.includes('--real');
const colour = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;
const paint = (code: number, text: string) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
const print = (text = '') => void process.stdout.write(`${text}\n`);
const chapter = (title: string) => print(`\n${paint(1, title)}`);
const tell = (text: string) => print(`  ${text}`);

/** Lines of at most `width` columns; a word that is longer stands alone. */
function wrap(text: string, width: number): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines.at(-1) ?? '';
    if (last !== '' && last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
  }
  return lines;
}

let failures = 0;
let checks = 0;
function check(what: string, holds: boolean, detail = ''): void {
  checks++;
  if (!holds) failures++;
  print(`  ${holds ? paint(32, '✓') : paint(31, '✗')} ${what}${holds || detail === '' ? '' : `\n      ${detail}`}`);
}

const brief = (value: unknown) => (JSON.stringify(value ?? null)).slice(0, 600);

function checkEqual(what: string, actual: Record<string, unknown>, expected: Record<string, unknown>): void {
  const differing = Object.keys({ ...actual, ...expected }).filter((key) => !isDeepStrictEqual(actual[key], expected[key]));
  check(what, differing.length === 0, `differs in: ${differing.map((key) => `${key}\n      is       ${brief(actual[key])}\n      expected ${brief(expected[key])}`).join('\n      ')}`);
}

/** Earlier branches are where they were; new ones may have come. */
function checkKept(what: string, actual: Record<string, string>, before: Record<string, string>): void {
  checkEqual(what, Object.fromEntries(Object.keys(before).map((name) => [name, actual[name]])), before);
}

interface ListedThread {
  readonly id: string;
  readonly owner: string;
  readonly epoch: number;
  readonly movedTo: { readonly hostId: string } | string | null;
}

async function threadOf(machine: Machine, threadId: string): Promise<ListedThread> {
  const { threads } = await machine.json<{ threads: ListedThread[] }>('threads');
  const thread = threads.find((candidate) => candidate.id === threadId);
  if (thread === undefined) throw new Error(`${machine.name} does not list the thread: ${JSON.stringify(threads)}`);
  return thread;
}

async function rolloutSize(machine: Machine, threadId: string): Promise<number> {
  const paths = await readdir(join(machine.codexHome, 'sessions'), { recursive: true });
  const own = paths.find((path) => path.includes(threadId));
  return own === undefined ? 0 : (await stat(join(machine.codexHome, 'sessions', own))).size;
}

/** Resolves when the thread is at rest; with `after`, not before that has been heard. */
async function settled(machine: Machine, threadId: string, after?: 'turn/completed'): Promise<void> {
  const client = await machine.client();
  try {
    await new Promise<void>((fulfil, reject) => {
      let heard = after === undefined;
      const look = () =>
        client.codex('thread/read', { threadId, includeTurns: true }).then((answer) => {
          const { thread } = answer as { thread: Thread };
          if (heard && thread.status.type === 'idle' && thread.turns?.at(-1)?.status !== 'inProgress') fulfil();
        }, reject);
      client.onCodex((method) => {
        if (method === 'turn/completed') heard = true;
        if (method === 'turn/completed' || method === 'thread/status/changed') void look();
      });
      client.codex('thread/resume', { threadId, excludeTurns: true }).then(look, reject);
    });
  } finally {
    client.dispose();
  }
}

async function handOff(machine: Machine, threadId: string, args: string[]): Promise<HandoffResult> {
  const client = await machine.client();
  let phase = '';
  const follow = client.on('handoff/progress', (progress) => {
    if (progress.phase !== phase) tell(`${paint(36, progress.phase.padEnd(10))} ${progress.message}`);
    phase = progress.phase;
  });
  try {
    const result = await machine.json<HandoffResult>('handoff', threadId, ...args);
    const rows: [string, string | number | null][] = [
      ['thread', result.threadId],
      ['branch', result.branch],
      ['worktree', result.worktree],
      ['commits', result.commits],
      ['files', result.files],
      ['sent', `${result.bytesSent} bytes, ${result.rolloutBytesSent} bytes of rollout compressed in them`],
      ['time', `${(result.milliseconds / 1000).toFixed(1)} s`],
      ['epoch', result.epoch],
      ['receipt', result.receipt],
    ];
    for (const [name, value] of rows) tell(`${name.padEnd(10)} ${value ?? '(detached)'}`);
    for (const note of result.notes) tell(`${'note'.padEnd(10)} ${wrap(note, 80 - 13).join(`\n${' '.repeat(13)}`)}`);
    return result;
  } finally {
    follow();
    client.dispose();
  }
}

/** Sends a message and waits until its turn ends or needs an approval; `--real` models may ask for approvals at any time, so they are granted. */
async function say(machine: Machine, threadId: string, text: string): Promise<string> {
  tell(`you        ${text}`);
  const { status } = await machine.json<{ status: string }>('send', threadId, text, '--wait');
  tell(`agent      ${status}`);
  return status;
}

async function approveAll(machine: Machine, threadId: string): Promise<void> {
  for (;;) {
    const { approvals } = await machine.json<{ approvals: Approval[] }>('approvals');
    const mine = approvals.filter((approval) => approval.threadId === threadId);
    if (mine.length === 0) return;
    for (const approval of mine) await machine.json('approve', approval.id);
    await settledOrAsking(machine, threadId);
  }
}

async function settledOrAsking(machine: Machine, threadId: string): Promise<void> {
  const client = await machine.client();
  try {
    await new Promise<void>((fulfil, reject) => {
      client.on('approval/requested', ({ approval }) => {
        if (approval.threadId === threadId) fulfil();
      });
      settled(machine, threadId).then(fulfil, reject);
    });
  } finally {
    client.dispose();
  }
}

const directory = await realpath(await mkdtemp(join(tmpdir(), 'baton-demo-')));
const laptop = new Machine('laptop', join(directory, 'laptop'));
const server = new Machine('server', join(directory, 'server'));
let model: ScriptedModel | null = null;
let relay: Awaited<ReturnType<typeof startRelayProcess>> | null = null;

try {
  chapter('Two machines, one relay');
  if (real) {
    const own = process.env['CODEX_HOME'] ?? join(homedir(), '.codex');
    for (const machine of [laptop, server]) {
      for (const file of ['auth.json', 'config.toml']) if (existsSync(join(own, file))) await cp(join(own, file), join(machine.codexHome, file), { recursive: true });
    }
    tell(`The model is yours: login and configuration are copied from ${own}.`);
  } else {
    model = await startScriptedModel({ script: demoScript() });
    for (const machine of [laptop, server]) await writeCodexConfig(machine.codexHome, { modelUrl: model.url, approvalPolicy: 'on-request', sandboxMode: 'workspace-write' });
    tell('The model is scripted: a loopback server that answers from a list. Codex, git');
    tell('and everything else are real. "npm run demo -- --real" uses your Codex login.');
  }
  const origin = await makeOrigin(directory);
  const onLaptop = await cloneOf(origin, join(laptop.directory, 'orrery'));
  const onServer = await cloneOf(origin, join(server.directory, 'orrery'));
  await workInProgress(onLaptop);
  await writeFile(join(onServer, 'README.md'), 'Somebody is in the middle of something here.\n');
  await writeFile(join(onServer, 'src', 'planet7.js'), 'staged on the server\n');
  await git(onServer, 'add', 'src/planet7.js');
  await writeFile(join(onServer, 'scratch.txt'), 'not yours\n');

  relay = await startRelayProcess();
  const { hostId: laptopId } = await laptop.startHost(relay.url);
  const { hostId: serverId } = await server.startHost(relay.url);
  tell(`relay      ${relay.url}`);
  tell(`laptop     ${laptopId}`);
  tell(`server     ${serverId}`);
  const { invite } = await laptop.json<{ invite: string }>('invite');
  const joined = await server.json<{ name: string }>('join', invite);
  tell(`The server joined ${joined.name} by a one-time invite.`);
  await laptop.json('project', 'add', onLaptop);
  await server.json('project', 'add', onServer);

  chapter('A thread on the laptop');
  const { threadId } = await laptop.json<{ threadId: string }>('new', onLaptop, said.first);
  tell(`you        ${said.first}`);
  await settledOrAsking(laptop, threadId);
  if (real) await approveAll(laptop, threadId);
  await say(laptop, threadId, said.second);
  if (real) await approveAll(laptop, threadId);
  const waiting = await say(laptop, threadId, said.risky);
  if (!real) check('the turn waits for an approval', waiting === 'waitingOnApproval', waiting);

  const sent = await workingState(onLaptop);
  const laptopBefore = { ...untouchedState(onLaptop), refs: await refsOf(onLaptop) };
  const serverBefore = untouchedState(onServer);
  const serverRefs = await refsOf(onServer);

  chapter('Handed to the server');
  const there = await handOff(laptop, threadId, ['--to', 'server']);
  check('the same thread id, one epoch on', there.threadId === threadId && there.epoch === 1);
  check('the commits that the server lacked travelled', there.commits === 2, `${there.commits}`);
  checkEqual('staged, unstaged, partly staged and untracked are identical', await workingState(there.worktree), sent);
  check('the ignored file did not travel', !existsSync(join(there.worktree, '.env')) && existsSync(join(onLaptop, '.env')));
  checkEqual("the server's own dirty checkout is unchanged, byte for byte", untouchedState(onServer), serverBefore);
  checkKept('no branch of the server moved', await refsOf(onServer), serverRefs);
  checkEqual("the laptop's checkout is unchanged, byte for byte", { ...untouchedState(onLaptop), refs: await refsOf(onLaptop) }, laptopBefore);
  const left = await threadOf(laptop, threadId);
  check('the laptop shows the thread as moved to the server', left.movedTo !== null && left.owner === serverId, JSON.stringify(left));
  const refused = await laptop.cli('send', threadId, 'Are you still there?', '--json');
  check('the laptop refuses to run turns on it', refused.code === 1 && refused.stdout.includes('thread-moved'), refused.stdout);

  chapter('On the server');
  if (!real) {
    const { approvals } = await server.json<{ approvals: Approval[] }>('approvals');
    const pending = approvals.find((approval) => approval.threadId === threadId);
    check('the pending approval is shown again, as it was asked', pending?.command?.includes(riskyCommand) === true && pending.carriedOver, JSON.stringify(approvals));
    check('it names the worktree there', pending?.cwd === there.worktree, pending?.cwd ?? '');
    const asked = model?.requests.length ?? 0;
    const done = settled(server, threadId, 'turn/completed');
    await server.json('approve', pending?.id ?? '');
    tell('you        approved on the server');
    await done;
    const request = JSON.stringify(model?.requests.slice(asked)[0]?.input ?? []);
    check('the next request to the model holds the whole history', request.includes(said.first) && request.includes(said.second) && request.includes('ephemeris-42') && request.includes(said.risky));
    check('the agent knows where it is now', request.includes(there.worktree));
    check('the command ran in the worktree on the server', existsSync(join(there.worktree, 'published.txt')) && !existsSync(join(onLaptop, 'published.txt')));
  }
  await say(server, threadId, said.more);
  await approveAll(server, threadId);
  if (real) {
    // A real model may do as it likes; the new commit and the new changes are made for it.
    await writeFile(join(there.worktree, 'later.txt'), 'later\n');
    await git(there.worktree, 'commit', '-qm', 'Orbits', '--allow-empty');
  }
  check('a new commit and new changes were made there', (await workingState(there.worktree))['head'] !== sent['head'] && existsSync(join(there.worktree, 'later.txt')));

  const made = Number(await git(there.worktree, 'rev-list', '--count', `${String(sent['head'])}..HEAD`));
  const { plan } = await server.json<{ plan: { steps: unknown[] } | null }>('show', threadId);
  if (!real) check('the plan came along', plan?.steps.length === 3, JSON.stringify(plan));

  chapter('Handed back to the laptop');
  const sentBack = await workingState(there.worktree);
  const rolloutBytes = await rolloutSize(server, threadId);
  const laptopRefs = await refsOf(onLaptop);
  const back = await handOff(laptop, threadId, ['--to', 'here', '--from', 'server']);
  check('the same thread id, one epoch on', back.threadId === threadId && back.epoch === 2);
  check('the new commit travelled, and only that', back.commits === made, `${back.commits} instead of ${made}`);
  checkEqual('what the server had is on the laptop, identical', await workingState(back.worktree), sentBack);
  check(`only the tail of the rollout travelled (${back.rolloutBytesSent} of ${rolloutBytes} bytes)`, back.rolloutBytesSent > 0 && back.rolloutBytesSent < rolloutBytes * 0.8);
  checkEqual("the laptop's own checkout is unchanged, byte for byte", untouchedState(onLaptop), Object.fromEntries(Object.entries(laptopBefore).filter(([key]) => key !== 'refs')));
  checkKept('no branch of the laptop moved', await refsOf(onLaptop), laptopRefs);
  const home = await threadOf(laptop, threadId);
  check('the laptop owns the thread again', home.owner === laptopId && home.movedTo === null, JSON.stringify(home));
  const gone = await threadOf(server, threadId);
  check('the server shows it as moved to the laptop', gone.owner === laptopId && gone.movedTo !== null, JSON.stringify(gone));
  const { worktrees } = await laptop.json<{ worktrees: ManagedWorktree[] }>('worktrees');
  check('it goes on in a worktree of its own', worktrees.some((worktree) => worktree.path === back.worktree && worktree.threadIds.includes(threadId)));
  const asked = model?.requests.length ?? 0;
  const status = await say(laptop, threadId, 'What is the secret word?');
  check('a turn runs there', status === 'completed', status);
  if (!real) check('with the whole history', JSON.stringify(model?.requests.slice(asked)[0]?.input ?? []).includes(said.more));
  if (model !== null) check('the scripted model had an answer to everything', model.unanswered.length === 0, model.unanswered.join('; '));
} catch (error) {
  failures++;
  print(`\n${paint(31, 'The demo broke off:')} ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
} finally {
  if (failures > 0) for (const machine of [laptop, server]) print(`\n--- log of ${machine.name}\n${machine.hostLog}`);
  await Promise.all([laptop.stopHost(), server.stopHost()]);
  if (relay !== null) await endProcess(relay.child);
  await model?.close();
  await rm(directory, { recursive: true, force: true });
}

print(failures === 0 ? `\n${paint(32, `All ${checks} checks hold.`)}` : `\n${paint(31, `${failures} of ${checks} checks failed.`)}`);
process.exitCode = failures === 0 ? 0 : 1;
