/** Two real hosts, or three, that can be hurt: every write of theirs by orders, the way between them, and the disk of their homes. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdir, mkdtemp, open, realpath, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { endProcess, startRelayProcess } from '../fixtures/machine';
import { startPair, type PairedHosts, type Site } from '../integration/pairedHosts';
import { carriedScript } from './carried';
import type { Leg, Role } from './cases';
import { startFaultyWire, type FaultyWire } from './faultyWire';
import { giveOrders, type Orders } from './orders';

const run = promisify(execFile);
const preload = pathToFileURL(resolve(import.meta.dirname, '../torture/preload.mjs')).href;
/** Room for what preflight asks for, and little more. */
const SMALL_DISK = '128m';

/** Whether this account may mount file systems here. */
export async function canMount(): Promise<boolean> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false;
  const directory = await mkdtemp(join(tmpdir(), 'baton-mount-'));
  try {
    await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory]);
    await run('umount', [directory]);
    return true;
  } catch {
    return false;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

export class Ground {
  private given = 0;
  private closed = false;
  private readonly readOnly = new Set<string>();
  private joined: Site | null = null;
  /** Worktrees beside which a thread went on in a second one. */
  readonly deserted = new Set<string>();
  /** Threads of which a host kept what it had as a fork, which goes on in the worktree and on the branch that it made for the thread. */
  readonly forked = new Set<string>();
  /** No other case may follow on this ground. */
  spent = false;

  private constructor(
    readonly directory: string,
    readonly pair: PairedHosts,
    readonly wire: FaultyWire,
    readonly smallDisks: boolean,
  ) {}

  /** @param smallDisks the hosts' homes are small file systems of their own, apart from the one of Codex's home */
  static async make(smallDisks: boolean): Promise<Ground> {
    const directory = await realpath(await mkdtemp(join(tmpdir(), 'baton-torture-')));
    let wire: FaultyWire | null = null;
    for (const name of ['laptop', 'server', 'desk']) {
      await mkdir(join(directory, name));
      giveOrders(join(directory, name), { id: '' });
    }
    const mounted: string[] = [];
    const pair = await startPair({
      script: carriedScript,
      laptopEnv: underOrders(directory, 'laptop'),
      serverEnv: underOrders(directory, 'server'),
      prepare: async ({ batonHome }) => {
        if (!smallDisks) return;
        await mkdir(batonHome, { recursive: true, mode: 0o700 });
        await run('mount', ['-t', 'tmpfs', '-o', `size=${SMALL_DISK},mode=0700`, 'tmpfs', batonHome]);
        mounted.push(batonHome);
      },
      wayTo: async (relayUrl) => {
        wire = await startFaultyWire({ host: '127.0.0.1', port: Number(new URL(relayUrl).port) });
        return `ws://127.0.0.1:${wire.port}`;
      },
      atEnd: async (keep) => {
        for (const batonHome of mounted) {
          if (keep) await run('cp', ['-a', batonHome, `${batonHome}.kept`]);
          await run('umount', [batonHome]);
        }
      },
    });
    return new Ground(directory, pair, wire as unknown as FaultyWire, smallDisks);
  }

  get sites(): readonly Site[] {
    return [this.pair.laptop, this.pair.server, ...(this.joined === null ? [] : [this.joined])];
  }

  /** A third host, paired with both, whose own threads may do anything. */
  async third(): Promise<Site> {
    return (this.joined ??= await this.pair.join('desk', { approvalPolicy: 'never', sandboxMode: 'danger-full-access' }, underOrders(this.directory, 'desk')));
  }

  ordersOf(site: Site): string {
    return join(this.directory, site.machine.name);
  }

  /** Gives the id under which what the host does about them is written down. */
  order(site: Site, orders: Omit<Orders, 'id'>): string {
    this.given += 1;
    const id = String(this.given);
    giveOrders(this.ordersOf(site), { id, ...orders });
    return id;
  }

  disarm(site: Site): void {
    giveOrders(this.ordersOf(site), { id: '' });
  }

  isAlive(site: Site): boolean {
    const { exitCode, signalCode } = site.machine.hostProcess;
    return exitCode === null && signalCode === null;
  }

  /** Resolves when the host's process has ended. */
  async death(site: Site): Promise<void> {
    if (this.isAlive(site)) await once(site.machine.hostProcess, 'exit');
  }

  /** Starts what is dead, hosts without orders. Gives whether there was any. */
  async revive(): Promise<boolean> {
    let found = false;
    if (this.closed) return false;
    const { relay } = this.pair;
    if (relay.child.exitCode !== null || relay.child.signalCode !== null) {
      this.pair.relay = await startRelayProcess(new URL(relay.url).host);
      found = true;
    }
    for (const site of this.sites) {
      if (this.isAlive(site)) continue;
      this.disarm(site);
      await this.restart(site, 'SIGKILL');
      found = true;
    }
    return found;
  }

  /** The relay goes on under another address, behind the same name: to the hosts it is the proxy. */
  async moveRelay(): Promise<void> {
    await endProcess(this.pair.relay.child, 'SIGKILL');
    this.pair.relay = await startRelayProcess();
    this.wire.leadTo(Number(new URL(this.pair.relay.url).port));
  }

  /** For every host so much time has passed at once, by the monotonic clock. */
  letPass(milliseconds: number): void {
    for (const site of this.sites) this.order(site, { sleptMs: milliseconds });
  }

  /** Waits for something, and meanwhile starts what dies. */
  async reviveUntil(promise: Promise<unknown>): Promise<void> {
    const over = promise.then(() => true);
    while (!(await Promise.race([over, ...this.sites.map((site) => this.death(site).then(() => false))]))) await this.revive();
  }

  /** Ends a host, if it lives, and starts it. */
  async restart(site: Site, signal: NodeJS.Signals): Promise<void> {
    // Of a case that took too long nobody waits for the end any more.
    if (this.closed) throw new Error('This ground is closed; nothing is started on it any more.');
    await site.stop(signal);
    await this.keepLog(site);
    await site.start();
  }

  private async keepLog(site: Site): Promise<void> {
    await appendFile(join(this.directory, `${site.machine.name}.log`), `${site.machine.hostLog}--- ended\n`);
  }

  /** Fills the home's file system but for so many bytes. */
  async fill(site: Site, freeBytes: number): Promise<void> {
    const { bavail, bsize } = await statfs(site.machine.batonHome);
    const file = await open(join(site.machine.batonHome, 'filler'), 'w');
    const block = Buffer.alloc(64 * bsize);
    try {
      for (let left = bavail * bsize - freeBytes; left > 0; left -= block.length) await file.write(block, 0, Math.min(left, block.length));
    } catch (error) {
      // The host writes meanwhile.
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    } finally {
      await file.close();
    }
  }

  async makeReadOnly(site: Site): Promise<void> {
    const { batonHome } = site.machine;
    await run('mount', ['--bind', batonHome, batonHome]);
    this.readOnly.add(batonHome);
    await run('mount', ['-o', 'remount,bind,ro', batonHome]);
  }

  /** The disks are as they were. */
  async healDisks(): Promise<void> {
    for (const path of this.readOnly) await run('umount', ['--lazy', path]);
    this.readOnly.clear();
    if (this.smallDisks) await Promise.all(this.sites.map(({ machine }) => rm(join(machine.batonHome, 'filler'), { force: true })));
  }

  /** @param keep the directories stay, to be looked at; their paths are given */
  async close(keep = false): Promise<readonly string[]> {
    this.closed = true;
    await this.healDisks();
    this.wire.heal();
    for (const site of this.sites) {
      this.disarm(site);
      await this.keepLog(site);
    }
    await this.pair.close({ keep });
    await this.wire.close();
    if (!keep) await rm(this.directory, { recursive: true, force: true });
    return [this.directory, this.pair.directory];
  }
}

const underOrders = (directory: string, name: string) => ({ NODE_OPTIONS: `--import=${preload}`, BATON_TORTURE: join(directory, name) });

/** Which of the two is the source of a handoff. */
export function inRole({ laptop, server }: PairedHosts, leg: Leg, role: Role): Site {
  return (leg !== 'back') === (role === 'source') ? laptop : server;
}
