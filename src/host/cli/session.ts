import { realpathSync } from 'node:fs';
import { batonHome, codexHome, type Environment } from '../home';
import { HostClient } from '../hostClient';
import { HostError } from '../hostError';
import { ensureHost } from '../launchHost';
import { batonVersion } from '../version';
import { inertJson } from './inertText';
import { wrap } from './layout';

const DEFAULT_COLUMNS = 80;

/** Wrong usage, found after the arguments were parsed: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** What one run of `baton` works with: where it prints, which host it talks to, and whether it speaks JSON. */
export class Session {
  readonly batonHome: string;
  readonly codexHome: string;
  #client: Promise<HostClient> | undefined;

  constructor(
    readonly env: Environment,
    readonly json: boolean,
    readonly stdout: NodeJS.WriteStream,
    readonly stderr: NodeJS.WriteStream,
    readonly stdin: NodeJS.ReadStream,
  ) {
    this.batonHome = batonHome(env);
    this.codexHome = codexHome(env);
  }

  get columns(): number {
    return this.stdout.isTTY && this.stdout.columns > 0 ? this.stdout.columns : DEFAULT_COLUMNS;
  }

  /** The file that this is. */
  get entry(): string {
    return realpathSync(process.argv[1] ?? '');
  }

  /** The host that BATON_HOME and CODEX_HOME choose, started if it does not run. */
  host(): Promise<HostClient> {
    return (this.#client ??= ensureHost({
      batonHome: this.batonHome,
      codexHome: this.codexHome,
      entry: this.entry,
      env: this.env,
      clientInfo: { name: 'baton-cli', version: batonVersion },
    }));
  }

  /** The host if it runs already; undefined where none does. */
  async runningHost(): Promise<HostClient | undefined> {
    try {
      return await (this.#client ??= HostClient.connect({ batonHome: this.batonHome, clientInfo: { name: 'baton-cli', version: batonVersion } }));
    } catch (error) {
      this.#client = undefined;
      if (HostError.is(error, 'host-unreachable')) return undefined;
      throw error;
    }
  }

  /** The host that runs after one that was connected to has ended: started, if it does not run. */
  async nextHost(): Promise<HostClient> {
    await this.dispose();
    this.#client = undefined;
    return this.host();
  }

  /** Prints the result: `value` as one line of JSON under `--json`, else what `text` makes of it. */
  result(value: unknown, text: () => string): void {
    this.print(this.json ? inertJson(value) : text());
  }

  /** One line, or several, of inert text for the user. */
  print(text: string): void {
    if (text !== '') this.stdout.write(`${text}\n`);
  }

  /** A remark beside the result, which scripts do not read. */
  note(text: string): void {
    this.stderr.write(`${text}\n`);
  }

  /** A remark in sentences, broken between words where it goes to a terminal. */
  remark(text: string): void {
    const { isTTY, columns } = this.stderr;
    this.note(isTTY && columns > 0 ? text.split('\n').map((line) => wrap(line, columns, 0)).join('\n') : text);
  }

  async dispose(): Promise<void> {
    const client = await this.#client?.catch(() => undefined);
    client?.dispose();
  }
}
