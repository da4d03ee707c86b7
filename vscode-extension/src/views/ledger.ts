/** The decisions on record, newest first, as a table to filter and to sort (both happen in
 * media/view.js). It says what was decided; why is for the explanation. */

import type { DecisionRow, Decisions } from "../protocol";
import { html, type Html, type Part } from "./html";
import { ACTION_ICONS, icon } from "./icons";
import { scrolling } from "./table";
import { count, duration, fileName, moment, openButton } from "./words";

const HEADINGS = ["Time", "Place", "Function", "Verdict", "Tier", "Took", "Accepted"];

/** Return the body of the page that lists the decisions. */
export function ledger({ path, rows }: Decisions): string {
  const kept = html`Kept in <code class="path">${path}</code>`;
  const reveal = html`<button type="button" data-command="reveal">Reveal file</button>`;
  if (rows.length === 0) {
    return html`<p class="headline">No decision is on record yet.</p>
<p>Write code in an open file until a suggestion appears, or ask for one: every suggestion is recorded here, with what
was tested and why it was taken.</p>
<p class="quiet">${kept}</p>
<div class="toolbar">${reveal}</div>`.text;
  }
  return html`<p class="quiet">${kept}</p>
<div class="toolbar">
<label for="filter">Filter</label>
<input id="filter" type="search" placeholder="File, function, verdict …" autocomplete="off" spellcheck="false">
<span id="count" class="quiet" role="status">${count(rows.length, "decision")}</span>
${reveal}
</div>
${decisions(rows)}`.text;
}

function decisions(rows: readonly DecisionRow[]): Html {
  const headings = HEADINGS.map((title, i) => {
    const order = i === 0 ? html` aria-sort="descending"` : null;
    return html`<th scope="col"${order}><button type="button" class="sort">${title}</button></th>`;
  });
  return scrolling(
    "Decisions",
    html`<table id="decisions"><caption class="unseen">Decisions</caption>
<thead><tr>${headings}<th scope="col" class="explain"><span class="unseen">Explanation</span></th></tr></thead>
<tbody>${rows.map(line)}</tbody></table>`,
  );
}

function line(row: DecisionRow): Html {
  const told = `Explain ${row.function || "the decision"} at ${fileName(row.uri).name}:${row.line}`;
  return html`<tr>
${cell(row.created, moment(row.created))}
<td>${openButton(row.uri, row.line)}</td>
<td>${row.function ? html`<code>${row.function}</code>` : html`<span class="quiet">none</span>`}</td>
<td class="verdict">${icon(ACTION_ICONS[row.action])} ${row.verdict}</td>
<td>${row.tier}</td>
${cell(row.ms, duration(row.ms), "figure")}
<td>${row.accepted ? html`<span class="state">${icon("ok")} yes</span>` : "no"}</td>
<td class="explain"><button type="button" data-explain="${row.id}" aria-label="${told}">Explain</button></td>
</tr>`;
}

/** Return a cell that is sorted by a number and not by its words. */
function cell(value: number, content: Part, kind = "words"): Html {
  return html`<td class="${kind}" data-value="${value}">${content}</td>`;
}
