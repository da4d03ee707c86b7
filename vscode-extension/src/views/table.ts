/** Tables of figures that scroll within themselves where they are wider than the page. */

import { html, type Html, type Part } from "./html";

/** Return a table; columns from `figures` on hold figures and are set to the right. */
export function table(caption: string, head: readonly string[], rows: readonly (readonly Part[])[], figures = 1): Html {
  const kind = (column: number): string => (column < figures ? "words" : "figure");
  const headings = head.map((title, i) => html`<th scope="col" class="${kind(i)}">${title}</th>`);
  const lines = rows.map(([first, ...rest]) => {
    const cells = rest.map((cell, i) => html`<td class="${kind(i + 1)}">${cell}</td>`);
    return html`<tr><th scope="row">${first}</th>${cells}</tr>`;
  });
  return scrolling(
    caption,
    html`<table><caption>${caption}</caption><thead><tr>${headings}</tr></thead><tbody>${lines}</tbody></table>`,
  );
}

/** Return content that may scroll sideways; media/view.js lets the keyboard reach it if it does. */
export function scrolling(label: string, content: Html): Html {
  return html`<div class="scroll" role="group" aria-label="${label}">${content}</div>`;
}
