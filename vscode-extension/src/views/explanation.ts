/**
 * One decision, told whole: the verdict first, then where the time went, then every tier's turn
 * with its tests. It shows what the server found and judges nothing itself.
 */

import type { Attempt, DecisionRecord, LedgerEvent } from "../protocol";
import { diff } from "./diff";
import { html, type Html, type Part } from "./html";
import { ACTION_ICONS, icon } from "./icons";
import { meter } from "./meter";
import { runs } from "./runs";
import { scrolling } from "./table";
import { timeline } from "./timeline";
import { ACTIONS, count, duration, moment, openButton, share, words } from "./words";

const BY_TESTS = ["self_tests_passed", "self_tests_failed", "project_tests_passed"];

/** Return the body of the page that explains a decision. */
export function explanation(record: DecisionRecord): string {
  return html`${headline(record)}
${facts(record)}
<h2>Where the time went</h2>
${timeline(record)}
${record.attempts.map((attempt, i) => turn(attempt, i, record))}
<h2>What would have changed the decision</h2>
<p>${record.otherwise}</p>
<h2>What became of it</h2>
${outcome(record.events)}`.text;
}

function headline(record: DecisionRecord): Html {
  const decisive = record.attempts.at(Math.max(0, record.attempts.length - 2));
  return html`<p class="headline">${decisive && icon(ACTION_ICONS[decisive.decision.action])}<span>${record.verdict}</span></p>
<div class="toolbar">
<button type="button" data-command="copy">Copy as Markdown</button>
<button type="button" data-command="choose">Choose another</button>
</div>`;
}

function facts(record: DecisionRecord): Html {
  return definitions([
    ["Place", openButton(record.uri, record.line)],
    ["Function", record.function ? html`<code>${record.function}</code>` : `not testable: ${record.untestable}`],
    ["Trigger", words(record.trigger)],
    ["Plan", record.plan],
    ["Took", duration(record.ms)],
    ["When", moment(record.created)],
    ["Decision", html`<code>${record.id}</code>`],
  ]);
}

function definitions(rows: readonly (readonly [string, Part])[]): Html {
  return html`<dl class="facts">${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

// -- one tier's turn ------------------------------------------------------------------------------

function turn(attempt: Attempt, index: number, record: DecisionRecord): Html {
  const { decision, tier, model, why } = attempt;
  const author = tier === "document" ? "your function as it stood" : html`<code>${model}</code>`;
  return html`<section>
<h2>${index + 1}. ${tier} <span class="action">${icon(ACTION_ICONS[decision.action])} ${ACTIONS[decision.action]}</span>
${index === record.chosen && record.attempts.length > 1 && html`<span class="tag">this one was taken</span>`}</h2>
<p>${author}: ${why}.</p>
<div class="meters">${score(attempt)}${requirement(attempt)}</div>
<h3>Suggestion</h3>
${suggestion(attempt)}
${changes(attempt, record.attempts[index - 1])}
<h3>Tests</h3>
${attempt.tests.length > 0 ? runs(attempt.tests) : html`<p class="quiet">No test was run.</p>`}
${unused(attempt.dropped, "written line")}
${unused(attempt.unused, "test of the project", "tests of the project")}
${thresholds(attempt)}
</section>`;
}

/** Draw S against the bound that applies to it, or would have applied had it decided. */
function score({ evidence, policy, decision, score: s }: Attempt): Part {
  if (evidence.n_tests === 0) return null;
  const decided = BY_TESTS.includes(decision.reason);
  const bounds = [policy.theta];
  if (evidence.trusted_passed + evidence.trusted_failed > 0) bounds.push(policy.theta_trusted);
  if (evidence.own_passed + evidence.own_failed > 0) bounds.push(policy.theta_own);
  const bound = decision.required !== null && decided ? decision.required : Math.min(...bounds);
  const { n_s, n_tests, n_t, k } = evidence;
  const sum = `S = ${n_s}/${n_tests} of the tests × ${n_t}/${k} of the answers = ${s.toFixed(2)}`;
  const told = `threshold θ = ${bound.toFixed(2)}${decided ? "" : ", which did not decide"}`;
  return meter("Score S", s, bound, `${sum}; ${told}`);
}

/** Draw what decided where that was not the score: trusted tests, or the confidence. */
function requirement({ decision, evidence }: Attempt): Part {
  const { observed, required, reason } = decision;
  if (observed === null || required === null) return null;
  if (BY_TESTS.includes(reason) && evidence.n_tests > 0) return null;
  const names: Record<string, string> = {
    trusted_test_failed: "Docstring examples passed",
    trusted_tests_passed: "Docstring examples passed",
    project_test_failed: "Tests of the project passed",
    project_tests_passed: "Tests of the project passed",
    low_confidence: "Confidence",
    no_valid_tests: "Usable tests",
  };
  const name = names[reason] ?? words(reason);
  return meter(name, observed, required, `${name}: ${observed.toFixed(2)}; ${required.toFixed(2)} needed`);
}

function suggestion({ tier, text, evidence }: Attempt): Html {
  if (text) return scrolling(`Suggestion of ${tier}`, html`<pre class="code"><code>${text}</code></pre>`);
  if (evidence.empty) return html`<p class="quiet">It offered nothing.</p>`;
  return html`<p class="quiet">Its text was not kept. The setting <code>cascade.ledger.source_text</code> keeps the texts of
decisions to come.</p>`;
}

function changes({ tier, text }: Attempt, previous: Attempt | undefined): Part {
  if (!text || !previous?.text) return null;
  const title = `Changes from ${previous.tier} to ${tier}`;
  if (text === previous.text) return html`<p class="quiet">It is the same text as that of ${previous.tier}.</p>`;
  return html`<details open><summary>${title}</summary>${diff(title, previous.text, text)}</details>`;
}

function unused(counts: Record<string, number>, one: string, several?: string): Part {
  const reasons = Object.entries(counts);
  if (reasons.length === 0) return null;
  const all = reasons.reduce((sum, [, n]) => sum + n, 0);
  const sum = several && all !== 1 ? `${all} ${several}` : count(all, one);
  return html`<h4>Not used <span class="quiet">${sum}</span></h4>
<ul class="inline">${reasons.map(([label, n]) => html`<li>${words(label)}: ${n}</li>`)}</ul>`;
}

function thresholds({ policy }: Attempt): Html {
  return html`<h3>Thresholds in force</h3>
${definitions([
    ["Score θ", policy.theta.toFixed(2)],
    ["Score θ, docstring examples passed", policy.theta_trusted.toFixed(2)],
    ["Score θ, tests of the project passed", policy.theta_own.toFixed(2)],
    ["Escalate", words(policy.escalate)],
    ["Confidence, on doubt", policy.min_confidence.toFixed(2)],
  ])}`;
}

// -- what became of it ----------------------------------------------------------------------------

function outcome(events: readonly LedgerEvent[]): Html {
  if (events.length === 0) return html`<p class="quiet">Nothing is known: no editor has reported on it.</p>`;
  return html`<ol class="events">${events.map((event) => html`<li>${moment(event.at, true)} ${happened(event)}</li>`)}</ol>`;
}

function happened({ kind, value }: LedgerEvent): string {
  if (kind === "partially_accepted") return "accepted in part";
  if (value === null) return words(kind);
  if (kind === "answered") return `answered after ${duration(value)}`;
  return kind === "kept" ? `${share(value)} of its lines still stood` : `${words(kind)}: ${value.toFixed(2)}`;
}
