import { expect, it } from 'vitest';
import type { Requirements } from '../../src/handoff/policy';
import { HeldPolicies, type HeldPolicy } from '../../src/host/heldPolicies';

const threadId = '0199abcd-0000-7000-8000-000000000000';
const online = { type: 'workspaceWrite', writableRoots: [], networkAccess: true, excludeTmpdirEnvVar: false, excludeSlashTmp: false };

/** What becomes of a request about a thread that is held to this. */
function ask(params: object, held: Partial<HeldPolicy>): string {
  const all: Record<string, HeldPolicy> = { [threadId]: { policy: { approvalPolicy: 'on-request', sandbox: 'workspace-write', networkAccess: false, excludeTmpdirEnvVar: false, excludeSlashTmp: false }, approvalsReviewer: 'user', requirements: null, ...held } };
  try {
    new HeldPolicies({ value: all, update: () => Promise.reject(new Error('Nothing is written.')) }).requirePermitted(threadId, { threadId, ...params });
    return 'permitted';
  } catch (error) {
    return (error as { reason: string }).reason;
  }
}

const bound: Requirements = { others: [{ key: 'experimental_network', digest: 'a'.repeat(64) }] };

it.each([
  { what: 'another provider than may be', params: { modelProvider: 'azure' }, held: { requirements: { allowedModelProviders: ['openai'] } }, outcome: 'policy-refused' },
  { what: 'a provider that may be', params: { modelProvider: 'openai' }, held: { requirements: { allowedModelProviders: ['openai'] } }, outcome: 'permitted' },
  { what: 'any provider', params: { modelProvider: 'azure' }, held: { requirements: bound }, outcome: 'permitted' },
  { what: 'the network, where a bound on it is missing here', params: { sandboxPolicy: online }, held: { requirements: bound, offline: true }, outcome: 'policy-refused' },
  { what: 'no sandbox, where a bound on the network is missing here', params: { sandbox: 'danger-full-access' }, held: { requirements: bound, offline: true }, outcome: 'policy-refused' },
  { what: 'the network, where that bound is here too', params: { sandboxPolicy: online }, held: { requirements: bound }, outcome: 'permitted' },
  { what: 'less', params: { sandboxPolicy: { type: 'readOnly', networkAccess: false } }, held: { requirements: bound, offline: true }, outcome: 'permitted' },
  { what: 'a piece of configuration', params: { config: { 'features.apps': true } }, held: { requirements: { featuresOff: ['apps'] } }, outcome: 'policy-refused' },
])('a request for $what is $outcome', ({ params, held, outcome }) => {
  expect(ask(params, held as Partial<HeldPolicy>)).toBe(outcome);
});
