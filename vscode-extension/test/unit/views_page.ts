/** Print the views as whole documents, as JSON {name: HTML}, for the tests in a browser. */

import { doctor } from "../../src/views/doctor";
import { explanation } from "../../src/views/explanation";
import { ledger } from "../../src/views/ledger";
import { page } from "../../src/views/page";
import { statistics } from "../../src/views/statistics";
import { DECISIONS, ESCALATED, FINDINGS, NOTHING, STATISTICS, UNTESTED } from "./views_fixtures";

const BODIES: Record<string, [title: string, body: string]> = {
  explanation: ["Why this suggestion", explanation(ESCALATED)],
  explanation_untested: ["Why this suggestion", explanation(UNTESTED)],
  ledger: ["Decisions", ledger(DECISIONS)],
  ledger_empty: ["Decisions", ledger({ ...DECISIONS, rows: [] })],
  statistics: ["Statistics", statistics(STATISTICS)],
  statistics_empty: ["Statistics", statistics({ days: 7, total: NOTHING, series: [], reasons: [] })],
  doctor: ["Checks", doctor(FINDINGS)],
};

const documents = Object.entries(BODIES).map(([name, [title, body]]) => {
  const html = page({ title, body, cspSource: "'self'", nonce: "n0nce", style: "view.css", script: "view.js" });
  return [name, html];
});
process.stdout.write(JSON.stringify(Object.fromEntries(documents)));
