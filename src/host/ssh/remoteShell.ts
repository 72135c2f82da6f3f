/**
 * Commands for a machine of which nothing is known but that ssh leads to it: its login shell may be sh, bash, zsh, fish or csh, and may print
 * anything before it gets to them.
 */

/** Says who reads the output when the noise before the command is over. */
const saysReady = (mark: string) => `baton ${mark} ready`;

/**
 * The sh script `$1` is run by a login shell, so that PATH and other variables are those that the account has when it logs in there. csh takes `-l`
 * with nothing else, and reads its PATH from .cshrc anyway.
 */
const underLoginShell = [
  'BATON_THEN=$1',
  'BATON_MARK=$2',
  'BATON_CALL=$3',
  'export BATON_THEN BATON_MARK BATON_CALL',
  'case "$SHELL" in */bash|*/zsh|*/fish|*/sh|*/dash|*/ash|*/ksh*|*/mksh) exec "$SHELL" -lc "$3" ;; *csh) exec "$SHELL" -c "$3" ;; esac',
  'exec sh -c "$3"',
].join('; ');

/** In sh, fish and csh alike. */
const call = 'exec sh -c "$BATON_THEN"';

/**
 * PATH may be set in a file that only interactive shells read, as installers of Node that live in the home directory do it: where there is no
 * `node`, one of those is asked, once.
 */
const withNode = [
  'if [ -z "$BATON_AGAIN" ] && [ -z "$(command -v node)" ]; then BATON_AGAIN=1; export BATON_AGAIN; case "$SHELL" in */bash|*/zsh|*/fish) exec "$SHELL" -ilc "$BATON_CALL" ;; esac; fi',
  `echo "${saysReady('$BATON_MARK')}"`,
  'unset BATON_THEN BATON_MARK BATON_CALL BATON_AGAIN',
].join('; ');

/** Where Baton is on a machine that it was copied to, in variables of the scripts below: its home, and itself. */
const places = 'h=${BATON_HOME:-$HOME/.baton}; f=$h/bin/baton.js';

/** Program of Node's: prints the SHA-256 of a file. Words stand as arguments, as there is no third kind of quotes. */
const hashOf = 'const[,c,a,s,p,x]=process.argv;process.stdout.write(require(c).createHash(a).update(require(s).readFileSync(p)).digest(x))';

/** What is there: a line for each thing, with nothing behind its name where it is missing. */
export const lookAround = [
  withNode,
  places,
  'echo "system $(uname -s)"',
  'echo "path $PATH"',
  'echo "node $(node --version 2>/dev/null)"',
  'echo "git $(git --version 2>/dev/null)"',
  'echo "codex $("${BATON_CODEX:-codex}" --version 2>/dev/null | tail -n 1)"',
  'echo "launcher $(command -v "${BATON_CODEX:-codex}")"',
  `echo "baton $(node -e "${hashOf}" crypto sha256 fs "$f" hex 2>/dev/null)"`,
  'echo "version $(node "$f" --version 2>/dev/null)"',
  'echo end',
].join('; ');

/** Puts a file of this hash in its place, whole and on disk, where it has just that hash. */
const putInPlace = 'const[,m,c,a,x,w,t,d,g]=process.argv,s=require(m);if(require(c).createHash(a).update(s.readFileSync(t)).digest(x)===w){const b=s.openSync(t);s.fsyncSync(b);s.closeSync(b);s.renameSync(t,d);const r=s.openSync(g);s.fsyncSync(r);s.closeSync(r)}else{process.exitCode=3}';

/** Takes `baton.js` from standard input. A host that runs goes on with the file that it was started from. `sha256` is 64 hex digits. */
export function takeBaton(sha256: string): string {
  return [
    withNode,
    places,
    'umask 077',
    'mkdir -p "$h/bin"',
    `t=$h/bin/.${hex(sha256)}.$$`,
    `if cat >"$t" && chmod 700 "$t" && node -e "${putInPlace}" fs crypto sha256 hex ${hex(sha256)} "$t" "$f" "$h/bin"; then echo installed; else rm -f "$t"; echo failed; fi`,
  ].join('; ');
}

/** Joins standard input and output to the host there, as `baton host stdio` with these options does. */
export function joinHost(options: readonly string[]): string {
  return [withNode, places, `if [ -f "$f" ]; then exec node "$f" host stdio ${options.map(word).join(' ')}; fi`, 'echo missing'].join('; ');
}

/** The one word that ssh hands to the shell of the other machine. `mark` is made for this one command. */
export function remoteCommand(script: string, mark: string): { readonly command: string; readonly ready: string } {
  return { command: ['sh', '-c', quoted(underLoginShell), 'sh', quoted(script), hex(mark), quoted(call)].join(' '), ready: `${saysReady(hex(mark))}\n` };
}

/** Single quotes mean the same to every shell around what has none of these. */
function quoted(text: string): string {
  if (/['\\!\n\r]/.test(text)) throw new Error('This text cannot be given to every shell.');
  return `'${text}'`;
}

function hex(text: string): string {
  if (!/^[0-9a-f]+$/.test(text)) throw new Error(`${text} is not in hex digits.`);
  return text;
}

function word(text: string): string {
  if (!/^[A-Za-z0-9_=-]+$/.test(text)) throw new Error(`${text} is not a plain word.`);
  return text;
}
