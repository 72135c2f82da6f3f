/** What a relay allows. Every queue, rate and age has an end. */
export interface RelayLimits {
  /** Largest WebSocket message on a pair, in bytes. */
  readonly maxFrameBytes: number;
  /** Bytes that one direction of a pair may have waiting before its sender is not read any more. One frame may come on top. */
  readonly maxQueuedBytes: number;
  /** Open TCP connections of one address. */
  readonly maxConnectionsPerAddress: number;
  readonly maxConnections: number;
  /** Pairs that one host may have at once. */
  readonly maxPairsPerHost: number;
  /** Dials that wait for one host to answer. */
  readonly maxPendingDialsPerHost: number;
  readonly maxDialsPerMinutePerAddress: number;
  /** Time for a host to prove its key, in milliseconds. */
  readonly proofTimeoutMs: number;
  /** Time for a host to answer a dial, in milliseconds. */
  readonly acceptTimeoutMs: number;
  /** Time for an earlier connection of the same host to show that it is alive when a second one has shown its proof. */
  readonly aliveProbeMs: number;
  /** A side of a pair that sends nothing for so long ends the pair; channels give signs of life every 10 s. */
  readonly idleTimeoutMs: number;
  /** Nothing lives longer than this, in milliseconds; both sides just connect again. */
  readonly maxAgeMs: number;
  /** How often the relay asks a registered host whether it is there. Twice without an answer ends its registration. */
  readonly heartbeatIntervalMs: number;
  readonly maxHeaderBytes: number;
  readonly headersTimeoutMs: number;
}

export const defaultRelayLimits: RelayLimits = {
  maxFrameBytes: 1024 * 1024,
  maxQueuedBytes: 1024 * 1024,
  maxConnectionsPerAddress: 512,
  maxConnections: 20_000,
  maxPairsPerHost: 64,
  maxPendingDialsPerHost: 16,
  maxDialsPerMinutePerAddress: 240,
  proofTimeoutMs: 10_000,
  acceptTimeoutMs: 10_000,
  aliveProbeMs: 2000,
  idleTimeoutMs: 60_000,
  maxAgeMs: 24 * 3_600_000,
  heartbeatIntervalMs: 12_000,
  maxHeaderBytes: 8192,
  headersTimeoutMs: 10_000,
};
