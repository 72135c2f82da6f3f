/** An ssh server of the bench's own on loopback: own keys, own configuration, one run. The machine's sshd and the user's keys have no part in it. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { endProcess } from '../fixtures/machine';
import { startCountingProxy, type CountingProxy } from './countingProxy';

const execute = promisify(execFile);
const sshd = '/usr/sbin/sshd';
/** Compiled into sshd; as root it does not start without. Systems make it when their own sshd starts. */
const privilegeSeparation = '/run/sshd';

export interface LoopbackSsh {
  /** Configuration for `ssh -F`: the host `server`, a connection for each command. */
  readonly config: string;
  /** The same, but all commands of one minute share one connection (ControlMaster). */
  readonly sharedConfig: string;
  /** Every connection passes through it, so that what is on the wire can be counted. */
  readonly wire: CountingProxy;
  /** Options of `ssh` beside the configuration, for a connection that does not pass through it. */
  readonly direct: readonly string[];
  /** Ends the connection that commands shared, if there is one. */
  endShared(): Promise<void>;
  close(): Promise<void>;
}

/** Starts an sshd below `directory`, or says in a sentence why there is none. */
export async function startLoopbackSsh(directory: string): Promise<LoopbackSsh | string> {
  if (!existsSync(sshd)) return `${sshd} is not there`;
  await mkdir(directory, { mode: 0o700 });
  const madeDirectory = userInfo().uid === 0 && !existsSync(privilegeSeparation);
  if (madeDirectory) await mkdir(privilegeSeparation, { mode: 0o755 });
  const takeAway = async () => {
    if (madeDirectory) await rmdir(privilegeSeparation);
  };
  let server: ChildProcess | null = null;
  let wire: CountingProxy | null = null;
  try {
    for (const key of ['host', 'user']) await execute('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'bench', '-f', join(directory, key)]);
    const port = await freePort();
    await writeFile(join(directory, 'sshd_config'), serverConfig(directory, port));
    server = await listening(directory);
    wire = await startCountingProxy({ host: '127.0.0.1', port });
    const hostKey = (await readFile(join(directory, 'host.pub'), 'utf8')).split(' ').slice(0, 2).join(' ');
    await writeFile(join(directory, 'known_hosts'), `[127.0.0.1]:${wire.port} ${hostKey}\n`);
    const config = join(directory, 'config');
    const sharedConfig = join(directory, 'shared-config');
    const client = clientConfig(directory, wire.port);
    await writeFile(config, `${client}  ControlMaster no\n  ControlPath none\n`);
    await writeFile(sharedConfig, `${client}  ControlMaster auto\n  ControlPath ${join(directory, 'shared')}\n  ControlPersist 60\n`);
    await execute('ssh', ['-F', config, 'server', 'git', '--version']);
    const running = { server, wire };
    const endShared = () => execute('ssh', ['-F', sharedConfig, '-O', 'exit', 'server']).then(() => undefined, () => undefined);
    return {
      config,
      sharedConfig,
      wire,
      direct: ['-p', String(port), '-o', `HostKeyAlias=[127.0.0.1]:${wire.port}`],
      endShared,
      close: async () => {
        await endShared();
        await running.wire.close();
        await endProcess(running.server);
        await takeAway();
      },
    };
  } catch (error) {
    await wire?.close();
    if (server !== null) await endProcess(server);
    await takeAway();
    return `an sshd on loopback could not be used: ${(error instanceof Error ? error.message : String(error)).split('\n').slice(0, 3).join(' ').slice(0, 300)}`;
  }
}

function serverConfig(directory: string, port: number): string {
  return [
    `Port ${port}`, 'ListenAddress 127.0.0.1', `HostKey ${join(directory, 'host')}`, `AuthorizedKeysFile ${join(directory, 'user.pub')}`, 'PidFile none', 'UsePAM no',
    'AuthenticationMethods publickey', 'PasswordAuthentication no', 'PermitRootLogin prohibit-password', 'StrictModes no', 'Subsystem sftp internal-sftp', 'MaxStartups 100', '',
  ].join('\n');
}

function clientConfig(directory: string, port: number): string {
  return [
    'Host server', 'HostName 127.0.0.1', `Port ${port}`, `User ${userInfo().username}`, `IdentityFile ${join(directory, 'user')}`, 'IdentitiesOnly yes', 'IdentityAgent none',
    `UserKnownHostsFile ${join(directory, 'known_hosts')}`, 'GlobalKnownHostsFile none', 'StrictHostKeyChecking yes', 'BatchMode yes', 'LogLevel ERROR', 'ConnectTimeout 10', '',
  ].join('\n  ');
}

/** Starts sshd and waits until it says that it listens. */
async function listening(directory: string): Promise<ChildProcess> {
  const server = spawn(sshd, ['-D', '-e', '-f', join(directory, 'sshd_config')], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  await new Promise<void>((fulfil, reject) => {
    server.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes('Server listening')) fulfil();
    });
    server.once('error', reject);
    server.once('exit', () => reject(new Error(`sshd ended: ${said}`)));
  });
  return server;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((fulfil, reject) => server.once('error', reject).listen(0, '127.0.0.1', fulfil));
  const { port } = server.address() as AddressInfo;
  await new Promise((fulfil) => server.close(fulfil));
  return port;
}
