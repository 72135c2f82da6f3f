import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HostClient } from '../../src/host/hostClient';
import { HostError } from '../../src/host/hostError';
import { HostConnection, type ConnectionState } from '../../src/views/hostConnection';
import { startScriptedHost } from '../fixtures/scriptedHost';

const log = { info: () => undefined, warn: () => undefined };

describe('the connection of a window to the host', () => {
  let directory: string;
  let asked: ('start' | 'attach')[];
  let connection: HostConnection;
  let host: Awaited<ReturnType<typeof startScriptedHost>> | undefined;
  const startHost = async () => (host = await startScriptedHost({ batonHome: directory, answers: {} }));
  /** Resolves when the connection is in a state of this kind. */
  const reached = (kind: ConnectionState['kind']) =>
    new Promise<void>((resolve) => {
      const end = connection.onChange((state) => {
        if (state.kind !== kind) return;
        end();
        resolve();
      });
    });

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'baton-connection-'));
    asked = [];
    connection = new HostConnection(
      (how) => {
        asked.push(how);
        return HostClient.connect({ batonHome: directory, clientInfo: { name: 'test', version: '0' } });
      },
      log,
      () => 0,
    );
  });
  afterEach(async () => {
    connection.dispose();
    await host?.close();
    host = undefined;
    rmSync(directory, { recursive: true, force: true });
  });

  it('says why there is none, and has one when it is tried again', async () => {
    await connection.start();
    expect(connection.state).toMatchObject({ kind: 'failed' });
    expect(() => connection.client).toThrow(HostError);
    await startHost();
    await connection.start();
    expect(connection.client.host.baton.name).toBe('laptop');
    await connection.start();
    expect(asked).toEqual(['start', 'start']);
  });

  it('finds the host again after it stopped, and does not start it unasked', async () => {
    await startHost();
    await connection.start();
    const stopped = reached('stopped');
    await host?.close();
    await stopped;
    const connected = reached('connected');
    await startHost();
    await connected;
    expect(asked).toEqual(['start', 'attach']);
  });

  it('lets go of a host that answers after it was disposed', async () => {
    await startHost();
    const started = connection.start();
    connection.dispose();
    await started;
    expect(connection.state.kind).toBe('connecting');
  });
});
