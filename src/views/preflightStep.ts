import type { HandoffPreflight } from '../host/protocol';
import { preflightItems, type PreflightChoice } from './handOffPicks';
import { pickStep, type Step, type StepResult } from './pickSteps';

/** What a preflight was agreed to with: the digest of the list of ignored files that are to travel too; none where they stay. */
export interface AgreedPreflight {
  readonly included?: string;
}

/**
 * Shows a preflight until it is agreed to. Ignored files travel only where the user turns that on, with their list in view; a
 * preflight that is made again begins without them.
 *
 * @param saveProject mends at the destination what can be mended from this window, where that is this host
 */
export async function preflightStep(step: Step, look: () => Promise<HandoffPreflight>, saveProject?: () => Promise<void>): Promise<StepResult<AgreedPreflight>> {
  let preflight = look();
  let withIncluded = false;
  for (;;) {
    const shown = withIncluded;
    const result: StepResult<PreflightChoice> = await pickStep({ ...step, items: preflight.then((found) => preflightItems(found, { saves: saveProject !== undefined, withIncluded: shown })) });
    if (result.kind !== 'picked') return result;
    switch (result.value) {
      case 'start': {
        const { included } = await preflight;
        return { kind: 'picked', value: withIncluded && included != null ? { included: included.digest } : {} };
      }
      case 'toggle-included':
        withIncluded = !withIncluded;
        break;
      case 'save-project':
        await saveProject?.();
        withIncluded = false;
        preflight = look();
    }
  }
}
