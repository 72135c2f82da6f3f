/**
 * What two hosts say to each other over a control channel: JSON-RPC 2.0, one object per line, every message validated.
 * Bulk data goes over a transfer channel of its own (see src/host/README.md, "Between hosts").
 */
import { z } from 'zod';
import { QUESTION_LIMIT } from '../git/negotiation';
import { travelLimits } from '../git/travellingFiles';
import { MOST_ASKED, MOST_LACKING } from '../git/partialClone';
import { carriedThread } from '../handoff/carriedThread';
import { divergenceChoice } from '../handoff/divergence';
import { requirements } from '../handoff/policy';
import { offerFacts } from '../handoff/preflight';
import { holdings, receipt } from '../handoff/receipt';
import { surroundings } from '../handoff/surroundings';
import { grantText } from '../relay/relayMessages';
import { finding, handoffId, handoffPreflight, handoffResult, hostId, hostName, remoteMethods, repositoryIdentity, role, threadId } from './protocol';

const bytes = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const objectId = z.string().regex(/^([0-9a-f]{40}|[0-9a-f]{64})$/);
/** A path as Git has it, one character per byte. */
// eslint-disable-next-line no-control-regex -- every byte but NUL is allowed
const bytePath = z.string().max(4096).regex(/^[\u0001-\u00ff]*$/);
/** Repositories of one checkout: itself, and its submodules at any depth. */
const MAX_PARTS = 1000;
/** A plain file name of Codex's: no separators, no leading dot. */
const rolloutName = z.string().regex(/^rollout-[A-Za-z0-9_:.-]{1,200}\.jsonl$/);

/** What the source would hand off; asked in preflight, and again when the handoff begins. */
export const offer = z.object({
  facts: offerFacts,
  requirements: requirements.nullable(),
  repository: repositoryIdentity,
  branch: z.string().max(1024).nullable(),
  /** Null where there is no commit yet; absent from an older Baton. */
  head: objectId.nullable().optional(),
  /** Populated submodules of the checkout at any depth, parents before what is in them. Preflight names them only when it has looked. */
  submodules: z.array(z.object({ place: bytePath, name: z.string().max(1024).nullable(), repository: repositoryIdentity })).max(MAX_PARTS - 1),
  /** Rollout files of the thread at the source, to learn how much of each the destination has. */
  rollouts: z.array(z.object({ name: rolloutName, bodyBytes: bytes })).max(10_000),
});
export type Offer = z.infer<typeof offer>;

const lfsObject = z.object({ oid: sha256, size: bytes });

/** A rollout as it travels: its first line (which the destination rewrites for its own paths), and all after it. */
const rolloutManifest = z.object({
  name: rolloutName,
  threadId,
  metaLine: z.string().max(16_777_216),
  bodyBytes: bytes,
  bodySha256: sha256,
  /** The body's bytes before this one are at the destination already. */
  from: bytes,
  /** The rest, as it is sent, in pieces that stay the same when the rollout grows: `br` is Brotli (RFC 7932), each piece by itself. */
  tail: z.object({ encoding: z.enum(['identity', 'br']), pieces: z.array(z.object({ bytes, sha256 })).max(65_536) }),
});

/** The working state of one repository of the checkout, as it travels. */
const part = z.object({
  /** Where its worktree lies in the checkout's, one character per byte; empty for the checkout itself. */
  place: bytePath,
  /** `shallow`: commits in it at which its history ends although it goes on. */
  bundle: z.object({ bytes, sha256, tip: objectId, shallow: z.array(objectId).max(65_536) }),
  /** Git LFS objects that its index and its commits name. */
  lfs: z.array(lfsObject).max(100_000),
  branch: z.string().max(1024).nullable(),
});

export const manifest = z.object({
  /** Parents before their submodules; the first is the checkout itself. */
  parts: z.tuple([part], part).refine((parts) => parts.length <= MAX_PARTS && parts.every(({ place }, index) => (place === '') === (index === 0)), 'the first part is the checkout, the others lie in it'),
  rollouts: z.array(rolloutManifest).max(10_000),
  thread: carriedThread,
  /** Starts a thread with this text at the destination: the handoff of a checkout that has no thread yet. */
  prompt: z.string().max(65_536).nullable(),
  counts: z.object({ commits: bytes, files: bytes }),
  /** Ignored files that the user wants to cross: the length of their archive, and what is in it (git/fileArchive.ts). */
  included: z.object({ bytes, files: bytes.max(travelLimits.files), contentBytes: bytes.max(travelLimits.bytes), sha256 }).optional(),
});
export type Manifest = z.infer<typeof manifest>;

/** What the destination has of each part: of the checkout itself, then of its submodules in the order of the offer. */
const held = z.array(z.object({ haves: z.array(objectId).max(4096), shallow: z.array(objectId).max(65_536), partial: z.boolean() })).max(MAX_PARTS);

const ticket = z.string().regex(/^[0-9a-f]{32}$/);
const identified = z.object({ handoffId, threadId });

const method = <P extends z.ZodType, R extends z.ZodType>(params: P, result: R) => ({ params, result });

/** Who owns a thread. */
const claim = z.object({ threadId, epoch: z.number().int().nonnegative().max(2 ** 31), owner: z.object({ hostId, name: hostName }) });
/** Most threads that one message about claims names. */
export const CLAIMS_AT_ONCE = 500;

/** Most LFS objects that one question names. */
export const LFS_QUESTION = 10_000;

export const peerMethods = {
  /** Who the caller is, and who answers. `relayGrant`, when they pair: what lets the other into the relay of the one who gives it. */
  'host/hello': method(
    z.object({ protocolVersion: z.number().int(), name: hostName, relayUrl: z.url({ protocol: /^wss?$/ }).max(1024).nullable(), relayGrant: grantText.nullish() }),
    z.object({ protocolVersion: z.number().int(), name: hostName, batonVersion: z.string().max(64), codexVersion: z.string().max(64).nullable(), relayGrant: grantText.nullish(),
      /** When they pair: what the caller may do there, and until when. */
      role: role.optional(), threadId: threadId.nullish(), expiresAt: z.iso.datetime().nullish() }),
  ),
  /** Asked of a host that reaches the caller over ssh, and is not reached by it: dial, and name the ticket; the caller begins a channel on that stream. */
  'host/callBack': method(z.object({ ticket }), z.object({})),
  /** Preflight: nothing is kept. `takesIncluded`: this Baton knows of ignored files that cross. */
  'handoff/offer': method(
    z.object({
      threadId: threadId.nullable(),
      epoch: bytes,
      offer,
      /** What the thread is used to at the source and that does not travel; asked about once. */
      surroundings: surroundings.optional(),
    }),
    /** `clock`: the destination's, ms since the epoch. */
    z.object({ findings: z.array(finding), worktree: z.string().nullable(), parts: held, takesIncluded: z.literal(true).optional(), clock: z.number().optional() }),
  ),
  /**
   * Preflight: whether both sides of the thread changed since its last handoff. Findings are blockers unless `choice` settles them; `choices`
   * are those that do. `claim`: who owns the thread as the destination knows, where that is neither unknown nor the caller.
   */
  'handoff/divergence': method(z.object({ threadId, offer, choice: divergenceChoice.optional() }), z.object({ findings: z.array(finding), choices: z.array(divergenceChoice), claim: claim.omit({ threadId: true }).nullable() })),
  /** Begins a handoff at the destination; refused with `preflight-blocked` where a finding is a blocker. */
  'handoff/begin': method(
    identified.extend({
      epoch: bytes,
      offer,
      /** Hosts that had the thread before, which may later say who owns it. */
      trail: z.array(hostId).max(64).optional(),
      /** What the user chose, should both sides have changed. */
      choice: divergenceChoice.optional(),
    }),
    z.object({
      findings: z.array(finding),
      parts: held,
      /** For each rollout that the destination holds already: length and hash of its body. */
      rollouts: z.array(z.object({ name: rolloutName, bodyBytes: bytes, bodySha256: sha256 })).max(10_000),
    }),
  ),
  /** Preflight: which of some LFS objects of a part the destination has, an answer for each. */
  'handoff/lfs': method(z.object({ threadId: threadId.nullable(), offer, part: z.number().int().nonnegative().max(MAX_PARTS - 1), objects: z.array(lfsObject).max(LFS_QUESTION) }), z.object({ held: z.array(z.boolean()).max(LFS_QUESTION) })),
  /** Which of some commits of a part's history the destination has, reachable from its refs: asked before and after the handoff begins, a few times at most. */
  'handoff/negotiate': method(z.object({ threadId: threadId.nullable(), offer, part: z.number().int().nonnegative().max(MAX_PARTS - 1), commits: z.array(objectId).max(QUESTION_LIMIT) }), z.object({ commits: z.array(objectId).max(QUESTION_LIMIT) })),
  /** What a partial clone at either end lacks: of some objects of a part, and of the trees of some commits. Null: too much to name. */
  'handoff/lacking': method(
    z.object({ threadId: threadId.nullable(), offer, part: z.number().int().nonnegative().max(MAX_PARTS - 1), commits: z.array(objectId).max(8192), objects: z.array(objectId).max(MOST_ASKED) }),
    z.object({ objects: z.array(objectId).max(MOST_LACKING).nullable() }),
  ),
  /**
   * Announces what the transfer channel will carry; answers how much of each file is there for good, and the ticket that the channel
   * must name: one that was opened before, upon another answer, and comes late is not listened to. May be repeated.
   */
  'handoff/receive': method(identified.extend({ manifest }), z.object({ offsets: z.array(bytes), ticket })),
  /** Restores everything and answers with the receipt; `transfer-incomplete` where something has yet to come. May be repeated. */
  'handoff/prepare': method(identified.extend({ holdings }), z.object({ receipt })),
  /** The source has committed. Answers once the thread is active; may be repeated. */
  'handoff/commit': method(identified.extend({ epoch: bytes, receiptHash: sha256 }), z.object({ threadId, worktree: z.string(), branch: z.string().nullable(), notes: z.array(z.string()) })),
  'handoff/withdraw': method(identified.extend({ reason: z.string().max(1024) }), z.object({})),
  /** Asked by a destination that was restarted: what did the source decide? */
  'handoff/outcome': method(identified, z.object({ outcome: z.enum(['committed', 'aborted', 'undecided']) })),
  /** Who owns some threads, as the caller knows since a reclaim. The answer is what the other host knows of each, once it has heard. */
  'handoff/claims': method(z.object({ claims: z.array(claim).max(CLAIMS_AT_ONCE) }), z.object({ claims: z.array(claim.extend({ known: z.boolean() })).max(CLAIMS_AT_ONCE) })),
  /** Preflight of a thread that the caller would ask for. */
  'handoff/preview': method(z.object({ threadId, included: z.boolean().optional(), choice: divergenceChoice.optional() }), handoffPreflight),
  /** Asks the host that has a thread to hand it to the caller. */
  'handoff/request': method(z.object({ threadId, included: sha256.optional(), choice: divergenceChoice.optional() }), z.object({ handoffId })),
  'handoff/wait': method(z.object({ handoffId }), handoffResult),
  'handoff/cancel': method(z.object({ handoffId }), z.object({ cancelled: z.boolean() })),
  /** One of the controllers' own methods, with their params and result; for a peer that is trusted as an operator. */
  'host/ask': method(z.object({ method: z.enum(remoteMethods), params: z.record(z.string(), z.unknown()).optional() }), z.object({ result: z.unknown() })),
} as const;

export type PeerMethods = typeof peerMethods;
export type PeerMethodName = keyof PeerMethods;
export type PeerParams<M extends PeerMethodName> = z.output<PeerMethods[M]['params']>;
export type PeerResult<M extends PeerMethodName> = z.output<PeerMethods[M]['result']>;

/** First line of a transfer channel, then the files' bytes in the manifest's order: the bundles of the parts, their Git LFS objects, the pieces of the rollouts' tails, then the archive of ignored files. */
export const transferHeader = z.object({ handoffId, threadId, ticket });
