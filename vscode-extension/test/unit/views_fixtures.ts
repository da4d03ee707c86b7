/** What a server might send, for the tests of the views: a run of the demonstration with its
 * texts, and the rarer things beside it. */

import type { Attempt, DecisionRecord, Decisions, Figures, Finding, Statistics, TestRun } from "../../src/protocol";

const HEAD = `def compare_versions(first: str, second: str) -> int:
    """Return -1, 0 or 1 as the first dotted version is older, equal or newer."""
`;

export const SMALL_TEXT = `${HEAD}    parts1 = first.split('.')
    parts2 = second.split('.')

    # Compare the major components
    if int(parts1[0]) > int(parts2[0]):
        return 1
    elif int(parts1[0]) < int(parts2[0]):
        return -1
    return 0
`;

export const LARGE_TEXT = `${HEAD}    first_parts = first.split('.')
    second_parts = second.split('.')

    for i in range(max(len(first_parts), len(second_parts))):
        first_part = int(first_parts[i]) if i < len(first_parts) else 0
        second_part = int(second_parts[i]) if i < len(second_parts) else 0
        if first_part < second_part:
            return -1
        elif first_part > second_part:
            return 1
    return 0
`;

/** Return one test of the small model's, with what a test of the views wants of it. */
export function run(changes: Partial<TestRun>): TestRun {
  return {
    text: "assert compare_versions('1.0.0', '1.0.0') == 0",
    origin: "small",
    trusted: false,
    strong: true,
    outcome: "passed",
    seen: "0",
    detail: "",
    ms: 1.05,
    ...changes,
  };
}

const EXAMPLES: [string, string][] = [
  ["assert compare_versions('1.10', '1.9.3') == 1", "1"],
  ["assert compare_versions('2.0', '2') == 0", "0"],
];
const example = ([text, seen]: [string, string]): TestRun => run({ text, seen, origin: "docstring", trusted: true });

const SMALL_TESTS = [
  run({}),
  run({ text: "assert compare_versions('3.0', '2.5') == -1", outcome: "assert_failed", seen: "1" }),
  run({ text: "assert compare_versions('1.0.0', '1.0.1') == 0", outcome: "assert_failed", seen: "-1" }),
  run({
    text: "assert abs(compare_versions('1.2', '9' * 400)) < 2",
    strong: false,
    outcome: "timeout",
    seen: "",
    detail: "1 s",
    ms: 1000,
  }),
  run({ text: "assert compare_versions('1.3', '1.4') == 0", outcome: "assert_failed", seen: "-1" }),
];

const SMALL: Attempt = {
  tier: "small",
  model: "qwen2.5-coder-0.5b-instruct-q4_k_m",
  text: SMALL_TEXT,
  tests: [
    example(["assert compare_versions('1.10', '1.9.3') == 1", "1"]),
    {
      ...example(["assert compare_versions('2.0', '2') == 0", "IndexError: list index out of range"]),
      outcome: "error",
      detail: "in line 16",
    },
    ...SMALL_TESTS,
  ],
  dropped: { does_not_compile: 1, arguments_do_not_fit: 3 },
  unused: {},
  features: { tokens: 262, logprob_mean: -0.054 },
  evidence: {
    execution: "ran",
    empty: false,
    syntax_ok: true,
    n_tests: 4,
    n_s: 1,
    n_t: 1,
    k: 1,
    trusted_passed: 1,
    trusted_failed: 1,
    inconclusive: 1,
    confidence: null,
    own_passed: 0,
    own_failed: 0,
  },
  score: 0.25,
  policy: { theta: 0.5, theta_trusted: 0.25, theta_own: 0.1, escalate: "on_failure", min_confidence: 0.6 },
  decision: { action: "escalate", reason: "trusted_test_failed", observed: 0.5, required: 1 },
  usage: { prompt_tokens: 200, cached_tokens: 28, new_tokens: 423, ms: 28176.4, cost: 746.12 },
  why: "it fails 1 of 2 docstring examples",
};

const LARGE: Attempt = {
  ...SMALL,
  tier: "large",
  model: "qwen2.5-coder-1.5b-instruct-q4_k_m",
  text: LARGE_TEXT,
  tests: [
    ...EXAMPLES.map(example),
    ...SMALL_TESTS,
    run({ text: "assert compare_versions('1.9.3', '1.10') == -1", origin: "large", seen: "-1" }),
    run({ text: "assert compare_versions('2.0', '2.0') == 0", origin: "large" }),
  ],
  dropped: {},
  evidence: { ...SMALL.evidence, n_tests: 6, n_s: 3, trusted_passed: 2, trusted_failed: 0 },
  score: 0.5,
  decision: { action: "accept", reason: "self_tests_passed", observed: 0.5, required: 0.25 },
  usage: { prompt_tokens: 166, cached_tokens: 0, new_tokens: 270, ms: 22927.8, cost: 1542.51 },
  why: "it passes 3 of 6 tests",
};

export const ESCALATED: DecisionRecord = {
  id: "7e1926bf5846",
  created: 1795521039.67,
  uri: "file:///home/ana/shop%20floor/versions.py",
  language: "python",
  line: 9,
  column: 5,
  function: "compare_versions",
  untestable: "",
  trigger: "automatic",
  plan: "default",
  ms: 58790.4,
  chosen: 1,
  verdict:
    "Escalated: the small model's answer was not accepted (it fails 1 of 2 docstring examples); the large model's was taken (it passes 3 of 6 tests).",
  otherwise: "The small model's answer would have been accepted if 1 more of the docstring examples had passed.",
  attempts: [SMALL, LARGE],
  events: [
    { kind: "answered", at: 1795521040.2, value: 840.4 },
    { kind: "shown", at: 1795521040.3, value: null },
    { kind: "accepted", at: 1795521099, value: null },
    { kind: "kept", at: 1795522000, value: 0.8 },
  ],
};

/** A place where nothing can be tested, and whose text was not kept. */
export const UNTESTED: DecisionRecord = {
  ...ESCALATED,
  id: "f5a43e0a06b8",
  function: "",
  untestable: "the function returns nothing that a test could compare",
  ms: 540.6,
  chosen: 0,
  verdict: "Accepted the small model's answer: nothing can be tested here, which is not held against it.",
  attempts: [
    {
      ...SMALL,
      text: "",
      tests: [],
      dropped: {},
      evidence: { ...SMALL.evidence, execution: "not_testable", n_tests: 0, n_s: 0, n_t: 0, trusted_passed: 0, trusted_failed: 0 },
      score: 0,
      decision: { action: "accept", reason: "not_testable", observed: null, required: null },
      usage: { prompt_tokens: 44, cached_tokens: 0, new_tokens: 27, ms: 538.9, cost: 88.22 },
      why: "nothing can be tested here, which is not held against it",
    },
  ],
  events: [],
};

const NAMES = ["is_leap", "compare_versions", "", "slug", "median", "parse_duration"];

export const DECISIONS: Decisions = {
  path: "/home/ana/.local/share/cascade/ledger.sqlite3",
  rows: NAMES.map((name, i) => ({
    id: `decision-${i}`,
    created: 1795521039 - i * 4000,
    uri: `file:///home/ana/shop/${name || "report"}.py`,
    line: 3 + i,
    function: name,
    trigger: "automatic",
    tier: i === 1 ? "large" : "small",
    action: i === 1 ? "escalate" : i === 3 ? "best_effort" : "accept",
    reason: i === 1 ? "trusted_test_failed" : "self_tests_passed",
    verdict: i === 1 ? ESCALATED.verdict : i === 2 ? UNTESTED.verdict : i === 3 ? "Best effort of the small model: it passes 1 of 6 tests, which is not enough, and no larger one answered." : "Accepted the small model's answer: it passes 4 of 6 tests.",
    ms: 540.6 + i * 9000,
    accepted: i % 2 === 0,
  })),
};

export const NOTHING: Figures = {
  suggestions: 0,
  accepted: 0,
  tested: 0,
  verified: 0,
  escalated: 0,
  acceptance: null,
  kept: null,
  verified_share: null,
  escalated_share: null,
  latency_p50_ms: null,
  latency_p95_ms: null,
};

/** Return the figures of one day; every fifth day, nobody wrote code. */
function figures(day: number): Figures {
  if (day % 5 === 4) return NOTHING;
  const [suggestions, accepted, tested, verified, escalated] = [20 + day, 8 + (day % 7), 12, 7 + (day % 4), 2 + (day % 3)];
  return {
    suggestions,
    accepted,
    tested,
    verified,
    escalated,
    acceptance: accepted / suggestions,
    kept: day % 3 === 0 ? null : 0.7 + (day % 4) / 20,
    verified_share: verified / tested,
    escalated_share: escalated / suggestions,
    latency_p50_ms: 700 + 40 * (day % 6),
    latency_p95_ms: 2100 + 160 * (day % 9),
  };
}

export const STATISTICS: Statistics = {
  days: 30,
  total: { ...figures(1), suggestions: 820, accepted: 270, acceptance: 0.33, tested: 288, verified: 201, escalated: 74 },
  series: Array.from({ length: 30 }, (_, i) => ({ day: `2026-11-${String(i + 1).padStart(2, "0")}`, ...figures(i) })),
  reasons: [
    { action: "accept", reason: "not_checked", words: "not checked", count: 412 },
    { action: "accept", reason: "self_tests_passed", words: "self tests passed", count: 201 },
    { action: "escalate", reason: "trusted_test_failed", words: "trusted test failed", count: 74 },
    { action: "best_effort", reason: "self_tests_failed", words: "self tests failed", count: 9 },
  ],
};

export const FINDINGS: Finding[] = [
  { name: "cascade", state: "ok", found: "0.1.0 on Python 3.11.9", remedy: "" },
  { name: "small model", state: "ok", found: "loaded in 1.2 s, 4096 tokens of context, FIM markers", remedy: "" },
  {
    name: "large model: kernels",
    state: "warning",
    found: "this build of llama.cpp crashes here with repacked weights, so they are off",
    remedy: 'CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON" pip install --force-reinstall --no-cache-dir llama-cpp-python',
  },
  {
    name: "large model",
    state: "failed",
    found: "qwen2.5-coder-1.5b-instruct-q4_k_m is not on this machine",
    remedy: "cascade models fetch qwen2.5-coder-1.5b-instruct-q4_k_m",
  },
];
