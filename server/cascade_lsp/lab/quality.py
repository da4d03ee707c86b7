"""How good the evidence is: the tests that models wrote, and scores learned from all of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from cascade_lsp.lab import replay
from cascade_lsp.lab.scores import Floats, Grouped, Logistic, Quality, features, quality
from cascade_lsp.lab.study import PASSED, Case

FOLDS = 5
RIDGE = 0.1  # inverse strength: some hundred answers and a dozen features
BY_TOKENS = ("length", "logprob_mean", "logprob_min", "prompt_chars", "answer_chars", "syntax_ok")
BY_TESTS = ("s", "n_s", "n_tests", "tests_kept", "examples_stated", "examples_passed")
BY_EXAMPLES = ("examples_stated", "examples_passed", "examples_failed")
# What a logistic model may know of the small model's greedy answer.
KNOWN: Mapping[str, Sequence[str]] = {
    "tokens": BY_TOKENS,
    "tokens and examples": (*BY_TOKENS, *BY_EXAMPLES),
    "tests and examples": (*BY_TESTS, *BY_EXAMPLES),
    "tokens, tests and examples": (*BY_TOKENS, *BY_TESTS, *BY_EXAMPLES),
}


@dataclass(frozen=True, slots=True)
class Tested:
    """The assertions that one model wrote in one prompt style, so many `samples` of them: `lines` a
    problem, `usable` the share of them that can count, `right` the share of those that the known
    solution passes, `kills` the share of wrong greedy answers of the small model that fail one of
    them, `false_alarms` that of right ones; `solves` is how often the model's own greedy answer in
    that style is right."""

    model: str
    style: str
    samples: int
    solves: float
    lines: float
    usable: float
    right: float
    kills: float
    false_alarms: float


def styles(cases: Sequence[Case], model: str) -> list[str]:
    """Return the prompt styles in which a model was recorded for every case."""
    return [s for s in cases[0].written[model] if all(s in c.written[model] for c in cases)]


def tested(
    cases: Sequence[Case], model: str, greedy_of: str, samples: int, style: str = ""
) -> Tested:
    """Return how good a model's tests are, by its first `samples` answers that hold some."""
    lines = usable = known = right = solved = 0
    fails: dict[bool, list[float]] = {True: [], False: []}
    for case in cases:
        wrote, own = replay.written(case, model, style)
        solved += case.is_right(wrote.solutions[0].row)
        found, _ = case.tests(model, own, samples)
        kept = [t for t in found if replay.useful(case, t) and not t.trusted]
        lines += sum(len(sample.found) for sample in wrote.samples[:samples])
        usable += len(kept)
        verdicts = [case.columns[int(test.text)].reference for test in kept]
        known += sum(verdict in (PASSED, "assert_failed", "error") for verdict in verdicts)
        right += verdicts.count(PASSED)
        row = replay.written(case, greedy_of)[0].solutions[0].row
        outcomes = case.pass_matrix(kept, [row]).outcomes[0]
        if kept:
            failed = any(o.conclusive and o.kind != PASSED for o in outcomes)
            fails[case.is_right(row)].append(float(failed))
    return Tested(
        model=model,
        style=style or "its own",
        samples=samples,
        solves=solved / len(cases),
        lines=lines / len(cases),
        usable=usable / max(lines, 1),
        right=right / max(known, 1),
        kills=fmean(fails[False]) if fails[False] else float("nan"),
        false_alarms=fmean(fails[True]) if fails[True] else float("nan"),
    )


@dataclass(frozen=True, slots=True)
class Learned:
    """A learned score on answers it was not fitted to: its name, quality, and each case's
    probability of being right with the label."""

    name: str
    quality: Quality
    probabilities: Floats
    labels: Floats


def learned(cases: Sequence[Case], model: str, k: int, samples: int) -> list[Learned]:
    """Fit logistic models to what is known of the small model's answers, each fold of problem
    groups by the other ones, and return how good they are."""
    rows = [features(case, model, k, samples) for case in cases]
    labels = np.array([_greedy_right(case, model) for case in cases], dtype=float)
    found = []
    for name, names in KNOWN.items():
        part = [{n: v for n, v in row.items() if n in names} for row in rows]
        found.append(_learned(name, part, labels, cases, lambda: Logistic(RIDGE)))
        if "tests" in name:
            by_group = f"{name}, corrected by group"
            found.append(_learned(by_group, part, labels, cases, lambda: Grouped(RIDGE)))
    return found


def _greedy_right(case: Case, model: str) -> bool:
    return case.is_right(replay.written(case, model)[0].solutions[0].row)


def _learned(
    name: str,
    rows: Sequence[Mapping[str, float]],
    labels: Floats,
    cases: Sequence[Case],
    model: Callable[[], Logistic | Grouped],
) -> Learned:
    groups = {group: i for i, group in enumerate(dict.fromkeys(case.group for case in cases))}
    fold = np.array([groups[case.group] % FOLDS for case in cases])
    p = np.zeros(len(rows))
    for n in range(FOLDS):
        inside = np.flatnonzero(fold != n).tolist()
        fitted = model().fit([rows[i] for i in inside], [bool(labels[i]) for i in inside])
        for i in np.flatnonzero(fold == n).tolist():
            p[i] = fitted.probability(rows[i])
    return Learned(name, quality(p, labels), p, labels)
