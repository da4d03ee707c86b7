/**
 * The document around a view. It carries no state and loads nothing but the two files it is
 * given; what a view says is made elsewhere.
 */

import { html } from "./html";

/** A view's title and body, and where the webview finds what belongs to it. */
export interface Page {
  title: string;
  body: string;
  cspSource: string;
  nonce: string;
  style: string;
  script: string;
}

/** Return a whole HTML document; `body` is markup from one of the views, all else is text. */
export function page({ title, body, cspSource, nonce, style, script }: Page): string {
  const policy = [
    "default-src 'none'",
    "img-src 'none'",
    `style-src ${cspSource}`,
    `script-src 'nonce-${nonce}'`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  const head = html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="stylesheet" href="${style}">
</head>
<body>
<main>
<h1>${title}</h1>
`;
  const foot = html`
</main>
<script nonce="${nonce}" src="${script}"></script>
</body>
</html>
`;
  return head.text + body + foot.text;
}
