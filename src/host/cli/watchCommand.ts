import { z } from 'zod';
import { ControlLink } from '../controlLink';
import type { FollowedHost } from '../followSchemas';
import { HostClient } from '../hostClient';
import { HostError } from '../hostError';
import type { NotificationOf } from '../protocol';
import { batonVersion } from '../version';
import type { CommandTable } from './commandTable';
import { untilInterrupted } from './foreground';
import { inertJson, inertLine } from './inertText';
import { inWords } from './layout';
import { resolveHost } from './resolve';
import type { Session } from './session';

export function addWatchCommand({ program, session }: CommandTable): void {
  program
    .command('watch')
    .option('--host <HOST>', 'of a paired host that lets this one see its threads: its name or id')
    .description('say what happens on a host as it happens, over every break of the connection, until Ctrl-C')
    .action(async ({ host: word }: { host?: string }) => {
      const client = await session.host();
      const other = word === undefined ? undefined : resolveHost(word, (await client.call('host/list')).hosts);
      const followed = other === undefined || other.self ? undefined : other;
      const name = followed?.name ?? client.host.baton.name;
      const watch = new Watch(session, name);
      const interrupted = untilInterrupted();
      const refused = new Promise<never>((_, reject) => {
        const refuse = (message: string | null) => reject(new HostError('not-permitted', message ?? ''));
        const follows = ({ hostId, state, message, missed }: FollowedHost) => {
          if (hostId !== followed?.hostId) return;
          if (state === 'connected') watch.there(missed);
          else if (state === 'waiting') watch.away(`The connection to "${inertLine(name)}" waits: ${inertLine(message ?? '')} It is tried again.`);
          else if (state === 'refused') refuse(message);
        };
        const link = new ControlLink({
          connect: (options) => HostClient.connect({ batonHome: session.batonHome, clientInfo: { name: 'baton-cli', version: batonVersion }, ...options }),
          onEvent: (method, params) => {
            if (followed === undefined) watch.say(client.host.baton.hostId, method, params);
            else if (method === 'host/followed') follows(params as FollowedHost);
            else if (method === 'host/heard') {
              const heard = params as NotificationOf<'host/heard'>;
              if (heard.hostId === followed.hostId) watch.say(followed.hostId, heard.method, heard.params);
            }
          },
          onState: (state) => {
            if (state.kind === 'waiting') watch.away('The connection to this machine\'s host was lost. It is made again when the host runs.');
            else if (state.kind === 'refused') refuse(state.message);
            else if (state.kind === 'connected') {
              if (followed === undefined) watch.there(state.missed);
              else state.client.call('host/follow', { host: followed.hostId }).then(follows, reject);
            }
          },
        });
        link.start();
        void interrupted.then(() => link.dispose());
      });
      await Promise.race([interrupted, refused]);
    });
}

/** What is said of one host: its events on standard output, how the connection stands beside them, or both as JSON. */
class Watch {
  private isAway = false;

  constructor(
    private readonly session: Session,
    private readonly name: string,
  ) {}

  say(hostId: string, method: string, params: unknown): void {
    const text = this.session.json ? inertJson({ hostId, method, params }) : eventText(method, params);
    if (text !== null) this.session.print(this.session.json ? text : `${new Date().toTimeString().slice(0, 8)}  ${text}`);
  }

  there(missed: boolean): void {
    this.isAway = false;
    this.connection('connected', missed ? `Connected to "${inertLine(this.name)}" again. What happened meanwhile is not known here: see "baton threads".` : `Connected to "${inertLine(this.name)}".`, missed);
  }

  /** Says it once, however often it is tried. */
  away(text: string): void {
    if (!this.isAway) this.connection('waiting', text, false);
    this.isAway = true;
  }

  private connection(state: 'connected' | 'waiting', text: string, missed: boolean): void {
    if (this.session.json) this.session.print(inertJson({ connection: state, missed }));
    else this.session.remark(text);
  }
}

const threadOf = z.looseObject({ threadId: z.string(), turn: z.looseObject({ status: z.string() }).optional(), threadName: z.string().nullish(), thread: z.looseObject({ id: z.string() }).optional() }).partial();

/** One line for people; null for what says nothing to them by itself. */
function eventText(method: string, params: unknown): string | null {
  const { data } = threadOf.safeParse(params);
  const thread = `thread ${inertLine((data?.threadId ?? data?.thread?.id ?? '-').slice(0, 8))}`;
  switch (method) {
    case 'approval/requested': {
      const { approval } = params as NotificationOf<'approval/requested'>;
      return `thread ${inertLine(approval.threadId.slice(0, 8))}  asks for an approval: ${inertLine(approval.command ?? inWords(approval.kind))}`;
    }
    case 'approval/resolved':
      return `${thread}  has its answer: ${(params as NotificationOf<'approval/resolved'>).decision ?? 'none, its turn is over'}`;
    case 'handoff/ended': {
      const { error } = params as NotificationOf<'handoff/ended'>;
      return error === null ? `${thread}  was handed off` : `${thread}  was not handed off: ${inertLine(error.message)}`;
    }
    case 'thread/started':
      return `${thread}  was started`;
    case 'thread/name/updated':
      return `${thread}  is called "${inertLine(data?.threadName ?? '')}"`;
    case 'turn/started':
      return `${thread}  works`;
    case 'turn/completed':
      return `${thread}  rests: its turn is ${inWords(data?.turn?.status ?? '').trim()}`;
    default:
      return null;
  }
}
