/** Runs inside the real extension host: what can only be asked there. VS Code calls `run`; a rejection fails the run. */
import assert from 'node:assert/strict';
import { z } from 'zod';
import * as vscode from 'vscode';

const manifestSchema = z.looseObject({
  contributes: z.looseObject({
    commands: z.array(z.looseObject({ command: z.string() })),
    views: z.record(z.string(), z.array(z.looseObject({ id: z.string() }))),
  }),
});

const checks: Readonly<Record<string, () => Promise<void>>> = {
  'the extension activates without a folder of its own being trusted or a host being there': async () => {
    const { extension } = baton();
    await extension.activate();
    assert.equal(extension.isActive, true);
  },

  'what package.json declares as commands is what is registered': async () => {
    const { manifest } = baton();
    const declared = manifest.contributes.commands.map(({ command }) => command).sort();
    // VS Code itself registers commands for each view (focus, open, …).
    const views = Object.values(manifest.contributes.views).flat().map(({ id }) => `${id}.`);
    const registered = (await vscode.commands.getCommands(true)).filter((command) => command.startsWith('baton.') && !views.some((view) => command.startsWith(view))).sort();
    assert.deepEqual(registered, declared);
  },

  'the open repository is found through the Git extension': async () => {
    const git = vscode.extensions.getExtension<{ getAPI(version: 1): GitApi }>('vscode.git');
    assert.ok(git !== undefined, 'VS Code has its Git extension');
    const api = (await git.activate()).getAPI(1);
    const repository = api.repositories[0] ?? (await new Promise<GitRepository>((resolve) => api.onDidOpenRepository(resolve)));
    assert.equal(repository.rootUri.fsPath, vscode.workspace.workspaceFolders?.[0]?.uri.fsPath);
  },
};

interface GitRepository {
  readonly rootUri: vscode.Uri;
}
interface GitApi {
  readonly repositories: readonly GitRepository[];
  readonly onDidOpenRepository: vscode.Event<GitRepository>;
}

function baton(): { extension: vscode.Extension<unknown>; manifest: z.infer<typeof manifestSchema> } {
  const extension = vscode.extensions.getExtension('baton.baton');
  assert.ok(extension !== undefined, 'the extension is installed');
  return { extension, manifest: manifestSchema.parse(extension.packageJSON) };
}

export async function run(): Promise<void> {
  const failures: string[] = [];
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
      console.log(`ok: ${name}`);
    } catch (error) {
      failures.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (failures.length > 0) throw new Error(failures.join('\n'));
  console.log(`extension host: ${Object.keys(checks).length} checks passed`);
}
