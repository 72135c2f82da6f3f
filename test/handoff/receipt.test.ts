import { describe, expect, it } from 'vitest';
import { receipt as receiptSchema, receiptDifference, receiptHash, type Receipt } from '../../src/handoff/receipt';
import { holdings, receipt } from './examples';

const [first, second] = holdings.rollouts;
if (first === undefined || second === undefined) throw new Error('The example holds two rollouts.');

const altered: { readonly what: string; readonly receipt: Receipt; readonly says: RegExp }[] = [
  { what: 'handoffId', receipt: { ...receipt, handoffId: 'b'.repeat(32) }, says: /handoffId is b+, expected a+/ },
  { what: 'threadId', receipt: { ...receipt, threadId: 'another' }, says: /threadId is another/ },
  { what: 'epoch', receipt: { ...receipt, epoch: 2 }, says: /epoch is 2, expected 1/ },
  { what: 'source', receipt: { ...receipt, source: 'auditId' }, says: /source is auditId/ },
  { what: 'destination', receipt: { ...receipt, destination: 'auditId' }, says: /destination is auditId/ },
  { what: 'channel', receipt: { ...receipt, channel: '7'.repeat(64) }, says: /channel is 7+/ },
  { what: 'version', receipt: { ...receipt, version: 2 as 1 }, says: /version is 2, expected 1/ },
  { what: 'working state', receipt: { ...receipt, holdings: { ...holdings, workingState: 'f'.repeat(64) } }, says: /working state differs/ },
  { what: 'HEAD', receipt: { ...receipt, holdings: { ...holdings, head: 'f'.repeat(40) } }, says: /HEAD is f+, expected 2+/ },
  { what: 'HEAD that is unborn', receipt: { ...receipt, holdings: { ...holdings, head: null } }, says: /HEAD is unborn/ },
  { what: 'rollout name', receipt: { ...receipt, holdings: { ...holdings, rollouts: [{ ...first, name: 'rollout-c.jsonl' }, second] } }, says: /rollout files differ/ },
  { what: 'rollout length', receipt: { ...receipt, holdings: { ...holdings, rollouts: [{ ...first, bodyBytes: 11 }, second] } }, says: /rollout files differ/ },
  { what: 'rollout hash', receipt: { ...receipt, holdings: { ...holdings, rollouts: [first, { ...second, bodySha256: 'f'.repeat(64) }] } }, says: /rollout files differ/ },
  { what: 'missing rollout', receipt: { ...receipt, holdings: { ...holdings, rollouts: [first] } }, says: /rollout files differ/ },
  { what: 'rollout too many', receipt: { ...receipt, holdings: { ...holdings, rollouts: [first, second, { ...second, name: 'rollout-c.jsonl' }] } }, says: /rollout files differ/ },
  { what: 'rollout that is there twice', receipt: { ...receipt, holdings: { ...holdings, rollouts: [first, first] } }, says: /rollout files differ/ },
  { what: 'name, policy or approvals', receipt: { ...receipt, holdings: { ...holdings, thread: 'f'.repeat(64) } }, says: /name, policy or approvals differ/ },
];

describe('a receipt', () => {
  it('agrees with itself, also after it travelled, and in whichever order its rollouts are named', () => {
    expect(receiptDifference(receipt, receipt)).toBeNull();
    expect(receiptDifference(receiptSchema.parse(JSON.parse(JSON.stringify(receipt))), receipt)).toBeNull();
    expect(receiptDifference({ ...receipt, holdings: { ...holdings, rollouts: [second, first] } }, receipt)).toBeNull();
  });

  it.each(altered)('that differs in its $what alone is found out, and has another hash', ({ receipt: other, says }) => {
    expect(receiptDifference(other, receipt)).toMatch(says);
    expect(receiptDifference(receipt, other)).not.toBeNull();
    expect(receiptHash(other)).not.toBe(receiptHash(receipt));
  });

  it('has every field looked at by the table above', () => {
    const looked = altered.flatMap(({ receipt: other }) => Object.keys(receipt).filter((key) => JSON.stringify(other[key as keyof Receipt]) !== JSON.stringify(receipt[key as keyof Receipt])));
    expect([...new Set(looked)].sort()).toEqual(Object.keys(receipt).sort());
  });

  it.each([
    { change: { handoffId: '../../etc' } },
    { change: { epoch: 0 } },
    { change: { epoch: 1.5 } },
    { change: { channel: 'A'.repeat(64) } },
    { change: { version: 2 } },
    { change: { holdings: { ...holdings, head: 'main' } } },
    { change: { holdings: { ...holdings, rollouts: [{ ...first, bodyBytes: -1 }] } } },
    { change: { holdings: undefined } },
  ])('is refused with $change before it is used', ({ change }) => {
    expect(receiptSchema.safeParse({ ...receipt, ...change }).success).toBe(false);
  });
});
