import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { approvalText } from '../../src/host/cli/approvalText';
import { progressLine } from '../../src/host/cli/handoffProgress';
import { inertBlock, inertJson, inertLine } from '../../src/host/cli/inertText';
import { bytesText, columnsOf, cut, table, wrap } from '../../src/host/cli/layout';
import { resolveApproval, resolveHost, resolveThread, shortIds } from '../../src/host/cli/resolve';
import { transcript } from '../../src/host/cli/transcript';
import type { Approval } from '../../src/host/protocol';

const ACTIVE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;
const anyText = fc.string({ unit: 'binary' });

describe('text on its way to a terminal', () => {
  it('holds nothing that a terminal acts on, and a line stays one', () => {
    fc.assert(fc.property(anyText, (text) => !ACTIVE.test(inertLine(text))));
    fc.assert(fc.property(anyText, (text) => !ACTIVE.test(inertBlock(text).replaceAll('\n', ''))));
  });

  it.each([
    ['a colour', '\u001b[31mred', '␛[31mred'],
    ['a clipboard write (OSC 52)', '\u001b]52;c;cm0gLXJm\u0007', '␛]52;c;cm0gLXJm␇'],
    ['an 8-bit control sequence', '\u009b2J', '<U+009B>2J'],
    ['an overwriting return', 'rm -rf /\rls', 'rm -rf /␍ls'],
    ['reversed text', 'a\u202egpj.exe', 'a<U+202E>gpj.exe'],
    ['a hidden word', 'ls\u{e0041}', 'ls<U+E0041>'],
  ])('shows %s as what it is', (_, text, shown) => {
    expect(inertLine(text)).toBe(shown);
  });

  it('leaves visible text of any script as it is', () => {
    expect(inertLine('Grüße, 世界 🚀 e\u0301')).toBe('Grüße, 世界 🚀 e\u0301');
  });

  it('is JSON of the same meaning', () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => {
      expect(JSON.parse(inertJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
    }));
    fc.assert(fc.property(anyText, (text) => {
      const json = inertJson(text);
      expect(ACTIVE.test(json)).toBe(false);
      expect(JSON.parse(json)).toBe(text);
    }));
  });
});

describe('laying out', () => {
  it('never cuts to more than the columns there are', () => {
    fc.assert(fc.property(anyText.map(inertLine), fc.integer({ min: 2, max: 80 }), (text, columns) => columnsOf(cut(text, columns)) <= columns));
  });

  it('keeps a table within the width, with wide characters in their columns', () => {
    expect(table(['NAME', 'TEXT'], [['世界', 'short'], ['a', 'x'.repeat(40)]], 30).split('\n')).toEqual(['NAME  TEXT', '世界  short', `a     ${'x'.repeat(23)}…`]);
  });

  it('breaks between words and indents what follows', () => {
    expect(wrap('one two three four', 12, 2)).toBe('one two\n  three four');
  });

  it.each([[0, '0 B'], [999, '999 B'], [1000, '1.0 kB'], [1_234_567, '1.2 MB'], [5e15, '5000.0 TB']])('says %d bytes as %s', (bytes, text) => {
    expect(bytesText(bytes)).toBe(text);
  });

  it('says a phase with its bytes', () => {
    expect(progressLine({ handoffId: '0'.repeat(32), threadId: '', phase: 'transfer', message: 'Sending\u001b[2J', bytesDone: 1000, bytesTotal: 2000 })).toBe('transfer   Sending␛[2J (1.0 kB of 2.0 kB)');
  });
});

describe('naming a thread', () => {
  const threads = [{ id: '0199a213-aaaa', name: 'build' }, { id: '0199a213-abbb', name: 'test' }, { id: '0200ffff-0000', name: 'test' }, { id: '0300ffff-0000' }];
  it.each([['0199a213-aaaa', '0199a213-aaaa'], ['build', '0199a213-aaaa'], ['0200', '0200ffff-0000'], ['0199a213-ab', '0199a213-abbb']])('finds %s', (word, id) => {
    expect(resolveThread(word, threads).id).toBe(id);
  });
  it.each([['test', '0199a213-abbb (test), 0200ffff-0000 (test)'], ['0199', '0199a213-aaaa (build), 0199a213-abbb (test)']])('lists what %s can mean', (word, listed) => {
    expect(() => resolveThread(word, threads)).toThrow(expect.objectContaining({ reason: 'ambiguous-thread', message: expect.stringContaining(listed) as string }) as Error);
  });
  it.each(['nothing', '02', ''])('says that "%s" is none', (word) => {
    expect(() => resolveThread(word, threads)).toThrow(expect.objectContaining({ reason: 'no-such-thread' }) as Error);
  });
  it('shortens ids to what tells them apart', () => {
    expect([...shortIds(['0199a213-aaaa', '0199a213-abbb', '0200ffff-0000']).values()]).toEqual(['0199a213-aa', '0199a213-ab', '0200ffff']);
  });
});

describe('naming a host or an approval', () => {
  const host = (hostId: string, name: string, self = false) => ({ hostId, name, self, online: true, codexVersion: null });
  const hosts = [host('AAAA1', 'laptop', true), host('BBBB1', 'server'), host('BBBB2', 'twin'), host('CCCC1', 'twin')];
  it.each([['here', 'AAAA1'], ['server', 'BBBB1'], ['CCCC', 'CCCC1'], ['BBBB2', 'BBBB2']])('finds %s', (word, id) => {
    expect(resolveHost(word, hosts).hostId).toBe(id);
  });
  it.each([['twin', 'ambiguous-host'], ['BBBB', 'ambiguous-host'], ['moon', 'no-such-host']])('refuses %s', (word, reason) => {
    expect(() => resolveHost(word, hosts)).toThrow(expect.objectContaining({ reason }) as Error);
  });
  it('does not decide on one of several approvals', () => {
    const approvals = [{ id: 'abcd1' }, { id: 'abcd2' }] as Approval[];
    expect(resolveApproval('abcd2', approvals).id).toBe('abcd2');
    expect(() => resolveApproval('abcd', approvals)).toThrow(expect.objectContaining({ reason: 'no-such-approval' }) as Error);
  });
});

describe('showing what an agent did and asks', () => {
  it('shows the whole command, hidden parts included', () => {
    const approval: Approval = {
      id: 'a1', threadId: 't', turnId: null, itemId: null, kind: 'command', command: `echo ${'x'.repeat(500)}\n\u001b[8mrm -rf ~`, changes: [], questions: [], request: null,
      cwd: '/src', reason: null, hostId: 'h', digest: 'd'.repeat(64), requestedAt: '', carriedOver: true,
    };
    const text = approvalText(approval, 'laptop', 80);
    expect(text).toContain(`echo ${'x'.repeat(500)}`);
    expect(text).toContain('␛[8mrm -rf ~');
    expect(text).toContain('d'.repeat(64));
    expect(text).toContain('carried over');
  });

  it('shows messages, commands and files, passes over what it does not know, and says how a turn ended', () => {
    const turns = [
      { id: '1', status: 'completed', items: [{ type: 'userMessage', content: [{ type: 'text', text: 'Fix it' }] }, { type: 'reasoning' }, { type: 'agentMessage', text: 'Done\u0007' }] },
      { id: '2', status: 'failed', error: { message: 'no model' }, items: [{ type: 'commandExecution', command: 'make', status: 'failed', exitCode: 2 }, { type: 'fileChange', status: 'completed', changes: [{ path: 'a.c' }] }, { type: 'commandExecution' }] },
    ];
    expect(transcript(turns, 80)).toEqual(['You\n  Fix it', 'Agent\n  Done␇', '  $ make\n    failed, exit code 2', '  Files completed\n    a.c', '  (turn failed: no model)']);
  });
});
