import assert from "node:assert/strict";
import type { DecisionRecord } from "../../src/protocol";
import { diff } from "../../src/views/diff";
import { doctor } from "../../src/views/doctor";
import { explanation } from "../../src/views/explanation";
import { escape, html } from "../../src/views/html";
import { ledger } from "../../src/views/ledger";
import { page } from "../../src/views/page";
import { statistics } from "../../src/views/statistics";
import { duration, fileName } from "../../src/views/words";
import {
  DECISIONS,
  ESCALATED,
  FINDINGS,
  LARGE_TEXT,
  NOTHING,
  run,
  SMALL_TEXT,
  STATISTICS,
  UNTESTED,
} from "./views_fixtures";

const HOSTILE = `<script>alert(1)</script>"' onclick='x' &lt; \u202E\u2066\u200B\u0000\u001B[31m`;

const EVERY_VIEW = [
  explanation(ESCALATED),
  explanation(UNTESTED),
  ledger(DECISIONS),
  ledger({ ...DECISIONS, rows: [] }),
  statistics(STATISTICS),
  statistics({ ...STATISTICS, total: NOTHING, series: [] }),
  doctor(FINDINGS),
  doctor([]),
];

type Path = (string | number)[];

/** Return the paths of all strings in a value. */
function strings(value: unknown, path: Path = []): Path[] {
  if (typeof value === "string") return [path];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => strings(inner, [...path, key]));
}

/** Return a copy of a value in which the string at a path is hostile. */
function poisoned<T>(value: T, [key, ...rest]: Path): T {
  if (key === undefined) return HOSTILE as T;
  const copy = (Array.isArray(value) ? [...(value as unknown[])] : { ...value }) as Record<string, unknown>;
  copy[key] = poisoned(copy[key], rest);
  return copy as T;
}

function assertHarmless(text: string, where: string): void {
  assert.doesNotMatch(text, /<script/i, where);
  assert.doesNotMatch(text, /[\u0000\u001B\u200B\u202E\u2066]/, where);
  const attributes = [...text.matchAll(/<[a-z][^>]*>/g)].join("").replace(/"[^"]*"/g, "");
  assert.doesNotMatch(attributes, /\s(on\w+|style)\s*=/i, where);
}

function assertEachStringHarmless<T>(value: T, view: (value: T) => string, closed: RegExp): void {
  let shown = 0;
  for (const path of strings(value)) {
    const text = view(poisoned(value, path));
    const where = path.join(".");
    assertHarmless(text, where);
    if (text.includes("&lt;script&gt;")) shown += 1;
    else assert.match(where, closed, `${where} is not shown`);
  }
  assert.ok(shown > 0);
}

suite("html", () => {
  test("escapes what is interpolated, and not what is markup", () => {
    assert.equal(html`<b>${"<i>"}${html`<i>`}${[1, "&"]}${null}${undefined}${false}</b>`.text, "<b>&lt;i&gt;<i>1&amp;</b>");
  });

  test("shows what has no glyph, and leaves line ends and tabs", () => {
    assert.equal(escape("a\u202Eb\u0007\u00A0\u{E0041}\uFEFF"), "a\\u202eb\\x07\\xa0\\u{e0041}\\ufeff");
    assert.equal(escape("a\r\n\tb\rc é 漢 🙂"), "a\n\tb\\x0dc é 漢 🙂");
    assert.equal(escape("\uD800"), "\\ud800");
  });
});

suite("words", () => {
  test("durations change their unit where they would round up to it", () => {
    assert.deepEqual([7.8, 999.4, 999.6, 59_940, 59_960, 125_000].map(duration), [
      "8 ms",
      "999 ms",
      "1.0 s",
      "59.9 s",
      "1 min 0 s",
      "2 min 5 s",
    ]);
  });

  test("files are named as people name them", () => {
    assert.deepEqual(fileName("file:///home/ana/shop%20floor/a.py"), { name: "a.py", folder: "/home/ana/shop floor" });
    assert.deepEqual(fileName("demo:1_leap_year.py"), { name: "1_leap_year.py", folder: "" });
    assert.deepEqual(fileName("untitled:Untitled-1"), { name: "Untitled-1", folder: "" });
    assert.deepEqual(fileName("file:///a/100%.py"), { name: "100%.py", folder: "/a" });
  });
});

suite("page", () => {
  const whole = page({
    title: "A <title>",
    body: "<p>body</p>",
    cspSource: "'self' vscode:",
    nonce: "n0nce",
    style: "s.css?a&b",
    script: "s.js",
  });

  test("allows its own style and script, and nothing else", () => {
    const policy = /content="(default-src [^"]+)"/.exec(whole)?.[1]?.replaceAll("&#39;", "'");
    assert.equal(
      policy,
      "default-src 'none'; img-src 'none'; style-src 'self' vscode:; script-src 'nonce-n0nce'; base-uri 'none'; form-action 'none'",
    );
    assert.match(whole, /<script nonce="n0nce" src="s.js"><\/script>/);
    assert.match(whole, /href="s.css\?a&amp;b"/);
  });

  test("is one document with a language, one heading and one main part", () => {
    assert.match(whole, /^<!DOCTYPE html>\n<html lang="en">/);
    assert.equal(whole.split("<h1>A &lt;title&gt;</h1>").length, 2);
    assert.match(whole, /<main>[^]*<p>body<\/p>[^]*<\/main>/);
  });
});

suite("every view", () => {
  test("has no inline style, handler, heading of the first rank, or figure that is none", () => {
    for (const view of EVERY_VIEW) {
      assertHarmless(view, view.slice(0, 60));
      assert.doesNotMatch(view, /<h1|NaN|undefined|null|Infinity|\[object/);
    }
  });

  test("escapes every string of a decision", () => {
    const unshown = /\.(language|outcome|action|reason|execution)$|^language$|^untestable$/;
    assertEachStringHarmless(ESCALATED, explanation, unshown);
    assertEachStringHarmless(UNTESTED, explanation, /language|function|action|reason|execution/);
  });

  test("escapes the names in a decision", () => {
    const attempts = ESCALATED.attempts.map((attempt) => ({ ...attempt, dropped: { [HOSTILE]: 1 } }));
    assertHarmless(explanation({ ...ESCALATED, attempts }), "dropped");
  });

  test("escapes every string of the other answers", () => {
    assertEachStringHarmless(DECISIONS, ledger, /trigger|reason|action/);
    assertEachStringHarmless({ ...DECISIONS, rows: [] }, ledger, /path/);
    assertEachStringHarmless(STATISTICS, statistics, /reason$|day$/);
    assertEachStringHarmless(FINDINGS, (findings) => doctor(findings.map((one) => ({ ...one, state: "failed" }))), /state/);
  });
});

suite("explanation", () => {
  const view = explanation(ESCALATED);

  test("begins with the verdict, and names the place", () => {
    assert.ok(view.indexOf("Escalated: the small model&#39;s answer was not accepted") < view.indexOf("<button"));
    assert.match(view, /data-open="file:\/\/\/home\/ana\/shop%20floor\/versions.py" data-line="9" title="in \/home\/ana\/shop floor">versions.py:9<\/button>/);
    assert.match(view, /data-command="copy"[^]*data-command="choose"/);
  });

  test("lists every test with its verdict and what was seen, failures first", () => {
    const items = [...view.matchAll(/<li><span class="state">[^]*?<\/li>/g)].map(([item]) => item);
    const tests = ESCALATED.attempts.flatMap((attempt) => attempt.tests);
    assert.equal(items.length, tests.length);
    for (const { text, outcome, seen, trusted } of tests) {
      const verdict = outcome === "passed" ? "passed" : outcome === "timeout" ? "no verdict" : "failed";
      const item = items.find((one) => one.includes(escape(text)) && one.includes(escape(seen)) && one.includes(verdict));
      assert.ok(item, text);
      assert.equal(item.includes("trusted"), trusted);
    }
    const first = [...view.slice(0, view.indexOf("2. large")).matchAll(/<\/svg> (passed|failed|no verdict)<\/span>/g)];
    assert.deepEqual(
      first.map(([, verdict]) => verdict),
      ["failed", "passed", "failed", "failed", "failed", "no verdict", "passed"],
    );
  });

  test("says why there is no verdict, and what an unknown label is", () => {
    assert.match(view, /it ran longer than allowed: 1 s/);
    const attempt = ESCALATED.attempts[0];
    assert.ok(attempt);
    const tests = [run({ outcome: "never_heard_of", seen: "" })];
    assert.match(explanation({ ...ESCALATED, attempts: [{ ...attempt, tests }] }), /no verdict<\/span>[^]*never heard of/);
  });

  test("draws the time in proportion", () => {
    const bars = [...view.matchAll(/<rect class="(writes|sandbox|rest)" x="([\d.]+)%" y="\d+" width="([\d.]+)%"/g)];
    const spent = ESCALATED.attempts.flatMap(({ usage, tests }) => [usage.ms, tests.reduce((sum, test) => sum + test.ms, 0)]);
    const known = spent.reduce((sum, ms) => sum + ms, 0);
    const widths = [...spent, ESCALATED.ms - known];
    assert.equal(bars.length, widths.length);
    let start = 0;
    bars.forEach(([, , x, width], i) => {
      assert.ok(Math.abs(Number(x) - start) < 0.02);
      assert.ok(Math.abs(Number(width) - (100 * (widths[i] ?? 0)) / ESCALATED.ms) < 0.02);
      start += Number(width);
    });
    assert.ok(Math.abs(start - 100) < 0.05);
  });

  test("draws a decision that took no time, or less than its parts", () => {
    for (const ms of [0, 1]) assert.doesNotMatch(explanation({ ...ESCALATED, ms }), /NaN|Infinity|="-/);
    const attempts = UNTESTED.attempts.map((attempt) => ({ ...attempt, usage: { ...attempt.usage, ms: 0 } }));
    assert.doesNotMatch(explanation({ ...UNTESTED, attempts, ms: 0 }), /NaN|Infinity/);
  });

  test("says the same figures in a table and as a text for who does not see the picture", () => {
    assert.match(view, /aria-label="Of 58.8 s: small wrote for 28.2 s and was tested for 1.0 s; large wrote for 22.9 s/);
    assert.match(view, /<th scope="row">large<\/th><td class="figure">22.9 s<\/td>[^]*?1,543<\/td>/);
  });

  test("draws the score and what decided with their marks", () => {
    assert.match(view, /Score S: 0.25, with the mark at 0.25/);
    assert.match(view, /1\/4 of the tests × 1\/1 of the answers = 0.25; threshold θ = 0.25, which did not decide/);
    assert.match(view, /Docstring examples passed: 0.50; 1.00 needed/);
    assert.match(view, /3\/6 of the tests × 1\/1 of the answers = 0.50; threshold θ = 0.25</);
    assert.doesNotMatch(explanation(UNTESTED), /class="meter"/);
  });

  test("says what was dropped, the thresholds, what would have changed it and what became of it", () => {
    assert.match(view, /4 written lines[^]*does not compile: 1[^]*arguments do not fit: 3/);
    assert.match(view, /Thresholds in force[^]*0\.50[^]*0\.25[^]*on failure[^]*0\.60/);
    assert.match(view, /if 1 more of the docstring examples had passed/);
    assert.match(view, /answered after 840 ms[^]*shown[^]*accepted[^]*80 % of its lines still stood/);
    assert.match(explanation(UNTESTED), /no editor has reported/);
  });

  test("tells the project's own tests apart, with what was left out of them", () => {
    const test = run({ text: "tests/test_versions.py::test_order", origin: "project", trusted: true, strong: false });
    const base = withTest({ ...test, outcome: "assert_failed", seen: "assert 1 == -1" });
    const evidence = { ...base.evidence, own_passed: 1, own_failed: 1 };
    const decision = { action: "escalate" as const, reason: "project_test_failed", observed: 0.5, required: 1 };
    const unused = { passes_on_stub: 2, out_of_time: 1 };
    const failed = explanation({ ...ESCALATED, attempts: [{ ...base, evidence, decision, unused }] });
    assert.match(failed, /Tests of the project that import it[^]*1 test: 1 failed/);
    assert.match(failed, /test_order<\/code>[^]*trusted[^]*weak[^]*saw <code>assert 1 == -1/);
    assert.match(failed, /Tests of the project passed: 0.50; 1.00 needed/);
    assert.match(failed, /3 tests of the project[^]*passes on stub: 2[^]*out of time: 1/);
    assert.match(failed, /threshold θ = 0.10, which did not decide/);
    const passed = { ...decision, action: "accept" as const, reason: "project_tests_passed", observed: 1 };
    const alone = { ...evidence, n_tests: 0, own_failed: 0 };
    const accepted = explanation({ ...ESCALATED, attempts: [{ ...base, evidence: alone, decision: passed }] });
    assert.match(accepted, /Tests of the project passed: 1.00; 1.00 needed/);
  });

  test("names the setting that keeps texts, where none was kept", () => {
    const setting = "<code>cascade.ledger.source_text</code>";
    assert.ok(explanation(UNTESTED).includes(setting));
    assert.ok(!view.includes(setting));
    const attempts = ESCALATED.attempts.map((attempt) => ({ ...attempt, evidence: { ...attempt.evidence, empty: true }, text: "" }));
    assert.match(explanation({ ...ESCALATED, attempts }), /It offered nothing/);
    assert.match(explanation({ ...ESCALATED, attempts: [withTest(run({ text: "docstring example", seen: "" }))] }), /text not kept/);
  });

  test("marks the answer that was taken, and tells the user's own function from a model's", () => {
    assert.ok(view.indexOf("this one was taken") > view.indexOf("2. large"));
    const attempts = [{ ...withTest(run({})), tier: "document", model: "" }];
    assert.match(explanation({ ...ESCALATED, attempts, chosen: 0 }), /your function as it stood: it fails/);
  });
});

function withTest(test: ReturnType<typeof run>): DecisionRecord["attempts"][number] {
  const attempt = ESCALATED.attempts[0];
  assert.ok(attempt);
  return { ...attempt, tests: [test] };
}

suite("diff", () => {
  const rows = (before: string, after: string): string[] =>
    [...diff("Changes", before, after).text.matchAll(/<div class="(?:kept|removed|added)">([^]*?)<\/div>/g)].map(([, row]) =>
      (row ?? "").replace(/<span class="sign">(.)<\/span><code>([^]*)<\/code>/, "$1$2"),
    );

  test("signs each line and marks the words that differ", () => {
    assert.deepEqual(rows("a\nreturn x + 1\nz", "a\nreturn y + 1\nz\n"), [
      " a",
      "−return <del>x</del> + 1",
      "+return <ins>y</ins> + 1",
      " z",
    ]);
  });

  test("marks no words where two stretches have little in common", () => {
    assert.deepEqual(rows("x = 1", "return median(values)"), ["−x = 1", "+return median(values)"]);
  });

  test("leaves whole new lines unmarked, and escapes what it marks", () => {
    assert.deepEqual(rows("a", "a\nb\n"), [" a", "+b"]);
    assert.deepEqual(rows("x = <b>", "x = <i>"), ["−x = &lt;<del>b</del>&gt;", "+x = &lt;<ins>i</ins>&gt;"]);
  });

  test("keeps every line of both texts", () => {
    const plain = rows(SMALL_TEXT, LARGE_TEXT).map((row) => row.replace(/<\/?(ins|del)>/g, ""));
    const text = (sign: string): string => plain.filter((row) => row[0] === sign || row[0] === " ").map((row) => row.slice(1)).join("\n");
    assert.equal(`${text("−")}\n`, escape(SMALL_TEXT));
    assert.equal(`${text("+")}\n`, escape(LARGE_TEXT));
  });

  test("says so where nothing changed", () => {
    const attempts = ESCALATED.attempts.map((attempt) => ({ ...attempt, text: SMALL_TEXT }));
    assert.match(explanation({ ...ESCALATED, attempts }), /the same text as that of small/);
  });
});

suite("ledger", () => {
  const view = ledger(DECISIONS);

  test("has one row per decision, with a way to its place and to its explanation", () => {
    for (const { id, uri, line } of DECISIONS.rows) {
      assert.ok(view.includes(`data-open="${uri}" data-line="${line}"`));
      assert.ok(view.includes(`data-explain="${id}"`));
    }
    assert.match(view, /aria-label="Explain compare_versions at compare_versions.py:4"/);
    assert.match(view, /aria-sort="descending"><button type="button" class="sort">Time/);
  });

  test("can be filtered, and counts aloud what is left", () => {
    assert.match(view, /<label for="filter">/);
    assert.match(view, /id="count" class="quiet" role="status">6 decisions/);
  });

  test("says what to do where nothing is on record, and shows the file even so", () => {
    const empty = ledger({ ...DECISIONS, rows: [] });
    assert.match(empty, /No decision is on record yet[^]*Write code/);
    assert.match(empty, /data-command="reveal"/);
    assert.doesNotMatch(empty, /<table|id="filter"/);
  });
});

suite("statistics", () => {
  const view = statistics(STATISTICS);

  test("says of every figure what it counts", () => {
    assert.match(view, /<dt>Accepted<\/dt><dd class="value">33 %<\/dd><dd class="quiet">270 of 820 suggestions/);
    assert.match(view, /<dt>Verified<\/dt>[^]*?201 of 288 tested suggestions accepted because of the tests/);
    const none = statistics({ ...STATISTICS, total: { ...STATISTICS.total, kept: null, latency_p50_ms: null } });
    assert.match(none, /<dt>Kept<\/dt><dd class="value">–</);
    assert.match(none, /<dt>Latency p50<\/dt><dd class="value">–</);
  });

  test("leaves a gap where a day has no figure", () => {
    const gaps = { suggestions: 1, acceptance: 0.5 };
    const series = [0, 1, 2, 3].map((i) => ({ ...NOTHING, ...(i === 2 ? {} : gaps), day: `2026-11-0${i + 1}` }));
    const path = /<path d="(M[^"]+)"/.exec(statistics({ ...STATISTICS, series }).split("Day by day")[1] ?? "");
    assert.match(path?.[1] ?? "", /^M[\d.]+ 66L[\d.]+ 66M[\d.]+ 66$/);
    assert.match(view, /days without a figure/);
  });

  test("draws days without any figure", () => {
    const series = [{ ...NOTHING, day: "2026-11-01" }];
    const empty = statistics({ ...STATISTICS, series });
    assert.match(empty, /accepted: no figure/);
    assert.doesNotMatch(empty, /NaN|Infinity|null/);
  });

  test("has for each chart a text, units and the data as a table", () => {
    assert.equal(view.match(/<svg class="chart" role="img" aria-label="/g)?.length, 5);
    assert.equal(view.match(/<details><summary>/g)?.length, 5);
    assert.match(view, /100 %<\/text>/);
    assert.match(view, /5\.0 s<\/text>/);
    assert.match(view, /<th scope="row">2026-11-01<\/th><td class="figure">2<\/td><td class="figure">20<\/td><td class="figure">10 %/);
  });

  test("offers the ranges, with the one shown pressed", () => {
    assert.match(view, /data-days="7" aria-pressed="false"[^]*data-days="30" aria-pressed="true"[^]*data-days="90" aria-pressed="false"/);
    assert.match(view, /<th scope="row">trusted test failed<\/th>[^]*?escalated[^]*?74<\/td><td class="figure">9 %/);
  });

  test("says what to do where nothing was counted, and still offers other ranges", () => {
    const empty = statistics({ days: 7, total: NOTHING, series: [], reasons: [] });
    assert.match(empty, /data-days="90"[^]*No suggestion was recorded in 7 days[^]*Write code/);
    assert.doesNotMatch(empty, /<svg class="chart"/);
  });
});

suite("doctor", () => {
  test("sums up, the worst first", () => {
    const good = FINDINGS.slice(0, 2);
    assert.match(doctor(FINDINGS), /1 of 4 checks failed: large model. 1 warning: large model: kernels./);
    assert.match(doctor(FINDINGS.slice(0, 3)), /Nothing failed. 1 warning/);
    assert.match(doctor(good), /All 2 checks passed/);
    assert.match(doctor([]), /No check was run/);
  });

  test("shows each check with its state in words, and its remedy to copy", () => {
    const view = doctor(FINDINGS);
    for (const { name, found } of FINDINGS) assert.ok(view.includes(name) && view.includes(escape(found)));
    assert.match(view, /data-copy="CMAKE_ARGS=&quot;-DGGML_NATIVE=OFF/);
    assert.equal(view.match(/data-copy=/g)?.length, 2);
  });
});
