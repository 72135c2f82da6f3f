import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { KeyPair } from '../relay/keys';
import { isRelaySecret, secretRule } from '../relay/relayFiles';
import { RelayMembership, type RelayCredential } from '../relay/relayMembership';
import { grantText } from '../relay/relayMessages';
import { HostError } from './hostError';
import { JsonStore } from './jsonStore';

const url = z.url({ protocol: /^wss?$/ });
const access = z.union([
  z.strictObject({ url, secretFile: z.string() }),
  z.strictObject({ url, grantFile: z.string() }),
  z.strictObject({ url, grant: grantText }),
]);
const relaysFile = z.object({ version: z.literal(1), relays: z.array(access).max(100) });

/** Where a host has its right to use a relay from: a file with the relay's secret or with an issuer's token, or the relay's own grant. */
export type RelayRight = { readonly secretFile: string } | { readonly grantFile: string } | { readonly grant: string };

/** A host's right to use one relay, as it is at the time. Each throws `not-admitted`, `relay-unreachable`, `relay-refused` (RelayError), `state-invalid`. */
export interface RelayAccessAt {
  /** A token, or undefined where this host knows of no right to use the relay; it may not ask for one. */
  token(): Promise<string | undefined>;
  forget(): void;
  pass(): Promise<string | undefined>;
  grantFor(hostId: string): Promise<string | undefined>;
}

/** By what right this host uses which relay: `relays.json`. Secrets stay in the files where the user has them. */
export class RelayAccess {
  readonly #memberships = new Map<string, RelayMembership>();

  private constructor(
    private readonly store: JsonStore<typeof relaysFile>,
    private readonly keyPair: KeyPair,
  ) {}

  /** Throws `state-invalid` for a file that cannot be understood. */
  static async open(batonHome: string, keyPair: KeyPair): Promise<RelayAccess> {
    return new RelayAccess(await JsonStore.open(join(batonHome, 'relays.json'), relaysFile, { version: 1, relays: [] }), keyPair);
  }

  knows(relayUrl: string): boolean {
    return this.#rightAt(relayUrl) !== undefined;
  }

  /** Remembers a right, in place of the one before. */
  async save(relayUrl: string, right: RelayRight): Promise<void> {
    await this.store.update((file) => ({ ...file, relays: [...file.relays.filter((known) => !sameRelay(known.url, relayUrl)), { url: relayUrl, ...right }] }));
    this.#memberships.delete(plainUrl(relayUrl));
  }

  at(relayUrl: string): RelayAccessAt {
    return {
      token: async () => this.#membership(relayUrl)?.token(),
      forget: () => this.#membership(relayUrl)?.forget(),
      pass: async () => this.#membership(relayUrl)?.pass(),
      grantFor: async (hostId) => this.#membership(relayUrl)?.grantFor(hostId),
    };
  }

  #rightAt(relayUrl: string): z.infer<typeof access> | undefined {
    return this.store.value.relays.find((known) => sameRelay(known.url, relayUrl));
  }

  #membership(relayUrl: string): RelayMembership | undefined {
    if (!this.knows(relayUrl)) return undefined;
    const membership = this.#memberships.get(plainUrl(relayUrl)) ?? new RelayMembership({
      url: relayUrl,
      keyPair: this.keyPair,
      credential: () => this.#credential(relayUrl),
      onGrant: (grant) => this.save(relayUrl, { grant }),
    });
    this.#memberships.set(plainUrl(relayUrl), membership);
    return membership;
  }

  async #credential(relayUrl: string): Promise<RelayCredential> {
    const right = this.#rightAt(relayUrl);
    if (right === undefined) throw new HostError('state-invalid', `Nothing is known any more that lets this host into the relay ${relayUrl}.`);
    if ('grant' in right) return { grant: right.grant };
    return readRelayRight(right);
  }
}

/** Reads a file with a relay's secret or an issuer's token. Throws `state-invalid`, which says nothing of what is in it. */
export async function readRelayRight(right: Exclude<RelayRight, { grant: string }>): Promise<RelayCredential> {
  const path = 'secretFile' in right ? right.secretFile : right.grantFile;
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new HostError('state-invalid', `${path}, which lets this host into its relay, cannot be read: ${(cause as Error).message}.`, { cause });
  });
  if ('secretFile' in right) {
    // While a secret is changed, the relay's own file holds two; the first is the new one.
    const [secret = ''] = text.trim().split(/\r?\n/);
    if (!isRelaySecret(secret.trim())) throw new HostError('state-invalid', `${path} holds no secret of a relay: what stands there ${secretRule}.`);
    return { secret: secret.trim() };
  }
  const grant = grantText.safeParse(text.trim());
  if (!grant.success) throw new HostError('state-invalid', `${path} holds no token of an issuer.`);
  return { grant: grant.data };
}

/** One spelling of a relay's URL for all. */
const plainUrl = (text: string): string => new URL(text).href;
const sameRelay = (left: string, right: string): boolean => plainUrl(left) === plainUrl(right);
