import type { z } from 'zod';
import { messageToPage, type MessageFromPage, type MessageToPage } from '../threadMessages';

interface VsCodeApi {
  postMessage(message: unknown): void;
  getState(): unknown;
  setState(state: unknown): void;
}
declare function acquireVsCodeApi(): VsCodeApi;

/** The extension, as a page sees it: what goes to it, and what comes from it. */
export interface Extension<Out, In> {
  post(message: Out): void;
  onMessage(handler: (message: In) => void): void;
}

/** What the thread panel's page keeps across a reload: which thread it shows, and the message that was not sent yet. */
export interface PageState {
  readonly threadId: string;
  readonly draft: string;
}

/** The extension, as the thread panel's page sees it. */
export interface ThreadExtension extends Extension<MessageFromPage, MessageToPage> {
  draft(): string;
  keep(state: PageState): void;
}

/** Connects to the extension; what it says is checked. VS Code allows this once for each load of the page. */
export function connectToExtension<Out, In>(incoming: z.ZodType<In>): Extension<Out, In> & { readonly api: VsCodeApi } {
  const api = acquireVsCodeApi();
  return {
    api,
    post: (message) => api.postMessage(message),
    onMessage: (handler) =>
      window.addEventListener('message', (event: MessageEvent<unknown>) => {
        const { success, data } = incoming.safeParse(event.data);
        if (success) handler(data);
      }),
  };
}

export function connectThreadPanel(): ThreadExtension {
  const { api, ...extension } = connectToExtension<MessageFromPage, MessageToPage>(messageToPage);
  return {
    ...extension,
    draft: () => {
      const state = api.getState();
      return typeof state === 'object' && state !== null && 'draft' in state && typeof state.draft === 'string' ? state.draft : '';
    },
    keep: (state) => api.setState(state),
  };
}
