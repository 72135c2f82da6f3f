import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { git } from '../fixtures/checkout';
import { askCodex, explainFailures, refusal, said, startPair, type PairedHosts, type Site } from './pairedHosts';

const restless = 'Keep counting.';
let pair: PairedHosts;
let laptop: Site;
let server: Site;

beforeAll(async () => {
  pair = await startPair({
    clean: true,
    script: [{ user: /Keep counting/, answers: [[{ command: 'while true; do date +%N > count.txt; done', yieldMs: 30_000 }], [{ message: 'Counted.' }]] }],
  });
  ({ laptop, server } = pair);
});
beforeEach(() => explainFailures(pair));
afterAll(() => pair.close());

/** Has a thread of this name begin something that takes long; resolves once it has, with what ends it. */
async function busy(name: string, cwd: string, text: string): Promise<{ threadId: string; end: () => Promise<void> }> {
  const threadId = await laptop.begin(said.hello, { cwd });
  await laptop.client.codex('thread/name/set', { threadId, name });
  const begun = new Promise<void>((fulfil) => {
    const stop = laptop.client.onCodex((method, params) => {
      const { threadId: of, item } = params as { threadId?: string; item?: { type: string } };
      if (of !== threadId || method !== 'item/started' || item?.type === 'userMessage') return;
      stop();
      fulfil();
    });
  });
  const rest = laptop.rest(threadId);
  const { turn } = (await laptop.client.codex('turn/start', { threadId, input: [{ type: 'text', text, text_elements: [] }] })) as { turn: { id: string } };
  await begun;
  return {
    threadId,
    end: async () => {
      await laptop.client.codex('turn/interrupt', { threadId, turnId: turn.id });
      await rest;
      // Commands outlive the turn that ran them.
      await askCodex(laptop, 'thread/backgroundTerminals/clean', { threadId });
    },
  };
}

const about = async (threadId: string) => (await laptop.client.call('handoff/preflight', { threadId, to: server.hostId })).findings.filter(({ code }) => code === 'another-writer');

describe('another thread that works in the same checkout', () => {
  it('is named in preflight while its turn runs, and neither the thread itself nor one of another worktree is', async () => {
    const elsewhere = join(laptop.machine.directory, 'elsewhere');
    await git(laptop.checkout, 'worktree', 'add', '-q', '--detach', elsewhere);
    const moving = await busy('The one that moves', laptop.checkout, said.slowly);
    const apart = await busy('Far away', elsewhere, said.slowly);
    expect(await about(moving.threadId)).toEqual([]);

    const other = await busy('Count\u202e the\ncomets', join(laptop.checkout, 'src'), said.slowly);
    const [finding, ...more] = await about(moving.threadId);
    expect(more).toEqual([]);
    expect(finding).toMatchObject({ level: 'warning' });
    expect(finding?.message).toContain(`Another thread works in the same checkout ${laptop.checkout}: "Count the comets" (${other.threadId});`);
    expect(finding?.message).toMatch(/Interrupt it and end its commands, or wait until it is done; threads that have worktrees of their own do not disturb each other\.$/);

    await other.end();
    expect(await about(moving.threadId)).toEqual([]);
    for (const each of [moving, apart]) await each.end();
  });

  it('is named where it keeps the checkout from being captured, and the thread stays usable', async () => {
    const threadId = await laptop.begin(said.hello);
    const other = await busy('Restless', laptop.checkout, restless);
    expect((await about(threadId)).map(({ message }) => /: ("\w+")/.exec(message)?.[1])).toEqual(['"Restless"']);
    const { reason, message } = await refusal(laptop.handOff({ threadId, to: server.hostId }));
    expect(reason).toBe('changed-while-capturing');
    expect(message).toContain(`Another thread works in the same checkout: "Restless" (${other.threadId}). Interrupt it and end its commands first.`);
    expect(await laptop.say(threadId, said.hello)).toBe('completed');
    await other.end();
    expect(await laptop.handOff({ threadId, to: server.hostId })).toMatchObject({ threadId });
  });
});
