import { execFile } from 'node:child_process';

/** Runs a program to its end and returns its standard output. @throws with what it wrote, where it fails or takes too long. */
export async function run(program: string, args: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv; timeoutMs?: number } = {}): Promise<string> {
  const { timeoutMs = 60_000, ...rest } = options;
  return await new Promise((resolve, reject) => {
    execFile(program, args, { ...rest, timeout: timeoutMs, maxBuffer: 64 * 1024 * 1024, encoding: 'utf8' }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${program} ${args.join(' ')} failed: ${error.message}\n${stdout}\n${stderr}`));
    });
  });
}
