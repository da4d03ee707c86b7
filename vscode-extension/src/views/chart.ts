/**
 * Figures per day as lines. A day without a figure is a gap, never a zero, and lines differ in
 * dashes and markers as well as in colour.
 */

import { html, type Html } from "./html";

/** One line of a chart: a figure for each day. */
export interface Line {
  name: string;
  values: readonly (number | null)[];
}

/** What a chart shows; `format` writes a figure with its unit, `top` ends the axis, and `notes`
 * say of each day what its figures were counted from. */
export interface Chart {
  title: string;
  days: readonly string[];
  notes: readonly string[];
  lines: readonly Line[];
  top: number;
  format: (figure: number) => string;
}

interface Point {
  x: number;
  y: number;
  told: string;
}

const WIDTH = 360;
const HEIGHT = 150;
const LEFT = 44;
const RIGHT = 352;
const TOP = 10;
const BOTTOM = 122;

/** Return a chart as a picture with a text that says the same in short. */
export function chart(shown: Chart): Html {
  return html`<svg class="chart" role="img" aria-label="${told(shown)}" viewBox="0 0 ${WIDTH} ${HEIGHT}">
${[0, 0.5, 1].map((part) => level(shown, part))}
${dayTicks(shown.days)}
${shown.lines.map((line, i) => plot(shown, line, i))}
</svg>`;
}

/** Return the keys to a chart's lines, drawn as the lines are. */
export function legend(lines: readonly Line[]): Html {
  const keys = lines.map(({ name }, i) => {
    const drawn = html`<g class="line${i}"><path d="M0 6H28"/>${marker(14, 6, i)}</g>`;
    return html`<span><svg class="swatch" width="28" height="12" aria-hidden="true">${drawn}</svg> ${name}</span>`;
  });
  return html`<p class="legend">${keys}</p>`;
}

/** Return a round figure that is no less than any of these, to end an axis with. */
export function roundTop(values: readonly (number | null)[]): number {
  const most = Math.max(1, ...values.map((value) => value ?? 0));
  const power = 10 ** Math.floor(Math.log10(most));
  return ([1, 2, 5].find((step) => step * power >= most) ?? 10) * power;
}

function level({ top, format }: Chart, part: number): Html {
  const y = BOTTOM - part * (BOTTOM - TOP);
  return html`<line class="axis ${part > 0 && "level"}" x1="${LEFT}" x2="${RIGHT}" y1="${y}" y2="${y}"/>
<text class="tick end" x="${LEFT - 6}" y="${y + 4}">${format(part * top)}</text>`;
}

function dayTicks(days: readonly string[]): Html[] {
  const places = [
    { at: 0, kind: "start" },
    { at: Math.floor((days.length - 1) / 2), kind: "middle" },
    { at: days.length - 1, kind: "end" },
  ];
  return places
    .filter(({ at }, i) => days[at] !== undefined && at !== places[i - 1]?.at)
    .map(({ at, kind }) => {
      const x = across(at, days.length);
      return html`<text class="tick ${kind}" x="${x}" y="${BOTTOM + 18}">${days[at]?.slice(5)}</text>`;
    });
}

function across(index: number, days: number): number {
  return round(days > 1 ? LEFT + 6 + (index / (days - 1)) * (RIGHT - LEFT - 12) : (LEFT + RIGHT) / 2);
}

function plot(shown: Chart, line: Line, index: number): Html {
  const runs = unbroken(shown, line);
  const path = runs.map((points) => points.map(({ x, y }, i) => `${i === 0 ? "M" : "L"}${x} ${y}`).join("")).join("");
  return html`<g class="line${index}"><path d="${path}"/>
${runs.flat().map(({ x, y, told: words }) => marker(x, y, index, words))}</g>`;
}

/** Return the stretches of days that have a figure. */
function unbroken({ days, notes, top, format }: Chart, { name, values }: Line): Point[][] {
  const runs: Point[][] = [[]];
  values.forEach((value, i) => {
    if (value === null) {
      runs.push([]);
      return;
    }
    const y = round(BOTTOM - (value / top) * (BOTTOM - TOP));
    runs.at(-1)?.push({ x: across(i, days.length), y, told: `${days[i] ?? ""}, ${name}: ${format(value)} (${notes[i] ?? ""})` });
  });
  return runs.filter((points) => points.length > 0);
}

function marker(x: number, y: number, index: number, words = ""): Html {
  const title = words && html`<title>${words}</title>`;
  return index === 0
    ? html`<circle cx="${x}" cy="${y}" r="2.5">${title}</circle>`
    : html`<rect x="${x - 2.5}" y="${y - 2.5}" width="5" height="5">${title}</rect>`;
}

function told({ title, days, lines, format }: Chart): string {
  const span = `${title} per day, ${days[0] ?? ""} to ${days.at(-1) ?? ""}`;
  const each = lines.map(({ name, values }) => {
    const known = values.filter((value) => value !== null);
    const last = known.at(-1);
    if (last === undefined) return `${name}: no figure`;
    const range = `${format(Math.min(...known))} to ${format(Math.max(...known))}, last ${format(last)}`;
    return `${name}: ${range}, ${values.length - known.length} of ${values.length} days without a figure`;
  });
  return `${span}. ${each.join(". ")}.`;
}

function round(figure: number): number {
  return Math.round(figure * 10) / 10;
}
