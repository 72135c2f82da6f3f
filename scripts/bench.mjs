// npm run bench: how long a handoff takes, from a fresh clone. Arguments after `--` go to the bench.
import { runTypeScript, setUp } from './setUp.mjs';

setUp();
await runTypeScript('test/bench/main.ts', process.argv.slice(2));
