import type { HostClient } from '../hostClient';
import type { HandoffPhase, HandoffProgress } from '../protocol';
import { inertLine } from './inertText';
import { bytesText, cut } from './layout';
import type { Session } from './session';

const RETURN_AND_CLEAR = '\r\u001b[K';

/**
 * Shows the progress of a thread's handoff on standard error: one line per phase; in a terminal the line of the current phase
 * is kept up to date. Nothing under `--json`.
 */
export function showProgress(session: Session, client: HostClient, threadId: string): { readonly end: () => void } {
  if (session.json) return { end: () => undefined };
  const live = session.stderr.isTTY;
  let phase: HandoffPhase | undefined;
  const unsubscribe = client.on('handoff/progress', (progress) => {
    if (progress.threadId !== threadId) return;
    const line = progressLine(progress);
    if (live) session.stderr.write(`${phase === undefined ? '' : phase === progress.phase ? RETURN_AND_CLEAR : '\n'}${cut(line, session.columns - 1)}`);
    else if (progress.phase !== phase) session.stderr.write(`${line}\n`);
    phase = progress.phase;
  });
  return {
    end: () => {
      unsubscribe();
      if (live && phase !== undefined) session.stderr.write('\n');
    },
  };
}

/** `transfer   Sending the working state (1.2 MB of 3.4 MB)` */
export function progressLine({ phase, message, bytesDone, bytesTotal }: HandoffProgress): string {
  const bytes = bytesDone === null ? '' : ` (${bytesText(bytesDone)}${bytesTotal === null ? '' : ` of ${bytesText(bytesTotal)}`})`;
  return `${phase.padEnd(10)} ${inertLine(message)}${bytes}`;
}
