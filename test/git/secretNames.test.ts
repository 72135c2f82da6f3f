import { afterEach, describe, expect, it } from 'vitest';
import path from 'node:path';
import { captureWorkingState } from '../../src/git/capture';
import { looksSecret } from '../../src/git/secretNames';
import { git, removeTemporaryDirectories, temporaryDirectory, write } from './laboratory';

afterEach(removeTemporaryDirectories);

describe('a name that looks like a secret', () => {
  it.each(['.env', '.env.local', 'app/.ENV.production', 'prod.env', 'id_rsa', '.ssh/config', 'certs/server.pem', 'a/b.key', 'release.keystore', '.npmrc', '.netrc', '.aws/credentials', 'secrets.yaml', 'infra/terraform.tfstate', 'my-service-account-1.json', 'config/master.key'])('is %j', (name) => {
    expect(looksSecret(name)).toBe(true);
  });

  it.each(['.env.example', '.env.sample', 'env.ts', 'environment.json', 'id_rsa.pub', 'keys.ts', 'keyboard', 'src/secretNames.ts', 'docs/pem.md', 'tokens.css', 'monkey', 'x.keys'])('is not %j', (name) => {
    expect(looksSecret(name)).toBe(false);
  });
});

it('files that are untracked and look like secrets travel, and preflight warns of them; ignored and tracked ones are not spoken of (H10)', async () => {
  const root = path.join(temporaryDirectory(), 'app');
  git(path.dirname(root), 'init', '-q', root);
  write(root, '.gitignore', '.env\n');
  write(root, 'tracked.pem', 'a certificate that everybody has\n');
  git(root, 'add', '-A');
  git(root, 'commit', '-qm', 'first');
  write(root, '.env', 'KEY=ignored\n');
  write(root, '.env.local', 'KEY=untracked\n');
  write(root, 'deploy/id_ed25519', 'key\n');
  write(root, '.env.example', 'KEY=\n');
  const { findings } = await captureWorkingState({ root, spool: path.join(path.dirname(root), 'spool') });
  expect(findings).toEqual([{
    level: 'warning', code: 'secrets-travel',
    message: '".env.local", "deploy/id_ed25519" look like secrets, and are not ignored: untracked files travel with the thread. To keep them here, add them to .gitignore or .git/info/exclude.',
  }]);
});
