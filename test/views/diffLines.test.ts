import { describe, expect, it } from 'vitest';
import { diffLines } from '../../src/views/diffLines';

describe('the lines of a diff', () => {
  it('are those of a unified diff, without the names of its files', () => {
    expect(diffLines({ change: 'update', diff: '--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n same\n-old\n+new\n\\ No newline at end of file\n' })).toEqual([
      { kind: 'hunk', text: '@@ -1,2 +1,2 @@' }, { kind: 'context', text: 'same' }, { kind: 'removed', text: 'old' }, { kind: 'added', text: 'new' },
    ]);
  });
  it('are a removed line that looks like a heading, inside a hunk', () => {
    expect(diffLines({ change: 'update', diff: '@@ -1 +1 @@\n--- x\n+++ y' }).map(({ kind }) => kind)).toEqual(['hunk', 'removed', 'added']);
  });
  it('are all of an added file, also where its content looks like a diff', () => {
    expect(diffLines({ change: 'add', diff: 'first\n@@ -1 +1 @@\n+last\n' })).toEqual(['first', '@@ -1 +1 @@', '+last'].map((text) => ({ kind: 'added', text })));
  });
  it('are the content of an added or deleted file', () => {
    expect(diffLines({ change: 'add', diff: 'a\n\nb\n' })).toEqual([{ kind: 'added', text: 'a' }, { kind: 'added', text: '' }, { kind: 'added', text: 'b' }]);
    expect(diffLines({ change: 'delete', diff: 'a' })).toEqual([{ kind: 'removed', text: 'a' }]);
  });
});
