/** Where the page's files are, as the webview may load them. */
export interface PanelResources {
  readonly script: string;
  readonly style: string;
  /** `webview.cspSource`. */
  readonly cspSource: string;
  readonly nonce: string;
  readonly threadId: string;
  readonly language: string;
}

/**
 * The HTML of the thread panel's page: one script and one style sheet of ours, no inline code or style, nothing from the
 * network. All values are the extension's own; what agents write reaches the page by messages only.
 */
export function threadPanelHtml({ script, style, cspSource, nonce, threadId, language }: PanelResources): string {
  const policy = [`default-src 'none'`, `script-src 'nonce-${nonce}'`, `style-src ${cspSource}`, `connect-src 'none'`, `form-action 'none'`, `base-uri 'none'`].join('; ');
  return `<!DOCTYPE html>
<html lang="${attribute(language)}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${attribute(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="${attribute(style)}">
<title>Thread</title>
</head>
<body>
<baton-thread data-thread-id="${attribute(threadId)}"></baton-thread>
<script nonce="${nonce}" src="${attribute(script)}"></script>
</body>
</html>`;
}

function attribute(value: string): string {
  return value.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;');
}
