import type { Frame, Locator, Page } from 'playwright-core';

const SHOWN_MS = 30_000;

/** The workbench of VS Code as its user sees it, by what it says and not by how it looks. */
export class Workbench {
  constructor(readonly page: Page) {}

  /** Waits until the workbench can be used. */
  async ready(): Promise<void> {
    await this.page.locator('.monaco-workbench .activitybar').waitFor({ timeout: SHOWN_MS });
    await this.page.locator('.monaco-workbench .statusbar').waitFor({ timeout: SHOWN_MS });
  }

  /** Shows Baton's views in the side bar. */
  async showBaton(): Promise<void> {
    const threads = this.section('Threads');
    for (;;) {
      if (await threads.isVisible()) return;
      // A click hides them where the window has just brought them back by itself; then another one is due.
      await this.page.locator('.activitybar [aria-label="Baton"]').first().click();
      if (await threads.waitFor({ timeout: SHOWN_MS }).then(() => true, () => false)) return;
    }
  }

  /** Shows the files in the side bar, and Baton's views no longer. */
  async showExplorer(): Promise<void> {
    await this.page.locator('.activitybar [aria-label^="Explorer"]').first().click();
    await this.section('Threads').waitFor({ state: 'hidden', timeout: SHOWN_MS });
  }

  /** A view of the side bar by its title. */
  section(title: string): Locator {
    return this.page.locator('.sidebar .pane').filter({ has: this.page.locator(`.pane-header[aria-label^="${title}"]`) });
  }

  /** A row of a view by what a screen reader says of it. */
  row(section: string, label: RegExp): Locator {
    return this.section(section).getByRole('treeitem', { name: label });
  }

  /** What a screen reader says of each row of a view, from the top. */
  async rows(section: string): Promise<string[]> {
    return await labels(this.section(section).getByRole('treeitem'));
  }

  /** Opens the command palette and runs a command by its full title. */
  async runCommand(title: string): Promise<void> {
    await this.page.keyboard.press('F1');
    const input = this.quickInput.locator('input.input');
    await input.waitFor({ timeout: SHOWN_MS });
    await input.fill(`>${title}`);
    await this.quickInput.getByRole('option', { name: title }).first().waitFor({ timeout: SHOWN_MS });
    await this.page.keyboard.press('Enter');
  }

  get quickInput(): Locator {
    return this.page.locator('.quick-input-widget');
  }

  /** Titles that the command palette offers for a search text. */
  async commandsFor(text: string): Promise<string[]> {
    await this.page.keyboard.press('F1');
    await this.quickInput.locator('input.input').fill(`>${text}`);
    await this.quickInput.getByRole('option').first().waitFor({ timeout: SHOWN_MS });
    const titles = await labels(this.quickInput.getByRole('option'));
    await this.page.keyboard.press('Escape');
    return titles;
  }

  /** An entry of the quick pick that is open, once it is there. */
  async option(name: RegExp): Promise<Locator> {
    const option = this.quickInput.getByRole('option', { name }).first();
    await option.waitFor({ timeout: SHOWN_MS });
    return option;
  }

  /** Chooses an entry of the quick pick that is open. */
  async choose(name: RegExp): Promise<void> {
    await (await this.option(name)).click();
  }

  /** Answers the input box with this placeholder, once it is the one that is open. */
  async answer(placeholder: string, text: string): Promise<void> {
    const input = this.quickInput.getByPlaceholder(placeholder);
    await input.waitFor({ timeout: SHOWN_MS });
    await input.fill(text);
    await this.page.keyboard.press('Enter');
  }

  /** Opens the context menu of a row, as a click with the right button does, and gives what is in it. */
  async menuOf(row: Locator): Promise<string[]> {
    await row.click({ button: 'right' });
    const items = this.menu.getByRole('menuitem');
    await items.first().waitFor({ timeout: SHOWN_MS });
    return (await items.allInnerTexts()).map((text) => text.trim()).filter((text) => text !== '');
  }

  /** Chooses an entry of the context menu that is open. By mouse and key: VS Code takes no click in the first tenth of a second of a menu. */
  async chooseFromMenu(title: string): Promise<void> {
    await this.menu.getByRole('menuitem', { name: title, exact: true }).hover();
    await this.page.keyboard.press('Enter');
    await this.menu.waitFor({ state: 'detached' });
  }

  private get menu(): Locator {
    return this.page.locator('.context-view .monaco-menu').first();
  }

  /** The modal dialog that is open. */
  get dialog(): Locator {
    return this.page.locator('.monaco-dialog-box');
  }

  notification(text: RegExp): Locator {
    return this.page.locator('.notification-toast, .notification-list-item').filter({ hasText: text }).first();
  }

  /** The page inside the webview whose document holds `selector`. */
  async webview(selector: string): Promise<Frame> {
    const deadline = Date.now() + SHOWN_MS;
    for (;;) {
      const navigated = this.page.waitForEvent('framenavigated', { timeout: 1_000 }).catch(() => undefined);
      for (const frame of this.page.frames()) {
        if (frame.url().includes('fake.html') && (await frame.locator(selector).count().catch(() => 0)) > 0) return frame;
      }
      if (Date.now() > deadline) throw new Error(`No webview shows ${selector}. Frames: ${this.page.frames().map((frame) => frame.url().slice(0, 120)).join(', ')}`);
      await navigated;
    }
  }
}

async function labels(rows: Locator): Promise<string[]> {
  return await Promise.all((await rows.all()).map(async (row) => (await row.getAttribute('aria-label')) ?? ''));
}
