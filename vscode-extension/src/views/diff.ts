/** What one text changes in another, by lines, with the words that differ marked within them. */

import { diffLines, diffWordsWithSpace, type Change } from "diff";
import { html, type Html } from "./html";
import { scrolling } from "./table";

interface Piece {
  text: string;
  changed: boolean;
}

interface Line {
  kind: "kept" | "removed" | "added";
  pieces: Piece[];
}

const LEAST_SHARED = 0.5;
const SIGNS = { kept: " ", removed: "−", added: "+" };

/** Return the changes from one text to the next, each line with its sign. */
export function diff(label: string, before: string, after: string): Html {
  const lines = changedLines(ended(before), ended(after));
  return scrolling(label, html`<div class="code diff">${lines.map(row)}</div>`);
}

function ended(text: string): string {
  return `${text.replaceAll("\r\n", "\n").replace(/\n+$/, "")}\n`;
}

function changedLines(before: string, after: string): Line[] {
  const changes = diffLines(before, after);
  return changes.flatMap((change, i) => {
    const [previous, next] = [changes[i - 1], changes[i + 1]];
    if (change.removed) return side("removed", change.value, next?.added ? alike(change.value, next.value) : []);
    if (change.added) return side("added", change.value, previous?.removed ? alike(previous.value, change.value) : []);
    return split("kept", [{ text: change.value, changed: false }]);
  });
}

/** Return how two stretches differ by words; nothing where they share too little to compare. */
function alike(before: string, after: string): Change[] {
  const words = diffWordsWithSpace(before, after);
  const solid = (text: string): number => text.replace(/\s/g, "").length;
  const shared = words.reduce((sum, word) => sum + (word.added || word.removed ? 0 : solid(word.value)), 0);
  return shared >= LEAST_SHARED * Math.max(solid(before), solid(after)) ? words : [];
}

/** Return the lines of one side; a side with nothing to compare it with has no marks. */
function side(kind: "removed" | "added", text: string, words: readonly Change[]): Line[] {
  const other = kind === "removed" ? "added" : "removed";
  const own = words.filter((word) => !word[other]);
  const pieces = own.map((word) => ({ text: word.value, changed: word[kind] }));
  return split(kind, pieces.length > 0 ? pieces : [{ text, changed: false }]);
}

function split(kind: Line["kind"], pieces: readonly Piece[]): Line[] {
  const lines: Line[] = [{ kind, pieces: [] }];
  for (const { text, changed } of pieces) {
    text.split("\n").forEach((part, i) => {
      if (i > 0) lines.push({ kind, pieces: [] });
      if (part) lines.at(-1)?.pieces.push({ text: part, changed });
    });
  }
  return lines.slice(0, -1);
}

function row({ kind, pieces }: Line): Html {
  const text = pieces.map((piece) => marked(kind, piece));
  return html`<div class="${kind}"><span class="sign">${SIGNS[kind]}</span><code>${text}</code></div>`;
}

function marked(kind: Line["kind"], { text, changed }: Piece): Html {
  if (!changed || !text.trim()) return html`${text}`;
  return kind === "added" ? html`<ins>${text}</ins>` : html`<del>${text}</del>`;
}
