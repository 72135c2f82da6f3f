import type { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { localOperator, type Access } from '../../src/host/access';
import { ControlLink, type ControlState } from '../../src/host/controlLink';
import { Controllers, type Implementations } from '../../src/host/controllers';
import { HostClient } from '../../src/host/hostClient';
import { HostError } from '../../src/host/hostError';
import { silentLog } from '../../src/host/log';
import { PROTOCOL_VERSION } from '../../src/host/protocol';
import { remoteControlOff } from '../fixtures/remoteControlOff';
import { socketPair } from '../fixtures/socketPair';

const hostId = 'A'.repeat(43);
const threadId = '01890000-0000-7000-8000-000000000000';

/** One run of a host: what it tells goes to all that are connected. */
const aHost = () => new Controllers({
  implementations: {} as Implementations,
  log: silentLog,
  initialize: (role) => Promise.resolve({ baton: { protocolVersion: PROTOCOL_VERSION, hostId, name: 'test', role } }),
  forward: () => Promise.resolve({}),
  remoteControl: remoteControlOff,
});

interface Ground {
  host: Controllers;
  access: Access;
  /** What the next connections fail with; null lets them through. */
  failing: Error | null;
  readonly link: ControlLink;
  readonly heard: string[];
  readonly states: ControlState[];
  /** Waits until the link has come to a state. */
  reached(kind: ControlState['kind']): Promise<ControlState>;
  /** Ends the connection, as a drop does. */
  cut(): void;
  /** Lets the time pass for which the link waits, and gives it in milliseconds. */
  pass(): number;
}

const grounds: Ground[] = [];
afterEach(() => grounds.splice(0).forEach(({ link }) => link.dispose()));

function ground(options: { readonly legacy?: true } = {}): Ground {
  const heard: string[] = [];
  const states: ControlState[] = [];
  const timers: { milliseconds: number; action: () => void }[] = [];
  let sockets: Socket[] = [];
  let wake: () => void = () => undefined;
  const made: Ground = {
    host: aHost(), access: localOperator, failing: null, heard, states,
    link: new ControlLink({
      connect: async ({ after, prepare }) => {
        if (made.failing !== null) throw made.failing;
        const [here, there] = await socketPair();
        sockets = [here, there];
        made.host.serve(there, made.access);
        return HostClient.over(here, { clientInfo: { name: 'test', version: '0' }, prepare, ...(options.legacy === true ? {} : { after }) });
      },
      onEvent: (method, params) => {
        if (method !== 'remoteControl/status/changed') heard.push(`${method} ${JSON.stringify((params as { number?: number }).number ?? params)}`);
      },
      onState: (state) => {
        states.push(state);
        wake();
      },
      random: () => 1,
      clock: { now: () => 0, after: (milliseconds, action) => { const timer = { milliseconds, action }; timers.push(timer); return () => void timers.splice(timers.indexOf(timer), 1); } },
    }),
    reached: async (kind) => {
      for (;;) {
        const { state } = made.link;
        if (state.kind === kind) return state;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
    cut: () => sockets.forEach((socket) => socket.destroy()),
    pass: () => {
      const timer = timers.shift();
      timer?.action();
      return timer?.milliseconds ?? -1;
    },
  };
  grounds.push(made);
  return made;
}

/** All that was told so far has arrived: what is answered now was asked after it. */
async function settled({ link }: Ground): Promise<void> {
  if (link.state.kind === 'connected') await link.state.client.codex('model/list');
}

const tell = ({ host }: Ground, ...numbers: number[]) => numbers.forEach((number) => host.broadcast('item/completed', { threadId, number }));
const again = async (each: Ground) => {
  each.pass();
  return each.reached('connected');
};

describe('a control link', () => {
  it('hears each thing once and in order, whenever the connection breaks', async () => {
    const each = ground();
    each.link.start();
    await each.reached('connected');
    let told = 0;
    for (let round = 0; round < 20; round++) {
      for (let count = round % 3; count > 0; count--) tell(each, ++told);
      // Every other time some of it is still under way.
      if (round % 2 === 0) await settled(each);
      each.cut();
      await each.reached('waiting');
      for (let count = round % 4; count > 0; count--) tell(each, ++told);
      expect(await again(each)).toMatchObject({ missed: false });
      for (let count = round % 5; count > 0; count--) tell(each, ++told);
    }
    await settled(each);
    expect(each.heard).toEqual(Array.from({ length: told }, (_, index) => `item/completed ${index + 1}`));
  });

  it('says so where a host began anew, told more than is kept, or does not count', async () => {
    const each = ground();
    each.link.start();
    expect(await each.reached('connected')).toMatchObject({ missed: false });
    tell(each, 1);
    await settled(each);
    each.cut();
    await each.reached('waiting');
    each.host = aHost();
    tell(each, 2);
    expect(await again(each)).toMatchObject({ missed: true });
    tell(each, 3);
    await settled(each);
    expect(each.heard).toEqual(['item/completed 1', 'item/completed 3']);

    each.cut();
    await each.reached('waiting');
    tell(each, ...Array.from({ length: 5_000 }, (_, index) => index));
    expect(await again(each)).toMatchObject({ missed: true });
    each.cut();
    await each.reached('waiting');
    each.host.broadcast('item/completed', { threadId, text: 'x'.repeat(9 * 1024 * 1024) });
    expect(await again(each)).toMatchObject({ missed: true });
    tell(each, 4);
    await settled(each);
    expect(each.heard.slice(2)).toEqual(['item/completed 4']);

    const old = ground({ legacy: true });
    old.link.start();
    expect(await old.reached('connected')).toMatchObject({ missed: false });
    old.cut();
    await old.reached('waiting');
    expect(await again(old)).toMatchObject({ missed: true });
  });

  it('hears only what it may, also of what it missed', async () => {
    const each = ground();
    each.access = { by: 'device:x', role: 'viewer', threadId, temporary: true };
    each.link.start();
    await each.reached('connected');
    const told = (number: number) => {
      tell(each, number);
      each.host.broadcast('item/completed', { threadId: '01890000-0000-7000-8000-000000000001', number: -number });
      each.host.notify('host/heard', { hostId, method: 'item/completed', params: { threadId, number } });
    };
    told(1);
    await settled(each);
    each.cut();
    await each.reached('waiting');
    told(2);
    await again(each);
    await settled(each);
    expect(each.heard).toEqual(['item/completed 1', 'item/completed 2']);
  });

  it('is tried after times that grow, begins anew with them once it was connected, and is tried at once where something changed', async () => {
    const each = ground();
    each.failing = new HostError('host-offline', 'It is away.');
    each.link.start();
    for (const wait of [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
      expect(await each.reached('waiting')).toEqual({ kind: 'waiting', message: 'It is away.', retryInMs: wait });
      expect(each.pass()).toBe(wait);
      expect(each.link.state).toEqual({ kind: 'connecting', message: 'It is away.' });
    }
    await each.reached('waiting');
    each.failing = null;
    each.link.retry();
    await each.reached('connected');
    // The timer that was set is gone.
    expect(each.pass()).toBe(-1);
    each.cut();
    expect(await each.reached('waiting')).toMatchObject({ retryInMs: 1_000 });
  });

  it('is not tried again where that is of no use, until something changed', async () => {
    const each = ground();
    each.failing = new HostError('not-permitted', 'Not you.');
    each.link.start();
    expect(await each.reached('refused')).toEqual({ kind: 'refused', message: 'Not you.' });
    expect(each.pass()).toBe(-1);
    each.failing = null;
    each.link.retry();
    await each.reached('connected');
  });

  it('is over once it is disposed of', async () => {
    const each = ground();
    each.link.start();
    const state = await each.reached('connected');
    each.link.dispose();
    expect(state.kind === 'connected' && state.client.closed).toBe(true);
    tell(each, 1);
    each.link.retry();
    expect([each.heard, each.pass(), each.states.map(({ kind }) => kind)]).toEqual([[], -1, ['connecting', 'connected']]);
  });
});
