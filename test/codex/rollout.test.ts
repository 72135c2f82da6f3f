import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeRollout, hashBodyPrefix, parseRolloutName, readBody, readMetaLine } from '../../src/codex/rollout';
import { copyThread, requireForgettable } from '../../src/codex/rolloutCopy';
import { findRollouts } from '../../src/codex/rolloutFamily';
import { imageFilesIn } from '../../src/codex/rolloutImages';
import { installRollout, rewriteMetaLine, stageRollout, type StageRollout } from '../../src/codex/rolloutImport';
import { readPlan } from '../../src/codex/rolloutPlan';

const threadId = '01a1fc37-dd9e-7360-8f01-6209909325b4';
const name = `rollout-2026-11-21T03-48-02-${threadId}.jsonl`;
let home: string;
beforeEach(async () => (home = await mkdtemp(join(tmpdir(), 'baton-rollout-'))));
afterEach(() => rm(home, { recursive: true, force: true }));

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const metaLine = (id = threadId, more: object = {}) => JSON.stringify({ timestamp: 't', ordinal: 0, type: 'session_meta', payload: { id, cwd: '/home/me/work', runtime_workspace_roots: ['/home/me/work'], base_instructions: { text: 'x'.repeat(400_000) }, ...more } });
const item = (ordinal: number, payload: object = { type: 'message', text: 'words '.repeat(20) }) => `${JSON.stringify({ ordinal, type: 'response_item', payload })}\n`;
const bodyOf = (lines: number) => Buffer.from(Array.from({ length: lines }, (_, index) => item(index + 1)).join(''));

async function write(fileName: string, meta: string, body: Buffer | string, archived = false): Promise<string> {
  const path = archived ? join(home, 'archived_sessions', fileName) : join(home, 'sessions', '2026', '11', '21', fileName);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, Buffer.concat([Buffer.from(`${meta}\n`), Buffer.from(body)]));
  return path;
}

/** What a handoff would announce of a body, sent whole. */
const incoming = (body: Buffer): StageRollout => ({ stagingDir: join(home, 'staging'), name, metaLine: metaLine(), prefixBytes: 0, tail: Readable.from([body]), bodyBytes: body.length, bodySha256: sha256(body), cwd: '/srv/work' });

describe('describing a rollout', () => {
  it('measures and hashes the complete lines after a first line of any length', async () => {
    const body = bodyOf(5_000);
    const path = await write(name, metaLine(), body);
    expect(await describeRollout(path)).toEqual({ name, metaLine: metaLine(), bodyBytes: body.length, bodySha256: sha256(body), lastOrdinal: 5_000 });
  });

  it('leaves a torn last line out, and finds the ordinal of a last line that is longer than what is read at once', async () => {
    const body = Buffer.concat([bodyOf(3), Buffer.from(item(4, { type: 'image', data: 'i'.repeat(900_000) }))]);
    const path = await write(name, metaLine(), Buffer.concat([body, Buffer.from(`{"ordinal":5,"torn":"${'t'.repeat(600_000)}`)]));
    expect(await describeRollout(path)).toMatchObject({ bodyBytes: body.length, bodySha256: sha256(body), lastOrdinal: 4 });
  });

  it('numbers nothing where there is no body or the lines carry no ordinals', async () => {
    expect(await describeRollout(await write(name, metaLine(), ''))).toMatchObject({ bodyBytes: 0, lastOrdinal: null });
    expect(await describeRollout(await write(name, metaLine(), '{"type":"event_msg"}\n'))).toMatchObject({ lastOrdinal: null });
  });

  it('reads any piece of the body, and hashes any prefix of it', async () => {
    const body = bodyOf(40);
    const path = await write(name, metaLine(), body);
    await fc.assert(
      fc.asyncProperty(fc.nat(body.length), fc.nat(body.length), async (a, b) => {
        const [from, to] = [Math.min(a, b), Math.max(a, b)];
        expect((await buffer(readBody(path, from, to))).equals(body.subarray(from, to))).toBe(true);
        expect(await hashBodyPrefix(path, to)).toBe(sha256(body.subarray(0, to)));
      }),
      { numRuns: 40 },
    );
    await expect(hashBodyPrefix(path, body.length + 1)).rejects.toMatchObject({ reason: 'rollout-invalid' });
  });

  it.each([
    ['is not there', () => Promise.resolve(join(home, name)), 'rollout-missing'],
    ['is compressed', () => Promise.resolve(join(home, `${name}.zst`)), 'rollout-compressed'],
    ['has no first line', async () => write(name, '', ''), 'rollout-invalid'],
    ['has another thread\'s first line', async () => write(name, metaLine('01a1fc37-0000-7000-8000-000000000000'), ''), 'rollout-invalid'],
  ])('says so when it %s', async (_, make, reason) => {
    await expect(describeRollout(await make())).rejects.toMatchObject({ reason });
  });
});

describe('the name of a rollout', () => {
  it('tells thread, segment and day', () => {
    expect(parseRolloutName(name)).toEqual({ threadId, segmentId: null, day: ['2026', '11', '21'] });
    expect(parseRolloutName(name.replace('.jsonl', '_01a1fc44-8291-7fb2-8283-f6917e1c834f.jsonl'))).toMatchObject({ threadId, segmentId: '01a1fc44-8291-7fb2-8283-f6917e1c834f' });
  });

  it('is never one that could leave its folder', () => {
    const parts = fc.constantFrom(name, 'rollout-', '2026-11-21T03-48-02-', threadId, '.jsonl', '/', '\\', '..', '\0', '\n', ':', '_', '%2e');
    fc.assert(fc.property(fc.array(parts, { maxLength: 6 }).map((pieces) => pieces.join('')), (text) => parseRolloutName(text) === null || !/[/\\\0\n:]|\.\./.test(text)));
    expect(parseRolloutName(`../${name}`)).toBeNull();
    expect(parseRolloutName(`${name}\n`)).toBeNull();
  });
});

describe('staging a rollout', () => {
  it('puts together the prefix that is here and the tail that came, with a first line for this host', async () => {
    const body = bodyOf(200);
    const existing = await write(name, metaLine(threadId, { cwd: '/somewhere/else' }), body.subarray(0, 5_000));
    const staged = await stageRollout({ ...incoming(body), existing, prefixBytes: 5_000, tail: Readable.from([body.subarray(5_000)]) });
    const { payload } = JSON.parse(await readMetaLine(staged.path)) as { payload: Record<string, unknown> };
    expect(payload).toMatchObject({ id: threadId, cwd: '/srv/work', runtime_workspace_roots: ['/srv/work'] });
    expect(staged).toMatchObject({ name, threadId, bodyBytes: body.length, bodySha256: sha256(body), lastOrdinal: 200 });
  });

  it.each<[string, (options: StageRollout, body: Buffer) => Partial<StageRollout>]>([
    ['has another hash', (_, body) => ({ bodySha256: sha256(body.subarray(1)) })],
    ['is shorter than announced', (_, body) => ({ tail: Readable.from([body.subarray(0, -10)]) })],
    ['is longer than announced', (_, body) => ({ tail: Readable.from([body, body]) })],
    ['has a name that leaves the folder', () => ({ name: `../${name}` })],
    ['has the first line of another thread', () => ({ metaLine: metaLine('01a1fc37-0000-7000-8000-000000000000') })],
    ['has a first line that is none', () => ({ metaLine: '{"type":"event_msg"}' })],
    ['counts on a prefix that is not here', () => ({ prefixBytes: 10 })],
    ['announces a size that is none', () => ({ bodyBytes: -1 })],
  ])('refuses one that %s, and leaves nothing behind', async (_, change) => {
    const body = bodyOf(50);
    const options = incoming(body);
    await expect(stageRollout({ ...options, ...change(options, body) })).rejects.toMatchObject({ reason: 'rollout-invalid' });
    expect(await readdir(join(home, 'staging')).catch(() => [])).toEqual([]);
  });

  it('moves the offset at which a segment branches off by as much as the first line of its base changes', () => {
    const base = { name, metaLine: metaLine() };
    const segment = name.replace('.jsonl', '_01a1fc44-8291-7fb2-8283-f6917e1c834f.jsonl');
    const line = metaLine(threadId, { history_base: { thread_id: threadId, end_ordinal_exclusive: 3, end_byte_offset: 500_000 } });
    for (const cwd of ['/a', '/a/much/longer/folder/than/it/was/before']) {
      const shift = rewriteMetaLine(base.metaLine, name, cwd).length - base.metaLine.length;
      const rewritten = JSON.parse(rewriteMetaLine(line, segment, cwd, [base, { name: segment, metaLine: line }])) as { payload: { history_base: unknown } };
      expect(rewritten.payload.history_base).toEqual({ thread_id: threadId, end_ordinal_exclusive: 3, end_byte_offset: 500_000 + shift });
    }
  });
});

describe('installing a rollout', () => {
  it('puts it where Codex looks for it, and replaces a copy that it continues', async () => {
    const body = bodyOf(20);
    const here = join(home, 'sessions', '2026', '11', '21', name);
    expect(await installRollout({ codexHome: home, staged: await stageRollout(incoming(body.subarray(0, body.indexOf('\n') + 1))) })).toBe(here);
    await installRollout({ codexHome: home, staged: await stageRollout(incoming(body)) });
    expect((await readFile(here)).subarray(Buffer.byteLength(await readMetaLine(here)) + 1).equals(body)).toBe(true);
    expect(await readdir(dirname(here))).toEqual([name]);
    expect(await readdir(join(home, 'staging'))).toEqual([]);
  });

  it.each([
    ['went another way', Buffer.concat([bodyOf(10), Buffer.from(item(11, { other: true }))])],
    ['is longer', bodyOf(30)],
  ])('refuses to replace a copy that %s', async (_, theirs) => {
    const here = await write(name, metaLine(), theirs);
    const staged = await stageRollout(incoming(bodyOf(20)));
    await expect(installRollout({ codexHome: home, staged })).rejects.toMatchObject({ reason: 'rollout-diverged' });
    expect((await describeRollout(here)).bodySha256).toBe(sha256(theirs));
  });

  it('refuses while the thread is archived here, whose database would not notice', async () => {
    await write(name, metaLine(), bodyOf(5), true);
    await expect(installRollout({ codexHome: home, staged: await stageRollout(incoming(bodyOf(20))) })).rejects.toMatchObject({ reason: 'thread-archived' });
  });
});

describe('finding what a thread consists of', () => {
  const id = (number: number) => `01a1fc37-0000-7000-8000-${String(number).padStart(12, '0')}`;
  const fileOf = (number: number) => `rollout-2026-11-21T03-48-02-${id(number)}.jsonl`;

  it('follows bases into the archive, and sub-agents of sub-agents', async () => {
    await write(fileOf(1), metaLine(id(1)), bodyOf(1), true);
    await write(fileOf(2), metaLine(id(2), { history_base: { thread_id: id(1) } }), bodyOf(1));
    await write(fileOf(3), metaLine(id(3), { history_base: { thread_id: id(2) } }), bodyOf(1));
    await write(fileOf(4), metaLine(id(4), { parent_thread_id: id(3) }), bodyOf(1));
    await write(fileOf(5), metaLine(id(5), { parent_thread_id: id(4) }), bodyOf(1));
    await write(fileOf(6), metaLine(id(6)), bodyOf(1));
    await write(fileOf(7), 'not a rollout', '');
    const found = await findRollouts({ codexHome: home, threadId: id(3) });
    expect(found.map(({ threadId: of, relation, archived }) => [of, relation, archived])).toEqual([
      [id(1), 'ancestor', true],
      [id(2), 'ancestor', false],
      [id(3), 'thread', false],
      [id(4), 'subagent', false],
      [id(5), 'subagent', false],
    ]);
  });

  it('takes a segment for what it builds on by its own id, in its thread and in a fork', async () => {
    const segment = (number: number, own: string) => fileOf(number).replace('.jsonl', `_${own}.jsonl`);
    const [first, second] = [id(71), id(72)];
    await write(fileOf(1), metaLine(id(1)), bodyOf(1));
    await write(segment(1, first), metaLine(id(1), { history_base: { thread_id: id(1), end_byte_offset: 9 } }), bodyOf(1));
    await write(segment(1, second), metaLine(id(1), { history_base: { thread_id: first, end_byte_offset: 9 } }), bodyOf(1));
    await write(fileOf(2), metaLine(id(2), { history_base: { thread_id: second, end_byte_offset: 9 } }), bodyOf(1));
    const found = await findRollouts({ codexHome: home, threadId: id(2) });
    expect(found.map(({ name: of, relation }) => [of, relation])).toEqual([[fileOf(1), 'ancestor'], [segment(1, first), 'ancestor'], [segment(1, second), 'ancestor'], [fileOf(2), 'thread']]);
    expect(await findRollouts({ codexHome: home, threadId: id(1) })).toHaveLength(3);

    await expect(requireForgettable(home, [id(1)])).rejects.toMatchObject({ reason: 'rollout-diverged' });
    await requireForgettable(home, [id(1), id(2)]);
    await copyThread({ codexHome: home, threadId: id(1), copyId: id(3) });
    const copies = (await findRollouts({ codexHome: home, threadId: id(3) })).map(({ name: of }) => of);
    expect(copies[0]).toBe(fileOf(3));
    expect(copies).toHaveLength(3);
    const bases = await Promise.all(copies.map(async (of) => (JSON.parse(await readMetaLine(join(home, 'sessions', '2026', '11', '21', of))) as { payload: { history_base?: { thread_id: string } } }).payload.history_base?.thread_id));
    const own = copies.map((of) => parseRolloutName(of)?.segmentId);
    expect(new Set([...own, first, second]).size).toBe(5);
    expect(bases).toContain(id(3));
    expect(own).toContain(bases.find((base) => base !== undefined && base !== id(3)));
  });

  it('says what is missing', async () => {
    await expect(findRollouts({ codexHome: home, threadId: id(1) })).rejects.toMatchObject({ reason: 'rollout-missing' });
    await write(fileOf(2), metaLine(id(2), { history_base: { thread_id: id(1) } }), '');
    await expect(findRollouts({ codexHome: home, threadId: id(2) })).rejects.toMatchObject({ reason: 'rollout-missing', message: expect.stringContaining(id(1)) as string });
    await writeFile(join(home, 'sessions', '2026', '11', '21', `${fileOf(3)}.zst`), '');
    await expect(findRollouts({ codexHome: home, threadId: id(3) })).rejects.toMatchObject({ reason: 'rollout-compressed' });
  });
});

describe('finding the pictures of a conversation', () => {
  it('reads the lines that name a file, wherever what is read at once ends, and no others', async () => {
    const paginated = (...paths: string[]) => `${JSON.stringify({ type: 'event_msg', payload: { type: 'item_completed', item: { type: 'UserMessage', content: [{ type: 'text', text: 'Look.' }, ...paths.map((path) => ({ type: 'local_image', path }))] } } })}\n`;
    const legacy = `${JSON.stringify({ type: 'event_msg', payload: { type: 'user_message', message: 'Look.', local_images: ['/home/me/c.png'] } })}\n`;
    const viewed = (path: string) => `${JSON.stringify({ type: 'event_msg', payload: { type: 'item_completed', item: { type: 'ImageView', path } } })}\n`;
    const talk = item(1, { type: 'message', text: 'I write "local_image" and "ImageView" where path is /etc/passwd' });
    const inlined = item(2, { type: 'image', data: 'i'.repeat(3_000_000) });
    const lines = [paginated('/home/me/a.png', '/home/me/b.png'), inlined, legacy, talk, bodyOf(20_000).toString(), viewed('file:///home/me/d%20e.png'), viewed('file://elsewhere/%'), paginated('/home/me/a.png'), '{"local_image\n', '{"type":"ImageView'];
    expect(await imageFilesIn(await write(name, metaLine(), lines.join('')))).toEqual(['/home/me/a.png', '/home/me/b.png', '/home/me/c.png', '/home/me/d e.png']);
  });
});

describe('reading the plan', () => {
  const call = (ordinal: number, callId: string, step: string) => item(ordinal, { type: 'function_call', name: 'update_plan', call_id: callId, arguments: JSON.stringify({ plan: [{ step, status: 'in_progress' }] }) });
  const output = (ordinal: number, callId: string, text: string) => item(ordinal, { type: 'function_call_output', call_id: callId, output: text });

  it('takes the last one that Codex accepted', async () => {
    const started = `${JSON.stringify({ ordinal: 1, type: 'event_msg', payload: { type: 'task_started', turn_id: 'turn-1' } })}\n`;
    const path = await write(name, metaLine(), [started, call(2, 'a', 'first'), output(3, 'a', 'Plan updated'), call(4, 'b', 'second'), output(5, 'b', 'unsupported call: update_plan'), call(6, 'c', 'third'), '{"ordinal":7,"broken "update_plan"\n'].join(''));
    expect(await readPlan(path)).toEqual({ turnId: 'turn-1', explanation: null, steps: [{ step: 'first', status: 'inProgress' }] });
  });

  it('finds none where there is none', async () => {
    expect(await readPlan(await write(name, metaLine(), bodyOf(5)))).toBeNull();
  });
});
