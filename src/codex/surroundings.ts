/** What Codex on this machine gives its threads besides what is in their repositories. Names only; see `handoff/surroundings.ts`. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { AppServer } from './appServer';
import { CodexError } from './codexError';
import type { InstructionNames } from './instructions';

type Started = { name: string; program: string | null; travels: boolean };

export type CodexSurroundings = {
  mcpServers: Started[];
  hooks: Started[];
  skills: string[];
  instructions: string | null;
  instructionNames: InstructionNames;
  /** Names that `shell_environment_policy` sets, and patterns of those that it lets through; null where it lets through what it does not exclude. */
  environment: { set: string[]; includeOnly: string[] | null };
};

const mcpServers = z.record(z.string(), z.looseObject({ command: z.string().nullish(), enabled: z.boolean().nullish() })).nullish();
const configured = z.looseObject({
  config: z.looseObject({
    mcp_servers: mcpServers,
    project_doc_fallback_filenames: z.array(z.string()).nullish(),
    project_root_markers: z.array(z.string()).nullish(),
    shell_environment_policy: z.looseObject({ set: z.record(z.string(), z.unknown()).nullish(), include_only: z.array(z.string()).nullish() }).nullish(),
  }),
});
const listedHooks = z.looseObject({ data: z.array(z.looseObject({ hooks: z.array(z.looseObject({ eventName: z.string(), source: z.string(), enabled: z.boolean(), command: z.string().nullish() })) })) });
const listedSkills = z.looseObject({ data: z.array(z.looseObject({ skills: z.array(z.looseObject({ name: z.string(), scope: z.string(), enabled: z.boolean() })) })) });

/** @param cwd a thread's directory, whose own configuration counts too; null for the machine's alone. What an older Codex cannot tell is empty. */
export async function readSurroundings(server: AppServer, cwd: string | null): Promise<CodexSurroundings> {
  const ask = async <T>(method: string, params: object, schema: z.ZodType<T>): Promise<T | null> => {
    try {
      return schema.safeParse(await server.forward(method, params)).data ?? null;
    } catch (error) {
      if (CodexError.is(error, 'refused')) return null;
      throw error;
    }
  };
  const where = cwd === null ? {} : { cwds: [cwd] };
  const [own, merged, hooks, skills, instructions] = await Promise.all([
    ask('config/read', {}, configured),
    cwd === null ? null : ask('config/read', { cwd }, configured),
    ask('hooks/list', where, listedHooks),
    ask('skills/list', where, listedSkills),
    hashOfInstructions(server.codexHome),
  ]);
  const user = own?.config.mcp_servers ?? {};
  const servers = Object.entries(merged?.config.mcp_servers ?? user).filter(([, { enabled }]) => enabled !== false);
  const config = (merged ?? own)?.config;
  const policy = config?.shell_environment_policy;
  return {
    mcpServers: servers.map(([name, { command }]) => ({ name, program: command ?? null, travels: !Object.hasOwn(user, name) })),
    hooks: (hooks?.data ?? []).flatMap((entry) => entry.hooks).filter(({ enabled, source }) => enabled && (source === 'user' || source === 'project')).map(({ eventName, source, command }) => ({ name: eventName, program: command == null ? null : programOf(command), travels: source === 'project' })),
    skills: (skills?.data ?? []).flatMap((entry) => entry.skills).filter(({ enabled, scope }) => enabled && scope === 'user').map(({ name }) => name),
    instructions,
    instructionNames: { fallbacks: config?.project_doc_fallback_filenames ?? [], markers: config?.project_root_markers ?? ['.git'] },
    environment: { set: Object.keys(policy?.set ?? {}), includeOnly: policy?.include_only ?? null },
  };
}

/** The first word of a command line, without its quotes: arguments may hold secrets. */
function programOf(command: string): string {
  const [, quoted, plain] = /^\s*(?:["']([^"']+)["']|(\S+))/.exec(command) ?? [];
  return quoted ?? plain ?? '';
}

/** Codex reads `AGENTS.override.md` of its home in place of `AGENTS.md`, where there is more than white space in it. */
async function hashOfInstructions(codexHome: string): Promise<string | null> {
  for (const name of ['AGENTS.override.md', 'AGENTS.md']) {
    const content = await readFile(join(codexHome, name)).catch(() => null);
    if (content !== null && content.toString('utf8').trim() !== '') return createHash('sha256').update(content).digest('hex');
  }
  return null;
}
