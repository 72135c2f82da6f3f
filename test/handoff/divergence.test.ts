import { expect, it } from 'vitest';
import { choicesFor, divergenceFindings, isSettled, type Divergence, type DivergenceChoice } from '../../src/handoff/divergence';

const worktree: Divergence = { kind: 'worktree', path: '/w/orrery' };
const branch: Divergence = { kind: 'branch', branch: 'comets', root: '/src/orrery' };
const conversation: Divergence = { kind: 'conversation' };
const foreign: Divergence = { kind: 'copy', consented: false };
const asked: Divergence = { kind: 'copy', consented: true };
const names = { source: 'server', destination: 'laptop', threadId: '0199abcd-0000-7000-8000-000000000000' };

const cases: readonly (readonly [string, readonly Divergence[], readonly DivergenceChoice[]])[] = [
  ['nothing has diverged', [], []],
  ['the worktree was changed', [worktree], ['second-worktree', 'fork']],
  ['the branch moved', [branch], ['second-worktree', 'fork']],
  ['worktree and branch', [worktree, branch], ['second-worktree', 'fork']],
  ['the archived copy was resumed', [conversation], ['fork']],
  ['all of it', [worktree, branch, conversation], ['fork']],
  ['a copy that its own user would give up', [asked], ['fork']],
];

it.each(cases)('%s: only the named choices settle it, and each is said', (_, divergences, choices) => {
  expect(choicesFor(divergences)).toEqual(choices);
  for (const choice of ['second-worktree', 'fork'] as const) expect(isSettled(divergences, choice)).toBe(divergences.length === 0 || choices.includes(choice));
  const open = divergenceFindings(divergences, null, names);
  expect(open.map(({ level }) => level)).toEqual(divergences.map(() => 'blocker'));
  for (const { message } of open) {
    for (const choice of choices) expect(message).toContain(`--${choice}`);
    expect(message).toContain('hand nothing off');
  }
  for (const choice of choices) expect(divergenceFindings(divergences, choice, names).map(({ level }) => level)).toEqual(divergences.map(() => 'warning'));
});

it("a copy that is a host's own gives way to nobody else's word, whatever was chosen", () => {
  for (const choice of [null, 'second-worktree', 'fork'] as const) {
    const [finding] = divergenceFindings([foreign], choice, names);
    expect(finding).toMatchObject({ level: 'blocker', code: 'thread-owned' });
    expect(finding?.message).toContain(`baton handoff ${names.threadId} --to here --from server --fork" on laptop`);
  }
});
