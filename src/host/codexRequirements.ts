/** What an administrator demands of Codex on this machine, as Codex tells it and as the file says it. */
import { z } from 'zod';
import { digestOf } from '../handoff/canonicalJson';
import { constraints, NETWORK, webSearchMode } from '../handoff/constraints';
import { requirements, type Requirements } from '../handoff/policy';

const record = z.record(z.string(), z.unknown());

/** Codex's name of what an administrator may demand: what becomes a constraint of its own, and what binds the machine and its accounts rather than a thread. */
const understood = new Set(['allowedApprovalPolicies', 'allowedSandboxModes', 'allowedApprovalsReviewers', 'allowedWebSearchModes', 'featureRequirements', 'allowLoginShell', 'modelProvider']);
const ofTheMachine = new Set([
  'modelProviders', 'allowRemoteControl', 'cliAuthCredentialsStore', 'allowedWindowsSandboxImplementations', 'application', 'models', 'sqliteHome', 'logDir', 'modelCatalogJson', 'checkForUpdateOnStartup', 'feedback', 'otel',
  // Baton names the sandbox itself, and lets nobody name a profile for a thread that is bound.
  'allowedPermissionProfiles', 'defaultPermissions',
]);
/** Codex tells these only in so far as it acts on them, so the file is asked. Their tables and values are compared, not understood. */
const onlyInFile = new Set(['mcp_servers', 'rules', 'apps', 'plugins', 'marketplaces', 'permissions', 'guardian_policy_config', 'guardian_extra_policy', 'allowed_chatgpt_workspaces']);

/** Each says nothing unless it forbids. */
const restricts = (key: string, value: unknown): boolean => {
  if (key === 'allowedLoginMethods') return Array.isArray(value) && !['api', 'chatgpt'].every((method) => value.includes(method));
  return value !== (key === 'allowManagedHooksOnly' ? false : key.startsWith('allow') ? true : null);
};

const inFile = (key: string): string => (key === 'network' ? NETWORK : key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));

/**
 * @param told the `requirements` of `configRequirements/read`
 * @param file the text of requirements.toml; null where there is none that can be read
 * @returns null where nothing is demanded that would bind a thread
 */
export function requirementsOf(told: unknown, file: string | null): Requirements | null {
  const { success, data } = record.safeParse(told);
  const given = success ? data : {};
  const others = [
    ...Object.entries(given).filter(([key, value]) => value != null && !understood.has(key) && !ofTheMachine.has(key) && restricts(key, value)).map(([key, value]) => ({ key: inFile(key), digest: digestOf(value) })),
    ...[...topLevel(file ?? '')].filter(([key]) => onlyInFile.has(key)).map(([key, text]) => ({ key, digest: digestOf(text) })),
  ];
  const features = Object.entries(record.safeParse(given['featureRequirements']).data ?? {});
  const named = (on: boolean) => features.filter(([name, value]) => value === on && constraints.shape.featuresOn.safeParse([name]).success).map(([name]) => name);
  const modes = z.array(z.unknown()).safeParse(given['allowedWebSearchModes']).data?.filter((mode) => webSearchMode.safeParse(mode).success);
  const all = requirements.parse({
    ...given,
    allowedWebSearchModes: modes,
    featuresOff: named(false),
    featuresOn: named(true),
    allowLoginShell: given['allowLoginShell'] === false ? false : null,
    allowedModelProviders: typeof given['modelProvider'] === 'string' ? [given['modelProvider']] : null,
    others: others.filter((other) => constraints.shape.others.safeParse([other]).success),
  });
  const binding = Object.entries(all).filter(([key, value]) => value != null && (key.startsWith('allow') || (Array.isArray(value) && value.length > 0)));
  return binding.length === 0 ? null : Object.fromEntries(binding);
}

/** Each first key of a TOML file with the lines that are below it, without comments and space; enough to tell whether two files say the same. */
function topLevel(text: string): Map<string, string> {
  const found = new Map<string, string>();
  let table: string | null = null;
  let key: string | null = null;
  for (const line of text.split(/\r?\n/).map((each) => each.trim())) {
    if (line === '' || line.startsWith('#')) continue;
    const header = /^\[{1,2}\s*["']?([A-Za-z0-9_-]+)/.exec(line)?.[1];
    const assigned = /^["']?([A-Za-z0-9_-]+)["']?\s*[.=]/.exec(line)?.[1];
    // A list may be spread over lines, each of which may begin with a bracket.
    if (header !== undefined && /^\[{1,2}[^,=]*\]{1,2}(\s*#.*)?$/.test(line)) table = key = header;
    else if (table === null && assigned !== undefined) key = assigned;
    if (key !== null) found.set(key, `${found.get(key) ?? ''}${line}\n`);
  }
  return found;
}
