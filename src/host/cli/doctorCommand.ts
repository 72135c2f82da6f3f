import { resolveCodex } from '../../codex/executable';
import { machineProbes, runDoctor } from '../doctor';
import type { DoctorCheck } from '../protocol';
import { closedBecause } from '../remoteControl';
import { SettingsStore } from '../settings';
import type { CommandTable } from './commandTable';
import { inertLine } from './inertText';
import { wrap } from './layout';
import type { Session } from './session';

export function addDoctorCommand({ program, session, exitWith }: CommandTable): void {
  program
    .command('doctor')
    .description('check git, codex, relay, clock, remote control, disk and permissions')
    .action(async () => {
      const checks = await examine(session);
      if (checks.some((check) => check.level === 'error')) exitWith(1);
      session.result({ checks }, () => checks.map(({ name, level, message }) => `${level.padEnd(8)}${name.padEnd(12)}${wrap(inertLine(message), session.columns, 20)}`).join('\n'));
    });
}

/** The host knows best what it sees; where it cannot be started, this process looks in its stead and says why. */
async function examine(session: Session): Promise<DoctorCheck[]> {
  try {
    const client = await session.host();
    const { checks } = await client.call('host/doctor');
    return [{ name: 'host', level: 'ok', message: `The host "${client.host.baton.name}" runs.` }, ...checks];
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return [{ name: 'host', level: 'error', message }, ...(await examineHere(session))];
  }
}

async function examineHere(session: Session): Promise<DoctorCheck[]> {
  const { batonHome, env } = session;
  const probes = machineProbes(env, () => resolveCodex({ env }));
  try {
    const settings = (await SettingsStore.open(batonHome)).value;
    return await runDoctor({ batonHome, relayUrl: settings.relayUrl, closedBecause: closedBecause(settings) }, probes);
  } catch (error) {
    // Settings that cannot be read are a finding too; the rest can still be looked at.
    const message = error instanceof Error ? error.message : String(error);
    return [{ name: 'settings', level: 'error', message }, ...(await runDoctor({ batonHome, relayUrl: null, closedBecause: null }, probes))];
  }
}
