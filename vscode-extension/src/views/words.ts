/**
 * How figures, times, places and labels read in every view. Formatting only: no figure is
 * compared with another here.
 */

import { html, type Html } from "./html";
import type { Decision } from "../protocol";

/** Return a time span for reading: 8 ms, 14.6 s, 2 min 5 s. */
export function duration(ms: number): string {
  if (ms < 999.5) return `${ms.toFixed(0)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** Return a whole number with separators, as 1,543. */
export function whole(figure: number): string {
  return Math.round(figure).toLocaleString("en-US");
}

/** Return a share in [0, 1] as per cent, and a dash for what was not counted. */
export function share(figure: number | null): string {
  return figure === null ? "–" : `${(figure * 100).toFixed(0)} %`;
}

/** Return a number of things: 1 test, 2 tests. */
export function count(n: number, thing: string): string {
  return `${whole(n)} ${thing}${n === 1 ? "" : "s"}`;
}

/** Return a label such as `does_not_compile` as words. */
export function words(label: string): string {
  return label.replaceAll("_", " ");
}

/** Return a moment, in seconds since the epoch, in the reader's time zone. */
export function moment(seconds: number, precise = false): Html {
  const at = new Date(seconds * 1000);
  if (Number.isNaN(at.getTime())) return html`an unknown time`;
  const two = (n: number): string => String(n).padStart(2, "0");
  const day = [String(at.getFullYear()), two(at.getMonth() + 1), two(at.getDate())].join("-");
  const clock = [two(at.getHours()), two(at.getMinutes()), ...(precise ? [two(at.getSeconds())] : [])].join(":");
  return html`<time datetime="${at.toISOString()}">${day} ${clock}</time>`;
}

/** A file as people name it. */
export interface FileName {
  name: string;
  folder: string;
}

/** Return the name and the folder of the file that a URI means. */
export function fileName(uri: string): FileName {
  const path = decoded(uri.replace(/^[a-z][\w+.-]*:(\/\/)?/i, ""));
  const cut = path.lastIndexOf("/");
  return { name: path.slice(cut + 1) || path, folder: path.slice(0, Math.max(cut, 0)) };
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** Return a button that opens a file at a line, counted from 1. */
export function openButton(uri: string, line: number): Html {
  const { name, folder } = fileName(uri);
  const where = folder ? html` title="in ${folder}"` : null;
  return html`<button type="button" class="link" data-open="${uri}" data-line="${line}"${where}>${name}:${line}</button>`;
}

export const ACTIONS: Record<Decision["action"], string> = {
  accept: "accepted",
  escalate: "escalated",
  best_effort: "best effort",
};
