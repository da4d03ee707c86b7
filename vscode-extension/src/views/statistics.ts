/** What happened over days: key figures, each with what it counts, and charts with their data.
 * The server counts; here its figures are only drawn. */

import type { Figures, Statistics } from "../protocol";
import { chart, legend, roundTop, type Line } from "./chart";
import { html, type Html, type Part } from "./html";
import { ACTION_ICONS, icon } from "./icons";
import { table } from "./table";
import { ACTIONS, count, duration, share, whole } from "./words";

type Day = Statistics["series"][number];

interface Drawing {
  title: string;
  counts: string;
  unit: "share" | "ms";
  lines: [name: string, figure: (day: Day) => number | null][];
  columns: [head: string, figure: (day: Day) => number][];
}

const RANGES = [7, 30, 90];
const DRAWINGS: Drawing[] = [
  {
    title: "Acceptance",
    counts: "Accepted suggestions, of all suggestions of the day",
    unit: "share",
    lines: [["accepted", (day) => day.acceptance]],
    columns: [["Accepted", (day) => day.accepted], ["Suggestions", (day) => day.suggestions]],
  },
  {
    title: "Kept rate",
    counts: "Mean share of the lines of accepted suggestions that still stood a while later",
    unit: "share",
    lines: [["kept", (day) => day.kept]],
    columns: [["Accepted", (day) => day.accepted]],
  },
  {
    title: "Verified rate",
    counts: "Suggestions accepted because of their tests, of those tested",
    unit: "share",
    lines: [["verified", (day) => day.verified_share]],
    columns: [["Verified", (day) => day.verified], ["Tested", (day) => day.tested]],
  },
  {
    title: "Escalations",
    counts: "Suggestions for which a larger model was asked, of all of the day",
    unit: "share",
    lines: [["escalated", (day) => day.escalated_share]],
    columns: [["Escalated", (day) => day.escalated], ["Suggestions", (day) => day.suggestions]],
  },
  {
    title: "Latency",
    counts: "How long the editor waited for an answer",
    unit: "ms",
    lines: [["p50: half were faster", (day) => day.latency_p50_ms], ["p95: 19 of 20 were faster", (day) => day.latency_p95_ms]],
    columns: [["Suggestions", (day) => day.suggestions]],
  },
];

/** Return the body of the page that shows the statistics. */
export function statistics({ days, total, series, reasons }: Statistics): string {
  const buttons = RANGES.map(
    (range) => html`<button type="button" data-days="${range}" aria-pressed="${String(range === days)}">${range} days</button>`,
  );
  const toolbar = html`<div class="toolbar" role="group" aria-label="Time shown">${buttons}</div>`;
  if (total.suggestions === 0) {
    return html`${toolbar}
<p class="headline">No suggestion was recorded in ${count(days, "day")}.</p>
<p>Write code until a suggestion appears; it is counted here as soon as it is shown. Nothing that is counted leaves this
machine.</p>`.text;
  }
  return html`${toolbar}
${keyFigures(total, days)}
<h2>Day by day</h2>
<div class="charts">${DRAWINGS.map((drawing) => figure(drawing, series))}</div>
<h2>Why it was decided so</h2>
${reasonTable(reasons, total.suggestions)}`.text;
}

function keyFigures(total: Figures, days: number): Html {
  const of = (part: number, all: number, what: string): string => `${whole(part)} of ${count(all, what)}`;
  const { suggestions, accepted, tested, verified, escalated } = total;
  return html`<dl class="tiles">
${tile("Suggestions", whole(suggestions), `asked for while writing, in ${count(days, "day")}`)}
${tile("Accepted", share(total.acceptance), of(accepted, suggestions, "suggestion"))}
${tile("Kept", share(total.kept), "of the lines of accepted suggestions still stood a while later")}
${tile("Verified", share(total.verified_share), `${of(verified, tested, "tested suggestion")} accepted because of the tests`)}
${tile("Escalated", share(total.escalated_share), `${of(escalated, suggestions, "suggestion")} went to a larger model`)}
${tile("Latency p50", span(total.latency_p50_ms), "half of the answers were faster")}
${tile("Latency p95", span(total.latency_p95_ms), "19 of 20 answers were faster")}
</dl>`;
}

function tile(name: string, value: string, counts: string): Html {
  return html`<div><dt>${name}</dt><dd class="value">${value}</dd><dd class="quiet">${counts}</dd></div>`;
}

function span(ms: number | null): string {
  return ms === null ? "–" : duration(ms);
}

function figure({ title, counts, unit, lines, columns }: Drawing, series: readonly Day[]): Html {
  const drawn: Line[] = lines.map(([name, of]) => ({ name, values: series.map(of) }));
  const top = unit === "share" ? 1 : roundTop(drawn.flatMap((line) => line.values));
  const format = unit === "share" ? share : span;
  const notes = series.map((day) => columns.map(([name, of]) => `${whole(of(day))} ${name.toLowerCase()}`).join(", "));
  const head = ["Day", ...columns.map(([name]) => name), ...(lines.length > 1 ? lines.map(([name]) => name) : [title])];
  const rows = series.map((day): Part[] => [
    day.day,
    ...columns.map(([, of]) => whole(of(day))),
    ...lines.map(([, of]) => format(of(day))),
  ]);
  return html`<figure>
<figcaption><strong>${title}</strong> <span class="quiet">${counts}</span></figcaption>
${chart({ title, days: series.map(({ day }) => day), notes, lines: drawn, top, format })}
${drawn.length > 1 && legend(drawn)}
<details><summary>${title} in figures</summary>${table(`${title} per day`, head, rows)}</details>
</figure>`;
}

function reasonTable(reasons: Statistics["reasons"], all: number): Html {
  const rows = reasons.map(({ action, words, count: n }): Part[] => {
    const known = action === "accept" || action === "escalate" || action === "best_effort";
    const decision = known ? html`<span class="state">${icon(ACTION_ICONS[action])} ${ACTIONS[action]}</span>` : action;
    return [words, decision, whole(n), share(n / all)];
  });
  return table(`Reasons, of ${count(all, "suggestion")}`, ["Reason", "Decision", "Suggestions", "Share"], rows, 2);
}
