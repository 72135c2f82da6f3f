import { describe, expect, it } from 'vitest';
import { planText } from '../../src/host/cli/applyCommand';
import type { ApplyResult } from '../../src/host/protocol';
import { applyLines } from '../../src/views/applyText';
import { translate } from './translate';

const plan: ApplyResult = {
  threadId: '01999999-0000-7000-8000-000000000001', to: 'checkout', worktree: '/home/u/.baton/worktrees/0123abcd/app', checkout: '/src/app', applied: false, how: 'replace',
  changes: [{ path: 'a.ts', change: 'changed' }, { path: 'new\u001b[2J.ts', change: 'added' }, { path: 'old.ts', change: 'deleted' }], changeCount: 3,
  head: { branch: 'refs/heads/main', before: 'a'.repeat(40), after: 'b'.repeat(40), commits: 2 }, conflicts: [], refused: null, notes: [], plan: 'd'.repeat(64),
};
const refused: ApplyResult = { ...plan, head: null, conflicts: ['a.ts'], refused: { reason: 'target-changed', message: 'Your checkout has changes of its own in "a.ts".' } };

describe('what applying would do, in VS Code', () => {
  it('says how many paths change, which branch goes where, and every path; only agreeing can be chosen', () => {
    const lines = applyLines(plan, translate);
    expect(lines[0]).toMatchObject({ label: 'Apply to /src/app', description: '3 paths change', value: 'apply' });
    expect(lines.map(({ label }) => label)).toContain('main goes 2 commits forward');
    expect(lines.filter(({ icon }) => icon.startsWith('diff-')).map(({ icon, label }) => [icon, label.includes('\u001b')])).toEqual([['diff-modified', false], ['diff-added', false], ['diff-removed', false]]);
    expect(lines.filter(({ value }) => value !== undefined)).toHaveLength(1);
  });
  it('offers a merge where the checkout has changes of its own, and not where merging was in conflict', () => {
    expect(applyLines(refused, translate).flatMap(({ value }) => value ?? [])).toEqual(['merge']);
    expect(applyLines({ ...refused, how: 'merge', refused: { reason: 'merge-conflict', message: 'x' } }, translate).flatMap(({ value }) => value ?? [])).toEqual([]);
    expect(applyLines({ ...plan, how: 'same', changes: [], changeCount: 0 }, translate)).toEqual([{ icon: 'check', label: 'Your checkout has this state already.' }]);
  });
});

describe('what applying would do, on the command line', () => {
  it('fits into 80 columns and holds nothing that a terminal obeys', () => {
    const text = planText(plan, 80);
    expect(text).toMatchInlineSnapshot(`
      "  From     /home/u/.baton/worktrees/0123abcd/app
        Into     /src/app
        How      just as it is
        Changes  3 paths
        Branch   main goes 2 commits forward, to bbbbbbbbbbbb
        M a.ts
        A new␛[2J.ts
        D old.ts"
    `);
    expect(planText(refused, 80)).toMatchInlineSnapshot(`
      "  From  /home/u/.baton/worktrees/0123abcd/app
        Into  /src/app
        ! a.ts

      It would be refused. Your checkout has changes of its own in "a.ts"."
    `);
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    expect(text.includes('\u001b')).toBe(false);
  });
});
