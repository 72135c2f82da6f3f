import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { protocolTables } from '../fixtures/protocolTable';

it('describes in src/host/README.md every method and notification that the protocol has', () => {
  const readme = readFileSync(join(import.meta.dirname, '..', '..', 'src', 'host', 'README.md'), 'utf8');
  const written = /<!-- tables: begin -->\n([\s\S]*?)\n<!-- tables: end -->/.exec(readme)?.[1];
  // To update: put what is expected here between the two marks.
  expect(written).toBe(protocolTables());
});
