/** `npm run torture`: see `usage`. */
import { parseArgs } from 'node:util';
import { kinds, round, tortureCase } from './cases';
import { torture } from './torture';

const usage = `Usage: npm run torture -- [--minutes N] [--seed S] [--only ${kinds.join('|')}]\n       npm run torture -- --replay CASE [--replay CASE]...\n`;

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { minutes: { type: 'string', default: '5' }, seed: { type: 'string' }, only: { type: 'string', multiple: true }, replay: { type: 'string', multiple: true }, help: { type: 'boolean' } } });
  const minutes = Number(values.minutes);
  const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(values.seed);
  const only = values.only ?? kinds;
  if (values.help === true || !(minutes > 0) || !Number.isInteger(seed) || !only.every((kind) => (kinds as readonly string[]).includes(kind))) {
    process.stderr.write(usage);
    return values.help === true ? 0 : 2;
  }
  const say = (line: string) => void process.stdout.write(`${line}\n`);
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort());
  const replay = values.replay?.map((given) => tortureCase.parse(JSON.parse(given))) ?? null;
  const broken = await torture({ seed, say, ...(replay === null ? { milliseconds: minutes * 60_000, turns: round.filter((kind) => only.includes(kind)) } : { given: replay }), signal: stop.signal });
  return broken === 0 ? 0 : 1;
}

process.exitCode = await main();
