/** Files that tell a relay its keys and secrets, read again when they change. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import type { Clock } from './clock';
import { LEAST_SECRET_LENGTH, type AdmissionRules } from './relayAdmission';
import { publicKeyOf } from './keys';
import { RelayError } from './relayError';

const MAX_SECRETS = 8;

export interface TlsFiles {
  /** The certificate with its chain, PEM. */
  readonly cert: string;
  readonly key: string;
}

/** Where admission is configured; at least one of the first three. */
export interface AdmissionFiles {
  /** A secret that did not come from a file, such as from the environment. */
  readonly secret?: string | undefined;
  /** One secret in each line. While it is changed, the old one may stand below the new one. */
  readonly secretFile?: string | undefined;
  /** Ed25519 public keys, PEM. */
  readonly issuerKeyFile?: string | undefined;
  /** One host id in each line that is not let in; what follows a `#` is a remark. */
  readonly denyFile?: string | undefined;
}

/** Reads a certificate and its key. Throws `setting-invalid` where they cannot be read or do not belong together. */
export async function readTls({ cert, key }: TlsFiles): Promise<SecureContextOptions> {
  const options: SecureContextOptions = { cert: await readSetting(cert), key: await readSetting(key), minVersion: 'TLSv1.2' };
  try {
    createSecureContext(options);
  } catch (cause) {
    throw new RelayError('setting-invalid', `${cert} and ${key} are not a certificate and its key, both PEM: ${(cause as Error).message}.`, { cause });
  }
  return options;
}

/** Reads who is let in. Throws `setting-invalid`, naming the file but nothing of what is in it. */
export async function readAdmission(files: AdmissionFiles): Promise<AdmissionRules> {
  const secrets = [...(files.secret === undefined ? [] : [files.secret.trim()]), ...(files.secretFile === undefined ? [] : linesOf(await readSetting(files.secretFile)))];
  const source = files.secretFile ?? 'The environment';
  if ((files.secret !== undefined || files.secretFile !== undefined) && secrets.length === 0) throw new RelayError('setting-invalid', `${source} holds no secret.`);
  if (secrets.length > MAX_SECRETS) throw new RelayError('setting-invalid', `${source} holds ${secrets.length} secrets; at most ${MAX_SECRETS} can be in use at once.`);
  for (const secret of secrets) if (!isRelaySecret(secret)) throw new RelayError('setting-invalid', `${source} holds a secret that ${secretRule}.`);
  return {
    secrets,
    issuerKeys: files.issuerKeyFile === undefined ? [] : readIssuerKeys(files.issuerKeyFile, await readSetting(files.issuerKeyFile)),
    denied: new Set(files.denyFile === undefined ? [] : readDenied(files.denyFile, await readSetting(files.denyFile))),
  };
}

/** Whether a text can be a relay's secret: long enough not to be guessed, and one word. */
export function isRelaySecret(text: string): boolean {
  return text.length >= LEAST_SECRET_LENGTH && text.length <= 512 && /^[\x21-\x7e]+$/.test(text);
}

export const secretRule = `is shorter than ${LEAST_SECRET_LENGTH} characters, or has blanks in it. "openssl rand -base64 33" makes a good one`;

/** Files that are looked at every so often, and read again when one of them has changed or another stands in its place. */
export class FollowedFiles {
  #seen = '';
  /** The problem that was told last, and with which state of the files. */
  #told = '';
  #stop: () => void = () => undefined;
  readonly #paths: readonly string[];

  constructor(
    paths: readonly (string | undefined)[],
    private readonly read: () => Promise<void>,
  ) {
    this.#paths = paths.filter((path) => path !== undefined);
  }

  /** Reads them. Throws what `read` throws. */
  async load(): Promise<void> {
    // Taken before they are read: a change while they are being read is seen the next time. What could not be read is tried again.
    const state = await this.#state();
    await this.read();
    this.#seen = state;
  }

  /** Looks again and again until `stop`, and tells of each reading that a change led to, with what was wrong with it; of one problem once. */
  follow(clock: Clock, intervalMs: number, onRead: (problem?: string) => void): void {
    if (this.#paths.length === 0) return;
    const look = async (): Promise<void> => {
      // By path and not by a watch on the file: certificates are renewed by replacing files and links.
      const state = await this.#state();
      if (state !== this.#seen) {
        await this.load().then(
          () => {
            this.#told = '';
            onRead();
          },
          (error: unknown) => {
            const problem = error instanceof Error ? error.message : String(error);
            if (this.#told !== state + problem) onRead(problem);
            this.#told = state + problem;
          },
        );
      }
      if (!isStopped) stopTimer = clock.after(intervalMs, () => void look());
    };
    let isStopped = false;
    let stopTimer = clock.after(intervalMs, () => void look());
    this.#stop = () => {
      isStopped = true;
      stopTimer();
    };
  }

  stop(): void {
    this.#stop();
  }

  async #state(): Promise<string> {
    const states = await Promise.all(this.#paths.map((path) => stat(path).then(({ ino, size, mtimeMs, ctimeMs }) => [ino, size, mtimeMs, ctimeMs], () => null)));
    return JSON.stringify(states);
  }
}

async function readSetting(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new RelayError('setting-invalid', `${path} cannot be read: ${(cause as Error).message}.`, { cause });
  }
}

const linesOf = (text: string): string[] => text.split('\n').map((line) => line.trim()).filter((line) => line !== '');

function readIssuerKeys(path: string, text: string): KeyObject[] {
  const blocks = text.match(/-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----/g) ?? [];
  const keys = blocks.map((block) => {
    try {
      return createPublicKey(block);
    } catch (cause) {
      throw new RelayError('setting-invalid', `${path} holds a public key that cannot be read: ${(cause as Error).message}.`, { cause });
    }
  });
  if (keys.length === 0 || keys.some(({ asymmetricKeyType }) => asymmetricKeyType !== 'ed25519')) throw new RelayError('setting-invalid', `${path} must hold Ed25519 public keys, PEM ("BEGIN PUBLIC KEY"), and nothing else.`);
  return keys;
}

function readDenied(path: string, text: string): string[] {
  return linesOf(text.replace(/#.*$/gm, '')).map((hostId) => {
    try {
      publicKeyOf(hostId);
    } catch {
      throw new RelayError('setting-invalid', `${path} holds a line that is no host id: 43 characters, as "baton hosts" shows them.`);
    }
    return hostId;
  });
}
