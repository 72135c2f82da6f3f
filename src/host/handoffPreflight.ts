import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { captureCheckout, type CapturedCheckout } from '../git/captureCheckout';
import { estimateTransfer } from '../git/estimate';
import { requireGit } from '../git/git';
import { GitError } from '../git/gitError';
import { identityOf, readRepository, type Repository } from '../git/repository';
import { inGroups, sideBySide } from '../git/sideBySide';
import { announceSubmodule } from '../git/submodulePlaces';
import type { Claim } from '../handoff/claim';
import type { DivergenceChoice } from '../handoff/divergence';
import type { Finding } from '../handoff/finding';
import { clockFinding } from '../handoff/surroundings';
import { PREFLIGHT_SPOOL } from './handoffSpools';
import { considerIncluded } from './includedTravel';
import { HostError } from './hostError';
import { writersFinding } from './otherWriters';
import type { PeerLink } from './peerLink';
import type { Offer, PeerResult } from './peerProtocol';
import type { HandoffPreflight } from './protocol';
import { agreeOnPart, gapsOfPart, missingLfsBytes } from './sendTransfer';
import type { HandoffWish, SourceHostPorts, SourceThread, Subject } from './sourcePorts';
import { describeError } from './wireError';

/**
 * Asks both sides what speaks for and against a handoff. Writes nothing but a spool of its own, which it removes.
 *
 * @returns also who owns the thread instead of this host, as the destination says: a backup was restored on one of the two
 */
export async function preflight(ports: SourceHostPorts, subject: Subject, to: string, wish: HandoffWish, signal?: AbortSignal): Promise<{ preflight: HandoffPreflight; rival: Claim | null }> {
  if ('threadId' in subject) ports.requireOwner(subject.threadId);
  const [link, thread] = await sideBySide(ports.connect(to, signal), ports.describe(subject));
  const repository = await repositoryOf(thread, ports.name());
  const { root, branch } = repository;
  const threadId = 'threadId' in subject ? subject.threadId : null;
  const epoch = threadId === null ? 1 : ports.ledger.get(threadId).epoch + 1;
  const findings: Finding[] = [...thread.findings];
  const included = await considerIncluded(ports.directory, { root, to, wish: wish.included }, signal);
  let counts = { commits: 0, files: 0, bytes: 0, worktreeBytes: 0 };
  const spool = join(ports.directory, `${PREFLIGHT_SPOOL}${randomBytes(8).toString('hex')}`);
  try {
    // Both sides look at once: this one at the working state, the other at what it has.
    const asked = makeOffer(ports, subject, thread, repository).then(async (made) => {
      const [{ parts }, diverged] = await sideBySide(link.call('handoff/offer', { threadId, epoch, offer: made }, signal), askDivergence(link, threadId, made, wish.choice, signal));
      return { offer: made, held: parts, diverged };
    });
    const looked = captureCheckout({ root, spool, ...(signal === undefined ? {} : { signal }) }).catch((error: unknown) => {
      // A turn that runs changes files; the handoff stops it first and captures then.
      if (describeError(error).reason !== 'changed-while-capturing') throw error;
      return null;
    });
    const unread = wish.onlyBlockers === true;
    const [{ offer, held, diverged }, checkout, surroundings, writing] = await sideBySide(asked, looked, unread ? Promise.resolve(undefined) : ports.surroundings(thread.cwd, root, signal), unread ? Promise.resolve(null) : ports.otherWriters(root, threadId).then((writers) => writersFinding(writers, root)));
    if (writing !== null) findings.push(writing);
    if (checkout === null) {
      findings.push({ level: 'warning', code: 'still-changing', message: 'Files change while the thread runs, so what would travel is not known yet; the handoff stops the turn first.' });
    } else {
      const submodules = await announceSubmodules(checkout);
      const known = submodules.length === 0 ? held : (await link.call('handoff/offer', { threadId, epoch, offer: { ...offer, submodules } }, signal)).parts;
      for (const [part, { state }] of checkout.entries()) {
        const about = { threadId, offer: { ...offer, submodules }, part };
        findings.push(...state.findings);
        const haves = await agreeOnPart(link, about, state, known, signal);
        const gaps = gapsOfPart(link, about, known, signal);
        const estimate = await estimateTransfer({ capture: state, haves, gaps, signal }).catch((error: unknown) => {
          if (!GitError.is(error, 'missing-objects')) throw error;
          findings.push({ level: 'blocker', code: 'missing-objects', message: error.message });
          return { commits: 0, files: state.files, bytes: 0, worktreeBytes: state.worktreeBytes, lfs: [] };
        });
        const lfsBytes = await missingLfsBytes(link, about, estimate.lfs, signal);
        counts = { commits: counts.commits + estimate.commits, files: counts.files + estimate.files, bytes: counts.bytes + estimate.bytes + lfsBytes, worktreeBytes: counts.worktreeBytes + estimate.worktreeBytes };
      }
    }
    const rolloutBytes = offer.rollouts.reduce((sum, rollout) => sum + rollout.bodyBytes, 0);
    const { travelling } = included;
    const sized = { ...offer, facts: { ...offer.facts, bytes: counts.bytes + rolloutBytes + travelling, worktreeBytes: counts.worktreeBytes + travelling } };
    const sentAt = Date.now();
    const answer = await link.call('handoff/offer', { threadId, epoch, offer: sized, ...(surroundings === undefined ? {} : { surroundings: travelling === 0 ? surroundings : { ...surroundings, ignored: [] } }) }, signal);
    const clock = answer.clock === undefined ? null : clockFinding({ sentAt, answeredAt: Date.now(), theirs: answer.clock }, { source: ports.name(), destination: ports.peerName(to) });
    if (clock !== null) findings.push(clock);
    const rival = threadId !== null && diverged.claim !== null && diverged.claim.epoch >= ports.ledger.get(threadId).epoch ? diverged.claim : null;
    const there = rival === null || wish.choice !== 'fork' ? answer.findings : forkedHere(answer.findings, rival, ports.peerName(to));
    return { rival, preflight: {
      threadId,
      from: ports.hostId,
      to,
      destinationName: ports.peerName(to),
      worktree: answer.worktree,
      branch: branch?.replace(/^refs\/heads\//, '') ?? null,
      commits: counts.commits,
      files: counts.files,
      bytes: counts.bytes + rolloutBytes + travelling,
      choices: rival === null ? diverged.choices : ['fork'],
      ...included.conclude({ findings: [...findings, ...diverged.findings, ...there], taken: answer.takesIncluded === true, destinationName: ports.peerName(to) }),
    } };
  } finally {
    await rm(spool, { recursive: true, force: true });
  }
}

type Diverged = PeerResult<'handoff/divergence'>;

/** Whether both sides changed, and which choices settle that. An older Baton cannot say: it notices while it restores. */
async function askDivergence(link: PeerLink, threadId: string | null, offer: Offer, choice: DivergenceChoice | null, signal?: AbortSignal): Promise<Diverged> {
  const nothing: Diverged = { findings: [], choices: [], claim: null };
  if (threadId === null) return nothing;
  return link.call('handoff/divergence', { threadId, offer, ...(choice === null ? {} : { choice }) }, signal).catch((error: unknown) => {
    if (HostError.is(error, 'unknown-method')) return nothing;
    throw error;
  });
}

/** The destination's findings once what is here is to go there as a thread of its own. */
function forkedHere(findings: readonly Finding[], { owner, epoch }: Claim, destination: string): Finding[] {
  return [
    ...findings.filter(({ code }) => code !== 'thread-owned' && code !== 'stale-epoch'),
    { level: 'warning', code: 'thread-owned', message: `${owner.name} owns the thread, at epoch ${epoch}, and keeps it. What is here goes to ${destination} as a thread of its own.` },
  ];
}

export async function repositoryOf(thread: SourceThread, host: string): Promise<Repository> {
  const read = readRepository(thread.cwd).catch((cause: unknown) => {
    throw describeError(cause).reason === 'not-a-repository'
      ? new HostError('not-a-repository', `${thread.cwd} is not in a Git repository, so its working state cannot be handed off. Make one with "git init".`, { cause })
      : cause;
  });
  const [, repository] = await sideBySide(requireGit(host), read);
  return repository;
}

export async function makeOffer(ports: SourceHostPorts, subject: Subject, thread: SourceThread, repository: Repository): Promise<Offer> {
  const [identity, rollouts] = await Promise.all([identityOf(repository), 'threadId' in subject ? ports.rolloutSizes(subject.threadId) : []]);
  const rolloutBytes = rollouts.reduce((sum, rollout) => sum + rollout.bodyBytes, 0);
  return {
    facts: {
      sourceName: ports.name(),
      subdirectory: repository.subdirectory,
      policy: thread.policy,
      approvalsReviewer: thread.approvalsReviewer,
      modelProvider: thread.modelProvider,
      model: thread.model,
      codexVersion: thread.codexVersion,
      bytes: rolloutBytes,
      worktreeBytes: 0,
    },
    requirements: thread.requirements,
    repository: identity,
    branch: repository.branch,
    head: repository.head,
    submodules: [],
    rollouts: rollouts.map(({ name, bodyBytes }) => ({ name, bodyBytes })),
  };
}

export async function announceSubmodules([, ...submodules]: CapturedCheckout): Promise<Offer['submodules']> {
  return inGroups(4, submodules, announceSubmodule);
}
