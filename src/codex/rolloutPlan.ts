/** The agent's plan. Codex keeps it nowhere but in the rollout, as calls of the update_plan tool, and sends it to clients only while it changes. */
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { describeRollout, readBody } from './rollout';

export type RolloutPlan = {
  /** The turn in which it was last changed. */
  turnId: string | null;
  explanation: string | null;
  steps: { step: string; status: 'pending' | 'inProgress' | 'completed' }[];
};

const startedLine = z.looseObject({ type: z.literal('event_msg'), payload: z.looseObject({ type: z.literal('task_started'), turn_id: z.string() }) });
const callLine = z.looseObject({ type: z.literal('response_item'), payload: z.looseObject({ type: z.literal('function_call'), name: z.literal('update_plan'), call_id: z.string(), arguments: z.string() }) });
const outputLine = z.looseObject({ type: z.literal('response_item'), payload: z.looseObject({ type: z.literal('function_call_output'), call_id: z.string(), output: z.unknown() }) });
const planArguments = z.looseObject({
  explanation: z.string().nullish(),
  plan: z.array(z.looseObject({ step: z.string(), status: z.enum(['pending', 'in_progress', 'completed']) })),
});

/**
 * The last plan that Codex accepted, or null if there is none. Calls that it refused (the tool is off by default, and in plan mode) do not count.
 * @throws CodexError `rollout-invalid`, `rollout-missing`, `rollout-compressed`
 */
export async function readPlan(path: string): Promise<RolloutPlan | null> {
  const { bodyBytes } = await describeRollout(path);
  let turnId: string | null = null;
  let accepted: RolloutPlan | null = null;
  const proposed = new Map<string, RolloutPlan>();
  for await (const line of createInterface({ input: readBody(path, 0, bodyBytes), crlfDelay: Infinity })) {
    // Most lines are neither; parsing them all would take minutes for a long thread.
    if (line.includes('"task_started"')) turnId = parse(startedLine, line)?.payload.turn_id ?? turnId;
    else if (line.includes('"update_plan"')) {
      const call = parse(callLine, line)?.payload;
      const args = call === undefined ? null : parse(planArguments, call.arguments);
      if (call !== undefined && args !== null) {
        const steps = args.plan.map(({ step, status }) => ({ step, status: status === 'in_progress' ? ('inProgress' as const) : status }));
        proposed.set(call.call_id, { turnId, explanation: args.explanation ?? null, steps });
      }
    } else if (proposed.size > 0 && line.includes('"function_call_output"')) {
      const output = parse(outputLine, line)?.payload;
      const plan = output === undefined ? undefined : proposed.get(output.call_id);
      if (output === undefined || plan === undefined) continue;
      proposed.delete(output.call_id);
      if (output.output === 'Plan updated') accepted = plan;
    }
  }
  return accepted;
}

function parse<T extends z.ZodType>(schema: T, text: string): z.output<T> | null {
  try {
    const parsed = schema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}
