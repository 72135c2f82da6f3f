/** What a thread is used to on this host and that does not travel, for the preflight of a handoff. */
import { existsSync } from 'node:fs';
import { codexEnvironment } from '../codex/environment';
import { readSurroundings, type CodexSurroundings } from '../codex/surroundings';
import { absolutePath } from '../git/bytePath';
import { neededIgnored } from '../git/neededIgnored';
import { isAbsoluteProgram, surroundings, type OwnSurroundings, type Surroundings } from '../handoff/surroundings';
import type { CodexHost } from './codexHost';
import type { Environment } from './home';

const MOST = 200;

export class SurroundingsReader {
  constructor(
    private readonly codex: CodexHost,
    private readonly env: Environment,
  ) {}

  /** Of a thread that works in `cwd`, in the checkout `root`. */
  async of(cwd: string, root: string, signal?: AbortSignal): Promise<Surroundings> {
    const [found, needed] = await Promise.all([readSurroundings(await this.codex.ready(), cwd), neededIgnored(root, MOST, signal)]);
    return this.told(found, needed);
  }

  /** What this host, as a destination, has of what a thread is used to. `root`: the checkout that it would belong to. */
  async own(theirs: Surroundings, root: string | null): Promise<OwnSurroundings> {
    const found = await readSurroundings(await this.codex.ready(), null);
    const here = this.told(found, []);
    return {
      here,
      absent: here.mcpServers.flatMap(({ program }) => (isAbsoluteProgram(program) && !existsSync(program) ? [program] : [])),
      variables: [...Object.keys(this.visible()), ...found.environment.set],
      lacking: root === null ? [] : theirs.ignored.filter((name) => !existsSync(absolutePath(root, name.replace(/\/$/, '')))),
    };
  }

  private told({ environment: { set, includeOnly }, mcpServers, hooks, skills, instructions }: CodexSurroundings, ignored: readonly string[]): Surroundings {
    const through = includeOnly === null ? [] : Object.keys(this.visible()).filter((name) => includeOnly.some((pattern) => fits(pattern, name)));
    const some = <T>(all: readonly T[]) => all.slice(0, MOST);
    const environment = [...new Set([...set, ...through])].filter((name) => surroundings.shape.environment.element.safeParse(name).success);
    return surroundings.parse({ mcpServers: some(mcpServers), hooks: some(hooks), skills: some(skills), instructions, environment: some(environment), ignored: some(ignored) });
  }

  private visible(): Record<string, string> {
    return codexEnvironment(this.env, this.codex.codexHome);
  }
}

/** Whether a name fits one of Codex's patterns for variables: `*` and `?`, and case does not count. */
function fits(pattern: string, name: string): boolean {
  const escaped = pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&').replace(/\*/g, '.*').replace(/\?/g, '.');
  return new RegExp(`^${escaped}$`, 'i').test(name);
}
