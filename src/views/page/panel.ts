/** Entry of the thread panel's page. */
import '@vscode-elements/elements/dist/vscode-button/index.js';
import '@vscode-elements/elements/dist/vscode-progress-ring/index.js';
import { ThreadView } from './threadView';
import { connectThreadPanel } from './vscodeApi';

customElements.define('baton-thread', ThreadView);
const view = document.querySelector<ThreadView>('baton-thread');
view?.start(connectThreadPanel());
