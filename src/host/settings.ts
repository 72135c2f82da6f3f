import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { JsonStore } from './jsonStore';
import { hostName, worktreeRetention } from './protocol';
import { tokenName } from './identifiers';

const settingsFile = z.object({
  version: z.literal(1),
  name: hostName,
  relayUrl: z.url({ protocol: /^wss?$/ }).nullable(),
  /** Where other hosts are let in that show the token in a variable; null where nothing listens. */
  listen: z.object({ host: z.string().max(255), port: z.number().int().min(0).max(65_535), tokenEnv: tokenName }).nullable().default(null),
  /** So many managed worktrees are kept, the newest ones. */
  worktreesKeep: worktreeRetention.shape.keep.default(15),
  /** Days after which a snapshot that is not the only copy of something is dropped. */
  snapshotDays: worktreeRetention.shape.snapshotDays.default(30),
  /** Whether devices and operators may come in from elsewhere, as the user says. */
  remoteControl: z.boolean().default(true),
  /** What an administrator last said of that: it holds while Codex, which reads it, cannot be asked. */
  remoteControlForbidden: z.boolean().default(false),
});
/** What the user chose for this host: the name it goes by, the relay it can be met at, and what it keeps. */
export type Settings = Pick<z.infer<typeof settingsFile>, 'name' | 'relayUrl' | 'listen' | 'worktreesKeep' | 'snapshotDays' | 'remoteControl' | 'remoteControlForbidden'>;

/** The host's settings: `settings.json`. */
export class SettingsStore {
  private constructor(private readonly store: JsonStore<typeof settingsFile>) {}

  /** Begins with the machine's name and no relay. Throws `state-invalid` for a file that cannot be understood. */
  static async open(batonHome: string): Promise<SettingsStore> {
    const name = hostname().split('.')[0]?.slice(0, 64) ?? '';
    return new SettingsStore(await JsonStore.open(join(batonHome, 'settings.json'), settingsFile, { version: 1, name: name === '' ? 'host' : name, relayUrl: null, listen: null, worktreesKeep: 15, snapshotDays: 30, remoteControl: true, remoteControlForbidden: false }));
  }

  get value(): Settings {
    return this.store.value;
  }

  /** Remembers what is given and keeps the rest. Throws a ZodError for a name or URL that is none. */
  async change(settings: Partial<Settings>): Promise<Settings> {
    return this.store.update((file) => ({ ...file, ...settings }));
  }
}
