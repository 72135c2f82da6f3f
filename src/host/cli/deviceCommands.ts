import type { DeviceSummary } from '../deviceSchemas';
import type { CommandTable } from './commandTable';
import { inertLine } from './inertText';
import { counted, table } from './layout';
import { resolveDevice, shortIds } from './resolve';

export function addDeviceCommands({ program, session }: CommandTable): void {
  program
    .command('devices')
    .description('list the devices and hosts that this host trusts, and for what')
    .action(async () => {
      const { devices } = await (await session.host()).call('device/list');
      session.result({ devices }, () => devicesText(devices, session.columns));
    });

  program
    .command('device')
    .description('end the trust in a device or host')
    .command('revoke')
    .argument('<DEVICE>', 'its id, a prefix of it, or its name')
    .description('end the trust in a device or host at once, and whatever it has open here')
    .action(async (word: string) => {
      const client = await session.host();
      const device = resolveDevice(word, (await client.call('device/list')).devices);
      const result = await client.call('device/revoke', { id: device.id });
      session.result({ id: device.id, ...result }, () => {
        const ended = result.channels === 0 ? 'It had nothing open.' : `${counted(result.channels, 'open channel')} of it ended.`;
        const open = result.openHandoffs === 0 ? '' : ` ${counted(result.openHandoffs, 'handoff')} with it cannot be finished any more: "baton handoffs" says what is still possible.`;
        return `"${inertLine(device.name)}" is not trusted any more. ${ended}${open}`;
      });
    });
}

function devicesText(devices: readonly DeviceSummary[], width: number): string {
  if (devices.length === 0) return 'No device and no other host is trusted. "baton invite" makes an invite.';
  const ids = shortIds(devices.map(({ id }) => id));
  return table(
    ['ID', 'NAME', 'KIND', 'ROLE', 'STATE', 'LIMITS'],
    devices.map(({ id, name, kind, role, expired, channels, threadId, expiresAt }) => [
      ids.get(id) ?? id,
      inertLine(name),
      kind,
      role,
      expired ? 'expired' : channels > 0 ? 'connected' : 'away',
      [...(threadId === null ? [] : [`thread ${threadId.slice(0, 8)}`]), ...(expiresAt === null ? [] : [`until ${new Date(expiresAt).toLocaleString()}`])].join(', ') || '-',
    ]),
    width,
  );
}
