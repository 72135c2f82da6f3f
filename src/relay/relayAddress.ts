import { BlockList, isIP } from 'node:net';
import { RelayError } from './relayError';

/** Most addresses of an `X-Forwarded-For` header that are looked at; a chain of proxies is short. */
const MAX_FORWARDED = 16;

/** Addresses and networks, such as `10.0.0.0/8`, `::1` or `192.0.2.7`. */
export class AddressSet {
  readonly #list = new BlockList();

  /** Throws `setting-invalid` for what is neither an address nor a network. */
  constructor(entries: readonly string[]) {
    for (const entry of entries) {
      const [address = '', bits, ...rest] = entry.split('/');
      const version = isIP(address);
      const length = version === 6 ? 128 : 32;
      const prefix = bits === undefined ? length : /^\d{1,3}$/.test(bits) ? Number(bits) : NaN;
      if (version === 0 || rest.length > 0 || !(prefix <= length)) throw new RelayError('setting-invalid', `${entry} is neither an IP address nor a network such as 10.0.0.0/8.`);
      this.#list.addSubnet(address, prefix, version === 6 ? 'ipv6' : 'ipv4');
    }
  }

  has(address: string): boolean {
    const version = isIP(address);
    return version !== 0 && this.#list.check(address, version === 6 ? 'ipv6' : 'ipv4');
  }
}

/** This machine talking to itself. */
export const loopback = new AddressSet(['127.0.0.0/8', '::1']);

/** What only this machine or its own network can mean: loopback, private, shared, link-local and unspecified addresses. */
const inner = new AddressSet(['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.168.0.0/16', '::/127', 'fc00::/7', 'fe80::/10']);

/** Whether an address is none of the open internet. */
export function isInner(text: string | undefined): boolean {
  const address = plainAddress(text);
  return address !== undefined && inner.has(address);
}

/** An address in its plain form: an IPv4 address that came in an IPv6 socket is IPv4. Undefined for what is no address. */
export function plainAddress(text: string | undefined): string | undefined {
  const address = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(text ?? '')?.[1] ?? text;
  return address !== undefined && isIP(address) !== 0 ? address : undefined;
}

/** Under which name the limits of an address count: IPv4 by itself, IPv6 by its /64, all of which one customer has. */
export function shareOf(address: string): string {
  if (isIP(address) !== 6) return address;
  const [head = '', tail = ''] = (address.split('%')[0] ?? '').split('::');
  const groups = head === '' ? [] : head.split(':');
  const after = tail === '' ? [] : tail.split(':');
  // "::" stands for as many zero groups as are missing.
  const all = address.includes('::') ? [...groups, ...Array<string>(Math.max(0, 8 - groups.length - after.length)).fill('0'), ...after] : groups;
  return all.slice(0, 4).map((group) => parseInt(group, 16).toString(16)).join(':');
}

/**
 * Who a request came from. A proxy that is trusted says so in `X-Forwarded-For`: each proxy appends whom it heard, so that
 * from the right the first who is no trusted proxy is the client; what stands left of that, anybody may have written.
 * From everybody else the header means nothing. Undefined where a trusted proxy sent what is no address.
 */
export function clientAddress(remote: string | undefined, forwardedFor: string | undefined, trusted: AddressSet): string | undefined {
  let address = plainAddress(remote);
  const hops = forwardedFor?.split(',').slice(-MAX_FORWARDED) ?? [];
  while (address !== undefined && trusted.has(address)) {
    const hop = hops.pop();
    if (hop === undefined) return address;
    address = plainAddress(hop.trim());
  }
  return address;
}
