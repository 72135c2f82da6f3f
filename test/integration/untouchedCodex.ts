/** Codex as its user runs it beside a host: `codex exec`, and the TUI in a terminal. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { TmuxScreen } from '../fixtures/tmuxScreen';
import { codex, type Site } from './pairedHosts';

/** Runs `codex exec` on a site to its end. @returns what it said */
export async function codexExec(site: Site, cwd: string, ...args: string[]): Promise<string> {
  const running = promisify(execFile)(codex, ['exec', ...args], { cwd, env: site.machine.env, timeout: 50_000 });
  running.child.stdin?.end();
  return (await running).stdout;
}

/** For `extra` of a Codex configuration: the TUI offers no newer model than the one that is configured. */
export const keepsItsModel = '[notice.model_migrations]\n"gpt-5.5" = "gpt-6-sol"';

/** Opens the TUI on a site, in a folder of a repository that its user trusts. */
export async function openTui(site: Site, cwd: string, ...args: string[]): Promise<TmuxScreen> {
  const config = join(site.machine.codexHome, 'config.toml');
  const trusted = `[projects.${JSON.stringify(site.checkout)}]`;
  const text = await readFile(config, 'utf8');
  if (!text.includes(trusted)) await writeFile(config, `${text}\n${trusted}\ntrust_level = "trusted"\n`);
  const base = join(site.machine.directory, 'terminals');
  await mkdir(base, { recursive: true });
  return TmuxScreen.open(await mkdtemp(join(base, 't')), `cd '${cwd}' && '${codex}' ${args.map((word) => `'${word}'`).join(' ')}`, site.machine.env);
}

/** Leaves the TUI as its user does; what it has started goes on. */
export async function leaveTui(screen: TmuxScreen): Promise<void> {
  await screen.press('C-c');
  // It asks while the turn ends that was just seen to say its last word.
  if ((await screen.shows(/To reconnect, run|Run in background/)).includes('Run in background')) await screen.press('2');
  await screen.shows(/To reconnect, run/);
  await screen.close();
}

/** The app-server that the TUI starts and leaves running, for all of Codex on a site. */
export async function stopDaemon(site: Site): Promise<void> {
  await promisify(execFile)(codex, ['app-server', 'daemon', 'stop'], { env: site.machine.env });
}

/** Ends what the TUI has started on a site. */
export async function endDaemon(site: Site): Promise<void> {
  for (const name of ['daemon-updater.pid', 'daemon.pid']) {
    const text = await readFile(join(site.machine.codexHome, 'app-server-daemon', name), 'utf8').catch(() => null);
    if (text === null) continue;
    try {
      process.kill((JSON.parse(text) as { pid: number }).pid, 'SIGKILL');
    } catch {
      // It has ended already.
    }
  }
}
