/** What speaks for and against a handoff, found before anything moves. */
import { z } from 'zod';
import { contradictions, NETWORK, notHeld, type WebSearchMode } from './constraints';
import { diskFindings, type Disk } from './disks';
import type { Finding } from './finding';
import { approvalsReviewer, isNoLaxer, policy, requirementsOfBoth, reviewerWithin, stricterOf, stricterReviewer, withinRequirements, type ApprovalsReviewer, type Policy, type Requirements } from './policy';

/** What the source says of a thread that it would hand off. */
export const offerFacts = z.object({
  sourceName: z.string().max(64),
  /** Below the repository root, `/`-separated; '' for the root itself. */
  subdirectory: z.string().max(4096),
  policy,
  approvalsReviewer,
  modelProvider: z.string().max(256).nullable(),
  /** The thread's model; `listed`: the source's Codex names it among those of the provider. Absent from an older Baton. */
  model: z.object({ name: z.string().max(256), listed: z.boolean() }).nullish(),
  codexVersion: z.string().max(64),
  /** Estimate of what would be sent, bytes. */
  bytes: z.number().int().nonnegative(),
  /** Bytes of the restored working tree, at most. */
  worktreeBytes: z.number().int().nonnegative(),
});
export type OfferFacts = z.infer<typeof offerFacts>;

/** What the destination finds out about itself. */
export interface DestinationFacts {
  readonly name: string;
  /** Why no git there can be used, in a sentence; null where one can. */
  readonly unfitGit: string | null;
  /** Saved projects of the same repository. */
  readonly projects: readonly { readonly root: string; readonly subdirectory: string }[];
  /** Why others that seem to be of the same repository cannot be used, in sentences. */
  readonly unusable: readonly string[];
  readonly codexVersion: string | null;
  /** Why there is none that can be used, in sentences. */
  readonly codexProblem?: string;
  /** The models that the destination's Codex names for the thread's provider; null where it does not know the provider, or cannot tell. */
  readonly models: readonly string[] | null;
  readonly knowsProvider: boolean;
  /** What the destination's own configuration demands at least; null where it says nothing. */
  readonly configured: Policy | null;
  /** Who decides on approvals by its own configuration; null where it says nothing. */
  readonly configuredReviewer: ApprovalsReviewer | null;
  readonly requirements: Requirements | null;
  /** The web search that its own configuration asks for; null where it says nothing. */
  readonly configuredWebSearch: WebSearchMode | null;
  /** The file systems to which the thread would go. */
  readonly disks: readonly Disk[];
  /** What of the offered bytes is the conversation. */
  readonly rolloutBytes: number;
}

/** Versions as Codex prints them, `major.minor.patch`; positive where `a` is newer. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => version.split(/[.-]/).map((part) => Number.parseInt(part, 10) || 0)) as [number[], number[]];
  for (let index = 0; index < 3; index++) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Whether a bound on the network came with the thread that the destination does not have likewise. */
export const unbounded = (carried: Requirements | null, { requirements }: Pick<DestinationFacts, 'requirements'>): boolean => notHeld(carried ?? {}, requirements ?? {}).includes(NETWORK);

/** The policy that the thread would have at the destination: the stricter of both sides, within the requirements of both; null where there is none. */
export function destinationPolicy(offered: Policy, carried: Requirements | null, facts: Pick<DestinationFacts, 'configured' | 'requirements'>): Policy | null {
  const agreed = facts.configured === null ? offered : stricterOf(offered, facts.configured);
  // Which hosts on the network commands reach would be bounded no more, so they reach none.
  const wanted = agreed.sandbox !== 'danger-full-access' && unbounded(carried, facts) ? { ...agreed, networkAccess: false } : agreed;
  return withinRequirements(wanted, requirementsOfBoth(facts.requirements, carried));
}

/** Who would decide on the thread's approvals at the destination, likewise. */
export function destinationReviewer(offered: ApprovalsReviewer, carried: Requirements | null, facts: Pick<DestinationFacts, 'configuredReviewer' | 'requirements'>): ApprovalsReviewer | null {
  const wanted = facts.configuredReviewer === null ? offered : stricterReviewer(offered, facts.configuredReviewer);
  return reviewerWithin(wanted, requirementsOfBoth(facts.requirements, carried));
}

const words = (value: Policy): string =>
  `${typeof value.approvalPolicy === 'string' ? value.approvalPolicy : 'granular'} approvals, ${value.sandbox}${value.networkAccess && value.sandbox !== 'danger-full-access' ? ' with network' : ''}`;

const reviewers: Readonly<Record<ApprovalsReviewer, string>> = { user: 'a person', auto_review: "Codex's automatic review", guardian_subagent: "Codex's guardian" };

/** The destination's findings on an offer. */
export function destinationFindings(offer: OfferFacts, carried: Requirements | null, facts: DestinationFacts): Finding[] {
  const findings: Finding[] = [];
  const add = (level: Finding['level'], code: string, message: string) => findings.push({ level, code, message });

  const matching = facts.projects.find((candidate) => candidate.subdirectory === offer.subdirectory);
  if (facts.unfitGit !== null) {
    add('blocker', 'git-unfit', facts.unfitGit);
  } else if (matching !== undefined) {
    add('ok', 'project', `${facts.name} has this repository at ${matching.root}.`);
  } else if (facts.projects.length > 0) {
    const saved = facts.projects.map(({ subdirectory }) => (subdirectory === '' ? 'the root' : subdirectory)).join(', ');
    const wanted = offer.subdirectory === '' ? 'its root' : offer.subdirectory;
    add('blocker', 'other-subdirectory', `${facts.name} has this repository saved for ${saved}, but the thread works in ${wanted}; save that folder there with "baton project add".`);
  } else if (facts.unusable.length > 0) {
    for (const why of facts.unusable) add('blocker', 'project-unusable', `${facts.name} cannot use its project of this repository: ${why}`);
  } else {
    add('blocker', 'no-matching-project', `${facts.name} has no project of this repository; clone it there and run "baton project add DIR" on ${facts.name}.`);
  }

  if (facts.codexVersion === null) {
    add('blocker', 'codex-not-found', facts.codexProblem === undefined ? `${facts.name} has no usable Codex; install it there (npm install -g @openai/codex) or set BATON_CODEX.` : `${facts.name} has no usable Codex: ${facts.codexProblem}`);
  } else {
    const order = compareVersions(facts.codexVersion, offer.codexVersion);
    if (order === 0) add('ok', 'codex-version', `Both sides run Codex ${facts.codexVersion}.`);
    else add('warning', 'codex-version', `${facts.name} runs Codex ${facts.codexVersion}, ${offer.sourceName} runs ${offer.codexVersion}; update the older one if the thread does not go on as expected.`);
    if (offer.modelProvider !== null) {
      if (facts.knowsProvider) add('ok', 'model-provider', `${facts.name} knows the model provider "${offer.modelProvider}".`);
      else add('blocker', 'provider-missing', `${facts.name} does not know the model provider "${offer.modelProvider}"; add it to config.toml in the CODEX_HOME there.`);
    }
    const { model } = offer;
    if (model != null && facts.models !== null) {
      if (facts.models.includes(model.name)) add('ok', 'model', `Codex on ${facts.name} knows the model ${model.name}.`);
      // What the source does not list either is a model that only its provider knows of, and Codex asks none of those.
      else if (model.listed) add('warning', 'model-unknown', `Codex on ${facts.name} does not list the model ${model.name}, which it lists on ${offer.sourceName}: its provider may refuse the thread's next turn, or the agent lacks tools; update Codex or change the account there, or choose another model for the thread first.`);
    }
  }

  const applied = destinationPolicy(offer.policy, carried, facts);
  if (applied === null) {
    add('blocker', 'policy-refused', `No policy as strict as the thread's (${words(offer.policy)}) satisfies the requirements of both ${offer.sourceName} and ${facts.name}, and moving never widens it; change requirements.toml there, or the thread's policy here.`);
  } else if (isNoLaxer(offer.policy, applied)) {
    add('ok', 'policy', `The thread keeps its policy: ${words(applied)}.`);
  } else {
    add('warning', 'policy-narrowed', `The thread goes on at ${facts.name} with ${words(applied)} instead of ${words(offer.policy)}; to keep its policy, allow it in config.toml and requirements.toml there.`);
  }

  const reviewer = destinationReviewer(offer.approvalsReviewer, carried, facts);
  if (reviewer === null) {
    add('blocker', 'reviewer-refused', `The requirements of ${offer.sourceName} and ${facts.name} together let neither ${reviewers[offer.approvalsReviewer]} nor a person decide on the thread's approvals; change allowed_approvals_reviewers in requirements.toml there, or the thread's reviewer here.`);
  } else if (reviewer !== offer.approvalsReviewer) {
    add('warning', 'reviewer-narrowed', `At ${facts.name} a person decides on the thread's approvals instead of ${reviewers[offer.approvalsReviewer]}; to keep that, allow it by approvals_reviewer in config.toml and in requirements.toml there.`);
  }

  const both = requirementsOfBoth(facts.requirements, carried) ?? {};
  const { allowedModelProviders: providers } = both;
  if (offer.modelProvider !== null && providers?.includes(offer.modelProvider) === false) {
    add('blocker', 'provider-refused', `The requirements of ${offer.sourceName} and ${facts.name} together do not allow the model provider "${offer.modelProvider}", and a thread keeps its provider; change model_provider in requirements.toml there.`);
  }
  const disputed = contradictions(both);
  if (disputed.length > 0) add('blocker', 'features-refused', `The requirements of ${offer.sourceName} and ${facts.name} contradict each other about ${disputed.join(', ')}; change [features] in requirements.toml on one of them.`);
  const loose = notHeld(carried ?? {}, facts.requirements ?? {});
  if (loose.length > 0) {
    add('warning', 'requirements-not-held', `An administrator of a host that the thread was on demands ${loose.join(', ')}, to which Baton cannot hold it at ${facts.name}; put the same into requirements.toml there.${loose.includes(NETWORK) && applied !== null && !applied.networkAccess ? ' Its sandboxed commands reach no network meanwhile.' : ''}`);
  }

  findings.push(...diskFindings(facts.name, { ...offer, rolloutBytes: facts.rolloutBytes }, facts.disks));
  return findings;
}
