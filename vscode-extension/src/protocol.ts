/**
 * What the server says, as it says it. The shapes of a decision are those that
 * `server/cascade_lsp/explain.py` documents; nothing here is computed by the extension.
 */

/**
 * One test as it went for one suggestion; `outcome` is a label of docs/sandbox.md, `origin` is
 * "docstring", "project" (the user's own) or the tier that wrote it.
 */
export interface TestRun {
  text: string;
  origin: string;
  trusted: boolean;
  strong: boolean;
  outcome: string;
  seen: string;
  detail: string;
  ms: number;
}

export interface Evidence {
  execution: "ran" | "not_testable" | "off" | "not_asked";
  empty: boolean;
  syntax_ok: boolean;
  n_tests: number;
  n_s: number;
  n_t: number;
  k: number;
  trusted_passed: number;
  trusted_failed: number;
  inconclusive: number;
  confidence: number | null;
  own_passed: number;
  own_failed: number;
}

export interface Policy {
  theta: number;
  theta_trusted: number;
  theta_own: number;
  escalate: string;
  min_confidence: number;
}

export interface Decision {
  action: "accept" | "escalate" | "best_effort";
  reason: string;
  observed: number | null;
  required: number | null;
}

/** `ms` is the tier's wall time, `cost` in GFLOP. */
export interface Usage {
  prompt_tokens: number;
  cached_tokens: number;
  new_tokens: number;
  ms: number;
  cost: number;
}

/**
 * One tier's turn; `why` is the reason of its decision as a clause. `unused` counts the project's
 * tests of the function that were not used, by reason. `text` is "" where it was not kept. The tier "document" is the function as it stood, which the user asked to verify.
 */
export interface Attempt {
  tier: string;
  model: string;
  text: string;
  tests: TestRun[];
  dropped: Record<string, number>;
  unused: Record<string, number>;
  features: Record<string, number>;
  evidence: Evidence;
  score: number;
  policy: Policy;
  decision: Decision;
  usage: Usage;
  why: string;
}

/** What became of a suggestion; `value` is ms for "answered", a share for "kept". */
export interface LedgerEvent {
  kind: string;
  at: number;
  value: number | null;
}

/** A decision, whole. `created` in seconds since the epoch, `line` and `column` from 1. */
export interface DecisionRecord {
  id: string;
  created: number;
  uri: string;
  language: string;
  line: number;
  column: number;
  function: string;
  untestable: string;
  trigger: string;
  plan: string;
  ms: number;
  chosen: number;
  verdict: string;
  otherwise: string;
  attempts: Attempt[];
  events: LedgerEvent[];
}

/** The answer of `cascade.explainEscalation`. */
export interface Explanation {
  id: string | null;
  markdown: string;
  record: DecisionRecord | null;
}

/** One row of `cascade.decisions`, newest first. */
export interface DecisionRow {
  id: string;
  created: number;
  uri: string;
  line: number;
  function: string;
  trigger: string;
  tier: string;
  action: Decision["action"];
  reason: string;
  verdict: string;
  ms: number;
  accepted: boolean;
}

/** The answer of `cascade.decisions`; `path` is the ledger's file. */
export interface Decisions {
  path: string;
  rows: DecisionRow[];
}

/** What happened in a stretch of time. Shares are in [0, 1], null where nothing was counted. */
export interface Figures {
  suggestions: number;
  accepted: number;
  tested: number;
  verified: number;
  escalated: number;
  acceptance: number | null;
  kept: number | null;
  verified_share: number | null;
  escalated_share: number | null;
  latency_p50_ms: number | null;
  latency_p95_ms: number | null;
}

/** The answer of `cascade.statistics`; `series` has one entry per day, oldest first. */
export interface Statistics {
  days: number;
  total: Figures;
  series: ({ day: string } & Figures)[];
  reasons: { action: string; reason: string; words: string; count: number }[];
}

/** One check of `cascade.doctor`. */
export interface Finding {
  name: string;
  state: "ok" | "warning" | "failed";
  found: string;
  remedy: string;
}

/** One model of `cascade.models`. */
export interface Model {
  name: string;
  role: string | null;
  chosen: string | null;
  path: string | null;
  size_bytes: number;
  licence: string;
  run_here: boolean;
}

export type State =
  | "ready"
  | "loading"
  | "thinking"
  | "verifying"
  | "escalating"
  | "escalated"
  | "paused"
  | "excluded"
  | "off"
  | "model_missing"
  | "error";

/** `didChangeStatus`: the light. `kind` is Normal, Warning or Inactive. */
export interface Light {
  busy: boolean;
  message: string;
  kind: "Normal" | "Warning" | "Inactive";
  state: State;
}

/** The answer of `cascade.status`. `snoozed_until` in seconds since the epoch. */
export interface Status extends Light {
  version: string;
  models: { role: string; name: string; installed: boolean }[];
  sandbox: { tier: string; reason: string; languages?: string[] };
  /** Which profile is in force and why, and what it spares ("" where nothing is). */
  power: {
    profile: "plugged" | "battery" | "saver" | "custom";
    why: string;
    spared: string;
    on_battery: boolean;
    percent: number | null;
  };
  network: string;
  snoozed_until: number | null;
  work: {
    requests: number;
    drafts: number;
    cached: number;
    verifications: number;
    escalations: number;
    read_tokens: number;
    written_tokens: number;
  };
}

/**
 * `cascade/improved`: a better answer than the one shown lies ready. One that is only offered names
 * a version that is gone, and waits until the user asks.
 */
export interface Improved {
  uri: string;
  version: number;
  range: { start: { line: number; character: number }; end: { line: number; character: number } };
  decisionId: string;
  how: "replace" | "extend" | "offer";
}

/** The answer of `cascade.verifyFunction`. */
export interface Verification {
  id: string | null;
  function: string;
  verdict: string;
  action: Decision["action"] | "untestable";
  replaceable: boolean;
}
