/** Entry of the invite panel's page. */
import '@vscode-elements/elements/dist/vscode-button/index.js';
import '@vscode-elements/elements/dist/vscode-progress-ring/index.js';
import { inviteToPage, type InviteFromPage, type InviteToPage } from '../inviteMessages';
import { InviteView } from './inviteView';
import { connectToExtension } from './vscodeApi';

customElements.define('baton-invite', InviteView);
document.querySelector<InviteView>('baton-invite')?.start(connectToExtension<InviteFromPage, InviteToPage>(inviteToPage));
