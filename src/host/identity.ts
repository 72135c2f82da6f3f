import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { equalBytes, generateKeyPair as generate, hostIdOf, keyPairOf, type KeyPair } from '../relay/keys';
import { HostError } from './hostError';
import { readJson, writeJson } from './jsonStore';

/** Who this host is: its X25519 keys, 32 bytes each, and the id that is the public one. */
export type Identity = { readonly hostId: string; readonly keyPair: KeyPair };

const key = z.string().regex(/^[A-Za-z0-9_-]{43}$/, 'not a key of 32 bytes in base64url');
const identityFile = z.object({ version: z.literal(1), publicKey: key, secretKey: key, createdAt: z.iso.datetime() });

/**
 * Reads `identity.json` of a home, or makes it at first use. Call it only while holding the home (`listenLocal`), so that two
 * hosts cannot make two identities. `knownBy` is how many hosts and devices this home trusts, which know the identity that it had.
 *
 * Throws `identity-invalid` where others may have read the key, the two keys do not belong together, or the file is lost:
 * a new identity is never made in place of one that others know, as they would not know the new one.
 */
export async function loadIdentity(options: { readonly batonHome: string; readonly knownBy?: number; readonly generateKeyPair?: () => KeyPair; readonly now?: () => Date }): Promise<Identity> {
  const { batonHome, knownBy = 0, generateKeyPair = generate, now = () => new Date() } = options;
  const path = join(batonHome, 'identity.json');
  await refuseExposed(path);
  const stored = await readJson(path, identityFile).catch((cause: unknown) => {
    throw new HostError('identity-invalid', `${path}, the key of this host, cannot be read: ${(cause as Error).message} Without it, hosts that know this one must be paired again.`, { cause });
  });
  if (stored !== undefined) {
    const keyPair = keyPairOf(Buffer.from(stored.secretKey, 'base64url'));
    if (equalBytes(keyPair.publicKey, Buffer.from(stored.publicKey, 'base64url'))) return { hostId: hostIdOf(keyPair.publicKey), keyPair };
    throw new HostError('identity-invalid', `The public key in ${path} is not the one of its secret key. Restore the file from a backup, or move it aside and pair this host again.`);
  }
  if (knownBy > 0) {
    throw new HostError('identity-invalid', `${path}, the key of this host, is gone, and ${knownBy} paired ${knownBy === 1 ? 'host or device knows' : 'hosts and devices know'} it. Restore the file from a backup. If there is none, move peers.json and devices.json of that folder aside, start again with a new key, and pair anew; revoke the old one on the others.`);
  }
  const keyPair = generateKeyPair();
  const encode = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url');
  await writeJson(path, { version: 1, publicKey: encode(keyPair.publicKey), secretKey: encode(keyPair.secretKey), createdAt: now().toISOString() } satisfies z.input<typeof identityFile>);
  return { hostId: hostIdOf(keyPair.publicKey), keyPair };
}

async function refuseExposed(path: string): Promise<void> {
  const stats = await lstat(path).catch(() => undefined);
  if (stats === undefined || process.getuid === undefined) return;
  const why = !stats.isFile() ? 'it is not a plain file'
    : stats.uid !== process.getuid() ? 'it belongs to another account'
    : (stats.mode & 0o077) !== 0 ? `its mode is 0${(stats.mode & 0o777).toString(8)}, so others may have read it`
    : undefined;
  if (why === undefined) return;
  throw new HostError('identity-invalid', `${path}, the key of this host, is not safe to use: ${why}. If nobody else could read it, run \`chmod 600 ${path}\`; otherwise move it aside and pair this host again.`);
}
