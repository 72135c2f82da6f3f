import { describe, expect, it } from 'vitest';
import { handoffPhase, type HandoffPreflight } from '../../src/host/protocol';
import { divergenceText, phaseText, preflightText, resultText } from '../../src/views/preflightText';
import { translate } from './translate';

const preflight: HandoffPreflight = {
  threadId: null, from: 'a'.repeat(43), to: 'b'.repeat(43), destinationName: 'server', worktree: '/w', branch: 'main', commits: 2, files: 7, bytes: 48_000,
  findings: [
    { level: 'ok', code: 'same-repository', message: 'Same repository.' },
    { level: 'warning', code: 'ignored-files', message: 'Ignored files stay behind.' },
  ],
};

describe('a preflight as it is shown', () => {
  it('says destination, branch, commits, files and size', () => {
    const { facts } = preflightText(preflight, translate);
    expect(facts.map(({ label, description }) => [label, description])).toEqual([
      ['Destination', 'server'], ['Worktree', '/w'], ['Branch', 'main'], ['Commits', '2'], ['Files', '7'], ['Size', 'about 48.0 kB'],
    ]);
  });

  it('lets one go on with warnings, which come before what is fine', () => {
    const text = preflightText(preflight, translate);
    expect(text.mayStart).toBe(true);
    expect(text.action).toMatchObject({ label: 'Hand off to server', description: 'with 1 warning' });
    expect(text.findings.map(({ description, label }) => [description, label])).toEqual([['Warning', 'Ignored files stay behind.'], ['OK', 'Same repository.']]);
  });

  it('does not let one go on with a blocker, which comes first', () => {
    const text = preflightText({ ...preflight, worktree: null, branch: null, findings: [...preflight.findings, { level: 'blocker', code: 'no-matching-project', message: 'Save the project on server first.' }] }, translate);
    expect(text.mayStart).toBe(false);
    expect(text.action).toMatchObject({ label: 'Cannot hand off to server', description: '1 blocker' });
    expect(text.findings[0]).toMatchObject({ description: 'Blocker', label: 'Save the project on server first.', icon: 'error' });
    expect(text.facts.map(({ label }) => label)).not.toContain('Worktree');
  });

  it('names the choices where both sides changed, and none where they did not', () => {
    expect(divergenceText(preflight, undefined, translate)).toEqual([]);
    const shown = (choices: HandoffPreflight['choices'], chosen?: 'fork') => divergenceText({ ...preflight, choices }, chosen, translate).map(({ choice, description }) => [choice, description]);
    expect(shown(['second-worktree', 'fork'])).toEqual([['second-worktree', ''], ['fork', ''], ['abort', '']]);
    expect(shown(['fork'], 'fork')).toEqual([['fork', 'chosen'], ['abort', '']]);
  });

  describe('with ignored files that could travel', () => {
    const included = { digest: 'd'.repeat(64), files: 23, bytes: 4500, names: ['"build/a"', '"$(x)"'], secrets: { count: 1, names: ['".env"'] }, left: null, refused: null };

    it('leaves them here until that is turned on, and names them either way', () => {
      const off = preflightText({ ...preflight, included }, translate).included;
      expect(off?.choice).toEqual({ icon: 'circle-large-outline', label: 'Also send 23 ignored files (4.5 kB)', description: 'off; 1 looks like a secret' });
      const on = preflightText({ ...preflight, included }, translate, true).included;
      expect(on?.choice).toMatchObject({ icon: 'pass-filled', description: 'on: they are sent to the other host' });
      for (const each of [off, on]) expect(each?.files.map(({ icon, label }) => [icon, label.includes('$(') ? 'an icon' : label])).toEqual([['key', '".env"'], ['file', '"build/a"'], ['file', expect.stringMatching(/x\)"$/)], ['ellipsis', 'and 20 more']]);
    });

    it('offers nothing where none is listed, and says why none can travel', () => {
      expect(preflightText({ ...preflight, included: { ...included, files: 0 } }, translate).included).toBeNull();
      expect(preflightText({ ...preflight, included: null }, translate).included).toBeNull();
      expect(preflightText({ ...preflight, included: { ...included, refused: 'The Baton of server is too old.' } }, translate).included).toMatchObject({ refused: true, choice: { label: 'Ignored files cannot travel too', description: 'The Baton of server is too old.' } });
    });
  });

  it('shows no icon that the other host wrote', () => {
    const text = preflightText({ ...preflight, destinationName: '$(check)', branch: '$(x)', findings: [{ level: 'ok', code: 'x', message: '$(pass)' }] }, translate);
    expect(JSON.stringify(text)).not.toContain('$(');
  });
});

describe('a handoff under way and done', () => {
  it('has words of its own for each phase', () => {
    expect(new Set(handoffPhase.options.map((phase) => phaseText(phase, translate))).size).toBe(handoffPhase.options.length);
  });

  it('is summed up in one sentence, with what else should be known', () => {
    const result = { handoffId: '0'.repeat(32), threadId: 't', from: preflight.from, to: preflight.to, epoch: 2, worktree: '/w', branch: null, commits: 1, files: 3, bytesSent: 2_500, rolloutBytesSent: 100, milliseconds: 61_000, receipt: 'c'.repeat(64), notes: ['An approval was carried over.'] };
    expect(resultText(result, 'Fix the parser', 'server', translate)).toBe('“Fix the parser” is now on server: detached HEAD, commits: 1, files: 3, 2.5 kB sent in 1 min 1 s. An approval was carried over.');
  });
});
