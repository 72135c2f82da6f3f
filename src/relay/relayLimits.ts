/** What a relay allows, as it is if nothing else is said, and what that means. Every queue, rate and age has an end. */
const limits = {
  // A frame of a channel has at most 65,537 bytes. Of each side of each pair one may be half received, which no queue counts.
  maxFrameBytes: [68 * 1024, 'largest WebSocket message on a pair'],
  // One frame, or the rest of what one read of its connection brought, may come on top.
  maxQueuedBytes: [1024 * 1024, 'bytes that one direction of a pair may have waiting before its sender is not read any more; each message counts 512 more'],
  maxQueuedBytesInAll: [256 * 1024 * 1024, 'bytes that all pairs may have waiting, counted alike; above it each sender waits until its own are gone'],
  maxConnections: [20_000, 'open TCP connections'],
  maxConnectionsPerAddress: [512, 'open TCP connections of one address, or of one IPv6 /64'],
  maxPairsPerHost: [64, 'pairs in which one host may be at once'],
  maxPendingDialsPerHost: [16, 'dials that may wait for one host to answer'],
  maxDialsPerMinutePerAddress: [240, 'dials from one address'],
  maxDialsPerMinutePerHost: [600, 'dials of one host, by whomever'],
  // Each costs the relay a key agreement.
  maxProofsPerMinutePerAddress: [240, 'registrations and exchanges for tokens from one address'],
  proofTimeoutMs: [10_000, 'time for a host to prove its key'],
  acceptTimeoutMs: [10_000, 'time for a host to answer a dial'],
  aliveProbeMs: [2000, 'time for an earlier connection of a host to answer when a second one has come'],
  // Channels give signs of life every 10 s.
  idleTimeoutMs: [60_000, 'a side of a pair that sends nothing whole for so long ends the pair'],
  stallTimeoutMs: [600_000, 'a side of a pair that takes nothing of what waits for it for so long ends the pair'],
  // Both sides just connect again.
  maxAgeMs: [24 * 3_600_000, 'nothing lives longer'],
  heartbeatIntervalMs: [12_000, 'how often hosts are asked whether they are there; two without an answer are too many'],
  maxHeaderBytes: [8192, 'head of a request'],
  headersTimeoutMs: [10_000, 'time for the whole head of a request, and for a TLS handshake'],
  drainTimeoutMs: [30_000, 'how long pairs may go on once the relay was told to end'],
} satisfies Record<string, readonly [number, string]>;

export type RelayLimits = Readonly<Record<keyof typeof limits, number>>;

/** Each limit with its default and what it is, in one line. Names end in their unit, or count things. */
export const relayLimits = Object.entries(limits).map(([name, [value, meaning]]) => ({ name: name as keyof RelayLimits, value, meaning }));

export const defaultRelayLimits = Object.fromEntries(relayLimits.map(({ name, value }) => [name, value])) as RelayLimits;
