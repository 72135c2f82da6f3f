import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareVersions, destinationFindings, offerFacts, type DestinationFacts, type OfferFacts } from '../../src/handoff/preflight';
import type { Requirements } from '../../src/handoff/policy';

const mebibyte = 1_048_576;
const offer: OfferFacts = {
  sourceName: 'laptop',
  subdirectory: '',
  policy: { approvalPolicy: 'on-request', sandbox: 'workspace-write', networkAccess: false, excludeTmpdirEnvVar: false, excludeSlashTmp: false },
  approvalsReviewer: 'user',
  modelProvider: 'openai',
  model: { name: 'gpt-9', listed: true },
  codexVersion: '0.169.0',
  bytes: 10 * mebibyte,
  worktreeBytes: 30 * mebibyte,
};
const facts: DestinationFacts = {
  name: 'server',
  unfitGit: null,
  projects: [{ root: '/srv/app', subdirectory: '' }],
  unusable: [],
  codexVersion: '0.169.0',
  models: ['gpt-9', 'gpt-8'],
  knowsProvider: true,
  configured: null,
  configuredReviewer: null,
  configuredWebSearch: null,
  requirements: null,
  disks: [{ use: 'arriving', path: '/home/me/.baton/handoffs', device: '1', freeBytes: 1024 * mebibyte }],
  rolloutBytes: mebibyte,
};

const demand = (key: string, digit: string) => ({ key, digest: digit.repeat(64) });

interface Case {
  readonly when: string;
  readonly offer?: Partial<OfferFacts>;
  readonly facts?: Partial<DestinationFacts>;
  readonly carried?: Requirements;
  readonly level: 'ok' | 'warning' | 'blocker';
  readonly code: string;
  /** Words of the message: for what is no `ok`, the way out. */
  readonly says: RegExp;
}

const cases: readonly Case[] = [
  { when: 'the project is there', level: 'ok', code: 'project', says: /server has this repository at \/srv\/app/ },
  { when: 'no project is there', facts: { projects: [] }, level: 'blocker', code: 'no-matching-project', says: /baton project add DIR/ },
  { when: 'the one that is there cannot be used', facts: { projects: [], unusable: ['/srv/app names its objects by sha256; save a clone.'] }, level: 'blocker', code: 'project-unusable', says: /server cannot use its project .*save a clone/ },
  { when: 'git is too old there', facts: { projects: [], unfitGit: 'git 2.33.0 on server is too old: Install a newer git there.' }, level: 'blocker', code: 'git-unfit', says: /git 2\.33\.0 on server .* Install a newer git there/ },
  { when: 'another folder of it is saved', facts: { projects: [{ root: '/srv/app', subdirectory: 'web' }] }, level: 'blocker', code: 'other-subdirectory', says: /saved for web, but the thread works in its root; save that folder there/ },
  { when: 'only the root of it is saved', offer: { subdirectory: 'api' }, level: 'blocker', code: 'other-subdirectory', says: /saved for the root, but the thread works in api; save that folder there/ },
  { when: 'both have the same Codex', level: 'ok', code: 'codex-version', says: /Both sides run Codex 0\.169\.0/ },
  { when: 'Codex is older there', facts: { codexVersion: '0.168.9' }, level: 'warning', code: 'codex-version', says: /update the older one/ },
  { when: 'Codex is newer there', facts: { codexVersion: '1.0.0' }, level: 'warning', code: 'codex-version', says: /server runs Codex 1\.0\.0, laptop runs 0\.169\.0/ },
  { when: 'the Codex there is too old', facts: { codexVersion: null, codexProblem: 'codex is Codex 0.150.0; update it.' }, level: 'blocker', code: 'codex-not-found', says: /server has no usable Codex: codex is Codex 0\.150\.0; update it\./ },
  { when: 'no Codex is there', facts: { codexVersion: null }, level: 'blocker', code: 'codex-not-found', says: /install it there .* or set BATON_CODEX/ },
  { when: 'the provider is known', level: 'ok', code: 'model-provider', says: /knows the model provider "openai"/ },
  { when: 'the provider is unknown', facts: { knowsProvider: false, models: null }, offer: { modelProvider: 'azure' }, level: 'blocker', code: 'provider-missing', says: /add it to config\.toml/ },
  { when: 'the model is known', level: 'ok', code: 'model', says: /Codex on server knows the model gpt-9\./ },
  { when: 'only the source lists the model', facts: { models: ['gpt-8'] }, level: 'warning', code: 'model-unknown', says: /Codex on server does not list the model gpt-9, which it lists on laptop: .* choose another model/ },
  { when: 'the policy is kept', level: 'ok', code: 'policy', says: /keeps its policy: on-request approvals, workspace-write\./ },
  {
    when: 'the configuration there is stricter',
    facts: { configured: { approvalPolicy: 'untrusted', sandbox: 'read-only', networkAccess: false, excludeTmpdirEnvVar: false, excludeSlashTmp: false } },
    level: 'warning',
    code: 'policy-narrowed',
    says: /untrusted approvals, read-only instead of on-request approvals, workspace-write; to keep its policy, allow it in config\.toml/,
  },
  { when: 'what is required there is laxer', facts: { requirements: { allowedApprovalPolicies: ['never'] } }, level: 'blocker', code: 'policy-refused', says: /change requirements\.toml there, or the thread's policy here/ },
  {
    when: 'what is required there is not what travels with the thread',
    facts: { requirements: { allowedApprovalPolicies: ['on-request'] } },
    carried: { allowedApprovalPolicies: ['untrusted'] },
    level: 'blocker',
    code: 'policy-refused',
    says: /both laptop and server/,
  },
  { when: 'a person decides on approvals there', offer: { approvalsReviewer: 'auto_review' }, facts: { configuredReviewer: 'user' }, level: 'warning', code: 'reviewer-narrowed', says: /At server a person decides .* instead of Codex's automatic review; to keep that, allow it/ },
  { when: 'another review is configured there', offer: { approvalsReviewer: 'auto_review' }, facts: { configuredReviewer: 'guardian_subagent' }, level: 'warning', code: 'reviewer-narrowed', says: /a person decides/ },
  { when: 'what is required there forbids the review', offer: { approvalsReviewer: 'auto_review' }, facts: { requirements: { allowedApprovalsReviewers: ['user'] } }, level: 'warning', code: 'reviewer-narrowed', says: /in requirements\.toml there/ },
  { when: 'what is required there lets no person decide', facts: { requirements: { allowedApprovalsReviewers: ['auto_review'] } }, level: 'blocker', code: 'reviewer-refused', says: /change allowed_approvals_reviewers/ },
  { when: 'a provider is required that the thread does not have', facts: { requirements: { allowedModelProviders: ['azure'] } }, level: 'blocker', code: 'provider-refused', says: /do not allow the model provider "openai", .*; change model_provider in requirements\.toml there/ },
  { when: 'a feature has to be off on one side and on on the other', carried: { featuresOff: ['apps'] }, facts: { requirements: { featuresOn: ['apps'] } }, level: 'blocker', code: 'features-refused', says: /contradict each other about apps; change \[features\]/ },
  { when: 'something is required that cannot be held', carried: { others: [demand('rules', 'a'), demand('mcp_servers', 'b')], featuresOn: ['apps'] }, facts: { requirements: { others: [demand('mcp_servers', 'c')] } }, level: 'warning', code: 'requirements-not-held', says: /demands features\.apps, mcp_servers, rules, to which Baton cannot hold it at server; put the same into requirements\.toml there\.$/ },
  { when: 'there is room', level: 'ok', code: 'disk', says: /server has 1\.1 GB free/ },
  { when: 'there is no room', facts: { disks: [{ use: 'arriving', path: '/home/me/.baton/handoffs', device: '1', freeBytes: 2 * mebibyte }] }, level: 'blocker', code: 'disk-full', says: /has 2\.1 MB free on the disk of \/home\/me\/\.baton\/handoffs and needs 88\.1 MB there for what arrives, 86\.0 MB more; free some space/ },
];

const find = (example: Pick<Case, 'offer' | 'facts' | 'carried'>) => destinationFindings({ ...offer, ...example.offer }, example.carried ?? null, { ...facts, ...example.facts });

describe('the findings of a destination', () => {
  it.each(cases)('have one $code ($level) when $when', (example) => {
    const found = find(example).filter(({ code }) => code === example.code);
    expect(found).toHaveLength(1);
    expect(found[0]?.level).toBe(example.level);
    expect(found[0]?.message).toMatch(example.says);
    expect(found[0]?.message).toMatch(/^[^\n]*\.$/);
  });

  it('say nothing of who decides on approvals where both leave it to the same review, or one to a person', () => {
    for (const approvalsReviewer of ['user', 'auto_review'] as const) expect(find({ offer: { approvalsReviewer }, facts: { configuredReviewer: 'auto_review' } }).filter(({ level }) => level !== 'ok')).toEqual([]);
  });

  it('are all fine for hosts that agree', () => {
    expect(find({}).map(({ level, code }) => `${level} ${code}`)).toEqual(['ok project', 'ok codex-version', 'ok model-provider', 'ok model', 'ok policy', 'ok disk']);
  });

  it.each(cases.filter(({ level }) => level !== 'ok'))('differ from those of hosts that agree in $code alone when $when', (example) => {
    const changed = find(example).filter(({ level }) => level !== 'ok');
    expect(changed.map(({ code }) => code)).toEqual([example.code]);
  });

  it('say every blocker at once', () => {
    const all = find({ offer: { modelProvider: 'azure' }, facts: { knowsProvider: false, models: null, projects: [], requirements: { allowedSandboxModes: ['danger-full-access'] }, disks: [{ use: 'arriving', path: '/', device: '1', freeBytes: 0 }] } });
    expect(all.filter(({ level }) => level === 'blocker').map(({ code }) => code)).toEqual(['no-matching-project', 'provider-missing', 'policy-refused', 'disk-full']);
  });

  it('say nothing of the model provider of a thread that has none, nor of one at a host without Codex', () => {
    expect(find({ offer: { modelProvider: null } }).map(({ code }) => code)).not.toContain('model-provider');
    expect(find({ facts: { codexVersion: null, knowsProvider: false, models: null }, offer: { modelProvider: 'azure' } }).map(({ code }) => code)).not.toContain('provider-missing');
  });

  it('say nothing of requirements that the destination has likewise', () => {
    const same: Requirements = { others: [demand('rules', 'a')], featuresOn: ['apps'], featuresOff: ['memories'], allowedModelProviders: ['openai'] };
    expect(find({ carried: same, facts: { requirements: same } }).filter(({ level }) => level !== 'ok')).toEqual([]);
  });

  it('take the network from a sandbox where a bound on it came along that the destination does not have', () => {
    const online = { ...offer.policy, networkAccess: true };
    const carried: Requirements = { others: [demand('experimental_network', 'a')] };
    const told = find({ offer: { policy: online }, carried }).filter(({ level }) => level !== 'ok').map(({ code, message }) => `${code}: ${message}`);
    expect(told).toEqual([expect.stringMatching(/^policy-narrowed: .* workspace-write instead of .* workspace-write with network/), expect.stringMatching(/^requirements-not-held: .*experimental_network.* reach no network meanwhile\.$/)]);
    expect(find({ offer: { policy: online }, carried, facts: { requirements: carried } }).filter(({ level }) => level !== 'ok')).toEqual([]);
  });

  it('give no false alarm of a model that the source lists as little, that nobody lists, or of an older Baton', () => {
    for (const example of [
      { offer: { model: { name: 'llama-4', listed: false } } },
      { facts: { models: null } },
      { facts: { models: [] }, offer: { model: null } },
      { facts: { models: [] }, offer: { model: undefined } },
    ]) {
      expect(find(example).filter(({ code, level }) => code.startsWith('model') && level !== 'ok')).toEqual([]);
    }
  });

  it('are made of an offer only once that is checked', () => {
    expect(offerFacts.safeParse(offer).success).toBe(true);
    for (const change of [{ bytes: -1 }, { worktreeBytes: 0.5 }, { subdirectory: 'x'.repeat(5000) }, { policy: { ...offer.policy, approvalPolicy: 'on-failure' } }, { policy: undefined }]) {
      expect(offerFacts.safeParse({ ...offer, ...change }).success).toBe(false);
    }
  });
});

describe('the comparison of versions', () => {
  const version = fc.tuple(fc.nat(300), fc.nat(300), fc.nat(300));

  it('is that of their numbers, not of their text', () => {
    fc.assert(
      fc.property(version, version, (a, b) => {
        const byNumbers = a.map((part, index) => part - (b[index] ?? 0)).find((difference) => difference !== 0) ?? 0;
        expect(Math.sign(compareVersions(a.join('.'), b.join('.')))).toBe(Math.sign(byNumbers));
      }),
    );
  });

  it.each([
    { a: '0.169.0', b: '0.170.0', sign: -1 },
    { a: '0.169.10', b: '0.169.9', sign: 1 },
    { a: '1.0', b: '1.0.0', sign: 0 },
    { a: '0.169.0-alpha.1', b: '0.169.0', sign: 0 },
  ])('of $a with $b has the sign $sign', ({ a, b, sign }) => {
    expect(Math.sign(compareVersions(a, b))).toBe(sign);
  });
});
