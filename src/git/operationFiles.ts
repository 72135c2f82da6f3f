/**
 * The files by which git remembers an operation in progress, each with the form that it may have. Nothing else is
 * carried, and nothing received is written that does not match: several of these files name programs, branches or
 * options that git acts on later (git-rebase(1) `exec`, `--update-refs`, `--strategy`; git-am(1) `apply-opt`).
 */

const oid = '[0-9a-f]{40}(?:[0-9a-f]{24})?';
const oneId = new RegExp(`^${oid}\\n?$`);
const ids = new RegExp(`^(?:${oid}\\n?)*$`);
const number = /^\d{1,9}\n?$/;
const flag = /^[\w= -]{0,64}\n?$/;
/** Words as git's `sq_quote` writes them; nothing in them is left for a shell to read. */
const quotedWords = /^(?: ?'[^'\0]*'(?:\\['!]'[^'\0]*')*)*\n?$/;
const author = /^(?:GIT_AUTHOR_(?:NAME|EMAIL|DATE)=(?:'[^'\0]*'|\\['!])*\n?)*$/;
const text = /^[^\0]*$/;
const line = /^[^\0\n]*\n?$/;
const strategy = /^(?:resolve|recursive|octopus|ours|subtree|ort)\n?$/;
const signKey = /^-S[\w <>@.+=-]*\n?$/;

const forms: Readonly<Record<string, RegExp>> = {
  MERGE_HEAD: ids, MERGE_MSG: text, MERGE_MODE: /^(?:no-ff)?\n?$/, MERGE_AUTOSTASH: oneId, SQUASH_MSG: text,
  CHERRY_PICK_HEAD: oneId, REVERT_HEAD: oneId, REBASE_HEAD: oneId, ORIG_HEAD: oneId,
  BISECT_START: line, BISECT_LOG: /^(?:(?:#|git bisect |status:)[^\0\n]*\n?)*$/, BISECT_NAMES: quotedWords, BISECT_TERMS: /^[a-z0-9-]+\n[a-z0-9-]+\n?$/i,
  BISECT_EXPECTED_REV: oneId, BISECT_ANCESTORS_OK: flag, BISECT_FIRST_PARENT: flag,

  'sequencer/head': oneId, 'sequencer/todo': text, 'sequencer/opts': text, 'sequencer/abort-safety': new RegExp(`^(?:${oid})?\\n?$`),

  'rebase-merge/head-name': line, 'rebase-merge/onto': oneId, 'rebase-merge/orig-head': oneId, 'rebase-merge/squash-onto': oneId, 'rebase-merge/amend': oneId,
  'rebase-merge/stopped-sha': /^[0-9a-f]{4,64}\n?$/, 'rebase-merge/autostash': oneId,
  'rebase-merge/git-rebase-todo': text, 'rebase-merge/git-rebase-todo.backup': text, 'rebase-merge/done': text,
  'rebase-merge/msgnum': number, 'rebase-merge/end': number, 'rebase-merge/message': text, 'rebase-merge/message-squash': text, 'rebase-merge/message-fixup': text, 'rebase-merge/current-fixups': text,
  'rebase-merge/author-script': author, 'rebase-merge/rewritten-list': text, 'rebase-merge/refs-to-delete': /^(?:(?!.*\.\.)refs\/rewritten\/[^\0-\x20\x7f~^:?*[\\]+\n)*$/, 'rebase-merge/rewritten-pending': text, 'rebase-merge/rewritten-deferred': text, 'rebase-merge/patch': text,
  'rebase-merge/strategy': strategy, 'rebase-merge/strategy_opts': quotedWords, 'rebase-merge/gpg_sign_opt': signKey,
  ...Object.fromEntries(['interactive', 'quiet', 'verbose', 'signoff', 'cdate_is_adate', 'ignore_date', 'drop_redundant_commits', 'keep_redundant_commits', 'allow_rerere_autoupdate', 'reschedule-failed-exec', 'no-reschedule-failed-exec', 'dropped', 'implicit-rewritten']
    .map((name) => [`rebase-merge/${name}`, flag])),

  'rebase-apply/head-name': line, 'rebase-apply/onto': oneId, 'rebase-apply/orig-head': oneId, 'rebase-apply/original-commit': oneId, 'rebase-apply/abort-safety': new RegExp(`^(?:${oid})?\\n?$`), 'rebase-apply/amend': oneId, 'rebase-apply/autostash': oneId,
  'rebase-apply/next': number, 'rebase-apply/last': number, 'rebase-apply/author-script': author, 'rebase-apply/final-commit': text, 'rebase-apply/info': text, 'rebase-apply/msg': text, 'rebase-apply/patch': text, 'rebase-apply/rewritten': text,
  'rebase-apply/apply-opt': /^(?: ?'(?:--whitespace=[\w-]+|--ignore-space-change|--ignore-whitespace|--reject|--(?:directory|exclude|include)=[^'\0]*|-[Cp]\d{1,3})')*\n?$/,
  'rebase-apply/gpg_sign_opt': signKey,
  ...Object.fromEntries(['applying', 'rebasing', 'quiet', 'sign', 'utf8', 'keep', 'messageid', 'scissors', 'quoted-cr', 'threeway', 'dirtyindex', 'msg-clean', 'no_inbody_headers', 'strategy', 'allow_rerere_autoupdate', 'empty']
    .map((name) => [`rebase-apply/${name}`, flag])),
};

/** Directories of a worktree's Git directory whose files belong to an operation. */
export const operationDirectories = ['sequencer', 'rebase-merge', 'rebase-apply'] as const;
/** Files directly in the worktree's Git directory. */
export const operationTopLevel = Object.keys(forms).filter((name) => !name.includes('/'));
/** Files that `git commit` reads although no operation is in progress, as after `git merge --squash`. */
export const messageFiles = ['MERGE_MSG', 'SQUASH_MSG'] as const;

/** Left over by git for itself, which makes it anew when it needs it; and the branches that `update-ref` lines, which do not go on either, would move. */
export const scratchFiles: readonly string[] = ['rebase-apply/patch-merge-index', 'rebase-merge/update-refs'];
/** Files that name the branch to which an operation returns, the one above the other where two are under way. */
export const branchFiles = ['rebase-merge/head-name', 'rebase-apply/head-name', 'BISECT_START'] as const;

/** Patches of `git am`, numbered. */
const numberedPatch = /^rebase-apply\/\d{4,9}$/;

export function isOperationFile(name: string): boolean {
  return Object.hasOwn(forms, name) || numberedPatch.test(name);
}

/** Whether `content` (one character per byte) has the form that git itself would have written. */
export function hasOperationForm(name: string, content: string): boolean {
  return numberedPatch.test(name) ? text.test(content) : Object.hasOwn(forms, name) && forms[name]?.test(content) === true;
}

/** Per-worktree refs that an operation keeps. */
export function isOperationRef(name: string): boolean {
  return /^refs\/(bisect|rewritten)\/[^\0-\x20\x7f~^:?*[\\]+$/.test(name) && !/(\.\.|@\{|\/\/|\.lock(\/|$)|\/\.|\/$|\.$)/.test(name);
}

const safeCommands = /^(p|pick|revert|e|edit|r|reword|f|fixup|s|squash|b|break|l|label|t|reset|m|merge|d|drop|noop)([ \t\r]|$)/;

/** What is taken out of an operation file, and what stays. */
export interface NeutralisedFile {
  /** Null when the file is not to be written at all. */
  readonly content: string | null;
  /** Lines that would have run a program or moved another branch, as they stood. */
  readonly removed: readonly string[];
}

/**
 * Takes out of an operation file what would run a program, or move a branch of the user's, when the operation goes on.
 * Doing it twice changes nothing more, so both hosts can describe an operation by its neutralised files.
 */
export function neutralise(name: string, content: string): NeutralisedFile {
  switch (name) {
    case 'rebase-merge/git-rebase-todo':
    case 'rebase-merge/git-rebase-todo.backup':
    case 'sequencer/todo':
      return keepLines(content, (candidate) => /^[ \t]*(#|$|\r)/.test(candidate) || safeCommands.test(candidate.replace(/^[ \t]+/, '')));
    case 'sequencer/opts':
      return keepLines(content, (candidate) => /^\[options\]$|^\s*$|^\t(no-commit|edit|signoff|allow-ff|record-origin|allow-empty|allow-empty-message|keep-redundant-commits|drop-redundant-commits|mainline|allow-rerere-auto|default-msg-cleanup) = [\w -]*$|^\tstrategy = (resolve|recursive|octopus|ours|subtree|ort)$|^\tgpg-sign = [\w <>@.+=-]*$|^\tstrategy-option = [\w=.-]*$/.test(candidate));
    case 'rebase-merge/strategy':
    case 'rebase-merge/strategy_opts':
    case 'rebase-merge/gpg_sign_opt':
    case 'rebase-apply/gpg_sign_opt':
    case 'rebase-apply/apply-opt':
      return hasOperationForm(name, content) ? { content, removed: [] } : { content: null, removed: [`${name}: ${content.trim()}`] };
    default:
      return { content, removed: [] };
  }
}

function keepLines(content: string, keeps: (line: string) => boolean): NeutralisedFile {
  const lines = content.split('\n');
  return { content: lines.filter(keeps).join('\n'), removed: lines.filter((candidate) => !keeps(candidate)) };
}

/** What of a file counts when two hosts compare operations: comments and the name of the branch do not. */
export function comparable(name: string, content: string): string | null {
  const kept = neutralise(name, content).content;
  if (name === 'BISECT_START' || name.endsWith('/head-name')) return null;
  if (kept === null || !/todo(\.backup)?$/.test(name)) return kept;
  return kept.split('\n').filter((candidate) => !/^[ \t]*(#|$)/.test(candidate)).join('\n');
}
