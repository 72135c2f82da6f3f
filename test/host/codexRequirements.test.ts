import { describe, expect, it } from 'vitest';
import { requirementsOf } from '../../src/host/codexRequirements';

/** As Codex 0.169 answers `configRequirements/read`: what is not demanded is null. */
const silent = {
  modelProvider: null, modelProviders: null, allowedLoginMethods: ['api', 'chatgpt'], cliAuthCredentialsStore: null, chatgptBaseUrl: null, additionalDeveloperInstructions: null, allowedApprovalPolicies: null,
  allowedApprovalsReviewers: null, allowedSandboxModes: null, allowedWindowsSandboxImplementations: null, allowedPermissionProfiles: null, defaultPermissions: null, allowedWebSearchModes: null, allowManagedHooksOnly: null,
  allowBrowserAndComputerUse: null, allowAppshots: null, allowRemoteControl: null, computerUse: null, browserUse: null, inAppBrowser: null, featureRequirements: null, hooks: null, enforceResidency: null, network: null,
  application: null, autoReview: null, models: null, sqliteHome: null, logDir: null, modelCatalogJson: null, checkForUpdateOnStartup: null, allowLoginShell: null, feedback: null, otel: null,
};
const keys = (told: object, file: string | null = null) => requirementsOf({ ...silent, ...told }, file)?.others?.map(({ key }) => key) ?? [];

describe('the requirements of a machine', () => {
  it('are none where nothing is demanded, or only what binds the machine and not a thread', () => {
    for (const told of [null, undefined, 'nonsense', silent, { ...silent, allowRemoteControl: false, logDir: '/var/log', allowManagedHooksOnly: false, allowAppshots: true, featureRequirements: {} }]) expect(requirementsOf(told, null)).toBeNull();
  });

  it('have as their own what a thread can be held to', () => {
    const told = {
      allowedApprovalPolicies: ['untrusted'], allowedSandboxModes: ['read-only'], allowedApprovalsReviewers: ['user'], allowedWebSearchModes: ['cached', 'disabled', 'of-a-later-version'],
      featureRequirements: { apps: false, shell_tool: true, 'no.feature "': false }, allowLoginShell: false, modelProvider: 'openai',
    };
    expect(requirementsOf({ ...silent, ...told }, null)).toEqual({
      allowedApprovalPolicies: ['untrusted'], allowedSandboxModes: ['read-only'], allowedApprovalsReviewers: ['user'], allowedWebSearchModes: ['cached', 'disabled'],
      featuresOff: ['apps'], featuresOn: ['shell_tool'], allowLoginShell: false, allowedModelProviders: ['openai'],
    });
    expect(requirementsOf({ ...silent, allowedSandboxModes: [] }, null)).toEqual({ allowedSandboxModes: [] });
  });

  it('name the rest, of a later Codex too, as the file does', () => {
    expect(keys({ enforceResidency: 'us', network: { enabled: true }, allowManagedHooksOnly: true, allowAppshots: false, allowedLoginMethods: ['chatgpt'], somethingLater: 1 })).toEqual([
      'allowed_login_methods', 'allow_managed_hooks_only', 'allow_appshots', 'enforce_residency', 'experimental_network', 'something_later',
    ]);
  });

  it('have those that only the file tells, each once', () => {
    const file = '\uFEFF# [rules]\nallowed_sandbox_modes = [\n  "read-only",\n]\nguardian_policy_config = "Be strict."\n[mcp_servers.docs]\nidentity = { command = "docs" }\n[[rules.prefix_rules]]\npattern = [\n  [{ token = "rm" }],\n]\n[ "apps" ]\n[features]\nrules = true\n';
    expect(keys({}, file)).toEqual(['guardian_policy_config', 'mcp_servers', 'rules', 'apps']);
    expect(keys({}, '[features]\napps = false\nmcp_servers = 1\n')).toEqual([]);
    expect(requirementsOf(silent, 'sqlite_home = "/x"\n')).toBeNull();
  });

  it('are equal where two say the same in another layout, and only there', () => {
    const digest = (told: object, file: string | null = null) => requirementsOf({ ...silent, ...told }, file)?.others;
    expect(digest({ network: { enabled: true, domains: { a: 'deny' } } })).toEqual(digest({ network: { domains: { a: 'deny' }, enabled: true } }));
    expect(digest({ network: { enabled: true } })).not.toEqual(digest({ network: { enabled: false } }));
    expect(digest({}, '[rules]\nx = 1\n')).toEqual(digest({}, '# Ours\r\n\r\n  [rules]\r\n  x = 1\r\n'));
    expect(digest({}, '[rules]\nx = 1\n')).not.toEqual(digest({}, '[rules]\nx = 2\n'));
  });
});
