import { expect, it } from 'vitest';
import { clockFinding, isAbsoluteProgram, surroundings, surroundingsFindings, type OwnSurroundings, type Surroundings } from '../../src/handoff/surroundings';

const nothing: Surroundings = { mcpServers: [], hooks: [], skills: [], instructions: null, environment: [], ignored: [] };
const bare: OwnSurroundings = { here: nothing, absent: [], variables: [], lacking: [] };
const names = { source: 'laptop', destination: 'server' };
const program = (name: string, path: string | null, travels = false) => ({ name, program: path, travels });

const guide = (name: string, digit: string) => ({ name: JSON.stringify(name), sha256: digit.repeat(64) });

interface Case {
  readonly when: string;
  readonly theirs?: Partial<Surroundings>;
  readonly own?: Partial<Omit<OwnSurroundings, 'here'>> & { readonly here?: Partial<Surroundings> };
  /** Null: nothing is said. */
  readonly code: string | null;
  readonly says?: RegExp;
}

const cases: readonly Case[] = [
  { when: 'an MCP server is missing', theirs: { mcpServers: [program('docs', '/opt/docs')] }, code: 'mcp-server-missing', says: /server has no MCP server of the name docs.*add it to config\.toml/ },
  { when: 'one of the same name is there', theirs: { mcpServers: [program('docs', '/opt/docs')] }, own: { here: { mcpServers: [program('docs', 'docs')] } }, code: null },
  { when: 'its program is not where it is said to be', theirs: { mcpServers: [program('docs', 'docs')] }, own: { here: { mcpServers: [program('docs', '/gone')] }, absent: ['/gone'] }, code: 'mcp-server-broken', says: /docs \(\/gone\).*mend the path/ },
  { when: "a hook of the user's is missing", theirs: { hooks: [program('preToolUse', '/opt/check')] }, code: 'hook-missing', says: /none like preToolUse: \/opt\/check; add them/ },
  { when: "the repository's own configuration names a program by its path", theirs: { hooks: [program('stop', 'C:\\tools\\end.exe', true)] }, code: 'absolute-program', says: /stop \(C:\\tools\\end\.exe\).*same place on server/ },
  { when: 'it names one by a word', theirs: { mcpServers: [program('docs', 'npx', true)] }, code: null },
  { when: 'a skill is missing', theirs: { skills: ['brew'] }, code: 'skill-missing', says: /lacks the skill brew.*copy it/ },
  { when: 'only the source has instructions', theirs: { instructions: 'a'.repeat(64) }, code: 'instructions-differ', says: /laptop has an AGENTS\.md in its CODEX_HOME, and server has none.*copy the file/ },
  { when: 'instructions differ', theirs: { instructions: 'a'.repeat(64) }, own: { here: { instructions: 'b'.repeat(64) } }, code: 'instructions-differ', says: /of laptop and of server differ/ },
  { when: 'a file of instructions stays behind', theirs: { guidance: { local: [guide('AGENTS.override.md', 'a')], fallbacks: [] } }, code: 'instructions-missing', says: /follows "AGENTS\.override\.md" on laptop, .*does not travel and server has none like it; commit it/ },
  { when: 'the destination has another of the name', theirs: { guidance: { local: [], fallbacks: [] } }, own: { here: { guidance: { local: [guide('AGENTS.md', 'b')], fallbacks: [] } } }, code: 'instructions-added', says: /On server the agent also follows "AGENTS\.md" of that machine.*look at what it says/ },
  { when: 'the destination has the same', theirs: { guidance: { local: [guide('AGENTS.md', 'a')], fallbacks: [] } }, own: { here: { guidance: { local: [guide('AGENTS.md', 'a')], fallbacks: [] } } }, code: null },
  { when: 'the source, an older Baton, does not tell of such files', own: { here: { guidance: { local: [guide('AGENTS.md', 'a')], fallbacks: [] } } }, code: null },
  { when: 'a further name is not looked for', theirs: { guidance: { local: [], fallbacks: ['NOTES.md', 'GUIDE.md'] } }, own: { here: { guidance: { local: [], fallbacks: ['GUIDE.md'] } } }, code: 'instructions-unread', says: /reads NOTES\.md as instructions, and on server it does not; name it in project_doc_fallback_filenames/ },
  { when: 'a variable is missing', theirs: { environment: ['MY_TOKEN', 'PATH'] }, own: { variables: ['PATH'] }, code: 'environment-missing', says: /variable MY_TOKEN on laptop.*shell_environment_policy/ },
  { when: 'ignored files are missing', own: { lacking: ['.env', 'node_modules/'] }, code: 'ignored-files-missing', says: /\.env, node_modules\/; make them there, or .*--with-included/ },
  { when: 'all is alike', code: null },
];

it.each(cases)('what a thread would miss where $when', ({ theirs, own, code, says }) => {
  const findings = surroundingsFindings({ ...nothing, ...theirs }, { ...bare, ...own, here: { ...nothing, ...own?.here } }, names);
  expect(findings.map((finding) => [finding.level, finding.code])).toEqual(code === null ? [] : [['warning', code]]);
  if (says !== undefined) expect(findings[0]?.message).toMatch(says);
});

it('names that would lead elsewhere are no part of it', () => {
  for (const ignored of ['..', '.', '../x', 'a/b', '/etc', 'a\\b', '', '../']) expect(surroundings.safeParse({ ...nothing, ignored: [ignored] }).success, ignored).toBe(false);
  for (const ignored of ['.env', '..env', 'node_modules/']) expect(surroundings.safeParse({ ...nothing, ignored: [ignored] }).success, ignored).toBe(true);
  for (const environment of ['A=b', 'A B', '$(x)', '']) expect(surroundings.safeParse({ ...nothing, environment: [environment] }).success, environment).toBe(false);
});

it('a program is named by its path on whatever system', () => {
  for (const path of ['/opt/x', 'C:\\x', 'd:/x', '\\\\server\\x']) expect(isAbsoluteProgram(path)).toBe(true);
  for (const word of ['npx', './x', 'a/b', null]) expect(isAbsoluteProgram(word)).toBe(false);
});

it('clocks are apart only by more than the round trip could explain', () => {
  const at = (theirs: number, roundTripMs = 100) => clockFinding({ sentAt: 1_000_000, answeredAt: 1_000_000 + roundTripMs, theirs }, names);
  expect(at(1_000_050)).toBeNull();
  expect(at(1_030_000)).toBeNull();
  expect(at(1_120_050)).toMatchObject({ level: 'warning', code: 'clock-skew', message: expect.stringMatching(/server is 120 s ahead of that of laptop, give or take 0 s.*synchronise/) as string });
  expect(at(900_000)).toMatchObject({ message: expect.stringMatching(/behind/) as string });
  expect(at(1_100_000, 200_000)).toBeNull();
});
