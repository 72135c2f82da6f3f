import type { BytePath } from './bytePath';
import { captureWorkingState, type CapturedState, type CaptureOptions } from './capture';

/** The working state of one repository of a checkout. */
export interface CapturedPart {
  /** Where its worktree lies in the checkout's; empty for the checkout itself. */
  readonly place: BytePath;
  readonly state: CapturedState;
}

/** A checkout as parts, parents before their submodules; the first is the checkout itself. */
export type CapturedCheckout = readonly [CapturedPart, ...CapturedPart[]];

/**
 * Takes the working state of a checkout, as {@link captureWorkingState} does.
 *
 * @throws {GitError} as {@link captureWorkingState}
 */
export async function captureCheckout(options: CaptureOptions): Promise<CapturedCheckout> {
  return [{ place: '', state: await captureWorkingState(options) }];
}
