import { existsSync } from 'node:fs';
import { pathForPeople } from '../git/bytePath';
import { requireGit } from '../git/git';
import { reachableAmong } from '../git/haves';
import { holdsLfsObjects } from '../git/lfsTransfer';
import { lackingAmong } from '../git/partialClone';
import { inGroups } from '../git/sideBySide';
import { findSubmodulePlaces, holdingsOf, type SubmodulePlace } from '../git/submodulePlaces';
import { choicesFor, divergenceFindings, type DivergenceChoice } from '../handoff/divergence';
import { claimOf } from '../handoff/ownership';
import type { Finding } from '../handoff/finding';
import { destinationFindings, type DestinationFacts } from '../handoff/preflight';
import { surroundingsFindings, type OwnSurroundings, type Surroundings } from '../handoff/surroundings';
import { arrivalDisks } from './arrivalDisks';
import { findDivergences, type DivergencePorts, type OfferedThread } from './findDivergences';
import type { IncomingRecord } from './incomingHandoff';
import type { KeptTransfers } from './keptTransfers';
import type { Offer, PeerMethodName, PeerParams, PeerResult } from './peerProtocol';
import { describeError } from './wireError';

export interface OfferPorts extends DivergencePorts {
  readonly hostId: string;
  /** What arrived in handoffs that broke off. */
  readonly kept: KeptTransfers;
  codexHome(): string;
  projectsOf(repository: Offer['repository']): Promise<Pick<DestinationFacts, 'projects' | 'unusable'>>;
  /** What this host has of what a thread is used to; `place`: where it would go. */
  surroundings(theirs: Surroundings, place: Place | null): Promise<OwnSurroundings>;
  codexFacts(modelProvider: string | null): Promise<Pick<DestinationFacts, 'codexVersion' | 'models' | 'knowsProvider' | 'configured' | 'configuredReviewer' | 'configuredWebSearch' | 'requirements'>>;
}

/** Where a checkout that arrives goes. */
export type Place = Pick<IncomingRecord, 'projectRoot' | 'subdirectory' | 'worktreeId' | 'worktree' | 'expectedFingerprint'>;

type Answer<M extends PeerMethodName> = Promise<PeerResult<M>>;

/** What a destination answers to a source that asks before anything moves. Nothing is kept. */
export class OfferAnswers {
  constructor(private readonly ports: OfferPorts) {}

  /** Preflight: what speaks for and against the offer, and what this host has. */
  async offer({ threadId, epoch, offer, surroundings }: PeerParams<'handoff/offer'>, source: string): Answer<'handoff/offer'> {
    const { findings, place } = await this.consider({ threadId, epoch, offer, source });
    if (surroundings !== undefined) findings.push(...(await this.missed(surroundings, offer, place)));
    // The path of one that is yet to be made is drawn anew each time.
    const removed = threadId === null ? undefined : this.ports.worktrees.ofThread(threadId);
    const known = removed?.life.is === 'removed' && removed.projectRoot === place?.projectRoot ? removed.path : null;
    return { findings, worktree: place?.expectedFingerprint == null ? known : place.worktree, parts: place === null ? [] : (await partsOf(place, offer)).parts, takesIncluded: true, clock: Date.now() };
  }

  /** What the thread would miss here. A Codex that does not run tells nothing, and is a finding of its own. */
  private async missed(surroundings: Surroundings, offer: Offer, place: Place | null): Promise<Finding[]> {
    const own = await this.ports.surroundings(surroundings, place).catch((error: unknown) => {
      this.ports.log.info(`What a thread would miss here cannot be told: ${describeError(error).message}`);
      return null;
    });
    return own === null ? [] : surroundingsFindings(surroundings, { ...own, lacking: own.lacking.map(pathForPeople) }, { source: offer.facts.sourceName, destination: this.ports.name() });
  }

  /** Whether both sides of the thread changed since its last handoff, and which choices settle that. */
  async divergence({ threadId, offer, choice }: PeerParams<'handoff/divergence'>, source: string): Answer<'handoff/divergence'> {
    const { projects } = await this.ports.projectsOf(offer.repository);
    const { findings, choices } = await this.diverged({ threadId, offer, source, projectRoot: projectOf(offer, projects)?.root ?? null, choice: choice ?? null });
    const claim = claimOf(this.ports.ledger.get(threadId), { hostId: this.ports.hostId, name: this.ports.name() });
    // Of a thread that never moved, or is with who asks, nothing is to be told.
    return { findings, choices, claim: claim.epoch === 0 || claim.owner.hostId === source ? null : claim };
  }

  /** Says which commits of a part's history are here, so that they need not travel. */
  async negotiate({ threadId, offer, part, commits }: PeerParams<'handoff/negotiate'>): Answer<'handoff/negotiate'> {
    const root = await this.rootOf({ threadId, offer, part });
    return { commits: root === null ? [] : await reachableAmong(root, commits) };
  }

  /** What of a part is missing here, to a source that asks because one side is a partial clone. */
  async lacking({ threadId, offer, part, commits, objects }: PeerParams<'handoff/lacking'>): Answer<'handoff/lacking'> {
    const root = await this.rootOf({ threadId, offer, part });
    return { objects: root === null ? objects : await lackingAmong(root, { commits, objects }) };
  }

  /** Which LFS objects of a part need not be sent. */
  async heldLfs({ threadId, offer, part, objects }: PeerParams<'handoff/lfs'>): Answer<'handoff/lfs'> {
    const root = await this.rootOf({ threadId, offer, part });
    return { held: root === null ? objects.map(() => false) : await holdsLfsObjects(root, objects) };
  }

  /** The destination's findings on an offer, and where it would go; null where its project is not saved here. */
  async consider({ threadId, epoch, offer, source }: { readonly threadId: string | null; readonly epoch: number; readonly offer: Offer; readonly source: string }): Promise<{ findings: Finding[]; place: Place | null }> {
    const unfit = requireGit(this.ports.name()).then(() => null, (error: unknown) => describeError(error).message);
    const [unfitGit, { projects, unusable }, codex, kept] = await Promise.all([unfit, this.ports.projectsOf(offer.repository), this.ports.codexFacts(offer.facts.modelProvider), threadId === null ? 0 : this.ports.kept.places.bytesOf(source, threadId)]);
    const place = unfitGit === null ? await this.placeOf(threadId, offer, projects) : null;
    const disks = await arrivalDisks({ arriving: this.ports.directory, kept, codexHome: this.ports.codexHome(), place });
    const rolloutBytes = offer.rollouts.reduce((sum, rollout) => sum + rollout.bodyBytes, 0);
    const findings: Finding[] = destinationFindings(offer.facts, offer.requirements, { name: this.ports.name(), unfitGit, projects, unusable, disks, rolloutBytes, ...codex });
    if (threadId !== null) {
      const ledger = this.ports.ledger.get(threadId);
      if (ledger.epoch > 0 && ledger.movedTo === null) findings.push({ level: 'blocker', code: 'thread-owned', message: `${this.ports.name()} owns the thread already, at epoch ${ledger.epoch}, so the copy of ${offer.facts.sourceName} and that one have diverged: one of them comes from a backup. --fork hands off the copy of ${offer.facts.sourceName} as a thread of its own.` });
      else if (epoch <= ledger.epoch) findings.push({ level: 'blocker', code: 'stale-epoch', message: `${this.ports.name()} knows the thread at epoch ${ledger.epoch}, so this copy is out of date; look for the thread's owner with "baton threads".` });
    }
    return { findings, place };
  }

  /** What has diverged, as findings that a choice of the user's may have settled. */
  async diverged({ choice, ...offered }: OfferedThread & { readonly choice: DivergenceChoice | null }): Promise<{ findings: Finding[]; choices: DivergenceChoice[]; any: boolean }> {
    const divergences = await findDivergences(this.ports, offered);
    const names = { source: offered.offer.facts.sourceName, destination: this.ports.name(), threadId: offered.threadId };
    return { findings: divergenceFindings(divergences, choice, names), choices: choicesFor(divergences), any: divergences.length > 0 };
  }

  /** The repository that a part of an offer belongs to, if it is there. */
  private async rootOf({ threadId, offer, part }: Pick<PeerParams<'handoff/negotiate'>, 'threadId' | 'offer' | 'part'>): Promise<string | null> {
    const place = await this.placeOf(threadId, offer, (await this.ports.projectsOf(offer.repository)).projects);
    const asked = offer.submodules[part - 1];
    if (place === null || (part > 0 && asked === undefined)) return null;
    // Only what it lies in says where it is.
    const submodules = asked === undefined ? [] : offer.submodules.filter((other) => other === asked || asked.place.startsWith(`${other.place}/`));
    const root = submodules.length === 0 ? place.projectRoot : (await placesOf(place, submodules)).at(-1)?.repository;
    return root === undefined || !existsSync(root) ? null : root;
  }

  /** Where an offered checkout would go: to the thread's worktree of an earlier stay, unless another one is to be made. */
  private async placeOf(threadId: string | null, offer: Offer, projects: DestinationFacts['projects']): Promise<Place | null> {
    const project = projectOf(offer, projects);
    if (project === undefined) return null;
    const existing = threadId === null ? undefined : this.ports.worktrees.ofThread(threadId);
    if (existing?.leftWith != null && existing.projectRoot === project.root && existsSync(existing.path)) {
      return { projectRoot: project.root, subdirectory: project.subdirectory, worktreeId: existing.id, worktree: existing.path, expectedFingerprint: existing.leftWith };
    }
    return this.anotherPlace({ projectRoot: project.root, subdirectory: project.subdirectory });
  }

  /** A place in a worktree that is yet to be made. */
  async anotherPlace({ projectRoot, subdirectory }: Pick<Place, 'projectRoot' | 'subdirectory'>): Promise<Place> {
    const { id, path } = await this.ports.worktrees.plan(projectRoot);
    return { projectRoot, subdirectory, worktreeId: id, worktree: path, expectedFingerprint: null };
  }
}

/** The project that an offered checkout belongs to, of those of its repository. */
function projectOf(offer: Offer, projects: DestinationFacts['projects']): DestinationFacts['projects'][number] | undefined {
  return projects.find(({ subdirectory }) => subdirectory === offer.facts.subdirectory);
}

/** Where the parts of an offered checkout will be, and what is there for the source to build on. */
export async function partsOf(place: Place, offer: Offer): Promise<{ submodules: SubmodulePlace[]; parts: PeerResult<'handoff/begin'>['parts'] }> {
  const submodules = await placesOf(place, offer.submodules);
  return { submodules, parts: await inGroups(4, [place.projectRoot, ...submodules.map(({ repository }) => repository)], holdingsOf) };
}

async function placesOf({ projectRoot, worktree, expectedFingerprint }: Place, submodules: Offer['submodules']): Promise<SubmodulePlace[]> {
  return findSubmodulePlaces({ root: projectRoot, worktree: expectedFingerprint === null ? null : worktree, submodules });
}
