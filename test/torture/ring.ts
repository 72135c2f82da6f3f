/** A thread goes round: laptop, server, desk, laptop, and to the server once more. A host dies on one of the legs. */
import { isDeepStrictEqual } from 'node:util';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Site } from '../integration/pairedHosts';
import { begin, load } from './carried';
import type { CaseOf } from './cases';
import { Expectation } from './expectation';
import type { Ground } from './ground';
import { killedAt } from './inflict';
import { within } from './patience';
import type { CaseResult } from './runCase';
import { settle } from './settle';
import { workOn, worktreeOf } from './stage';

/** What a thread of the laptop's may do; the desk would let its own do anything. */
const confined = { approvalPolicy: 'on-request', type: 'workspaceWrite', networkAccess: false, writableRoots: [] };

async function policyAt(site: Site, threadId: string): Promise<typeof confined> {
  const { approvalPolicy, sandbox } = (await site.client.codex('thread/resume', { threadId, excludeTurns: true })) as { approvalPolicy: string; sandbox: Omit<typeof confined, 'approvalPolicy'> };
  const { type, networkAccess, writableRoots } = sandbox;
  return { approvalPolicy, type, networkAccess, writableRoots };
}

export async function runRing(ground: Ground, asked: CaseOf<'ring'>): Promise<Omit<CaseResult, 'milliseconds'>> {
  const { laptop, server } = ground.pair;
  const desk = await within(ground.third(), 'adding a third host');
  const threadId = await begin(laptop, asked.carrying);
  let [source, directory, happened, end] = [laptop, laptop.checkout, false, 'unknown' as CaseResult['end']];
  let first: string | null = null;
  for (const [index, destination] of [server, desk, laptop, server].entries()) {
    const hurt = index === asked.hurt;
    // The same as other threads do on that branch, or it would be in their way, and they in its.
    if (index === 1) await workOn(directory);
    if (index > 1) await writeFile(join(directory, `stop-${index}.txt`), `on ${source.machine.name}\n`);
    if (hurt) await load(source, threadId, asked.carrying);
    const expected = await Expectation.of(ground, { threadId, directory, source, destinations: [destination], carrying: hurt ? asked.carrying : 'nothing', diverged: null });
    const handOff = () => source.handOff({ threadId, to: destination.hostId });
    if (hurt) happened = await within(killedAt(ground, asked.role === 'source' ? source : destination, asked, () => handOff().catch(() => undefined)), 'the handoff');
    else await within(handOff(), 'a handoff');
    await within(settle(ground, threadId), 'settling');
    for (const site of ground.sites) ground.disarm(site);
    const verdict = await within(expected.verify(), 'looking at what is there');
    const broken = [...verdict.broken];
    if (hurt) end = verdict.end;
    if (broken.length === 0 && verdict.end === 'stayed') {
      await within(handOff(), 'the next handoff');
      await within(settle(ground, threadId), 'settling');
    }
    [source, directory] = [destination, await worktreeOf(destination, threadId)];
    if (index === 0) first = directory;
    else if (destination === server && directory !== first) broken.push(`the thread came back to ${directory} instead of ${first}`);
    const policy = await policyAt(destination, threadId);
    if (!isDeepStrictEqual(policy, confined)) broken.push(`on ${destination.machine.name} the thread may do more than it might: ${JSON.stringify(policy)}`);
    if (broken.length > 0) return { happened, end, broken: broken.map((what) => `on leg ${index}: ${what}`) };
  }
  return { happened, end, broken: [] };
}
