/** Proof that what Codex runs in a directory really runs in that directory of this host. */
import { randomBytes } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AppServer } from './appServer';
import type { SandboxPolicy } from './protocol.generated';

/** `proven`, or why nothing could be run there; `elsewhere` where something ran and did not touch this directory. */
export type Canary = { is: 'proven' } | { is: 'elsewhere' } | { is: 'not-run'; why: string };

const timeoutMs = 20_000;

/**
 * Has Codex run a command in `cwd` under the sandbox that a thread will have there, and compares what it did with what this process
 * finds on the disk: where the sandbox may write, the command writes a word into a file; else it reads one that was put there. Git is
 * the program, as it is on every host and needs no shell. The file has gone when this returns; one of the same `name` that a
 * crash left is removed.
 */
export async function tryCanary(server: AppServer, options: { cwd: string; sandboxPolicy: SandboxPolicy; name: string }): Promise<Canary> {
  const { cwd, sandboxPolicy, name } = options;
  const file = join(cwd, name);
  const word = randomBytes(16).toString('hex');
  const writes = sandboxPolicy.type !== 'readOnly';
  // Without a thread there is no workspace: Codex would take its own directory for it.
  const policy = sandboxPolicy.type === 'workspaceWrite' ? { ...sandboxPolicy, writableRoots: [cwd] } : sandboxPolicy;
  const git = ['git', 'config', '--file', name];
  try {
    await rm(file, { force: true });
    if (!writes) await writeFile(file, `[canary]\n\tword = ${word}\n`, { flag: 'wx' });
    const { exitCode, stdout, stderr } = await server.request('command/exec', { command: [...git, 'canary.word', ...(writes ? [word] : [])], cwd, sandboxPolicy: policy, timeoutMs });
    // Git says nothing, and 1, of a file that is not there.
    if (exitCode !== 0) return !writes && exitCode === 1 && stderr.trim() === '' ? { is: 'elsewhere' } : { is: 'not-run', why: stderr.trim().split('\n')[0]?.slice(0, 300) ?? `exit code ${exitCode}` };
    const seen = writes ? await readFile(file, 'utf8').catch(() => '') : stdout;
    return seen.includes(word) ? { is: 'proven' } : { is: 'elsewhere' };
  } catch (error) {
    return { is: 'not-run', why: error instanceof Error ? error.message : String(error) };
  } finally {
    await rm(file, { force: true });
  }
}
