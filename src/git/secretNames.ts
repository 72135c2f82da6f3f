import type { BytePath } from './bytePath';

/** Templates that projects publish on purpose. */
const TEMPLATE = /\.(example|sample|template|dist|defaults?|tmpl|tpl)$/;
const NAMES = new Set([
  '.envrc', '.netrc', '_netrc', '.npmrc', '.yarnrc', '.pypirc', '.htpasswd', '.pgpass', '.my.cnf', '.git-credentials', '.dockercfg', '.boto', '.s3cfg', '.vault-token',
  'credentials', 'credentials.json', 'credentials.yml', 'credentials.yaml', 'credentials.toml', 'client_secret.json', 'application_default_credentials.json', 'kubeconfig', 'master.key',
  'secret', 'secrets', '.secret', '.secrets', 'wp-config.php', 'terraform.tfvars',
]);
const PATTERNS = [
  /^\.env(\.|$)/, /\.env$/, /^id_(rsa|dsa|ecdsa|ed25519)(_sk)?$/, /\.(pem|key|p8|p12|pfx|jks|keystore|ppk|kdbx|gpg|pgp|asc|age|ovpn|agekey)$/,
  /^\.?secrets?\.[a-z0-9]+$/, /service[-_]?account.*\.json$/, /\.tfstate(\.backup)?$/, /\.auto\.tfvars$/,
];
/** Directories that hold little else. */
const DIRECTORIES = /(^|\/)(\.ssh|\.aws|\.gnupg|\.kube|\.docker|secrets?|\.secrets?)\//;

/** Whether a path looks, by its name alone, like one that holds keys, passwords or tokens. It may err on either side, so it only warns. */
export function looksSecret(name: BytePath): boolean {
  const lower = name.toLowerCase();
  const last = lower.slice(lower.lastIndexOf('/') + 1);
  if (TEMPLATE.test(last) || last.endsWith('.pub')) return false;
  return NAMES.has(last) || PATTERNS.some((pattern) => pattern.test(last)) || DIRECTORIES.test(lower);
}
