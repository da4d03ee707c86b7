/** A figure in [0, 1] as a bar with a mark at what was required of it. It draws both and
 * compares nothing: whether it was enough is the server's to say. */

import { html, type Html } from "./html";

/** Return the bar with the words that say the same below it. */
export function meter(name: string, value: number, required: number, caption: string): Html {
  const percent = (figure: number): string => `${(100 * Math.min(1, Math.max(0, figure))).toFixed(1)}%`;
  const told = `${name}: ${value.toFixed(2)}, with the mark at ${required.toFixed(2)}`;
  return html`<figure class="meter">
<svg role="img" aria-label="${told}" width="100%" height="20">
<rect class="track" y="5" width="100%" height="10"/>
<rect class="fill" y="5" width="${percent(value)}" height="10"/>
<line class="mark" x1="${percent(required)}" x2="${percent(required)}" y1="0" y2="20"/>
</svg>
<figcaption>${caption}</figcaption></figure>`;
}
