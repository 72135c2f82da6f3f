import type { DivergenceChoice, HandoffPreflight } from '../host/protocol';
import { preflightItems, type PreflightChoice } from './handOffPicks';
import { pickStep, type Step, type StepResult } from './pickSteps';

/** What a preflight was agreed to with: the digest of the list of ignored files that are to travel too, none where they stay; and what becomes of what the destination has, where both sides changed. */
export interface AgreedPreflight {
  readonly included?: string;
  readonly choice?: DivergenceChoice;
}

/**
 * Shows a preflight until it is agreed to. Ignored files travel only where the user turns that on, with their list in view; a
 * preflight that is made again begins without them.
 *
 * @param saveProject mends at the destination what can be mended from this window, where that is this host
 */
export async function preflightStep(step: Step, look: (choice?: DivergenceChoice) => Promise<HandoffPreflight>, saveProject?: () => Promise<void>): Promise<StepResult<AgreedPreflight>> {
  let preflight = look();
  let withIncluded = false;
  let choice: DivergenceChoice | undefined;
  for (;;) {
    const shown = withIncluded;
    const chosen = choice;
    const result: StepResult<PreflightChoice> = await pickStep({ ...step, items: preflight.then((found) => preflightItems(found, { saves: saveProject !== undefined, withIncluded: shown, chosen })) });
    if (result.kind !== 'picked') return result;
    switch (result.value) {
      case 'start': {
        const { included } = await preflight;
        return { kind: 'picked', value: { ...(withIncluded && included != null ? { included: included.digest } : {}), ...(choice === undefined ? {} : { choice }) } };
      }
      case 'toggle-included':
        withIncluded = !withIncluded;
        break;
      case 'abort':
        return { kind: 'cancelled' };
      case 'second-worktree':
      case 'fork':
        choice = result.value;
        withIncluded = false;
        preflight = look(choice);
        break;
      case 'save-project':
        await saveProject?.();
        withIncluded = false;
        preflight = look(choice);
    }
  }
}
