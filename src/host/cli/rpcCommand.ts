import type { CommandTable } from './commandTable';
import { inertJson } from './inertText';
import { UsageError } from './session';

export function addRpcCommand({ program, session }: CommandTable): void {
  program
    .command('rpc')
    .argument('<METHOD>', 'a method of the host protocol; those of Codex are passed through')
    .argument('[JSON]', 'its params; `-` reads them from standard input')
    .description('call any method of the host')
    .action(async (method: string, json: string | undefined) => {
      const params = json === undefined ? {} : parseParams(json === '-' ? await readAll(session.stdin) : json);
      const result = await (await session.host()).codex(method, params);
      session.result(result, () => inertJson(result, 2));
    });
}

function parseParams(text: string): object {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new UsageError(`The params are not JSON: ${(error as Error).message}`);
  }
  if (typeof value !== 'object' || value === null) throw new UsageError('The params are a JSON object or array.');
  return value;
}

async function readAll(stream: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString('utf8');
}
