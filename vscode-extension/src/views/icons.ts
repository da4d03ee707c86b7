/** The few signs of the views. Each stands beside a word that says the same, so all are hidden
 * from screen readers; their colours come from media/view.css. */

import { html, type Html } from "./html";
import type { Decision } from "../protocol";

const PATHS = {
  ok: "M2.5 8.5 6 12l7.5-8",
  bad: "m3.5 3.5 9 9m0-9-9 9",
  silent: "M5 5.8C5 2 11 2 11 5.8 11 8 8 7.8 8 10M8 12.4v1",
  warn: "M8 2 1.5 13.5h13zM8 6.4v3.2m0 1.6v.8",
  up: "M8 13.5v-11m-4.5 4.5L8 2.5 12.5 7",
};

/** The name of a sign. */
export type Icon = keyof typeof PATHS;

/** Return a sign as a drawing the size of a line of text. */
export function icon(name: Icon): Html {
  const path = html`<path d="${PATHS[name]}"/>`;
  return html`<svg class="icon ${name}" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">${path}</svg>`;
}

/** The sign of each action of a decision. */
export const ACTION_ICONS: Record<Decision["action"], Icon> = { accept: "ok", escalate: "up", best_effort: "warn" };
