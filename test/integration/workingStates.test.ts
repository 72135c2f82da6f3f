/** States of the table, there and back, by the hosts themselves: what the command does, not only what its parts can do. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { makePair, observe, ownCheckout, photograph, removeTemporaryDirectories } from '../git/laboratory';
import { someOf } from '../git/states';
import { statesOfFiles } from '../git/statesOfFiles';
import { statesOfOperations } from '../git/statesOfOperations';
import { statesOfRepositories } from '../git/statesOfRepositories';
import { explainFailures, said, startPair, type PairedHosts, type Site } from './pairedHosts';

/** Some of each kind; all of them go through the parts in test/git. */
const states = someOf([...statesOfFiles, ...statesOfOperations, ...statesOfRepositories], 5);

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
    const root = (state.make(clones.laptop, clones) ?? clones.laptop) as string;
    state.there?.(clones.server);
    await laptop.client.call('project/add', { directory: root });
    await server.client.call('project/add', { directory: clones.server });
    const before = { source: photograph(root), own: ownCheckout(clones.server) };

    const there = await laptop.handOff({ directory: root, prompt: said.hello, to: server.hostId });
    // Looked at before anything else: plain git, too, leaves traces where it looks.
    expect(photograph(root), 'the source is untouched').toEqual(before.source);
    expect(observe(there.worktree)).toEqual(observe(root));
    expect(ownCheckout(clones.server), "the destination's own checkout is untouched").toEqual(before.own);

    const back = await laptop.handOff({ threadId: there.threadId, to: laptop.hostId, from: server.hostId });
    expect(observe(back.worktree)).toEqual(observe(root));
    expect(ownCheckout(clones.server), 'still untouched').toEqual(before.own);
  });
});
