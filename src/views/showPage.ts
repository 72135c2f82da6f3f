import { randomBytes } from 'node:crypto';
import * as vscode from 'vscode';
import { pageHtml, type PageResources } from './pageHtml';

/** Puts one of the extension's pages into a webview: `dist/<name>.js` and style sheets of `media/`, and nothing else may be loaded. */
export function showPage(webview: vscode.Webview, extensionUri: vscode.Uri, { name, styles, ...page }: { readonly name: string; readonly styles: readonly string[] } & Pick<PageResources, 'title' | 'element' | 'attributes'>): void {
  const dist = vscode.Uri.joinPath(extensionUri, 'dist');
  const media = vscode.Uri.joinPath(extensionUri, 'media');
  webview.options = { enableScripts: true, enableCommandUris: false, enableForms: false, localResourceRoots: [dist, media] };
  webview.html = pageHtml({
    ...page,
    script: webview.asWebviewUri(vscode.Uri.joinPath(dist, `${name}.js`)).toString(),
    styles: styles.map((style) => webview.asWebviewUri(vscode.Uri.joinPath(media, style)).toString()),
    cspSource: webview.cspSource,
    nonce: randomBytes(16).toString('base64url'),
    language: vscode.env.language,
  });
}
