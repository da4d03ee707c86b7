"""Rate an answer without a label: the scores of the literature, a learned one, and their quality.

Every rule reads what a model wrote for one case (its first k solutions, its tests, the token
log-probabilities of the first, greedy solution) and gives the solution it picks with a score,
higher meaning "more likely right". What rests on tests is 0 where there is none. Only outcome kinds
are recorded, not values, so that two wrong answers are alike to a test that both fail.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import lgamma, log, sqrt
from statistics import fmean
from typing import Self

import numpy as np
import numpy.typing as npt

from cascade_lsp.errors import UsageError
from cascade_lsp.lab import replay
from cascade_lsp.lab.study import PASSED, Case
from cascade_lsp.policy import Evidence
from cascade_lsp.testgen import Matrix

Floats = npt.NDArray[np.float64]

# B4's prior: the authors run 1e3, and 1e4 to 1e6, of which the mildest is taken; neither is tuned.
B4_ALPHA = 1e3
B4_BETA = 1e4
FLOOR = -20.0  # where there is no token; a most likely one is not below ln(1 / vocabulary) = -12
BINS = 10
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Choice:
    """What a rule says: the answer's row in the case's pass matrix, and how much it trusts it."""

    row: int
    score: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one model's first k solutions to a case, labels aside.

    `rows` are the solutions' rows in the case's pass matrix; `tokens` (features of `confidence`)
    and `syntax_ok` are of the greedy one, the first. `dropped` counts unused tests, by reason.
    """

    matrix: Matrix
    rows: tuple[int, ...]
    tokens: Mapping[str, float]
    syntax_ok: bool
    dropped: Mapping[str, int]

    @property
    def k(self) -> int:
        return len(self.rows)

    @property
    def generated(self) -> list[int]:
        """Return the columns of the tests that the model wrote."""
        return [t for t, test in enumerate(self.matrix.tests) if not test.trusted]

    def passes(self) -> list[tuple[bool, ...]]:
        """Return which of the model's own tests each solution passes."""
        columns = self.generated
        return [tuple(row[t].kind == PASSED for t in columns) for row in self.matrix.outcomes]

    def choice(self, s: int, score: float) -> Choice:
        return Choice(self.rows[s], score)


def observe(case: Case, model: str, k: int, samples: int, style: str = "") -> Seen:
    """Return what a model's first `k` solutions show on the docstring's examples and on the tests
    of its first `samples` answers; raise UsageError where less is recorded."""
    wrote, name = replay.written(case, model, style)
    if not 1 <= k <= len(wrote.solutions) or len(wrote.samples) < samples:
        raise UsageError(
            f"{case.id} has {len(wrote.solutions)} solutions and {len(wrote.samples)} samples of "
            f"tests from {model}, not {k} and {samples}. Record more with --k, --tests."
        )
    tests, dropped = case.tests(model, name, samples)
    known = {test.text for test in case.examples}
    fresh = [test for test in tests if test.text not in known]
    pool = (*case.examples, *(test for test in fresh if replay.useful(case, test)))
    rows = tuple(solution.row for solution in wrote.solutions[:k])
    useless = len(fresh) + len(case.examples) - len(pool)
    return Seen(
        matrix=case.pass_matrix(pool, rows),
        rows=rows,
        tokens=wrote.solutions[0].features,
        syntax_ok=case.answers[rows[0]].syntax_ok,
        dropped={**dropped, "useless": useless} if useless else dropped,
    )


# -- rules on the pass matrix -------------------------------------------------------------------


def s(seen: Seen) -> Choice:
    """Score by S = (n_s / N_t) * (n_t / k), in [0, 1] (arXiv 2405.15842, normalised)."""
    best = seen.matrix.best()
    n_s, n_tests, n_t = seen.matrix.score(best)
    evidence = Evidence("ran", n_tests=n_tests, n_s=n_s, n_t=n_t, k=seen.k)
    return seen.choice(best, evidence.score)


def pass_fraction(seen: Seen) -> Choice:
    """Score S's pick by n_s / N_t, the first factor of S alone, in [0, 1]."""
    best = seen.matrix.best()
    n_s, n_tests, _ = seen.matrix.score(best)
    return seen.choice(best, n_s / n_tests if n_tests else 0.0)


def examples(seen: Seen) -> Choice:
    """Score S's pick by the share of the docstring's examples it passes, 0.5 where there is none;
    in [0, 1]."""
    best = seen.matrix.best()
    passed, failed = seen.matrix.trusted(best)
    return seen.choice(best, passed / (passed + failed) if passed + failed else 0.5)


def codet(seen: Seen) -> Choice:
    """Score the best set of solutions that pass the same tests by tests passed times the root of
    its size (CodeT, arXiv 2207.10397), divided by its largest value, in [0, 1]."""
    passes, n_tests = seen.passes(), len(seen.generated)
    if not n_tests:
        return seen.choice(0, 0.0)

    def value(group: Sequence[int]) -> float:
        return sum(passes[group[0]]) * sqrt(len(group))

    best = max(_alike(passes), key=value)
    return seen.choice(best[0], value(best) / (n_tests * sqrt(seen.k)))


def b4(seen: Seen) -> Choice:
    """Pick the set of solutions that B4 (arXiv 2409.08692) holds for the likeliest to be the right
    ones, by `log_posterior` as in the authors' released code.

    The paper ranks sets within a problem only. To compare problems the score is, our addition, the
    log-odds against "no solution and no test is right", divided by the log-odds that a matrix of
    this size would have where all pass; in [0, 1].
    """
    passes, n_tests = seen.passes(), len(seen.generated)
    if not n_tests:
        return seen.choice(0, 0.0)
    nobody = log_posterior(passes, [], (False,) * n_tests)

    def odds(group: Sequence[int]) -> float:
        return log_posterior(passes, group, passes[group[0]]) - nobody

    best = max(_alike(passes), key=odds)
    ones, everybody = [(True,) * n_tests] * seen.k, range(seen.k)
    most = log_posterior(ones, everybody, ones[0]) - log_posterior(ones, [], (False,) * n_tests)
    return seen.choice(best[0], min(max(odds(best) / most, 0.0), 1.0))


def log_posterior(
    passes: Sequence[Sequence[bool]], right: Sequence[int], tests: Sequence[bool]
) -> float:
    """Return B4's log-posterior, up to a constant, of "these solutions and these tests are right".

    Its practical form (arXiv 2409.08692): right solutions pass right tests and fail wrong ones, and
    what remains unknown (how many solutions and tests are right, how often a wrong solution passes
    a right test and a wrong one) is integrated out under Beta priors, which leaves the sum of four
    log-Beta functions. A verdict that is not conclusive counts as not passed.
    """
    others = [row for i, row in enumerate(passes) if i not in set(right)]
    on_right = [passed for row in others for passed, ok in zip(row, tests, strict=True) if ok]
    on_wrong = [passed for row in others for passed, ok in zip(row, tests, strict=True) if not ok]
    return (
        _log_beta(sum(tests), len(tests), alpha=B4_ALPHA)
        + _log_beta(len(right), len(passes), alpha=B4_ALPHA)
        + _log_beta(sum(on_right), len(on_right))
        + _log_beta(sum(on_wrong), len(on_wrong), beta=B4_BETA)
    )


def _log_beta(hits: int, of: int, alpha: float = 1.0, beta: float = 1.0) -> float:
    """Return ln B(hits + alpha, of - hits + beta)."""
    a, b = hits + alpha, of - hits + beta
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def mbr_exec(seen: Seen) -> Choice:
    """Score the largest set of solutions with equal outcomes by its share of all, in [0, 1] (hard
    MBR-exec, arXiv 2204.11454, with outcome kinds for the values, on every test)."""
    if not seen.matrix.tests:
        return seen.choice(0, 0.0)
    kinds = [tuple(outcome.kind for outcome in row) for row in seen.matrix.outcomes]
    largest = max(_alike(kinds), key=len)
    return seen.choice(largest[0], len(largest) / seen.k)


def agreement(seen: Seen) -> Choice:
    """Score the greedy solution by the share of all solutions, itself among them, that pass just
    the tests it passes, in [0, 1]: self-consistency (arXiv 2203.11171) on pass vectors."""
    if not seen.matrix.tests:
        return seen.choice(0, 0.0)
    passes = [tuple(outcome.kind == PASSED for outcome in row) for row in seen.matrix.outcomes]
    return seen.choice(0, passes.count(passes[0]) / seen.k)


def _alike(vectors: Sequence[Hashable]) -> list[list[int]]:
    """Return the solutions with equal vectors, group by group, the first one's group first."""
    groups = dict[Hashable, list[int]]()
    for i, vector in enumerate(vectors):
        groups.setdefault(vector, []).append(i)
    return list(groups.values())


# -- rules on the greedy solution's tokens ------------------------------------------------------


def first_3(seen: Seen) -> Choice:
    """Score by the mean probability of the first three tokens, in [0, 1] (arXiv 2603.05974)."""
    return seen.choice(0, seen.tokens.get("probability_first_3", 0.0))


def first_3_syntax(seen: Seen) -> Choice:
    """Score as `first_3`, but 0 where the answer breaks the syntax (SynConfRoute, arXiv
    2605.04894), in [0, 1]."""
    return first_3(seen) if seen.syntax_ok else seen.choice(0, 0.0)


def mccom(seen: Seen) -> Choice:
    """Score as MCCom's first gate does (arXiv 2603.05974), which is `first_3` by its own name; its
    second gate, the user typing on, is not in records."""
    return first_3(seen)


def _of_logprobs(seen: Seen, name: str) -> Choice:
    """Score by a feature of `confidence`, at most 0; FLOOR for an empty answer."""
    return seen.choice(0, seen.tokens.get(name, FLOOR))


def length(seen: Seen) -> Choice:
    """Score by the number of tokens, negative: the shorter, the likelier right."""
    return seen.choice(0, -seen.tokens["tokens"])


Rule = Callable[[Seen], Choice]
RULES: Mapping[str, Rule] = {
    "s": s,
    "pass_fraction": pass_fraction,
    "codet": codet,
    "b4": b4,
    "mbr_exec": mbr_exec,
    "agreement": agreement,
    "examples": examples,
    "first_3": first_3,
    "first_3_syntax": first_3_syntax,
    "mccom": mccom,
    "logprob_mean": partial(_of_logprobs, name="logprob_mean"),
    "logprob_first_8": partial(_of_logprobs, name="logprob_first_8"),
    "logprob_min": partial(_of_logprobs, name="logprob_min"),
    "length": length,
}


def choices(case: Case, model: str, k: int, samples: int, style: str = "") -> Mapping[str, Choice]:
    """Return what every rule picks, and its score."""
    seen = observe(case, model, k, samples, style)
    return {name: rule(seen) for name, rule in RULES.items()}


def features(case: Case, model: str, k: int, samples: int, style: str = "") -> Mapping[str, float]:
    """Return all that is known of S's pick without a label, as numbers for `Logistic`.

    The scores of `RULES` (each of its own pick), and counts: those of S, tests kept and dropped,
    the docstring's examples, the characters of prompt and answer.
    """
    seen = observe(case, model, k, samples, style)
    best = seen.matrix.best()
    n_s, n_tests, n_t = seen.matrix.score(best)
    passed, failed = seen.matrix.trusted(best)
    counts = {
        "n_s": n_s,
        "n_tests": n_tests,
        "n_t": n_t,
        "tests_kept": len(seen.generated),
        "tests_dropped": sum(seen.dropped.values()),
        "inconclusive": seen.matrix.inconclusive(best),
        "examples_stated": len(case.examples),
        "examples_passed": passed,
        "examples_failed": failed,
        "syntax_ok": seen.syntax_ok,
        "prompt_chars": case.chars,
        "answer_chars": case.answers[seen.rows[best]].chars,
        **{f"dropped_{reason}": n for reason, n in seen.dropped.items()},
    }
    scored = {name: rule(seen).score for name, rule in RULES.items()}
    return scored | {name: float(n) for name, n in counts.items()}


# -- a learned score ----------------------------------------------------------------------------


class Logistic:
    """The probability that an answer is right, from its features: logistic regression with an L2
    penalty (`c` is its inverse strength) on standardised features; a missing feature is 0."""

    def __init__(self, c: float = 1.0) -> None:
        self.c = c
        self.names: tuple[str, ...] = ()
        self.mean = self.scale = self.weights = np.zeros(0)
        self.intercept = 0.0

    def fit(self, rows: Sequence[Mapping[str, float]], labels: Sequence[bool]) -> Self:
        """Learn from answers whose label is known; where all labels are alike, only their rate by
        Laplace's rule of succession. Raise UsageError without scikit-learn, or without rows."""
        if not rows:
            raise UsageError("A logistic model cannot be fitted to no answer. Record some first.")
        self.names = tuple(sorted({name for row in rows for name in row}))
        table = self._table(rows)
        self.mean, spread = table.mean(axis=0), table.std(axis=0)
        self.scale = np.where(spread > 0, spread, 1.0)
        if len(set(labels)) < 2:
            self.weights = np.zeros(len(self.names))
            self.intercept = log((sum(labels) + 1) / (len(labels) - sum(labels) + 1))
        else:
            scaled = (table - self.mean) / self.scale
            self.weights, self.intercept = _regression(scaled, labels, self.c)
        return self

    def probability(self, row: Mapping[str, float]) -> float:
        """Return the probability that the answer with these features is right."""
        return _sigmoid(self.log_odds(row))

    def log_odds(self, row: Mapping[str, float]) -> float:
        scaled = (self._table([row])[0] - self.mean) / self.scale
        return float(scaled @ self.weights) + self.intercept

    def _table(self, rows: Sequence[Mapping[str, float]]) -> Floats:
        return np.array([[row.get(name, 0.0) for name in self.names] for row in rows], dtype=float)


def _regression(table: Floats, labels: Sequence[bool], c: float) -> tuple[Floats, float]:
    """Return weights and intercept of a logistic regression."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise UsageError(
            "A logistic model needs scikit-learn: pip install 'cascade-lsp[lab]'."
        ) from error
    model = LogisticRegression(C=c, max_iter=2000).fit(table, np.array(labels, dtype=int))
    return np.asarray(model.coef_[0], dtype=float), float(model.intercept_[0])


class Grouped:
    """`Logistic`, corrected by group until no group's mean is off (multicalibration, arXiv
    1711.08513 and, for code, 2512.08810; without level sets, so in its weak form, multiaccuracy).

    The groups are with and without docstring examples, and the terciles of the prompt's length;
    each has an offset of the log-odds, shrunk by a ridge of `ridge` (in answers of variance 1). The
    offsets are learned on probabilities of answers that the model behind them did not see.
    """

    def __init__(self, c: float = 1.0, ridge: float = 5.0, rounds: int = 50) -> None:
        self.base = Logistic(c)
        self.ridge, self.rounds = ridge, rounds
        self.cuts = np.zeros(2)
        self.offsets: dict[str, float] = {}

    def fit(self, rows: Sequence[Mapping[str, float]], labels: Sequence[bool]) -> Self:
        """Learn from answers whose label is known; raise UsageError as `Logistic` does."""
        self.base.fit(rows, labels)
        lengths = [row.get("prompt_chars", 0.0) for row in rows]
        self.cuts = np.quantile(lengths, [1 / 3, 2 / 3])
        members = [self.groups(row) for row in rows]
        names = sorted({name for groups in members for name in groups})
        inside = np.array([[name in groups for name in names] for groups in members], dtype=float)
        odds = _held_out(rows, labels, self.base.c)
        offsets = _offsets(odds, inside, np.array(labels, dtype=float), self.ridge, self.rounds)
        self.offsets = dict(zip(names, offsets.tolist(), strict=True))
        return self

    def groups(self, row: Mapping[str, float]) -> tuple[str, str]:
        """Return the two groups that an answer belongs to."""
        stated = "examples" if row.get("examples_stated", 0.0) else "no_examples"
        tercile = int(np.searchsorted(self.cuts, row.get("prompt_chars", 0.0), side="left"))
        return stated, ("short", "middle", "long")[tercile]

    def probability(self, row: Mapping[str, float]) -> float:
        """Return the probability that the answer with these features is right."""
        offset = sum(self.offsets.get(name, 0.0) for name in self.groups(row))
        return _sigmoid(self.base.log_odds(row) + offset)


def _held_out(rows: Sequence[Mapping[str, float]], labels: Sequence[bool], c: float) -> Floats:
    """Return every answer's log-odds by a model fitted without its fold, every FOLDS-th answer."""
    odds = np.zeros(len(rows))
    for fold in range(min(FOLDS, len(rows))):
        others = [i for i in range(len(rows)) if i % FOLDS != fold]
        if not others:
            continue
        model = Logistic(c).fit([rows[i] for i in others], [labels[i] for i in others])
        for i in range(fold, len(rows), FOLDS):
            odds[i] = model.log_odds(rows[i])
    return odds


def _offsets(odds: Floats, inside: Floats, labels: Floats, ridge: float, rounds: int) -> Floats:
    """Return each group's offset of the log-odds, by Newton steps on one group after the other."""
    offsets = np.zeros(inside.shape[1])
    for _ in range(rounds):
        before = offsets.copy()
        for g in range(len(offsets)):
            p = 1 / (1 + np.exp(-(odds + inside @ offsets)))
            slope = inside[:, g] @ (labels - p) - ridge * offsets[g]
            offsets[g] += slope / (inside[:, g] @ (p * (1 - p)) + ridge)
        if np.abs(offsets - before).max() < 1e-6:
            break
    return offsets


def _sigmoid(x: float) -> float:
    return float(np.exp(-np.logaddexp(0.0, -x)))


# -- how good a score is ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Quality:
    """How well probabilities agree with `n` labels; `skill` and `auroc` are not a number where all
    labels are alike."""

    n: int
    brier: float
    skill: float
    ece: float
    auroc: float


def quality(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> Quality:
    """Return Brier's score (Brier 1950), its skill against always saying the base rate, the
    expected calibration error (arXiv 1706.04599) in bins of equal count, and the AUROC."""
    p, y = np.asarray(probabilities, dtype=float), np.asarray(labels, dtype=float)
    if not len(p):
        raise UsageError("The quality of no probability cannot be said. Record some answers first.")
    brier = float(np.mean((p - y) ** 2))
    reference = float(y.mean() * (1 - y.mean()))
    skill = 1 - brier / reference if reference else float("nan")
    return Quality(len(p), brier, skill, _calibration_error(p, y), auroc(probabilities, labels))


def _calibration_error(p: Floats, y: Floats) -> float:
    """Return the mean distance between a bin's mean probability and its share of right answers,
    weighted by count, over BINS bins of equal count; equal probabilities are in one bin."""
    below = np.searchsorted(np.sort(p), p, side="left")
    bins = below * BINS // len(p)
    off = (abs(float(np.sum(p[bins == i] - y[bins == i]))) for i in range(BINS))
    return sum(off) / len(p)


def auroc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return how often a right answer scores higher than a wrong one, a tie being half (Mann and
    Whitney 1947); not a number where all labels are alike."""
    values, right = np.asarray(scores, dtype=float), np.asarray(labels, dtype=bool)
    wrong = np.sort(values[~right])
    if not right.any() or not len(wrong):
        return float("nan")
    lower = np.searchsorted(wrong, values[right], side="left")
    not_higher = np.searchsorted(wrong, values[right], side="right")
    return fmean(((lower + not_higher) / (2 * len(wrong))).tolist())
