/** `remoteControl/*`: Codex's names, params and results, so that a client that was written for Codex finds them unchanged. */
import { z } from 'zod';

const text = z.string().min(1).max(4096);
const environmentId = z.string().max(256);

export const remoteControlStatus = z.object({
  /** `disabled` also where there is no relay at which this host could be met. */
  status: z.enum(['disabled', 'connecting', 'connected', 'errored']),
  serverName: z.string(),
  /** A UUID that is the same for as long as the host's key is. */
  installationId: z.string(),
  /** The id of the host. */
  environmentId: z.string().nullable(),
});
export type RemoteControlStatus = z.infer<typeof remoteControlStatus>;

/** `ephemeral`: for this run of the host only. */
export const remoteControlSwitch = z.object({ ephemeral: z.boolean().optional() }).optional();

export const pairingStartParams = z.object({ manualCode: z.boolean().optional() });
/** `pairingCode` is the link of an invite, `manualPairingCode` its code to type; `expiresAt` is in seconds since 1970. */
export const startedPairing = z.object({ pairingCode: z.string(), manualPairingCode: z.string().nullable(), environmentId: z.string(), expiresAt: z.number().int() });
export const pairingStatusParams = z.object({ pairingCode: text.nullish(), manualPairingCode: text.nullish() });

export const clientListParams = z.object({ environmentId, cursor: z.string().max(256).nullish(), limit: z.number().int().nullish(), order: z.enum(['asc', 'desc']).nullish() });
export const remoteControlClient = z.object({
  clientId: z.string(),
  displayName: z.string().nullable(),
  /** These five are not known of a key, and always null. */
  deviceType: z.string().nullable(),
  platform: z.string().nullable(),
  osVersion: z.string().nullable(),
  deviceModel: z.string().nullable(),
  appVersion: z.string().nullable(),
  /** In seconds since 1970; null for one that was not here since the host began. */
  lastSeenAt: z.number().int().nullable(),
});
export type RemoteControlClient = z.infer<typeof remoteControlClient>;
export const clientPage = z.object({ data: z.array(remoteControlClient), nextCursor: z.string().nullable() });
export const clientRevokeParams = z.object({ environmentId, clientId: z.string().max(256) });
