/** The tests of one suggestion, each with its verdict and what was seen, failures first. The
 * labels are those of docs/sandbox.md; one that is not known here counts as no verdict. */

import type { TestRun } from "../protocol";
import { html, type Html } from "./html";
import { icon } from "./icons";
import { count, words } from "./words";

const VERDICTS = ["failed", "no verdict", "passed"] as const;
const ICONS = { failed: icon("bad"), "no verdict": icon("silent"), passed: icon("ok") };
const SILENCE: Record<string, string> = {
  test_error: "the test does not compile, or names what does not exist",
  timeout: "it ran longer than allowed",
  memory: "it needed more memory than allowed",
  blocked_access: "it asked for a file or a service of the system",
  output_flood: "it printed more than allowed",
  result_flood: "its value is too large to compare",
  inconclusive: "the sandbox cannot tell",
  cancelled: "it was called off when you went on",
  sandbox_lost: "the sandbox was lost",
};
const AUTHORS: Record<string, string> = {
  docstring: "Examples of the docstring",
  project: "Tests of the project that import it",
};
const NOT_KEPT = "docstring example";

/** Return the tests of a suggestion, grouped by who wrote them. */
export function runs(tests: readonly TestRun[]): Html {
  const origins = [...new Set(tests.map((test) => test.origin))];
  return html`${origins.map((origin) => group(origin, tests.filter((test) => test.origin === origin)))}`;
}

function group(origin: string, tests: readonly TestRun[]): Html {
  const sorted = VERDICTS.flatMap((verdict) => tests.filter((test) => verdictOf(test) === verdict));
  const counts = VERDICTS.map((verdict) => ({ verdict, n: tests.filter((test) => verdictOf(test) === verdict).length }));
  const sums = counts.filter(({ n }) => n > 0).map(({ verdict, n }) => `${n} ${verdict}`);
  return html`<h4>${AUTHORS[origin] ?? `Written by ${origin}`} <span class="quiet">${count(tests.length, "test")}: ${sums.join(", ")}</span></h4>
<ul class="tests">${sorted.map(item)}</ul>`;
}

function verdictOf({ outcome }: TestRun): (typeof VERDICTS)[number] {
  if (outcome === "passed") return "passed";
  return outcome === "assert_failed" || outcome === "error" ? "failed" : "no verdict";
}

function item(test: TestRun): Html {
  const verdict = verdictOf(test);
  const lost = html`a docstring example <span class="quiet">(text not kept)</span>`;
  const text = test.text === NOT_KEPT ? lost : html`<code>${test.text}</code>`;
  return html`<li><span class="state">${ICONS[verdict]} ${verdict}</span>
<span class="what">${text}
${test.trusted && html`<span class="tag">trusted</span>`}${!test.strong && html`<span class="tag">weak</span>`}</span>
<span class="seen">${seen(test)}</span></li>`;
}

function seen(test: TestRun): Html {
  const value = test.seen && html`<code>${test.seen}</code>`;
  const detail = test.detail && html` <span class="quiet">${test.detail}</span>`;
  switch (test.outcome) {
    case "passed":
    case "assert_failed":
      return html`${value && html`saw ${value}`}${detail}`;
    case "error":
      return html`${value && html`raised ${value}`}${detail}`;
  }
  const why = SILENCE[test.outcome] ?? words(test.outcome);
  return html`${why}${value && html`; saw ${value}`}${test.detail && html`: ${test.detail}`}`;
}
