/** Every state of the table, there and back, by the hosts themselves: what the command does, not only what its parts can do. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { makePair, observe, ownCheckout, photograph, removeTemporaryDirectories } from '../git/laboratory';
import { states } from '../git/states';
import { explainFailures, said, startPair, type PairedHosts, type Site } from './pairedHosts';

let pair: PairedHosts;
let laptop: Site;
let server: Site;

beforeAll(async () => {
  pair = await startPair({ clean: true });
  ({ laptop, server } = pair);
});
beforeEach(() => explainFailures(pair));
afterAll(() => pair.close());
afterAll(removeTemporaryDirectories);

describe('two hosts move a checkout exactly, and back', () => {
  it.each(states.map((state) => [state.name, state] as const))('%s', async (_name, state) => {
    const clones = makePair(state.format === undefined ? {} : { format: state.format });
    state.make(clones.laptop);
    await laptop.client.call('project/add', { directory: clones.laptop });
    await server.client.call('project/add', { directory: clones.server });
    const before = { source: photograph(clones.laptop), own: ownCheckout(clones.server) };

    const there = await laptop.handOff({ directory: clones.laptop, prompt: said.hello, to: server.hostId });
    // Looked at before anything else: plain git, too, leaves traces where it looks.
    expect(photograph(clones.laptop), 'the source is untouched').toEqual(before.source);
    expect(observe(there.worktree)).toEqual(observe(clones.laptop));
    expect(ownCheckout(clones.server), "the destination's own checkout is untouched").toEqual(before.own);

    const back = await laptop.handOff({ threadId: there.threadId, to: laptop.hostId, from: server.hostId });
    expect(observe(back.worktree)).toEqual(observe(clones.laptop));
    expect(ownCheckout(clones.server), 'still untouched').toEqual(before.own);
  });
});
