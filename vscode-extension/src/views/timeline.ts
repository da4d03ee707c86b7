/**
 * The tiers of a decision on one axis of time, as a picture and as a table of the same figures.
 *
 * The server says how long each tier wrote and each test ran, not when; so the tiers are drawn in
 * their order, one behind the other, and what neither explains is drawn last as "the rest".
 */

import type { DecisionRecord, Usage } from "../protocol";
import { html, type Html } from "./html";
import { table } from "./table";
import { duration, whole } from "./words";

interface Lane {
  tier: string;
  usage: Usage;
  sandbox: number;
  start: number;
}

const LANE = 48;
const BAR = 14;

/** Return the picture of where the time of a decision went, and its table. */
export function timeline(record: DecisionRecord): Html {
  const tiers = lanes(record);
  const spent = tiers.reduce((sum, lane) => sum + lane.usage.ms + lane.sandbox, 0);
  const rest = Math.max(0, record.ms - spent);
  return html`<figure class="timeline">${picture(tiers, spent, rest)}
<figcaption class="legend">
<span>${swatch("writes")} the model reads and writes</span>
<span>${swatch("sandbox")} the sandbox runs tests</span>
<span>${swatch("rest")} the rest: sorting out tests, waiting</span>
</figcaption></figure>
${figures(tiers, rest, spent + rest)}`;
}

function lanes(record: DecisionRecord): Lane[] {
  let start = 0;
  return record.attempts.map(({ tier, usage, tests }) => {
    const lane = { tier, usage, sandbox: tests.reduce((sum, test) => sum + test.ms, 0), start };
    start += usage.ms + lane.sandbox;
    return lane;
  });
}

function picture(tiers: readonly Lane[], spent: number, rest: number): Html {
  const total = spent + rest || 1;
  const bottom = (tiers.length + 1) * LANE;
  const bars = tiers.map(({ tier, usage, sandbox, start }, i) => {
    const cost = `${whole(usage.cost)} GFLOP, ${whole(usage.new_tokens)} new tokens`;
    return html`${labels(i, tier, duration(usage.ms + sandbox), cost)}
${bar(i, "writes", start, usage.ms, total)}${bar(i, "sandbox", start + usage.ms, sandbox, total)}`;
  });
  const last = tiers.length;
  return html`<svg role="img" aria-label="${told(tiers, rest, spent + rest)}" width="100%" height="${bottom + 18}">
${bars}
${labels(last, "the rest", duration(rest), "")}${bar(last, "rest", spent, rest, total)}
<line class="axis" x1="0" x2="100%" y1="${bottom}" y2="${bottom}"/>
<text class="tick" x="0" y="${bottom + 14}">0 s</text>
<text class="tick end" x="100%" y="${bottom + 14}">${duration(spent + rest)}</text>
</svg>`;
}

function labels(lane: number, name: string, time: string, cost: string): Html {
  const y = lane * LANE + 15;
  return html`<text x="0" y="${y}"><tspan class="name">${name}</tspan> ${time}</text>
<text class="tick end" x="100%" y="${y}">${cost}</text>`;
}

function bar(lane: number, kind: string, start: number, ms: number, total: number): Html {
  const percent = (part: number): string => `${((100 * part) / total).toFixed(2)}%`;
  return html`<rect class="${kind}" x="${percent(start)}" y="${lane * LANE + 22}" width="${percent(ms)}" height="${BAR}"/>`;
}

function swatch(kind: string): Html {
  return html`<svg class="swatch" width="12" height="12" aria-hidden="true"><rect class="${kind}" width="12" height="12"/></svg>`;
}

function told(tiers: readonly Lane[], rest: number, total: number): string {
  const each = tiers.map(
    ({ tier, usage, sandbox }) => `${tier} wrote for ${duration(usage.ms)} and was tested for ${duration(sandbox)}`,
  );
  return `Of ${duration(total)}: ${[...each, `the rest took ${duration(rest)}`].join("; ")}.`;
}

function figures(tiers: readonly Lane[], rest: number, total: number): Html {
  const head = ["Tier", "Model", "Sandbox", "Tokens read", "From cache", "Written", "GFLOP"];
  const rows = tiers.map(({ tier, usage, sandbox }) => [
    tier,
    duration(usage.ms),
    duration(sandbox),
    ...[usage.prompt_tokens, usage.cached_tokens, usage.new_tokens, usage.cost].map(whole),
  ]);
  const caption = `The same in figures: ${duration(total)} in all, ${duration(rest)} of it the rest`;
  return table(caption, head, rows);
}
