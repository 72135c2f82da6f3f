import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isNoLaxer, policyOf, requirementsOfBoth, stricterOf, withinRequirements, type ApprovalPolicy, type Policy, type Requirements } from '../../src/handoff/policy';
import { destinationPolicy } from '../../src/handoff/preflight';

const anyApproval: fc.Arbitrary<ApprovalPolicy> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('untrusted' as const, 'on-request' as const, 'never' as const) },
  { weight: 1, arbitrary: fc.record({ granular: fc.record({ sandbox_approval: fc.boolean(), rules: fc.boolean(), skill_approval: fc.boolean(), request_permissions: fc.boolean(), mcp_elicitations: fc.boolean() }) }) },
);
const anySandbox = fc.constantFrom('read-only' as const, 'workspace-write' as const, 'danger-full-access' as const);
const anyPolicy: fc.Arbitrary<Policy> = fc.record({ approvalPolicy: anyApproval, sandbox: anySandbox, networkAccess: fc.boolean(), excludeTmpdirEnvVar: fc.boolean(), excludeSlashTmp: fc.boolean() });
const anyRequirements: fc.Arbitrary<Requirements | null> = fc.option(
  fc.record({ allowedApprovalPolicies: fc.option(fc.array(anyApproval, { maxLength: 4 })), allowedSandboxModes: fc.option(fc.array(anySandbox, { maxLength: 3 })) }),
);

const sameLaxity = (a: Policy, b: Policy): boolean => isNoLaxer(a, b) && isNoLaxer(b, a);
const satisfies = (policy: Policy, demanded: Requirements | null): boolean =>
  (demanded?.allowedApprovalPolicies?.some((allowed) => sameLaxity({ ...policy, approvalPolicy: allowed }, policy)) ?? true) && (demanded?.allowedSandboxModes?.includes(policy.sandbox) ?? true);

const of = (approvalPolicy: ApprovalPolicy, sandbox: Policy['sandbox'], networkAccess = sandbox === 'danger-full-access', excludeSlashTmp = false): Policy => ({ approvalPolicy, sandbox, networkAccess, excludeTmpdirEnvVar: false, excludeSlashTmp });
const granular = { granular: { sandbox_approval: false, rules: true, skill_approval: true, request_permissions: true, mcp_elicitations: true } };
const granularReordered = { granular: Object.fromEntries(Object.entries(granular.granular).reverse()) as typeof granular.granular };
const otherGranular = { granular: { ...granular.granular, rules: false } };

describe('the order of policies', () => {
  it('is a partial order', () => {
    fc.assert(fc.property(anyPolicy, (a) => isNoLaxer(a, a)));
    fc.assert(fc.property(anyPolicy, anyPolicy, anyPolicy, (a, b, c) => !isNoLaxer(a, b) || !isNoLaxer(b, c) || isNoLaxer(a, c)));
  });

  it.each([
    { a: of('untrusted', 'read-only'), b: of('never', 'danger-full-access'), isIt: true },
    { a: of('never', 'read-only'), b: of('on-request', 'danger-full-access'), isIt: false },
    { a: of('on-request', 'danger-full-access'), b: of('never', 'workspace-write'), isIt: false },
    { a: of('on-request', 'workspace-write', true), b: of('on-request', 'workspace-write', false), isIt: false },
    { a: of('on-request', 'workspace-write', false), b: of('on-request', 'workspace-write', true), isIt: true },
    { a: of('on-request', 'workspace-write', false, false), b: of('on-request', 'workspace-write', false, true), isIt: false },
    { a: of('on-request', 'workspace-write', false, true), b: of('on-request', 'danger-full-access'), isIt: true },
    { a: of('on-request', 'read-only'), b: of('on-request', 'workspace-write', false, true), isIt: true },
    { a: of(granular, 'read-only'), b: of('never', 'read-only'), isIt: false },
    { a: of('untrusted', 'read-only'), b: of(granular, 'read-only'), isIt: true },
    { a: of(granular, 'read-only'), b: of(granularReordered, 'read-only'), isIt: true },
    { a: of(granular, 'read-only'), b: of(otherGranular, 'read-only'), isIt: false },
  ])('has $a no laxer than $b: $isIt', ({ a, b, isIt }) => {
    expect(isNoLaxer(a, b)).toBe(isIt);
  });
});

describe('the stricter of two policies', () => {
  it('is never laxer than either', () => {
    fc.assert(fc.property(anyPolicy, anyPolicy, (a, b) => isNoLaxer(stricterOf(a, b), a) && isNoLaxer(stricterOf(a, b), b)));
  });

  it('is the laxest that is no laxer than either', () => {
    fc.assert(fc.property(anyPolicy, anyPolicy, anyPolicy, (a, b, c) => !(isNoLaxer(c, a) && isNoLaxer(c, b)) || isNoLaxer(c, stricterOf(a, b))));
  });

  it('does not depend on who is asked first, nor on which hosts were passed in which order', () => {
    fc.assert(fc.property(anyPolicy, anyPolicy, (a, b) => sameLaxity(stricterOf(a, b), stricterOf(b, a))));
    fc.assert(fc.property(anyPolicy, anyPolicy, anyPolicy, (a, b, c) => sameLaxity(stricterOf(stricterOf(a, b), c), stricterOf(a, stricterOf(b, c)))));
  });

  it('of a policy and itself is that policy', () => {
    fc.assert(fc.property(anyPolicy, (a) => sameLaxity(stricterOf(a, a), a)));
  });

  it('of granular policies that differ is untrusted', () => {
    expect(stricterOf(of(granular, 'read-only'), of(otherGranular, 'read-only')).approvalPolicy).toBe('untrusted');
    expect(stricterOf(of(granular, 'read-only'), of('never', 'read-only')).approvalPolicy).toBe('untrusted');
  });
});

describe('a policy within requirements', () => {
  it('is never laxer than what was wanted, and is one that the requirements allow', () => {
    fc.assert(
      fc.property(anyPolicy, anyRequirements, (wanted, demanded) => {
        const found = withinRequirements(wanted, demanded);
        return found === null || (isNoLaxer(found, wanted) && satisfies(found, demanded));
      }),
    );
  });

  it('is what was wanted, wherever the requirements allow that', () => {
    fc.assert(
      fc.property(anyPolicy, anyRequirements, (wanted, demanded) => {
        fc.pre(satisfies(wanted, demanded));
        const found = withinRequirements(wanted, demanded);
        return found !== null && sameLaxity(found, wanted);
      }),
    );
  });

  it('is null exactly where everything that is allowed is laxer', () => {
    const every = fc.sample(anyPolicy, { numRuns: 200, seed: 1 });
    fc.assert(
      fc.property(anyPolicy, anyRequirements, (wanted, demanded) => {
        if (withinRequirements(wanted, demanded) === null) expect(every.filter((one) => isNoLaxer(one, wanted) && satisfies(one, demanded))).toEqual([]);
      }),
    );
  });

  it.each<{ wanted: Policy; demanded: Requirements | null; found: Policy | null }>([
    { wanted: of('never', 'danger-full-access'), demanded: { allowedApprovalPolicies: ['untrusted', 'on-request'] }, found: of('on-request', 'danger-full-access') },
    { wanted: of('untrusted', 'read-only'), demanded: { allowedApprovalPolicies: ['never'] }, found: null },
    { wanted: of('never', 'read-only'), demanded: { allowedSandboxModes: ['workspace-write'] }, found: null },
    { wanted: of('never', 'read-only'), demanded: { allowedSandboxModes: [] }, found: null },
    { wanted: of('never', 'danger-full-access'), demanded: { allowedSandboxModes: ['read-only', 'workspace-write'] }, found: of('never', 'workspace-write', true) },
    { wanted: of(granular, 'read-only'), demanded: { allowedApprovalPolicies: ['untrusted', granular] }, found: of(granular, 'read-only') },
    { wanted: of('never', 'workspace-write'), demanded: { allowedApprovalPolicies: null, allowedSandboxModes: null }, found: of('never', 'workspace-write') },
    { wanted: of('never', 'workspace-write'), demanded: null, found: of('never', 'workspace-write') },
  ])('of $wanted under $demanded is $found', ({ wanted, demanded, found }) => {
    expect(withinRequirements(wanted, demanded)).toEqual(found);
  });
});

describe('requirements of both sides', () => {
  it('allow what each of them allows, and nothing else', () => {
    fc.assert(
      fc.property(anyPolicy, anyRequirements, anyRequirements, (policy, a, b) => {
        expect(satisfies(policy, requirementsOfBoth(a, b))).toBe(satisfies(policy, a) && satisfies(policy, b));
      }),
    );
  });

  it("hold together at the destination: the thread's policy there satisfies both and is no laxer than it was, or there is none", () => {
    fc.assert(
      fc.property(anyPolicy, anyRequirements, fc.option(anyPolicy), anyRequirements, (offered, carried, configured, requirements) => {
        const applied = destinationPolicy(offered, carried, { configured, requirements });
        return applied === null || (isNoLaxer(applied, offered) && (configured === null || isNoLaxer(applied, configured)) && satisfies(applied, carried) && satisfies(applied, requirements));
      }),
    );
  });

  it('do not admit what only one of them admits', () => {
    const facts = { configured: null, requirements: { allowedApprovalPolicies: ['on-request' as const] } };
    expect(destinationPolicy(of('never', 'read-only'), { allowedApprovalPolicies: ['untrusted', 'never'] }, facts)).toBeNull();
  });
});

describe("Codex's own shapes", () => {
  it.each<{ approval: unknown; sandbox: unknown; is: Policy | null }>([
    { approval: 'never', sandbox: { type: 'dangerFullAccess' }, is: of('never', 'danger-full-access', true) },
    { approval: 'on-request', sandbox: { type: 'readOnly', networkAccess: false }, is: of('on-request', 'read-only', false) },
    { approval: 'on-request', sandbox: { type: 'readOnly', networkAccess: true }, is: of('on-request', 'read-only', true) },
    {
      approval: 'untrusted',
      sandbox: { type: 'workspaceWrite', writableRoots: [], networkAccess: true, excludeTmpdirEnvVar: false, excludeSlashTmp: false },
      is: of('untrusted', 'workspace-write', true),
    },
    { approval: granular, sandbox: { type: 'readOnly', networkAccess: false }, is: of(granular, 'read-only', false) },
    { approval: 'never', sandbox: { type: 'externalSandbox', networkAccess: 'restricted' }, is: null },
    { approval: { granular: { rules: true } }, sandbox: { type: 'readOnly', networkAccess: false }, is: null },
    { approval: 'on-failure', sandbox: { type: 'dangerFullAccess' }, is: null },
    { approval: 'never', sandbox: { type: 'constructor' }, is: null },
    { approval: 'never', sandbox: { type: '__proto__' }, is: null },
    { approval: undefined, sandbox: { type: 'dangerFullAccess' }, is: null },
    { approval: 'never', sandbox: null, is: null },
    { approval: 'never', sandbox: { type: 'workspaceWrite', networkAccess: 'enabled' }, is: null },
  ])('$approval with $sandbox amount to $is', ({ approval, sandbox, is }) => {
    expect(policyOf(approval, sandbox)).toEqual(is);
  });
});
