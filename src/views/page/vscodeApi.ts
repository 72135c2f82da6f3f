import { messageToPage, type MessageFromPage, type MessageToPage } from '../threadMessages';

interface VsCodeApi {
  postMessage(message: MessageFromPage): void;
  getState(): unknown;
  setState(state: PageState): void;
}
declare function acquireVsCodeApi(): VsCodeApi;

/** What the page keeps across a reload: which thread it shows, and the message that was not sent yet. */
export interface PageState {
  readonly threadId: string;
  readonly draft: string;
}

/** The extension, as the page sees it. */
export interface Extension {
  post(message: MessageFromPage): void;
  onMessage(handler: (message: MessageToPage) => void): void;
  draft(): string;
  keep(state: PageState): void;
}

/** Connects to the extension. VS Code allows this once for each load of the page. */
export function connectToExtension(): Extension {
  const api = acquireVsCodeApi();
  return {
    post: (message) => api.postMessage(message),
    onMessage: (handler) =>
      window.addEventListener('message', (event: MessageEvent<unknown>) => {
        const message = messageToPage.safeParse(event.data).data;
        if (message !== undefined) handler(message);
      }),
    draft: () => {
      const state = api.getState();
      return typeof state === 'object' && state !== null && 'draft' in state && typeof state.draft === 'string' ? state.draft : '';
    },
    keep: (state) => api.setState(state),
  };
}
