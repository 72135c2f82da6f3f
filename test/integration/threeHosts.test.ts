import { expect, it } from 'vitest';
import { workingState } from '../fixtures/checkout';
import { pairForAll, refusal, said, type PairedHosts, type Site } from './pairedHosts';

let pair: PairedHosts;
let laptop: Site;
let server: Site;

pairForAll((started) => {
  pair = started;
  ({ laptop, server } = pair);
});

it('a host that had everything, and was away when its handoff was given up, forgets it though the thread is with a third by then, and takes it from there', async () => {
  const desk = await pair.join('desk');
  const before = await server.traces();
  const threadId = await laptop.begin(said.hello);
  const sent = await workingState(laptop.checkout);
  const staging = laptop.phase('stage', threadId);
  const { handoffId } = await laptop.client.call('handoff/start', { threadId, to: server.hostId });
  const ended = refusal(laptop.client.call('handoff/wait', { handoffId }));
  await staging;
  // The source cannot note the receipt, so that its destination is killed between its own and the source's commit.
  const giveBack = await laptop.takeLedger(threadId);
  const stateAt = async (site: Site) => (await site.client.call('handoff/list', { all: true })).handoffs.find((handoff) => handoff.handoffId === handoffId)?.state;
  await server.until(async () => (await stateAt(server)) === 'prepared');
  await server.stop('SIGKILL');
  await laptop.stop('SIGKILL');
  await ended;
  await giveBack();
  await laptop.start();
  await laptop.until(async () => (await stateAt(laptop)) === 'aborted');
  expect(await laptop.handOff({ threadId, to: desk.hostId })).toMatchObject({ epoch: 1 });

  await server.start();
  await server.until(async () => (await stateAt(server)) === 'withdrawn' && ((await server.traces())['handoffs'] as string[]).length === 0);
  expect(await server.traces()).toEqual(before);
  expect(await desk.handOff({ threadId, to: server.hostId })).toMatchObject({ epoch: 2 });
  const { worktrees } = await server.client.call('worktree/list', {});
  expect(await workingState(worktrees.find(({ threadIds }) => threadIds.includes(threadId))?.path ?? '')).toEqual(sent);
  expect(await server.say(threadId, said.hello)).toBe('completed');
});
