import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import { MINIMUM_CODEX_VERSION } from '../../codex/executable';
import { isGitSupported, lowestGit } from '../../git/git';
import { HostError, type HostErrorReason } from '../hostError';
import type { Finding } from '../protocol';
import { isUsableNode, LOWEST_NODE } from '../runtime';
import { compareVersions, greeting, type Greeting } from './greeting';
import { joinHost, lookAround, takeBaton } from './remoteShell';
import type { Ssh } from './ssh';
import { lastLine } from './sshFailure';

/** What was found on the machine at the other end; an empty text where something is missing. */
export interface FarFacts {
  readonly system: string;
  readonly path: string;
  readonly node: string;
  readonly git: string;
  readonly codex: string;
  /** Where codex is, as it may need node to say its version. */
  readonly launcher: string;
  /** SHA-256 of the Baton that was copied there. */
  readonly baton: string;
  readonly version: string;
}

const LOOK_TIMEOUT_MS = 60_000;
const COPY_TIMEOUT_MS = 10 * 60_000;
/** The host there may have to be started first, on a large Codex home. */
const JOIN_TIMEOUT_MS = 90_000;

/** Looks at what is there; changes nothing. Throws HostError as `Ssh.start`. */
export async function lookAt(ssh: Ssh, alias: string, signal?: AbortSignal): Promise<FarFacts> {
  const session = await ssh.start(alias, lookAround, within(LOOK_TIMEOUT_MS, signal));
  try {
    const found = new Map<string, string>();
    for (let line = await session.line(); line !== 'end'; line = await session.line()) {
      const [, name, value] = /^(\w+) ?(.*)$/.exec(line) ?? [];
      if (name !== undefined) found.set(name, value?.trim() ?? '');
    }
    const of = (name: string) => found.get(name) ?? '';
    return { system: of('system'), path: of('path'), node: of('node'), git: of('git'), codex: of('codex'), launcher: of('launcher'), baton: of('baton'), version: of('version') };
  } finally {
    session.kill();
  }
}

/** What a machine lacks for a host, each in a sentence with the way out. */
export function lacking(alias: string, facts: FarFacts): Finding[] {
  const findings: Finding[] = [];
  const blocker = (code: string, message: string) => findings.push({ level: 'blocker', code, message });
  const where = `on the PATH of a login shell on ${alias}`;
  const node = LOWEST_NODE.join('.');
  if (facts.node === '') blocker('node-missing', `There is no node ${where}. Install Node ${node} or later there, and see that ~/.profile or its like puts it on PATH.`);
  else if (!isUsableNode(facts.node)) blocker('node-too-old', `The node ${where} is ${lastLine(facts.node)}; Baton needs ${node} or later.`);
  const [, major, minor] = /(\d+)\.(\d+)/.exec(facts.git) ?? [];
  if (major === undefined) blocker('git-missing', `There is no git ${where}. Install git ${lowestGit} or later there.`);
  else if (!isGitSupported({ major: Number(major), minor: Number(minor) })) blocker('git-too-old', `The git ${where} is ${lastLine(facts.git)}; Baton needs ${lowestGit} or later.`);
  const [codex] = /\d+\.\d+\.\d+/.exec(facts.codex) ?? [];
  if (codex === undefined && facts.launcher !== '') {
    if (facts.node !== '') blocker('codex-broken', `The codex ${where} (${lastLine(facts.launcher)}) does not say its version: "codex --version" fails there. Install it anew.`);
  } else if (codex === undefined) blocker('codex-missing', `There is no codex ${where}. Install it there (npm install -g @openai/codex) and log in with "codex login".`);
  else if (compareVersions(codex, MINIMUM_CODEX_VERSION) < 0) blocker('codex-too-old', `The codex ${where} is ${codex}; Baton needs ${MINIMUM_CODEX_VERSION} or later. Update it there (npm install -g @openai/codex).`);
  return findings;
}

/** Throws HostError `host-not-ready` with a finding for each thing that is missing. */
export function requireReady(alias: string, facts: FarFacts): void {
  const findings = lacking(alias, facts);
  if (findings.length > 0) throw new HostError('host-not-ready', `${alias} cannot be a host yet. Nothing was changed there.`, { findings });
}

/**
 * Copies this Baton there, unless it is there already, or a newer one. True where it was copied. Throws HostError `ssh-failed`, `internal` where
 * `entry` cannot be read, and as `Ssh.start`.
 */
export async function copyBaton(ssh: Ssh, alias: string, facts: Pick<FarFacts, 'baton' | 'version'>, { entry, version, signal }: { readonly entry: string; readonly version: string; readonly signal?: AbortSignal | undefined }): Promise<boolean> {
  const program = await readFile(entry).catch((cause: unknown) => {
    throw new HostError('internal', `${entry}, from which this host was started, cannot be read any more. End the host with "baton stop", and try again.`, { cause });
  });
  const sha256 = createHash('sha256').update(program).digest('hex');
  if (facts.baton === sha256 || compareVersions(facts.version, version) > 0) return false;
  const session = await ssh.start(alias, takeBaton(sha256), within(COPY_TIMEOUT_MS, signal));
  try {
    session.write(program);
    if ((await session.line()) === 'installed') return true;
    throw new HostError('ssh-failed', `Baton could not be written to ${alias}: what arrived is not what was sent, or there is no room in the home directory there. What was there before is unchanged.`);
  } finally {
    session.kill();
  }
}

/**
 * A stream to the host there, which is started if it does not run; `options` are those of `baton host stdio`. `signal` gives up until there is a
 * stream. Throws HostError with the far side's reason, `protocol-mismatch`, and as `Ssh.start`.
 */
export async function joinFar(ssh: Ssh, alias: string, options: readonly string[], signal?: AbortSignal): Promise<{ readonly stream: Duplex; readonly greeting: Greeting }> {
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(new DOMException('Late.', 'TimeoutError')), JOIN_TIMEOUT_MS);
  const giveUp = () => deadline.abort(signal?.reason);
  signal?.addEventListener('abort', giveUp, { once: true });
  if (signal?.aborted === true) giveUp();
  try {
    const session = await ssh.start(alias, joinHost(options), deadline.signal);
    try {
      const said = readGreeting(alias, await session.line());
      return { stream: session.stream(), greeting: said };
    } catch (error) {
      session.kill();
      throw error;
    }
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', giveUp);
  }
}

function readGreeting(alias: string, line: string): Greeting {
  if (line === 'missing') throw new HostError('host-not-ready', `Baton is not on ${alias} any more. Copy it there with "baton host add ${alias}".`);
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    json = null;
  }
  const said = greeting.safeParse(json);
  if (!said.success) throw new HostError('protocol-mismatch', `Baton on ${alias} is of another version and cannot be understood: ${lastLine(line)} Bring both to the same with "baton host add ${alias}".`);
  if ('error' in said.data) throw new HostError(said.data.error.reason as HostErrorReason, `${alias}: ${lastLine(said.data.error.message)}`);
  return said.data;
}

function within(timeoutMs: number, signal: AbortSignal | undefined): AbortSignal {
  const deadline = AbortSignal.timeout(timeoutMs);
  return signal === undefined ? deadline : AbortSignal.any([deadline, signal]);
}
