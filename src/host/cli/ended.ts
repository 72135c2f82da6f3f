import { HostError } from '../hostError';

/** A host that was asked to stop ends its app-server first. */
const STOP_TIMEOUT_MS = 30_000;
const LOOK_AGAIN_MS = 20;

/** Resolves when a process is gone. It is no child of this one, so there is no signal of its end to wait for. */
export async function ended(pid: number): Promise<void> {
  for (const start = Date.now(); Date.now() - start < STOP_TIMEOUT_MS; ) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
  throw new HostError('internal', `The host (process ${pid}) was asked to stop and still runs after ${STOP_TIMEOUT_MS / 1000} s. See host.log in its home.`);
}
