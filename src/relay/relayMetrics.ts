import type { RelayEvent } from './relayLog';

/** How much of everything a relay has and had. */
export interface RelayStatistics {
  readonly hosts: number;
  readonly pairs: number;
  readonly pendingDials: number;
  readonly connections: number;
  readonly bytesForwarded: number;
  /** Memory that what waits now takes, of all pairs. */
  readonly queuedBytes: number;
  /** The most that one direction of any pair ever had waiting, counted alike. */
  readonly peakQueuedBytes: number;
  readonly isDraining: boolean;
  /** Nodes of this relay that are there; 0 where this one cannot tell. */
  readonly nodes: number;
}

/** Counts what a relay logs, and tells it to Prometheus (text exposition format 0.0.4). */
export class RelayMetrics {
  readonly #events = new Map<string, number>();

  count({ event, status }: RelayEvent): void {
    const labels = status === undefined ? `event="${event}"` : `event="${event}",status="${status}"`;
    this.#events.set(labels, (this.#events.get(labels) ?? 0) + 1);
  }

  text(statistics: RelayStatistics): string {
    const { hosts, pairs, pendingDials, connections, bytesForwarded, queuedBytes, peakQueuedBytes, isDraining, nodes } = statistics;
    const { user, system } = process.cpuUsage();
    const metric = (name: string, type: 'gauge' | 'counter', help: string, samples: readonly (readonly [labels: string, value: number])[]): string =>
      [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...samples.map(([labels, value]) => `${name}${labels === '' ? '' : `{${labels}}`} ${value}`), ''].join('\n');
    const gauge = (name: string, help: string, value: number): string => metric(name, 'gauge', help, [['', value]]);
    return [
      gauge('baton_relay_hosts', 'Hosts that are registered.', hosts),
      gauge('baton_relay_nodes', 'Nodes of this relay that are there; 0 where this one cannot tell.', nodes),
      gauge('baton_relay_pairs', 'Pairs of connections that are joined.', pairs),
      gauge('baton_relay_pending_dials', 'Dials that wait for their host.', pendingDials),
      gauge('baton_relay_connections', 'Open TCP connections.', connections),
      gauge('baton_relay_queued_bytes', 'Memory of what waits to be sent on.', queuedBytes),
      gauge('baton_relay_peak_queued_bytes', 'Most memory of what ever waited for one side of a pair.', peakQueuedBytes),
      gauge('baton_relay_draining', '1 once the relay takes no new work.', Number(isDraining)),
      metric('baton_relay_forwarded_bytes_total', 'counter', 'Bytes that were sent on.', [['', bytesForwarded]]),
      metric('baton_relay_events_total', 'counter', 'Events as in the log.', [...this.#events]),
      gauge('process_resident_memory_bytes', 'Memory of the process.', process.memoryUsage.rss()),
      metric('process_cpu_seconds_total', 'counter', 'Processor time of the process.', [['', (user + system) / 1e6]]),
    ].join('');
  }
}
