/** What a webview's page is made of, as the webview may load it. */
export interface PageResources {
  readonly script: string;
  readonly styles: readonly string[];
  /** `webview.cspSource`. */
  readonly cspSource: string;
  readonly nonce: string;
  readonly language: string;
  readonly title: string;
  /** The element that is the page, and its attributes. */
  readonly element: string;
  readonly attributes?: Readonly<Record<string, string>>;
}

/**
 * The HTML of a webview's page: one script and the style sheets of ours, no inline code or style, nothing from the
 * network. All values are the extension's own; what others write reaches the page by messages only.
 */
export function pageHtml({ script, styles, cspSource, nonce, language, title, element, attributes = {} }: PageResources): string {
  const policy = [`default-src 'none'`, `script-src 'nonce-${nonce}'`, `style-src ${cspSource}`, `connect-src 'none'`, `form-action 'none'`, `base-uri 'none'`].join('; ');
  const written = Object.entries(attributes).map(([name, value]) => ` ${name}="${attribute(value)}"`).join('');
  return `<!DOCTYPE html>
<html lang="${attribute(language)}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${attribute(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
${styles.map((style) => `<link rel="stylesheet" href="${attribute(style)}">`).join('\n')}
<title>${attribute(title)}</title>
</head>
<body>
<${element}${written}></${element}>
<script nonce="${nonce}" src="${attribute(script)}"></script>
</body>
</html>`;
}

function attribute(value: string): string {
  return value.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;');
}
