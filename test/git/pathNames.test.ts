import { describe, expect, it } from 'vitest';
import { checkLinkTarget, checkPath, NameTwins } from '../../src/git/pathNames';

const bytes = (text: string) => Buffer.from(text, 'utf8').toString('latin1');
const linux = { caseInsensitive: false, windows: false };
const windows = { caseInsensitive: true, windows: true };
const reason = (act: () => unknown): unknown => {
  try {
    act();
    return 'taken';
  } catch (error) {
    return (error as { reason: unknown }).reason;
  }
};

describe('names of files that arrive', () => {
  it.each(['CON', 'nul.txt', 'COM1', 'a ', 'trailing.', 'a:b', 'x|y', 'question?', 'back\\slash', 'tab\there', 'new\nline', '"q"'])('%j is taken where the file system holds it, and refused on Windows with what to do', (name) => {
    expect(reason(() => { checkPath(bytes(`dir/${name}`), '100644', linux); })).toBe('taken');
    expect(reason(() => { checkPath(bytes(`dir/${name}`), '100644', windows); })).toBe('unsupported-state');
  });
  it.each(['.gitx', 'git~', 'git~a', '.gitignore', '..x', '...', 'x.git', 'git', '-rf', '\u00e9'])('%j is only a name', (name) => {
    expect(reason(() => { checkPath(bytes(name), '100644', linux); })).toBe('taken');
  });
  it.each([['Case', 'case'], ['caf\u00e9', 'cafe\u0301'], ['dir/\u00c9', 'dir/\u00e9'], ['A/x', 'a/x']])('%j and %j are two files here and one elsewhere', (one, other) => {
    const twins = (rules: typeof linux) => { const seen = new NameTwins(rules); seen.add(bytes(one)); seen.add(bytes(other)); };
    expect(reason(() => { twins(linux); })).toBe('taken');
    expect(reason(() => { twins({ caseInsensitive: true, windows: false }); })).toBe('unsupported-state');
  });
  it.each(['.git', '../.git/hooks', 'a/.GIT/x', 'git~1/config', '..\\.git\\hooks', '.g\u200cit', '', 'x\0y', 'x'.repeat(4097)])('a link to %j is refused', (target) => {
    expect(reason(() => { checkLinkTarget('link', Buffer.from(target)); })).toBe('hostile-content');
  });
});
