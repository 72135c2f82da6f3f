import type { RemoteControlStatus } from '../remoteControlSchemas';
import type { CommandTable } from './commandTable';

const says: Record<RemoteControlStatus['status'], string> = {
  connected: 'Remote control is on: devices and operators that this host trusts may come in through its relay.',
  connecting: 'Remote control is on, and the host is on its way to its relay.',
  errored: 'Remote control is on, but the host cannot be met at its relay: "baton doctor" says why.',
  disabled: 'Remote control is off: only this account itself steers the host.',
};

export function addRemoteControlCommands({ program, session }: CommandTable): void {
  const remoteControl = program.command('remote-control').description('whether devices and operators may come in from elsewhere');
  const add = (name: 'status' | 'enable' | 'disable', description: string) => {
    const command = remoteControl.command(name).description(description);
    if (name !== 'status') command.option('--ephemeral', 'until the host ends only');
    command.action(async (options: { ephemeral?: true }) => {
      const client = await session.host();
      const status = name === 'status' ? await client.call('remoteControl/status/read') : await client.call(`remoteControl/${name}`, { ephemeral: options.ephemeral === true });
      session.result(status, () => says[status.status]);
    });
  };
  add('status', 'say whether they may');
  add('enable', 'let in those that the host trusts');
  add('disable', 'end what they have open, and let nobody in; who is trusted stays trusted');
}
