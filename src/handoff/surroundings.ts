/**
 * What a thread is used to on its machine and that does not travel: the user's own MCP servers, hooks, skills, instructions, and what Codex
 * lets commands see of the environment. Names only: values, arguments and contents never leave a machine.
 */
import { z } from 'zod';
import type { Finding } from './finding';

const name = z.string().min(1).max(256);
const MOST = 200;
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const shownPath = z.string().regex(/^\P{Cc}{1,8192}$/u);

/** A program by the path or word that starts it, without arguments; null where it is not a program of the machine's. `travels`: the repository's own configuration names it. */
const started = z.object({ name, program: z.string().max(4096).nullable(), travels: z.boolean() });

export const surroundings = z.object({
  mcpServers: z.array(started).max(MOST),
  /** Named for the event that they are called at. */
  hooks: z.array(started).max(MOST),
  /** The user's own. */
  skills: z.array(name).max(MOST),
  /** SHA-256 of the user's AGENTS.md or AGENTS.override.md in the Codex home, whichever counts; null where there is none. */
  instructions: sha256.nullable(),
  /**
   * What Codex reads as instructions in the thread's directory and above. `local`: files that Git ignores, or that lie outside of the checkout, named as
   * shown to people. `fallbacks`: names of others that travel, and that Codex reads only where it is told to. Absent from an older Baton.
   */
  guidance: z.object({ local: z.array(z.object({ name: shownPath, sha256 })).max(MOST), fallbacks: z.array(name).max(MOST) }).optional(),
  /** Variables that `shell_environment_policy` sets, or lets through and that are set. */
  environment: z.array(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/)).max(MOST),
  /** Ignored files and directories (ending in `/`) at the root of the checkout that the project seems to need: `.env*`, and what `.worktreeinclude` lists. */
  ignored: z.array(z.string().regex(/^(?!\.{1,2}\/?$)[^/\\\0]{1,255}\/?$/)).max(MOST),
});
export type Surroundings = z.infer<typeof surroundings>;

/** What a destination finds out about itself. */
export interface OwnSurroundings {
  /** Its own configuration; `ignored` is of no meaning here. `guidance`: as the thread would find it; its `fallbacks` are all that are configured. */
  readonly here: Surroundings;
  /** Of the programs that it names itself, by absolute paths, those that are not there. */
  readonly absent: readonly string[];
  /** All variables of its environment, and those that its own configuration sets. */
  readonly variables: readonly string[];
  /** Of the ignored files that the project seems to need, those that its own checkout lacks. */
  readonly lacking: readonly string[];
}

/** Whether a program is named by where it lies, on whatever system: `/opt/x`, `C:\x`, `\\server\x`. */
export const isAbsoluteProgram = (program: string | null): program is string => program !== null && /^([/\\]|[A-Za-z]:[/\\])/.test(program);

/** What the thread will miss at a destination; never more than warnings, since its agent can go on without. */
export function surroundingsFindings(theirs: Surroundings, own: OwnSurroundings, names: { readonly source: string; readonly destination: string }): Finding[] {
  const { source, destination } = names;
  const { here } = own;
  const findings: Finding[] = [];
  const warn = (code: string, of: readonly string[], say: (list: string) => string) => {
    if (of.length > 0) findings.push({ level: 'warning', code, message: say(listed(of)) });
  };
  const without = (wanted: readonly string[], there: readonly string[]) => [...new Set(wanted)].filter((one) => !there.includes(one));
  const own_ = (all: Surroundings['hooks']) => all.filter(({ travels }) => !travels);
  const nameOf = (one: { readonly name: string }) => one.name;
  const hookOf = (one: Surroundings['hooks'][number]) => (one.program === null ? one.name : `${one.name}: ${one.program}`);

  const servers = own_(theirs.mcpServers).map(nameOf);
  warn('mcp-server-missing', without(servers, here.mcpServers.map(nameOf)), (list) => `${destination} has no MCP server of the name ${list}, which ${source} has; add it to config.toml in the CODEX_HOME there, or the agent goes on without it.`);
  warn('mcp-server-broken', here.mcpServers.filter((one) => servers.includes(one.name) && one.program !== null && own.absent.includes(one.program)).map((one) => `${one.name} (${one.program ?? ''})`), (list) => `${destination} names a program for its MCP server that is not there: ${list}; mend the path in config.toml there.`);
  warn('hook-missing', without(own_(theirs.hooks).map(hookOf), own_(here.hooks).map(hookOf)), (list) => `The hooks of ${source} do not travel, and ${destination} has none like ${list}; add them to its own Codex configuration if the thread needs them.`);
  warn('absolute-program', [...theirs.mcpServers, ...theirs.hooks].filter(({ travels, program }) => travels && isAbsoluteProgram(program)).map((one) => `${one.name} (${one.program ?? ''})`), (list) => `The repository's own Codex configuration names programs by absolute paths: ${list}; see that they are at the same place on ${destination}, or name them without a path.`);
  warn('skill-missing', without(theirs.skills, here.skills), (list) => `${destination} lacks the skill ${list} of ${source}; copy it into "skills" of the CODEX_HOME there if the thread needs it.`);
  if (theirs.instructions !== here.instructions) {
    const how = theirs.instructions === null ? `${destination} has an AGENTS.md in its CODEX_HOME, and ${source} has none` : here.instructions === null ? `${source} has an AGENTS.md in its CODEX_HOME, and ${destination} has none` : `The AGENTS.md in the CODEX_HOME of ${source} and of ${destination} differ`;
    findings.push({ level: 'warning', code: 'instructions-differ', message: `${how}, so the agent is told other things there; copy the file if it should not be.` });
  }
  const [told, there] = [theirs.guidance ?? { local: [], fallbacks: [] }, here.guidance ?? { local: [], fallbacks: [] }];
  const label = (one: { readonly name: string; readonly sha256: string }) => `${one.name} ${one.sha256}`;
  const others = (wanted: typeof told.local, known: typeof told.local) => wanted.filter((one) => !known.map(label).includes(label(one))).map(nameOf);
  warn('instructions-missing', others(told.local, there.local), (list) => `The agent follows ${list} on ${source}, which Git ignores or which lies outside of the checkout, so it does not travel and ${destination} has none like it; commit it, copy it to ${destination}, or list it in .worktreeinclude and hand off with --with-included.`);
  if (theirs.guidance !== undefined) warn('instructions-added', others(there.local, told.local), (list) => `On ${destination} the agent also follows ${list} of that machine, which ${source} does not have like that; look at what it says, or move it away there.`);
  warn('instructions-unread', without(told.fallbacks, there.fallbacks), (list) => `Codex on ${source} reads ${list} as instructions, and on ${destination} it does not; name it in project_doc_fallback_filenames of config.toml there.`);
  warn('environment-missing', without(theirs.environment, own.variables), (list) => `Commands of the thread see the environment ${one(theirs.environment, own.variables) ? 'variable' : 'variables'} ${list} on ${source}, and ${destination} has none of the name; set it there before its host starts, or in shell_environment_policy.`);
  warn('ignored-files-missing', own.lacking, (list) => `The checkout on ${destination} lacks ignored files that the project seems to need: ${list}; make them there, or list them in .worktreeinclude and hand off with --with-included.`);
  return findings;
}

const one = (wanted: readonly string[], there: readonly string[]): boolean => wanted.filter((name) => !there.includes(name)).length === 1;

/** The first few of some names. */
function listed(names: readonly string[]): string {
  const shown = names.slice(0, 10).join(', ');
  return names.length > 10 ? `${shown} and ${names.length - 10} more` : shown;
}

/** Clocks that are further apart than this are told of. */
const MOST_SKEW_MS = 30_000;

/**
 * How far two clocks are apart. The other host's was read at some moment between `sentAt` and `answeredAt` of this one, so half the round trip is
 * all that is uncertain. All in ms since the epoch. Null where they agree, as far as that can be told.
 */
export function clockFinding({ sentAt, answeredAt, theirs }: { readonly sentAt: number; readonly answeredAt: number; readonly theirs: number }, names: { readonly source: string; readonly destination: string }): Finding | null {
  const uncertainty = Math.abs(answeredAt - sentAt) / 2;
  const skew = theirs - (sentAt + answeredAt) / 2;
  if (Math.abs(skew) - uncertainty <= MOST_SKEW_MS) return null;
  const seconds = (ms: number) => `${Math.round(Math.abs(ms) / 1000)} s`;
  return { level: 'warning', code: 'clock-skew', message: `The clock of ${names.destination} is ${seconds(skew)} ${skew > 0 ? 'ahead of' : 'behind'} that of ${names.source}, give or take ${seconds(uncertainty)}. What is dated by one misleads on the other (builds, certificates, the audit log); let the system synchronise both.` };
}
