/** The checks of this machine, each with what was found and what to do about it. It runs none
 * of the remedies: they are there to be read and copied. */

import type { Finding } from "../protocol";
import { html, type Html } from "./html";
import { icon } from "./icons";
import { count } from "./words";

const STATES = {
  ok: { sign: icon("ok"), word: "passed" },
  warning: { sign: icon("warn"), word: "warning" },
  failed: { sign: icon("bad"), word: "failed" },
};

/** Return the body of the page that shows the checks. */
export function doctor(findings: readonly Finding[]): string {
  return html`<p class="headline">${sum(findings)}</p>
<ul class="findings">${findings.map(item)}</ul>`.text;
}

function sum(findings: readonly Finding[]): Html {
  if (findings.length === 0) return html`No check was run.`;
  const named = (state: Finding["state"]): string[] => findings.filter((f) => f.state === state).map((f) => f.name);
  const [failed, warned] = [named("failed"), named("warning")];
  const warnings = warned.length > 0 && `${count(warned.length, "warning")}: ${warned.join(", ")}.`;
  if (failed.length > 0) {
    const sentence = `${failed.length} of ${count(findings.length, "check")} failed: ${failed.join(", ")}.`;
    return html`${STATES.failed.sign}<span>${sentence} ${warnings}</span>`;
  }
  if (warnings) return html`${STATES.warning.sign}<span>Nothing failed. ${warnings}</span>`;
  return html`${STATES.ok.sign}<span>All ${count(findings.length, "check")} passed.</span>`;
}

function item({ name, state, found, remedy }: Finding): Html {
  const { sign, word } = STATES[state];
  return html`<li><h2>${name}</h2><span class="state">${sign} ${word}</span>
<p>${found}</p>
${remedy && html`<div class="remedy"><pre class="code"><code>${remedy}</code></pre>
<button type="button" data-copy="${remedy}" aria-label="Copy the remedy for ${name}">Copy</button></div>`}</li>`;
}
