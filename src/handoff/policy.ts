/**
 * What a thread may do, and the rule that moving never widens it (invariant 7). Words and values are Codex's:
 * `AskForApproval`, `SandboxMode`, `SandboxPolicy` and the constraints of `configRequirements/read`.
 */
import { z } from 'zod';
import { canonicalJson } from './canonicalJson';
import { constraints, constraintsOfBoth } from './constraints';

const granular = z.object({
  granular: z.object({ sandbox_approval: z.boolean(), rules: z.boolean(), skill_approval: z.boolean(), request_permissions: z.boolean(), mcp_elicitations: z.boolean() }),
});
export const approvalPolicy = z.union([z.enum(['untrusted', 'on-request', 'never']), granular]);
export type ApprovalPolicy = z.infer<typeof approvalPolicy>;

export const sandboxMode = z.enum(['read-only', 'workspace-write', 'danger-full-access']);
export type SandboxMode = z.infer<typeof sandboxMode>;

export const approvalsReviewer = z.enum(['user', 'auto_review', 'guardian_subagent']);
export type ApprovalsReviewer = z.infer<typeof approvalsReviewer>;

/**
 * `networkAccess` is whether sandboxed commands reach the network; it is true whenever nothing confines them. The last two take
 * the temporary directories from what `workspace-write` lets commands write to. Further writable folders of a sandbox are paths of
 * one machine and no part of what travels.
 */
export const policy = z.object({ approvalPolicy, sandbox: sandboxMode, networkAccess: z.boolean(), excludeTmpdirEnvVar: z.boolean().default(false), excludeSlashTmp: z.boolean().default(false) });
export type Policy = z.infer<typeof policy>;

/** What the administrators of the hosts that a thread was on demand of it; null where nothing is demanded. */
export const requirements = z.object({
  allowedApprovalPolicies: z.array(approvalPolicy).nullish(),
  allowedSandboxModes: z.array(sandboxMode).nullish(),
  allowedApprovalsReviewers: z.array(approvalsReviewer).nullish(),
  ...constraints.shape,
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
    (!a.networkAccess || b.networkAccess) &&
    excludes.every((exclude) => !confines(b, exclude) || a.sandbox === 'read-only' || confines(a, exclude))
  );
}

const excludes = ['excludeTmpdirEnvVar', 'excludeSlashTmp'] as const;
const confines = (one: Policy, exclude: (typeof excludes)[number]): boolean => one.sandbox === 'workspace-write' && one[exclude];

/** The policy that allows only what both allow. Granular policies that differ meet in `untrusted`. */
export function stricterOf(a: Policy, b: Policy): Policy {
  const sandbox = sandboxOrder.indexOf(a.sandbox) <= sandboxOrder.indexOf(b.sandbox) ? a.sandbox : b.sandbox;
  const excluded = (exclude: (typeof excludes)[number]) => sandbox === 'workspace-write' && (confines(a, exclude) || confines(b, exclude));
  return {
    approvalPolicy: isNoLaxerApproval(a.approvalPolicy, b.approvalPolicy)
      ? a.approvalPolicy
      : isNoLaxerApproval(b.approvalPolicy, a.approvalPolicy)
        ? b.approvalPolicy
        : 'untrusted',
    sandbox,
    networkAccess: a.networkAccess && b.networkAccess,
    excludeTmpdirEnvVar: excluded('excludeTmpdirEnvVar'),
    excludeSlashTmp: excluded('excludeSlashTmp'),
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

/** Who decides on approvals where two sides have each their own: a person, unless both leave it to the same automatic reviewer. */
export const stricterReviewer = (a: ApprovalsReviewer, b: ApprovalsReviewer): ApprovalsReviewer => (a === b ? a : 'user');

/** A reviewer within `requirements` that is no laxer than `wanted`, or null where they only admit laxer ones. */
export function reviewerWithin(wanted: ApprovalsReviewer, demanded: Requirements | null): ApprovalsReviewer | null {
  const allowed = demanded?.allowedApprovalsReviewers;
  return allowed?.includes(wanted) ?? true ? wanted : allowed?.includes('user') === true ? 'user' : null;
}

/** Whether `requirements` allow a policy exactly as it is, with who decides on its approvals. */
export function meets(demanded: Requirements | null, wanted: Policy, reviewer: ApprovalsReviewer): boolean {
  const approvals = demanded?.allowedApprovalPolicies?.map(canonicalJson);
  return (
    (approvals?.includes(canonicalJson(wanted.approvalPolicy)) ?? true) &&
    (demanded?.allowedSandboxModes?.includes(wanted.sandbox) ?? true) &&
    (demanded?.allowedApprovalsReviewers?.includes(reviewer) ?? true)
  );
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
    allowedApprovalsReviewers: allowedByBoth(a.allowedApprovalsReviewers, b.allowedApprovalsReviewers),
    ...constraintsOfBoth(a, b),
  };
}

function allowedByBoth<T>(a: readonly T[] | null | undefined, b: readonly T[] | null | undefined): T[] | null {
  const [left, right] = [a ?? b, b ?? a];
  if (left === null || left === undefined || right === null || right === undefined) return null;
  const onRight = new Set(right.map(canonicalJson));
  return left.filter((one) => onRight.has(canonicalJson(one)));
}

/** What Baton reads of a Codex `SandboxPolicy`. */
const codexSandbox = z.looseObject({
  type: z.string(),
  networkAccess: z.boolean().optional(),
  excludeTmpdirEnvVar: z.boolean().default(false),
  excludeSlashTmp: z.boolean().default(false),
  writableRoots: z.array(z.string()).optional(),
});

const modeOfType: ReadonlyMap<string, SandboxMode> = new Map([
  ['readOnly', 'read-only'],
  ['workspaceWrite', 'workspace-write'],
  ['dangerFullAccess', 'danger-full-access'],
]);

/** The `Policy` that a Codex `SandboxPolicy` and `AskForApproval` amount to, or null for one that Baton cannot judge (an external sandbox). */
export function policyOf(approval: unknown, sandbox: unknown): Policy | null {
  const parsedApproval = approvalPolicy.safeParse(approval);
  const parsedSandbox = codexSandbox.safeParse(sandbox);
  if (!parsedApproval.success || !parsedSandbox.success) return null;
  const mode = modeOfType.get(parsedSandbox.data.type);
  if (mode === undefined) return null;
  const { networkAccess, excludeTmpdirEnvVar, excludeSlashTmp } = parsedSandbox.data;
  const excluded = (flag: boolean) => mode === 'workspace-write' && flag;
  return {
    approvalPolicy: parsedApproval.data,
    sandbox: mode,
    networkAccess: mode === 'danger-full-access' || networkAccess === true,
    excludeTmpdirEnvVar: excluded(excludeTmpdirEnvVar),
    excludeSlashTmp: excluded(excludeSlashTmp),
  };
}

/** The Codex `SandboxPolicy` of a policy, with no further writable folders. */
export function sandboxPolicyOf({ sandbox, networkAccess, excludeTmpdirEnvVar, excludeSlashTmp }: Policy) {
  switch (sandbox) {
    case 'read-only':
      return { type: 'readOnly' as const, networkAccess };
    case 'workspace-write':
      return { type: 'workspaceWrite' as const, writableRoots: [], networkAccess, excludeTmpdirEnvVar, excludeSlashTmp };
    case 'danger-full-access':
      return { type: 'dangerFullAccess' as const };
  }
}

/** Folders beside the workspace to which a Codex `SandboxPolicy` lets commands write, as absolute paths. */
export function writableRootsOf(sandbox: unknown): string[] {
  return codexSandbox.safeParse(sandbox).data?.writableRoots ?? [];
}
