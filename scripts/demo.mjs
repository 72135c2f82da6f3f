// npm run demo: the main job on one machine, from a fresh clone. Arguments after `--` go to the demo.
import { runTypeScript, setUp } from './setUp.mjs';

setUp();
await runTypeScript('test/demo/main.ts', process.argv.slice(2));
