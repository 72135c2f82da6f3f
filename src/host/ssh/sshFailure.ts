import { HostError } from '../hostError';
import { inertLine } from '../cli/inertText';

/** How an ssh ended that did not do what it was started for. */
export interface SshEnd {
  readonly code: number | null;
  /** What it, and whatever ran at the other end, wrote as errors. */
  readonly errors: string;
}

/** Longest part of what another machine says that is shown. */
const MOST_SHOWN = 240;

/**
 * What an ssh's end means, for people, with the way out. Reasons: `ssh-host-key`, `ssh-refused` (it wants a passphrase, a password or another key),
 * `ssh-unreachable`, and `ssh-failed` for what is none of these.
 */
export function sshFailure(alias: string, { code, errors }: SshEnd): HostError {
  const known = causes.find(({ sign }) => sign.test(errors));
  if (known !== undefined) return new HostError(known.reason, known.message(alias));
  const last = lastLine(errors);
  return new HostError('ssh-failed', `ssh ${alias} ended${code === null ? '' : ` with code ${code}`} before Baton there had answered${last === '' ? '.' : `. It said: ${last}`} Try "ssh ${alias}" in a terminal.`);
}

/** The last line of what another machine wrote, with nothing in it that a terminal would act on. */
export function lastLine(text: string): string {
  const line = text.split(/[\r\n]+/).map((each) => each.trim()).filter((each) => each !== '').at(-1) ?? '';
  return inertLine(line.length > MOST_SHOWN ? `${line.slice(0, MOST_SHOWN)}…` : line);
}

const once = (alias: string) => `Run "ssh ${alias}" once in a terminal`;

/** The first that fits counts: a changed key is told of in several lines, some of which others have, too. */
const causes: readonly { readonly sign: RegExp; readonly reason: 'ssh-host-key' | 'ssh-refused' | 'ssh-unreachable' | 'ssh-failed'; readonly message: (alias: string) => string }[] = [
  {
    sign: /REMOTE HOST IDENTIFICATION HAS CHANGED|Host key for .* has changed|REVOKED HOST KEY/,
    reason: 'ssh-host-key',
    message: (alias) => `The machine that ${alias} leads to shows another host key than before: it was installed anew, or something in between answers in its place. Nothing was sent there. Ask whoever runs it for its fingerprint; where that is right, remove the old key with ssh-keygen -R and meet it again with "ssh ${alias}".`,
  },
  {
    sign: /Host key verification failed|No .* host key is known for/,
    reason: 'ssh-host-key',
    message: (alias) => `This account has not met the machine that ${alias} leads to, so its host key cannot be checked. ${once(alias)}, compare the fingerprint that it shows, and try again.`,
  },
  {
    sign: /Permission denied|Too many authentication failures|No more authentication methods|agent refused operation|incorrect passphrase/i,
    reason: 'ssh-refused',
    message: (alias) => `${alias} does not let this account in without being asked: its key has a passphrase that no agent holds, or it wants a password, or another key. Baton never asks in the background. Load the key with "ssh-add", check with "ssh ${alias}" in a terminal, and try again.`,
  },
  {
    sign: /Could not resolve hostname|Name or service not known|nodename nor servname/i,
    reason: 'ssh-unreachable',
    message: (alias) => `The name of the machine that ${alias} stands for cannot be resolved. Check HostName in the ssh configuration ("ssh -G ${alias}"), and that this machine is online.`,
  },
  {
    sign: /Connection refused/i,
    reason: 'ssh-unreachable',
    message: (alias) => `The machine that ${alias} leads to refused the connection: no ssh server listens at that port. Check that it runs there, and Port in the ssh configuration ("ssh -G ${alias}").`,
  },
  {
    sign: /timed out|Connection timeout|not responding/i,
    reason: 'ssh-unreachable',
    message: (alias) => `The machine that ${alias} leads to did not answer in time. Check that it is up and that no firewall stands in between.`,
  },
  {
    sign: /No route to host|Network is unreachable|Network is down|Host is down/i,
    reason: 'ssh-unreachable',
    message: (alias) => `There is no way through the network to the machine that ${alias} leads to. Check that this machine is online, or in the VPN that leads there.`,
  },
  {
    sign: /Connection (closed|reset)|kex_exchange_identification|Broken pipe|Connection to .* closed/i,
    reason: 'ssh-unreachable',
    message: (alias) => `The connection to the machine that ${alias} leads to was closed before Baton there had answered. Try again; if that goes on, look at the log of the ssh server there.`,
  },
  {
    sign: /Bad owner or permissions|Bad configuration option|bad configuration options|keyword .* extra arguments/i,
    reason: 'ssh-failed',
    message: (alias) => `ssh does not take its configuration. "ssh -G ${alias}" says which line it is.`,
  },
  {
    sign: /is not recognized as|The term '?sh'? /i,
    reason: 'ssh-failed',
    message: (alias) => `${alias} leads to a Windows machine. Baton reaches those over a relay only: start the host there with "baton host --relay URL", and pair with "baton invite".`,
  },
  {
    sign: /This account is currently not available|nologin|account is (locked|expired)/i,
    reason: 'ssh-failed',
    message: (alias) => `The account that ${alias} leads to may not run commands. Use one with a shell.`,
  },
];
