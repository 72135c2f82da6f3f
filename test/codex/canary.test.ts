import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tryCanary } from '../../src/codex/canary';
import type { SandboxPolicy } from '../../src/codex/protocol.generated';
import { canManageCodex, codexWithout } from '../fixtures/managedCodex';
import { CodexHomes } from './homes';

const name = '.baton-canary-0123456789ab';
const workspaceWrite: SandboxPolicy = { type: 'workspaceWrite', writableRoots: [], networkAccess: false, excludeTmpdirEnvVar: true, excludeSlashTmp: true };
const sandboxes: SandboxPolicy[] = [workspaceWrite, { type: 'readOnly', networkAccess: false }, { type: 'dangerFullAccess' }];

let homes: CodexHomes;
beforeAll(async () => {
  homes = await CodexHomes.create([]);
});
afterAll(() => homes.dispose());

describe('a canary', () => {
  it.each(sandboxes)('proves that Codex works in a directory, under $type, and leaves nothing there', async (sandboxPolicy) => {
    const server = await homes.start('here');
    const cwd = await homes.folder('work', sandboxPolicy.type);
    // As a host that was killed may have left it.
    writeFileSync(join(cwd, name), '[canary]\n\tword = of an earlier try\n');
    expect(await tryCanary(server, { cwd, sandboxPolicy, name })).toEqual({ is: 'proven' });
    expect(readdirSync(cwd)).toEqual([]);
    server.detach();
  });

  it('says why nothing could be run', async () => {
    const server = await homes.start('here');
    expect(await tryCanary(server, { cwd: join(homes.root, 'nowhere'), sandboxPolicy: workspaceWrite, name })).toMatchObject({ is: 'not-run', why: expect.stringMatching(/No such file/) as string });
    server.detach();
  });

  it.skipIf(!canManageCodex()).each(sandboxes)('notices that what Codex runs sees another directory, under $type', async (sandboxPolicy) => {
    const cwd = await homes.folder('work', 'hidden');
    const server = await homes.start('elsewhere', { codex: { ...homes.codex, command: codexWithout(homes.root, homes.codex.command, cwd) } });
    expect(await tryCanary(server, { cwd, sandboxPolicy, name })).toEqual({ is: 'elsewhere' });
    expect(readdirSync(cwd)).toEqual([]);
    server.detach();
  });
});
