import { dirname } from 'node:path';
import { localSocketPath } from './localSocket';
import { OpenHosts } from './openHosts';
import type { HostOptions } from './service';
import { Ssh } from './ssh/ssh';
import { SshHosts, type SshHostsPorts } from './ssh/sshHosts';
import { batonVersion } from './version';

/** The hosts that this one reaches by itself, without a relay. */
export function reachedHosts({ env, log, batonHome, entry, tokens = {}, ...ports }: HostOptions & Pick<SshHostsPorts, 'hostId' | 'peers' | 'meet'>): { readonly sshHosts: SshHosts; readonly openHosts: OpenHosts } {
  // Whatever ssh shares there is the account's alone, as the host's own socket is.
  const ssh = new Ssh({ env, log, sharedDirectory: dirname(localSocketPath(batonHome)) });
  return { sshHosts: new SshHosts({ ...ports, ssh, entry: entry ?? null, log, version: batonVersion, now: () => performance.now() }), openHosts: new OpenHosts({ ...ports, tokens }) };
}
