/** Whether this machine has what a host needs. Each check is a pure judgement over what a probe found. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { request as requestPlain } from 'node:http';
import { request as requestTls } from 'node:https';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { isGitSupported, lowestGit } from '../git/git';
import { exposureOf, type Environment } from './home';
import { localSocketPath } from './localSocket';
import type { DoctorCheck } from './protocol';

/** Looks at the machine. A probe throws where it cannot find out; the message becomes the check's. */
export interface DoctorProbes {
  /** What `git --version` prints. */
  readonly gitVersion: () => Promise<string>;
  /** Where Codex is and which version. Throws, with the way out, where there is none that can be used. */
  readonly codex: () => Promise<{ readonly command: string; readonly version: string }>;
  /** The `Date` header of the relay's answer, in ms since the epoch; null where it sends none. Throws where the relay cannot be reached. */
  readonly relayTime: (url: string) => Promise<number | null>;
  readonly now: () => number;
  /** Free bytes for this account on the file system of a directory. */
  readonly freeBytes: (directory: string) => Promise<number>;
  /** Why a directory is open to others, as `exposureOf`; undefined where it is not, or is not there yet. */
  readonly exposure: (directory: string) => string | undefined;
}

/** `closedBecause`: why nobody is let in from elsewhere, in a sentence; null where they are. `otherWays`: some paired host is reached, or comes, without a relay. */
export type DoctorSubject = { readonly batonHome: string; readonly relayUrl: string | null; readonly otherWays?: boolean; readonly closedBecause: string | null };

const WARN_FREE_BYTES = 2_000_000_000;
const LEAST_FREE_BYTES = 200_000_000;
/** Tokens and invites live for minutes. */
const WARN_CLOCK_MS = 30_000;
const MOST_CLOCK_MS = 120_000;

const check = (name: string, level: DoctorCheck['level'], message: string): DoctorCheck => ({ name, level, message });
const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

/** Judges the output of `git --version`. */
export function checkGit(output: string): DoctorCheck {
  const [version, major, minor] = /(\d+)\.(\d+)(?:\.\d+)*/.exec(output) ?? [];
  if (version === undefined) return check('git', 'error', `git did not say its version but "${output.trim().slice(0, 80)}". Check which program git is on PATH.`);
  if (isGitSupported({ major: Number(major), minor: Number(minor) })) return check('git', 'ok', `git ${version}`);
  return check('git', 'error', `git ${version} is older than ${lowestGit}, the first whose worktrees and bundles hold all that a handoff needs. Update git.`);
}

/** Judges how far this clock (`now`) is from the relay's, both in ms since the epoch. The header counts whole seconds. */
export function checkClock(now: number, relayTime: number): DoctorCheck {
  const apart = Math.abs(now - relayTime);
  const text = `This clock is ${Math.round(apart / 1000)} s ${now > relayTime ? 'ahead of' : 'behind'} the relay's`;
  if (apart <= WARN_CLOCK_MS) return check('clock', 'ok', `${text}.`);
  return check('clock', apart > MOST_CLOCK_MS ? 'error' : 'warning', `${text}. Invites and tokens, which live for minutes, can be refused. Set the clock, or let the system synchronise it.`);
}

/** Judges the free bytes where handoffs are received. */
export function checkDisk(freeBytes: number, directory: string): DoctorCheck {
  const free = `${(freeBytes / 1e9).toFixed(1)} GB free for ${directory}`;
  if (freeBytes >= WARN_FREE_BYTES) return check('disk', 'ok', free);
  return check('disk', freeBytes < LEAST_FREE_BYTES ? 'error' : 'warning', `Only ${free}. A handoff to this host needs room for the repository's new objects and a worktree.`);
}

/** All checks, in the order in which they are shown. Never throws: what cannot be found out is a check that failed. */
export async function runDoctor(subject: DoctorSubject, probes: DoctorProbes): Promise<DoctorCheck[]> {
  const { batonHome, relayUrl, otherWays = false, closedBecause } = subject;
  const failed = (name: string) => (error: unknown) => check(name, 'error', messageOf(error));
  const git = probes.gitVersion().then(checkGit, () => check('git', 'error', `git was not found. Install git ${lowestGit} or later.`));
  const codex = probes.codex().then(({ command, version }) => check('codex', 'ok', `codex ${version} (${command})`), failed('codex'));
  const disk = probes.freeBytes(batonHome).then((bytes) => checkDisk(bytes, batonHome), failed('disk'));
  return [...(await Promise.all([git, codex])), ...(await checkRelay(relayUrl, otherWays, probes)), checkRemoteControl(closedBecause), await disk, checkPermissions(batonHome, probes), checkSocket(batonHome, probes)];
}

async function checkRelay(url: string | null, otherWays: boolean, probes: DoctorProbes): Promise<DoctorCheck[]> {
  if (url === null && otherWays) return [check('relay', 'ok', 'No relay is set. Hosts that are reached by ssh or at an address need none; others, and devices, do.')];
  if (url === null) return [check('relay', 'warning', 'No relay is set, so other machines cannot reach this host. End this host with `baton stop` and start it with `baton host --relay URL`.')];
  try {
    const relayTime = await probes.relayTime(url);
    const reached = check('relay', 'ok', `${url} answers.`);
    return relayTime === null ? [reached, check('clock', 'ok', 'The relay tells no time, so the clock was not checked.')] : [reached, checkClock(probes.now(), relayTime)];
  } catch (error) {
    return [check('relay', 'error', `${url} does not answer: ${messageOf(error)}. Check that the relay runs and that a firewall or proxy lets it through.`)];
  }
}

function checkRemoteControl(closedBecause: string | null): DoctorCheck {
  return closedBecause === null ? check('remote', 'ok', 'Paired devices and operators may come in through the relay.') : check('remote', 'warning', `${closedBecause} Hosts that are paired can still hand threads to each other.`);
}

function checkPermissions(batonHome: string, probes: DoctorProbes): DoctorCheck {
  const exposure = probes.exposure(batonHome);
  return exposure === undefined
    ? check('permissions', 'ok', `${batonHome} is private.`)
    : check('permissions', 'error', `${batonHome} holds this host's key, and ${exposure}. Run \`chmod 700 ${batonHome}\`, or choose another with BATON_HOME.`);
}

function checkSocket(batonHome: string, probes: DoctorProbes): DoctorCheck {
  const path = localSocketPath(batonHome);
  if (process.platform === 'win32' || dirname(path) === batonHome) return check('socket', 'ok', path);
  const exposure = probes.exposure(dirname(path));
  return exposure === undefined
    ? check('socket', 'ok', `${path}, as ${batonHome} is too long for a socket.`)
    : check('socket', 'error', `${dirname(path)} is where the socket has to be, and ${exposure}. Choose a shorter BATON_HOME.`);
}

const PROBE_TIMEOUT_MS = 10_000;

/** Probes of the real machine. How Codex is found is handed in, as it is the same for the host that runs it. */
export function machineProbes(env: Environment, codex: DoctorProbes['codex']): DoctorProbes {
  return {
    gitVersion: async () => (await promisify(execFile)('git', ['--version'], { env: { ...env, LC_ALL: 'C' }, timeout: PROBE_TIMEOUT_MS, windowsHide: true })).stdout,
    codex,
    relayTime,
    now: Date.now,
    freeBytes: async (directory) => {
      let existing = directory;
      while (!existsSync(existing) && dirname(existing) !== existing) existing = dirname(existing);
      const { bavail, bsize } = await statfs(existing);
      return bavail * bsize;
    },
    exposure: (directory) => (existsSync(directory) ? exposureOf(directory) : undefined),
  };
}

/** Asks the relay's HTTP side for anything: whatever the answer, it is reachable. */
function relayTime(url: string): Promise<number | null> {
  const target = new URL(url);
  target.protocol = target.protocol === 'wss:' ? 'https:' : 'http:';
  return new Promise((resolve, reject) => {
    const asked = (target.protocol === 'https:' ? requestTls : requestPlain)(target, { method: 'HEAD', agent: false, signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) }, (response) => {
      response.resume();
      const time = Date.parse(response.headers.date ?? '');
      resolve(Number.isNaN(time) ? null : time);
    });
    asked.on('error', reject);
    asked.end();
  });
}
