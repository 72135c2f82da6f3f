/**
 * What the administrators of a thread's hosts demand beside approvals and sandbox, in as far as it travels: what Baton can hold a thread to by the
 * settings with which Codex loads it, and, of the rest, only that it is demanded.
 */
import { z } from 'zod';

/** From strict to lax. */
const webSearchOrder = ['disabled', 'cached', 'indexed', 'live'] as const;
export const webSearchMode = z.enum(webSearchOrder);
export type WebSearchMode = z.infer<typeof webSearchMode>;

/** It becomes a part of a key of Codex's configuration. */
const feature = z.string().regex(/^[a-z0-9_]{1,128}$/);
const MOST = 1000;

export const constraints = z.object({
  allowedWebSearchModes: z.array(webSearchMode).nullish(),
  /** Features of Codex that are to be off. Baton holds a thread to that; to have one on might widen what it may do, so that is only told. */
  featuresOff: z.array(feature).max(MOST).nullish(),
  featuresOn: z.array(feature).max(MOST).nullish(),
  /** Null where it is not forbidden. */
  allowLoginShell: z.literal(false).nullish(),
  allowedModelProviders: z.array(z.string().max(256)).max(MOST).nullish(),
  /** What can only be compared: keys of requirements.toml, with a digest of what is demanded. */
  others: z.array(z.object({ key: z.string().regex(/^[A-Za-z0-9_]{1,128}$/), digest: z.string().regex(/^[0-9a-f]{64}$/) })).max(MOST).nullish(),
});
export type Constraints = z.infer<typeof constraints>;

/** The key of requirements.toml that bounds which hosts on the network commands reach. */
export const NETWORK = 'experimental_network';

const union = <T>(a: readonly T[] | null | undefined, b: readonly T[] | null | undefined, same: (one: T) => unknown): T[] | null =>
  a == null && b == null ? null : [...new Map([...(a ?? []), ...(b ?? [])].map((one) => [same(one), one])).values()];

const intersection = <T>(a: readonly T[] | null | undefined, b: readonly T[] | null | undefined): T[] | null => (a == null || b == null ? [...(a ?? b ?? [])] : a.filter((one) => b.includes(one)));

/** The constraints that hold where both hold. */
export function constraintsOfBoth(a: Constraints, b: Constraints): Constraints {
  const allowed = <T>(left: readonly T[] | null | undefined, right: readonly T[] | null | undefined) => (left == null && right == null ? null : intersection(left, right));
  return {
    allowedWebSearchModes: allowed(a.allowedWebSearchModes, b.allowedWebSearchModes),
    featuresOff: union(a.featuresOff, b.featuresOff, String),
    featuresOn: union(a.featuresOn, b.featuresOn, String),
    allowLoginShell: a.allowLoginShell ?? b.allowLoginShell ?? null,
    allowedModelProviders: allowed(a.allowedModelProviders, b.allowedModelProviders),
    others: union(a.others, b.others, ({ key, digest }) => `${key} ${digest}`),
  };
}

/** Features that one side demands to be on and the other to be off. */
export function contradictions({ featuresOff, featuresOn }: Constraints): string[] {
  return (featuresOn ?? []).filter((name) => featuresOff?.includes(name) === true);
}

/** Keys of requirements.toml whose demands came with a thread, and that its destination neither has likewise nor Baton can hold it to. */
export function notHeld(carried: Constraints, own: Constraints): string[] {
  const there = new Set(own.others?.map(({ key, digest }) => `${key} ${digest}`));
  const features = (carried.featuresOn ?? []).filter((name) => own.featuresOn?.includes(name) !== true).map((name) => `features.${name}`);
  return [...new Set([...(carried.others ?? []).filter(({ key, digest }) => !there.has(`${key} ${digest}`)).map(({ key }) => key), ...features])].sort();
}

/** The laxest web search that is allowed and no laxer than what is configured; null where all are allowed. */
export function webSearchWithin({ allowedWebSearchModes: allowed }: Constraints, configured: WebSearchMode | null): WebSearchMode | null {
  if (allowed == null) return null;
  // What Codex takes where nothing is configured, unless nothing confines the thread.
  const most = webSearchOrder.indexOf(configured ?? 'cached');
  return webSearchOrder.filter((mode, index) => index <= most && allowed.includes(mode)).at(-1) ?? 'disabled';
}

/** The settings by which Codex is held to constraints when it loads a thread. */
export function constraintSettings({ featuresOff, allowLoginShell }: Constraints, webSearch: WebSearchMode | null): Record<string, string | boolean> {
  return {
    ...(webSearch === null ? {} : { web_search: webSearch }),
    ...(allowLoginShell === false ? { allow_login_shell: false } : {}),
    ...Object.fromEntries((featuresOff ?? []).map((name) => [`features.${name}`, false])),
  };
}
