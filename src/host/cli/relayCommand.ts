import { InvalidArgumentError, Option, type Command } from 'commander';
import { relayLimits, type RelayLimits } from '../../relay/relayLimits';
import type { RelayOptions } from '../../relay/relayServer';
import type { CommandTable } from './commandTable';
import { untilInterrupted } from './foreground';
import { inertJson } from './inertText';
import { UsageError } from './session';

const DEFAULT_ADDRESS = '127.0.0.1:7440';
const MAX_LIMIT = 2 ** 31 - 1;

/** Parses `ADDR:PORT`; an IPv6 address stands in brackets. */
export function parseAddress(text: string): { host: string; port: number } {
  const [, bracketed, plain, digits] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || Number(digits) > 65_535) throw new InvalidArgumentError('It has the form ADDR:PORT, such as 127.0.0.1:7440 or [::1]:7440; port 0 chooses one.');
  return { host, port: Number(digits) };
}

export function parseRelayUrl(text: string): string {
  if (!/^wss?:$/.test(URL.canParse(text) ? new URL(text).protocol : '')) throw new InvalidArgumentError('It is a ws:// or wss:// URL.');
  return text;
}

function parseLimit(text: string): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > MAX_LIMIT) throw new InvalidArgumentError(`It is a whole number from 1 to ${MAX_LIMIT}.`);
  return value;
}

/** An option that may be given more than once, or once with commas. */
const list = (text: string, earlier: readonly string[] = []): string[] => [...earlier, ...text.split(',')];

interface Given extends Partial<RelayLimits> {
  readonly listen: { readonly host: string; readonly port: number };
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly secretFile?: string;
  readonly issuerKeyFile?: string;
  readonly denyFile?: string;
  readonly trustProxy?: readonly string[];
  readonly allowOrigin?: readonly string[];
  readonly metricsFrom?: readonly string[];
  readonly nats?: readonly string[];
  readonly natsCredsFile?: string;
  readonly natsReplicas?: number;
  readonly publicUrl?: string;
}

export function addRelayCommand({ program, session }: CommandTable): void {
  const command = program
    .command('relay')
    .description('run a relay in the foreground; SIGTERM lets what runs on it end first')
    .configureHelp({ helpWidth: session.columns, minWidthToWrap: 30 })
    .addOption(new Option('--listen <ADDR:PORT>', 'where to listen').argParser(parseAddress).default(parseAddress(DEFAULT_ADDRESS), DEFAULT_ADDRESS))
    .option('--tls-cert <FILE>', 'certificate with its chain, PEM; read again when it changes')
    .option('--tls-key <FILE>', 'its key, PEM')
    .option('--secret-file <FILE>', 'whom to let in: hosts that know this secret (or the one in BATON_RELAY_SECRET)')
    .option('--issuer-key-file <FILE>', 'and hosts with a token of the issuer with this Ed25519 public key, PEM')
    .option('--deny-file <FILE>', 'but not the hosts with these ids, one in each line')
    .option('--trust-proxy <ADDRS>', 'proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8', list)
    .option('--allow-origin <URLS>', 'web pages that may connect; others are refused', list)
    .option('--metrics-from <ADDRS>', 'who may read /metrics besides this machine', list)
    .option('--nats <URLS>', 'share the hosts with other nodes, through these NATS servers', list)
    .option('--nats-creds-file <FILE>', 'credentials for them')
    .option('--nats-replicas <N>', 'on how many of them presence is kept', parseLimit)
    .option('--public-url <URL>', 'with --nats: where this very node is found', parseRelayUrl)
    .action(async (given: Given) => {
      const options = relayOptions(given, takeSecret());
      // From the start: to process 1 of a container a signal that nobody handles means nothing, and NATS may take its time.
      const interrupted = untilInterrupted();
      const { startRelay } = await import('../../relay/relayServer');
      const relay = await Promise.race([startRelay({ ...options, log: (event) => session.note(inertJson({ time: new Date().toISOString(), ...event })) }), interrupted]);
      // Nobody is at a relay that has not started.
      if (relay === undefined) process.exit(0);
      session.result({ ready: true, url: relay.url }, () => `The relay is ready at ${relay.url}. Ctrl-C ends it.`);
      await interrupted;
      await relay.drain();
    });
  addLimits(command);
}

/**
 * The secret of the environment, which is then forgotten: nothing that this process starts or writes shall show it. It cannot be
 * an option, as everybody on a machine can read command lines.
 */
function takeSecret(): string | undefined {
  const { BATON_RELAY_SECRET: secret } = process.env;
  delete process.env['BATON_RELAY_SECRET'];
  return secret;
}

function relayOptions(given: Given, secret: string | undefined): RelayOptions {
  const { listen, tlsCert, tlsKey, secretFile, issuerKeyFile, denyFile, trustProxy = [], allowOrigin = [], metricsFrom = [], nats, natsCredsFile, natsReplicas = 1, publicUrl } = given;
  if ((tlsCert === undefined) !== (tlsKey === undefined)) throw new UsageError('--tls-cert and --tls-key go together.');
  const isClosed = secret !== undefined || secretFile !== undefined || issuerKeyFile !== undefined;
  if (denyFile !== undefined && !isClosed) throw new UsageError('--deny-file takes away from those who are let in: it goes with --secret-file or --issuer-key-file.');
  if ((nats === undefined) !== (publicUrl === undefined)) throw new UsageError('--nats and --public-url go together: other nodes send dialers to that URL.');
  if (nats !== undefined && isClosed && secret === undefined && secretFile === undefined) throw new UsageError('With --nats every node needs the same --secret-file, beside an issuer too: from it they know the tokens of each other.');
  return {
    ...listen,
    ...(tlsCert === undefined || tlsKey === undefined ? {} : { tls: { cert: tlsCert, key: tlsKey } }),
    ...(isClosed ? { admission: { secret, secretFile, issuerKeyFile, denyFile } } : {}),
    trustedProxies: trustProxy,
    allowedOrigins: allowOrigin,
    metricsFrom,
    ...(nats === undefined || publicUrl === undefined ? {} : { cluster: { servers: nats, credentialsFile: natsCredsFile, publicUrl, replicas: natsReplicas } }),
    limits: Object.fromEntries(relayLimits.map(({ name, value }) => [name, given[name] ?? value])),
  };
}

function addLimits(command: Command): void {
  for (const { name, value, meaning } of relayLimits) {
    command.addOption(new Option(`--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} <N>`, `${meaning} (${value})`).argParser(parseLimit).helpGroup('Limits (milliseconds where the name ends in ms):'));
  }
}
