// Set by an editor, by git or by npm for their own children. In Codex and the commands that it runs they would redirect Node,
// git's prompts or its repository; everything else (PATH, provider keys, proxies, locale) is the user's and stays.
const foreign = /^(ELECTRON_|VSCODE_|BATON_|npm_)|^(NODE_OPTIONS|GIT_ASKPASS|GIT_EDITOR|GIT_SEQUENCE_EDITOR|GIT_PAGER|GIT_DIR|GIT_WORK_TREE|GIT_INDEX_FILE|GIT_OBJECT_DIRECTORY|GIT_ALTERNATE_OBJECT_DIRECTORIES|GIT_PREFIX|GIT_COMMON_DIR|GIT_NAMESPACE)$/;

/** The environment for Codex: that of this process without what an editor put there for itself, plus `CODEX_HOME`. */
export function codexEnvironment(env: Readonly<Record<string, string | undefined>>, codexHome: string): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) if (value !== undefined && !foreign.test(name)) kept[name] = value;
  kept['CODEX_HOME'] = codexHome;
  return kept;
}
