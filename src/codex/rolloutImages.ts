/** Pictures in a conversation. The model's copy is in the rollout, byte for byte, and Codex never reads the file again; beside it stands where the file was. */
import { createReadStream } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

const shown = z.looseObject({ payload: z.looseObject({ item: z.looseObject({ content: z.array(z.looseObject({ type: z.string(), path: z.string().optional() })) }) }) });
const shownLegacy = z.looseObject({ payload: z.looseObject({ type: z.literal('user_message'), local_images: z.array(z.string()) }) });
const viewed = z.looseObject({ payload: z.looseObject({ item: z.looseObject({ type: z.literal('ImageView'), path: z.string() }) }) });

/** What such a line has in it, and few others: a conversation may have hundreds of megabytes, which must not all be parsed. */
const marks = ['"local_image', '"ImageView"'].map((text) => Buffer.from(text));

/**
 * The files that the user showed the model, or that it looked at itself, each once; as they were named on the machine where that was.
 */
export async function imageFilesIn(path: string): Promise<string[]> {
  const files = new Set<string>();
  for await (const line of markedLines(path)) for (const file of filesIn(line)) files.add(file);
  return [...files];
}

async function* markedLines(path: string): AsyncGenerator<string> {
  let rest: Buffer[] = [];
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>) {
    const end = chunk.lastIndexOf('\n') + 1;
    if (end === 0) {
      rest.push(chunk);
      continue;
    }
    const block = Buffer.concat([...rest, chunk.subarray(0, end)]);
    rest = [chunk.subarray(end)];
    const starts = new Set<number>();
    for (const mark of marks) {
      for (let at = block.indexOf(mark); at >= 0; at = block.indexOf(mark, block.indexOf('\n', at))) starts.add(block.lastIndexOf('\n', at) + 1);
    }
    for (const start of starts) yield block.toString('utf8', start, block.indexOf('\n', start));
  }
}

function filesIn(line: string): string[] {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return [];
  }
  const looked = viewed.safeParse(value);
  if (looked.success) {
    const { path } = looked.data.payload.item;
    try {
      return [path.startsWith('file:') ? fileURLToPath(path) : path];
    } catch {
      return [];
    }
  }
  const legacy = shownLegacy.safeParse(value);
  if (legacy.success) return legacy.data.payload.local_images;
  const content = shown.safeParse(value).data?.payload.item.content ?? [];
  return content.flatMap(({ type, path }) => (type === 'local_image' && path !== undefined ? [path] : []));
}
