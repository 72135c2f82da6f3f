/** `baton`, the command line: client of a host, and the program of the host and of the relay themselves. */
import { Command, CommanderError } from 'commander';
import { HostError } from '../hostError';
import { addApplyCommand } from './applyCommand';
import { addApprovalCommands } from './approvalCommands';
import { addAuditCommand } from './auditCommand';
import { addDeviceCommands } from './deviceCommands';
import { addDoctorCommand } from './doctorCommand';
import { addHandoffCommand } from './handoffCommand';
import { addHostCommands } from './hostCommands';
import { inertBlock, inertJson } from './inertText';
import { addInviteCommands } from './inviteCommands';
import { addOwnershipCommands } from './ownershipCommands';
import { addPairingCommands } from './pairingCommands';
import { addProjectCommands } from './projectCommands';
import { addRelayCommand } from './relayCommand';
import { addRemoteControlCommands } from './remoteControlCommands';
import { addRpcCommand } from './rpcCommand';
import { batonVersion } from '../version';
import { sweepBuffersHere } from '../sweepHere';
import { Session, UsageError } from './session';
import { addSshCommands } from './sshCommands';
import { addStdioCommand } from './stdioCommand';
import { addThreadCommands } from './threadCommands';
import { addTurnCommands } from './turnCommands';
import { addTunnelCommand } from './tunnelCommand';
import { addWatchCommand } from './watchCommand';
import { addWorktreeCommands } from './worktreeCommands';

/** Exit codes of the contract. */
const ExitCode = { Done: 0, Failed: 1, Usage: 2, Blocked: 3 } as const;

/** Runs one command line and returns the exit code. */
async function run(argv: readonly string[]): Promise<number> {
  const end = argv.indexOf('--');
  const json = argv.slice(0, end < 0 ? argv.length : end).includes('--json');
  const session = new Session(process.env, json, process.stdout, process.stderr, process.stdin);
  const program = new Command('baton')
    .description('Moves running Codex threads between machines.')
    .version(batonVersion)
    .option('--json', 'print one JSON object (streams: one per line)')
    .exitOverride()
    .configureHelp({ helpWidth: session.columns })
    // Errors are reported below, in the form that was asked for.
    .configureOutput({ writeErr: () => undefined });
  const exit = { code: ExitCode.Done as number };
  const commands = { program, session, exitWith: (code: number) => (exit.code = code) };
  addRelayCommand(commands);
  const host = addHostCommands(commands);
  addSshCommands(commands, host);
  addStdioCommand(commands, host);
  addInviteCommands(commands);
  addPairingCommands(commands);
  addDeviceCommands(commands);
  addRemoteControlCommands(commands);
  addTunnelCommand(commands);
  addProjectCommands(commands);
  addTurnCommands(commands);
  addThreadCommands(commands);
  addWatchCommand(commands);
  addApprovalCommands(commands);
  addHandoffCommand(commands);
  addApplyCommand(commands);
  addOwnershipCommands(commands);
  addAuditCommand(commands);
  addWorktreeCommands(commands);
  addRpcCommand(commands);
  addDoctorCommand(commands);
  for (const command of allCommands(program)) {
    if (command !== program) command.option('--json', 'print one JSON object (streams: one per line)');
  }
  try {
    await program.parseAsync(argv, { from: 'user' });
    return exit.code;
  } catch (error) {
    return report(error, session, program);
  } finally {
    await session.dispose();
  }
}

function allCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(allCommands)];
}

function report(error: unknown, session: Session, program: Command): number {
  if (error instanceof CommanderError && error.exitCode === 0) return ExitCode.Done;
  if (error instanceof CommanderError || error instanceof UsageError) {
    const message = error instanceof CommanderError && error.code === 'commander.help' ? program.helpInformation().trimEnd() : error.message.replace(/^error: /, '');
    if (session.json) session.print(inertJson({ error: { reason: 'usage', message: message.split('\n')[0] } }));
    else session.note(`${inertBlock(message)}\n\`baton help\` shows how it is used.`);
    return ExitCode.Usage;
  }
  const reason = error instanceof Error && 'reason' in error && typeof error.reason === 'string' ? error.reason : 'internal';
  const message = error instanceof Error ? error.message : String(error);
  const findings = HostError.is(error) ? error.details.findings : undefined;
  if (session.json) session.print(inertJson({ error: { reason, message, ...(findings === undefined ? {} : { findings }) } }));
  else {
    session.remark(inertBlock(message));
    for (const finding of findings ?? []) if (finding.level !== 'ok') session.note(`  ${finding.level}: ${inertBlock(finding.message)}`);
  }
  return reason === 'preflight-blocked' || reason === 'apply-refused' ? ExitCode.Blocked : ExitCode.Failed;
}

sweepBuffersHere();
// `baton threads | head` closes the pipe early; that is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? ExitCode.Done : ExitCode.Failed);
});
void run(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
