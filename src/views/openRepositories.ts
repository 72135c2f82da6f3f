import * as vscode from 'vscode';
import { mainCheckoutOf } from './checkout';

/** A repository that is open in this window, as VS Code's Git extension knows it. */
export interface OpenRepository {
  readonly root: string;
  /** Undefined with a detached HEAD. */
  readonly branch: string | undefined;
  /** Files with staged, unstaged, untracked or conflicting changes. */
  readonly changes: number;
}

// The part of `vscode.git`'s API version 1 that is used here (extensions/git/src/api/git.d.ts in microsoft/vscode).
interface GitRepository {
  readonly rootUri: vscode.Uri;
  readonly state: {
    readonly HEAD: { readonly name?: string } | undefined;
    readonly mergeChanges: readonly unknown[];
    readonly indexChanges: readonly unknown[];
    readonly workingTreeChanges: readonly unknown[];
    readonly untrackedChanges?: readonly unknown[];
  };
  readonly ui: { readonly selected: boolean };
}
interface GitApi {
  readonly repositories: readonly GitRepository[];
  readonly onDidOpenRepository: vscode.Event<GitRepository>;
  readonly onDidCloseRepository: vscode.Event<GitRepository>;
}
interface GitExtension {
  readonly enabled: boolean;
  getAPI(version: 1): GitApi;
}

/** The repositories that are open in this window. Without VS Code's Git extension there are none. */
export class OpenRepositories implements vscode.Disposable {
  readonly #changed = new vscode.EventEmitter<void>();
  readonly onDidChange = this.#changed.event;
  readonly #mainCheckouts = new Map<string, Promise<string | undefined>>();
  readonly #subscriptions: { dispose(): unknown }[] = [this.#changed];
  #api: GitApi | undefined;

  /** Finds VS Code's Git extension and waits until it is active. */
  async connect(): Promise<void> {
    const extension = vscode.extensions.getExtension<GitExtension>('vscode.git');
    if (extension === undefined) return;
    const exports = await extension.activate();
    if (!exports.enabled) return;
    const api = exports.getAPI(1);
    this.#api = api;
    this.#subscriptions.push(
      api.onDidOpenRepository(() => this.#changed.fire()),
      api.onDidCloseRepository(() => this.#changed.fire()),
    );
    this.#changed.fire();
  }

  /** The open repositories; the one that is selected in the Source Control view comes first. */
  get all(): readonly OpenRepository[] {
    return [...(this.#api?.repositories ?? [])]
      .sort((a, b) => Number(b.ui.selected) - Number(a.ui.selected))
      .map(({ rootUri, state }) => ({
        root: rootUri.fsPath,
        branch: state.HEAD?.name,
        changes: state.mergeChanges.length + state.indexChanges.length + state.workingTreeChanges.length + (state.untrackedChanges?.length ?? 0),
      }));
  }

  /** Whether `directory` lies in an open repository, or in a worktree that was made from one. */
  async includes(directory: string): Promise<boolean> {
    const roots = this.all.map((repository) => repository.root);
    if (roots.length === 0) return false;
    const [checkout, ...open] = await Promise.all([directory, ...roots].map((path) => this.#mainCheckout(path)));
    return checkout !== undefined && open.includes(checkout);
  }

  dispose(): void {
    for (const subscription of this.#subscriptions.splice(0)) subscription.dispose();
  }

  #mainCheckout(directory: string): Promise<string | undefined> {
    const known = this.#mainCheckouts.get(directory);
    if (known !== undefined) return known;
    const checkout = mainCheckoutOf(directory);
    this.#mainCheckouts.set(directory, checkout);
    // A directory that is no checkout yet may become one.
    void checkout.then((root) => {
      if (root === undefined) this.#mainCheckouts.delete(directory);
    });
    return checkout;
  }
}
