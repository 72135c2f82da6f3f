import { createHash, verify, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { decodeBase64url, encodeBase64url } from './base64url';
import { equalBytes, randomBytes, utf8 } from './keys';
import { sha256 } from './noise/hashFunction';
import type { ExchangeRequest } from './relayMessages';
import { openPermit, sealPermit, type IssuedRight, type Permit } from './relayPermit';

const MINUTE_MS = 60_000;
export const TOKEN_LIFETIME_MS = 5 * MINUTE_MS;
/** A little longer than an invite, which it comes in. */
const PASS_LIFETIME_MS = 12 * MINUTE_MS;
const GRANT_LIFETIME_MS = 90 * 24 * 60 * MINUTE_MS;
/** A shorter secret could be guessed by a relay that the host proves it to. */
export const LEAST_SECRET_LENGTH = 32;

/** Who is let in, as the operator of a relay has it. */
export interface AdmissionRules {
  /** Any of them admits; the first seals what the relay hands out. */
  readonly secrets: readonly string[];
  /** Ed25519 public keys whose JSON Web Tokens are grants. */
  readonly issuerKeys: readonly KeyObject[];
  /** Host ids that are not let in whatever they show. */
  readonly denied: ReadonlySet<string>;
}

interface SecretKeys {
  /** With it a member shows that it knows the secret. */
  readonly member: Uint8Array;
  /** With it relays seal permits: every relay with the secret opens what another sealed. */
  readonly permit: Uint8Array;
}

/** HKDF-SHA256 (RFC 5869), so that neither key tells of the other or of the secret. */
function keysOfSecret(secret: string): SecretKeys {
  const pseudorandomKey = sha256.hmac(utf8('baton relay admission 1'), utf8(secret));
  const expand = (name: string): Uint8Array => sha256.hmac(pseudorandomKey, utf8(name), Uint8Array.of(1));
  return { member: expand('member'), permit: expand('permit') };
}

/** Shows that one knows a relay's secret, for one challenge only: `mac` is that of the proof which answers it. */
export function proveSecret(secret: string, mac: string): string {
  return encodeBase64url(sha256.hmac(keysOfSecret(secret).member, decodeBase64url(mac) ?? new Uint8Array(0)));
}

/** By what a request is let in. */
export interface Admitted {
  /** The host that it was given to, or null for whoever has an invite's pass. */
  readonly hostId: string | null;
  /** What it was sealed with. */
  readonly key: Uint8Array;
  readonly issued: IssuedRight | undefined;
}

/** Decides who may use a relay, and seals the permits by which it knows them again. */
export class Admission {
  #keys: readonly SecretKeys[] = [];
  /** Seals where there is no secret to seal with: permits then end with this process. */
  readonly #ownKey = randomBytes(32);

  #rules: AdmissionRules = { secrets: [], issuerKeys: [], denied: new Set() };
  #issuers: ReadonlySet<string> = new Set();

  /** Lets nobody in until it is told whom. `now`: ms since 1970. */
  constructor(private readonly now: () => number = Date.now) {}

  /** Other rules from now on. What was sealed with a secret that is no more opens nothing. */
  replace(rules: AdmissionRules): void {
    this.#rules = rules;
    this.#keys = rules.secrets.map(keysOfSecret);
    this.#issuers = new Set(rules.issuerKeys.map(nameOf));
  }

  denies(hostId: string): boolean {
    return this.#rules.denied.has(hostId);
  }

  /** Whether what let somebody in some time ago would still do so: nobody has denied the host or taken the secret or the issuer back, and what the issuer gave has not ended. */
  stillAdmits({ hostId, key, issued }: Admitted): boolean {
    if (hostId !== null && this.denies(hostId)) return false;
    if (issued !== undefined && (issued.until <= this.now() || !this.#issuers.has(issued.issuer))) return false;
    return this.#permitKeys.some((known) => equalBytes(known, key));
  }

  /** Judges the `Authorization` header of a request to register as, or to dial, a host; undefined where it is not let in. */
  admits(authorization: string | undefined, action: 'register' | 'dial', hostId: string): Admitted | undefined {
    const permit = openPermit(this.#permitKeys, /^Bearer ([^ ]+)$/.exec(authorization ?? '')?.[1] ?? '', this.now());
    if (permit === undefined || this.denies(hostId) || this.denies(permit.hostId)) return undefined;
    const { key, issued } = permit;
    const admitted: Admitted = { hostId: permit.kind === 'pass' ? null : permit.hostId, key, issued };
    const serves = permit.kind === 'token' ? action === 'dial' || permit.hostId === hostId : permit.kind === 'pass' && action === 'dial' && permit.hostId === hostId;
    return serves && this.stillAdmits(admitted) ? admitted : undefined;
  }

  /** Gives what a host asks for that has proven its key; undefined where it has no right to it. */
  exchange(hostId: string, { mac, by, want }: ExchangeRequest): { readonly permit: string; readonly lifetimeMs: number; readonly grant?: string } | undefined {
    const right = 'secret' in by ? this.#ofSecret(by.secret, mac) : this.#ofGrant(hostId, by.grant);
    if (right === undefined || this.denies(hostId)) return undefined;
    switch (want.kind) {
      case 'token':
        return { ...this.#seal('token', hostId, TOKEN_LIFETIME_MS, right.issued), ...(right.isOldGrant ? { grant: this.#seal('grant', hostId, GRANT_LIFETIME_MS).permit } : {}) };
      case 'pass':
        return this.#seal('pass', hostId, PASS_LIFETIME_MS, right.issued);
      case 'grant':
        // Where an issuer says who is let in, nobody else does.
        return right.issued !== undefined || this.denies(want.hostId) ? undefined : this.#seal('grant', want.hostId, GRANT_LIFETIME_MS);
    }
  }

  #seal(kind: Permit['kind'], hostId: string, longestMs: number, issued?: IssuedRight): { readonly permit: string; readonly lifetimeMs: number } {
    const lifetimeMs = issued === undefined ? longestMs : Math.min(longestMs, issued.until - this.now());
    return { permit: sealPermit(this.#sealingKey, { kind, hostId, expiresAt: this.now() + lifetimeMs, issued }), lifetimeMs };
  }

  get #sealingKey(): Uint8Array {
    return this.#keys[0]?.permit ?? this.#ownKey;
  }

  get #permitKeys(): Uint8Array[] {
    return [...this.#keys.map(({ permit }) => permit), this.#ownKey];
  }

  #ofSecret(shown: string, mac: string): Right | undefined {
    const [given, proven] = [decodeBase64url(shown), decodeBase64url(mac)];
    if (given === undefined || proven === undefined) return undefined;
    return this.#keys.some(({ member }) => equalBytes(sha256.hmac(member, proven), given)) ? { issued: undefined, isOldGrant: false } : undefined;
  }

  #ofGrant(hostId: string, text: string): Right | undefined {
    const now = this.now();
    const grant = openPermit(this.#permitKeys, text, now);
    if (grant !== undefined) {
      const isOldGrant = grant.expiresAt - now < GRANT_LIFETIME_MS / 2 || grant.key !== this.#sealingKey;
      return grant.kind === 'grant' && grant.hostId === hostId ? { issued: undefined, isOldGrant } : undefined;
    }
    const issued = readIssuerToken(text, hostId, this.#rules.issuerKeys, now);
    return issued === undefined ? undefined : { issued, isOldGrant: false };
  }
}

interface Right {
  /** Undefined where only the operator ends it. */
  readonly issued: IssuedRight | undefined;
  /** Whether it was shown by a grant that should be replaced by a fresh one: half of its time is over, or another secret is to come in the place of its own. */
  readonly isOldGrant: boolean;
}

const issuerHeader = z.object({ alg: z.literal('EdDSA'), crit: z.undefined().optional() });
const issuerClaims = z.object({ aud: z.literal('baton-relay'), sub: z.string(), exp: z.number().positive(), nbf: z.number().optional() });

/** A short name of an issuer's key. */
const nameOf = (key: KeyObject): string => createHash('sha256').update(key.export({ type: 'spki', format: 'der' })).digest('hex').slice(0, 16);

/**
 * Until when, and by which of the keys, a JSON Web Token of an issuer lets a host in (RFC 7519; EdDSA, RFC 8037): its `aud` is
 * `baton-relay`, its `sub` the host's id. Undefined for one that is signed by nobody known, for another host, or not valid at `now`.
 */
function readIssuerToken(text: string, hostId: string, issuerKeys: readonly KeyObject[], now: number): IssuedRight | undefined {
  const [header = '', claims = '', signature = '', ...rest] = text.split('.');
  const signed = decodeBase64url(signature);
  if (rest.length > 0 || signed === undefined || !issuerHeader.safeParse(parsePart(header)).success) return undefined;
  const issuerKey = issuerKeys.find((key) => verify(null, Buffer.from(`${header}.${claims}`), key, signed));
  if (issuerKey === undefined) return undefined;
  const { data } = issuerClaims.safeParse(parsePart(claims));
  if (data?.sub !== hostId || Math.floor(data.exp * 1000) <= now || (data.nbf ?? 0) * 1000 > now) return undefined;
  return { until: Math.floor(data.exp * 1000), issuer: nameOf(issuerKey) };
}

function parsePart(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(decodeBase64url(text) ?? []).toString('utf8'));
  } catch {
    return undefined;
  }
}
