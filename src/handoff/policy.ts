/**
 * What a thread may do, and the rule that moving never widens it (invariant 7). Words and values are Codex's:
 * `AskForApproval`, `SandboxMode`, `SandboxPolicy` and the constraints of `configRequirements/read`.
 */
import { z } from 'zod';
import { canonicalJson } from './canonicalJson';

const granular = z.object({
  granular: z.object({ sandbox_approval: z.boolean(), rules: z.boolean(), skill_approval: z.boolean(), request_permissions: z.boolean(), mcp_elicitations: z.boolean() }),
});
export const approvalPolicy = z.union([z.enum(['untrusted', 'on-request', 'never']), granular]);
export type ApprovalPolicy = z.infer<typeof approvalPolicy>;

export const sandboxMode = z.enum(['read-only', 'workspace-write', 'danger-full-access']);
export type SandboxMode = z.infer<typeof sandboxMode>;

export const policy = z.object({ approvalPolicy, sandbox: sandboxMode, networkAccess: z.boolean() });
/** `networkAccess` is whether sandboxed commands reach the network; it is true whenever nothing confines them. */
export type Policy = z.infer<typeof policy>;

/** The parts of Codex's `configRequirements/read` that bound a policy; null where nothing is demanded. */
export const requirements = z.object({
  allowedApprovalPolicies: z.array(approvalPolicy).nullish(),
  allowedSandboxModes: z.array(sandboxMode).nullish(),
});
export type Requirements = z.infer<typeof requirements>;

/** From strict to lax. `granular` stands outside the order: it is only ever equal to itself. */
const approvalOrder = ['untrusted', 'on-request', 'never'] as const;
const sandboxOrder = ['read-only', 'workspace-write', 'danger-full-access'] as const;

function isNoLaxerApproval(a: ApprovalPolicy, b: ApprovalPolicy): boolean {
  if (typeof a === 'string' && typeof b === 'string') return approvalOrder.indexOf(a) <= approvalOrder.indexOf(b);
  // 'untrusted' asks for everything that is not known to be harmless, so it is no laxer than any granular policy.
  return a === 'untrusted' || canonicalJson(a) === canonicalJson(b);
}

/** Whether `a` allows nothing that `b` does not allow. */
export function isNoLaxer(a: Policy, b: Policy): boolean {
  return (
    isNoLaxerApproval(a.approvalPolicy, b.approvalPolicy) &&
    sandboxOrder.indexOf(a.sandbox) <= sandboxOrder.indexOf(b.sandbox) &&
    (!a.networkAccess || b.networkAccess)
  );
}

/** The policy that allows only what both allow. Granular policies that differ meet in `untrusted`. */
export function stricterOf(a: Policy, b: Policy): Policy {
  return {
    approvalPolicy: isNoLaxerApproval(a.approvalPolicy, b.approvalPolicy)
      ? a.approvalPolicy
      : isNoLaxerApproval(b.approvalPolicy, a.approvalPolicy)
        ? b.approvalPolicy
        : 'untrusted',
    sandbox: sandboxOrder.indexOf(a.sandbox) <= sandboxOrder.indexOf(b.sandbox) ? a.sandbox : b.sandbox,
    networkAccess: a.networkAccess && b.networkAccess,
  };
}

/**
 * The laxest policy within `requirements` that is no laxer than `wanted`, or null where the requirements only admit
 * laxer ones. Codex would fall back to an allowed value without a word, also a laxer one, so Baton decides beforehand.
 */
export function withinRequirements(wanted: Policy, demanded: Requirements | null): Policy | null {
  const approvals = demanded?.allowedApprovalPolicies?.filter((allowed) => isNoLaxerApproval(allowed, wanted.approvalPolicy));
  const sandboxes = demanded?.allowedSandboxModes?.filter((allowed) => sandboxOrder.indexOf(allowed) <= sandboxOrder.indexOf(wanted.sandbox));
  const approval = approvals === undefined ? wanted.approvalPolicy : approvals.find((one) => approvals.every((other) => isNoLaxerApproval(other, one))) ?? approvals[0];
  const sandbox = sandboxes === undefined ? wanted.sandbox : sandboxOrder.filter((mode) => sandboxes.includes(mode)).at(-1);
  return approval === undefined || sandbox === undefined ? null : { ...wanted, approvalPolicy: approval, sandbox };
}

/**
 * The requirements that hold where both hold: only what both allow is allowed. One after the other would not do, for what
 * satisfies the second may be forbidden by the first.
 */
export function requirementsOfBoth(a: Requirements | null, b: Requirements | null): Requirements | null {
  if (a === null || b === null) return a ?? b;
  return {
    allowedApprovalPolicies: allowedByBoth(a.allowedApprovalPolicies, b.allowedApprovalPolicies),
    allowedSandboxModes: allowedByBoth(a.allowedSandboxModes, b.allowedSandboxModes),
  };
}

function allowedByBoth<T>(a: readonly T[] | null | undefined, b: readonly T[] | null | undefined): T[] | null {
  const [left, right] = [a ?? b, b ?? a];
  if (left === null || left === undefined || right === null || right === undefined) return null;
  const onRight = new Set(right.map(canonicalJson));
  return left.filter((one) => onRight.has(canonicalJson(one)));
}

const modeOfType: ReadonlyMap<string, SandboxMode> = new Map([
  ['readOnly', 'read-only'],
  ['workspaceWrite', 'workspace-write'],
  ['dangerFullAccess', 'danger-full-access'],
]);

/** The `Policy` that a Codex `SandboxPolicy` and `AskForApproval` amount to, or null for one that Baton cannot judge (an external sandbox). */
export function policyOf(approval: unknown, sandbox: unknown): Policy | null {
  const parsedApproval = approvalPolicy.safeParse(approval);
  const parsedSandbox = z.looseObject({ type: z.string(), networkAccess: z.boolean().optional() }).safeParse(sandbox);
  if (!parsedApproval.success || !parsedSandbox.success) return null;
  const mode = modeOfType.get(parsedSandbox.data.type);
  if (mode === undefined) return null;
  return { approvalPolicy: parsedApproval.data, sandbox: mode, networkAccess: mode === 'danger-full-access' || parsedSandbox.data.networkAccess === true };
}
