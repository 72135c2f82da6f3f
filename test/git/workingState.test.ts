import { afterEach, describe, it } from 'vitest';
import { removeTemporaryDirectories } from './laboratory';
import { expectExact } from './roundTrips';
import { statesOfFiles } from './statesOfFiles';
import { statesOfRepositories } from './statesOfRepositories';

afterEach(removeTemporaryDirectories);

describe('files of every kind travel exactly', () => {
  it.each(statesOfFiles.map((state) => [state.name, state] as const))('%s', async (_name, state) => { await expectExact(state); });
});

describe('out of repositories of every kind', () => {
  it.each(statesOfRepositories.map((state) => [state.name, state] as const))('%s', async (_name, state) => { await expectExact(state); });
});
