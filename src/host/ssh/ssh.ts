import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Environment } from '../home';
import { HostError } from '../hostError';
import type { Log } from '../log';
import { findOnPath, hostEnvironment } from '../runtime';
import { remoteCommand } from './remoteShell';
import { isAlias, listAliases, type ConfigFiles, type ListedAlias } from './sshConfig';
import { sshFailure } from './sshFailure';
import { SshProcess } from './sshProcess';

/** Where an alias leads, as `ssh -G` says. */
export interface ResolvedAlias {
  readonly hostName: string;
  readonly port: number;
  readonly user: string;
  /** The configuration says itself where a connection is that may be shared. */
  readonly shares: boolean;
}

const RESOLVE_TIMEOUT_MS = 10_000;
const MOST_CONFIG_BYTES = 1024 * 1024;
/** A connection that the user opened for Baton ends when nothing has used it for so long. */
const SHARED_FOR = '10m';
/** What `ssh` puts behind the directory of a shared connection's socket, while it makes that; a socket's path has 103 bytes. */
const SHARED_NAME_BYTES = 60;
/** So many run at once; a peer that asks for more is told to wait. */
const MOST_RUNNING = 64;

/**
 * For every ssh that runs in the background: it asks nothing, forwards nothing, runs no command but Baton's, and notices when the other side is
 * gone. A connection that the user shares (ControlMaster) is used; none is begun that would outlive its purpose. Whether a host key is right is
 * left to the user's own configuration.
 */
const background = [
  '-T', '-a', '-x',
  ...['BatchMode=yes', 'ControlMaster=no', 'ClearAllForwardings=yes', 'PermitLocalCommand=no', 'RemoteCommand=none', 'ConnectTimeout=10', 'ServerAliveInterval=10', 'ServerAliveCountMax=3', 'LogLevel=ERROR'].flatMap((option) => ['-o', option]),
];

/** The `ssh` of this machine, with the user's own configuration, or the one that BATON_SSH_CONFIG names. */
export class Ssh {
  private readonly running = new Set<SshProcess>();
  private disposed = false;

  /** `sharedDirectory`: of mode 0700, for the sockets of connections that the user opens for Baton. */
  constructor(private readonly options: { readonly env: Environment; readonly log: Log; readonly sharedDirectory?: string }) {}

  /** The hosts that the configuration names. */
  aliases(): Promise<ListedAlias[]> {
    const { env } = this.options;
    // As ssh itself, which asks the account and not HOME.
    const home = userInfo().homedir;
    const sshDirectory = join(home, '.ssh');
    return listAliases({ path: this.configFile ?? join(sshDirectory, 'config'), sshDirectory, home, env, files: onDisk });
  }

  /** Where an alias leads; nothing is connected to. Throws HostError `invalid-params`, `ssh-not-found`, `ssh-failed`. */
  async resolve(alias: string, signal?: AbortSignal): Promise<ResolvedAlias> {
    requireAlias(alias);
    const program = await this.program();
    const { stdout } = await promisify(execFile)(program, [...this.configured, '-G', '--', alias], { env: hostEnvironment(this.options.env), windowsHide: true, timeout: RESOLVE_TIMEOUT_MS, signal }).catch((error: unknown) => {
      if (signal?.aborted === true) throw new HostError('cancelled', 'Cancelled.', { cause: error });
      const { code, stderr } = error as { code?: number; stderr?: string };
      throw sshFailure(alias, { code: typeof code === 'number' ? code : null, errors: stderr ?? '' });
    });
    const values = new Map(stdout.split(/\r?\n/).map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)] as const));
    return { hostName: values.get('hostname') ?? alias, port: Number(values.get('port') ?? 22), user: values.get('user') ?? '', shares: (values.get('controlpath') ?? 'none') !== 'none' };
  }

  /**
   * What to run in a terminal where ssh has to ask its user something: for a passphrase, a password, or whether a host key is right. The connection
   * stays for Baton's own, which ask nothing. Throws as `resolve`.
   */
  async inTheOpen(alias: string): Promise<{ readonly program: string; readonly args: readonly string[] }> {
    const { shares } = await this.resolve(alias);
    const sharing = this.sharing(shares);
    return { program: await this.program(), args: [...this.configured, ...(sharing.length === 0 ? [] : [...sharing, '-o', 'ControlMaster=auto', '-o', `ControlPersist=${SHARED_FOR}`]), '-T', '--', alias, 'exit'] };
  }

  /**
   * Runs a script of remoteShell.ts on the machine that an alias leads to, and resolves when it has begun. `signal` ends it, at any time. Throws
   * HostError `invalid-params`, `ssh-not-found`, and as `sshFailure`.
   */
  async start(alias: string, script: string, signal: AbortSignal): Promise<SshProcess> {
    requireAlias(alias);
    const program = await this.program();
    if (this.disposed) throw new HostError('connection-lost', 'This host is stopping.');
    if (this.running.size >= MOST_RUNNING) throw new HostError('ssh-failed', `${MOST_RUNNING} connections over ssh are open already. Try again when some have ended.`);
    const { shares } = await this.resolve(alias, signal);
    const { command, ready } = remoteCommand(script, randomBytes(12).toString('hex'));
    const startedAt = performance.now();
    const child = spawn(program, [...background, ...this.configured, ...this.sharing(shares), '--', alias, command], { stdio: ['pipe', 'pipe', 'pipe'], windowsHide: true, env: hostEnvironment(this.options.env) });
    const started = new SshProcess(child, alias, signal);
    this.running.add(started);
    void started.end().then((code) => {
      this.running.delete(started);
      this.options.log.info(`ssh ${alias} ended (${code ?? 'by a signal'}) after ${Math.round(performance.now() - startedAt)} ms`);
    });
    try {
      await started.skipTo(ready);
    } catch (error) {
      started.kill();
      throw error;
    }
    return started;
  }

  /** Ends every ssh that runs. */
  dispose(): void {
    this.disposed = true;
    for (const each of this.running) each.kill();
  }

  /** The options with which a connection is found that the user opened for Baton; none where the configuration has its own way, or ssh cannot share. */
  private sharing(shares: boolean): string[] {
    const { sharedDirectory: directory } = this.options;
    if (shares || directory === undefined || process.platform === 'win32' || Buffer.byteLength(directory) + SHARED_NAME_BYTES > 103 || /["%\s]/.test(directory)) return [];
    return ['-o', `ControlPath=${join(directory, '%C')}`];
  }

  private get configFile(): string | undefined {
    const file = this.options.env['BATON_SSH_CONFIG'];
    return file === '' ? undefined : file;
  }

  private get configured(): string[] {
    return this.configFile === undefined ? [] : ['-F', this.configFile];
  }

  private async program(): Promise<string> {
    const [program] = await findOnPath('ssh', this.options.env);
    if (program === undefined) throw new HostError('ssh-not-found', 'There is no ssh on the PATH of this host. Install an OpenSSH client, end the host with "baton stop", and try again.');
    return program;
  }
}

function requireAlias(alias: string): void {
  if (!isAlias(alias)) throw new HostError('invalid-params', `"${alias}" is no name for ssh: letters, digits, and _ . @ : + - after the first character. Give such a machine an alias in ~/.ssh/config.`);
}

const onDisk: ConfigFiles = {
  read: async (path) => {
    try {
      const { size } = await stat(path);
      return size > MOST_CONFIG_BYTES ? null : await readFile(path, 'utf8');
    } catch {
      return null;
    }
  },
  list: (directory) => readdir(directory).catch(() => []),
};
