import { afterEach, describe, it } from 'vitest';
import { removeTemporaryDirectories } from './laboratory';
import { expectExact } from './roundTrips';
import { statesOfOperations } from './statesOfOperations';

afterEach(removeTemporaryDirectories);

describe('operations in progress travel exactly', () => {
  it.each(statesOfOperations.map((state) => [state.name, state] as const))('%s', async (_name, state) => { await expectExact(state); });
});
