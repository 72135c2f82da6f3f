// npm run torture: hurts handoffs in every way that is known, from a fresh clone. Arguments after `--` go to it.
import { runTypeScript, setUp } from './setUp.mjs';

setUp();
await runTypeScript('test/torture/main.ts', process.argv.slice(2));
