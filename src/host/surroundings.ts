/** What a thread is used to on this host and that does not travel, for the preflight of a handoff. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { codexEnvironment } from '../codex/environment';
import { isOwnName } from '../codex/instructions';
import { readSurroundings, type CodexSurroundings } from '../codex/surroundings';
import { absolutePath } from '../git/bytePath';
import { neededIgnored } from '../git/neededIgnored';
import { isAbsoluteProgram, surroundings, type OwnSurroundings, type Surroundings } from '../handoff/surroundings';
import type { CodexHost } from './codexHost';
import type { Environment } from './home';
import { findInstructions, inNewWorktree, shown } from './localInstructions';
import type { Place } from './offerAnswers';

const MOST = 200;

export class SurroundingsReader {
  constructor(
    private readonly codex: CodexHost,
    private readonly env: Environment,
  ) {}

  /** Of a thread that works in `cwd`, in the checkout `root`. */
  async of(cwd: string, root: string, signal?: AbortSignal): Promise<Surroundings> {
    const [found, needed] = await Promise.all([readSurroundings(await this.codex.ready(), cwd), neededIgnored(root, MOST, signal)]);
    const { local, fallbacks } = await findInstructions(root, cwd, found.instructionNames, signal);
    return this.told(found, needed, { local: local.map(shown), fallbacks: fallbacks.filter((name) => !isOwnName(name)) });
  }

  /** What this host, as a destination, has of what a thread is used to. `place`: where it would go. */
  async own(theirs: Surroundings, place: Place | null): Promise<OwnSurroundings> {
    const found = await readSurroundings(await this.codex.ready(), null);
    const here = this.told(found, [], { local: place === null ? [] : (await this.localAt(place, found)).map(shown), fallbacks: [...found.instructionNames.fallbacks] });
    const root = place?.projectRoot ?? null;
    return {
      here,
      absent: here.mcpServers.flatMap(({ program }) => (isAbsoluteProgram(program) && !existsSync(program) ? [program] : [])),
      variables: [...Object.keys(this.visible()), ...found.environment.set],
      lacking: root === null ? [] : theirs.ignored.filter((name) => !existsSync(absolutePath(root, name.replace(/\/$/, '')))),
    };
  }

  /** Files of instructions that only this machine has and that a thread would find here. */
  private async localAt({ projectRoot, subdirectory, worktree, expectedFingerprint }: Place, { instructionNames }: CodexSurroundings) {
    const root = expectedFingerprint === null ? projectRoot : worktree;
    const directory = join(root, subdirectory);
    if (!existsSync(directory)) return [];
    const { local } = await findInstructions(root, directory, instructionNames);
    return expectedFingerprint === null ? inNewWorktree(root, local) : local;
  }

  private told({ environment: { set, includeOnly }, mcpServers, hooks, skills, instructions }: CodexSurroundings, ignored: readonly string[], guidance: NonNullable<Surroundings['guidance']>): Surroundings {
    const through = includeOnly === null ? [] : Object.keys(this.visible()).filter((name) => includeOnly.some((pattern) => fits(pattern, name)));
    const some = <T>(all: readonly T[]) => all.slice(0, MOST);
    const { shape } = surroundings;
    const environment = [...new Set([...set, ...through])].filter((name) => shape.environment.element.safeParse(name).success);
    return surroundings.parse({ mcpServers: some(mcpServers), hooks: some(hooks), skills: some(skills), instructions, environment: some(environment), ignored: some(ignored), guidance: { local: some(guidance.local), fallbacks: some(guidance.fallbacks) } });
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
