"""Simulate a plan on a study, in seconds: the shipped evidence, the shipped `decide()`.

Playing a plan on a case gives the answer, whether it is right, the decisions, and what was spent
(`Spent`), which a price list of `prices` turns into seconds, operations or money.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cascade_lsp.errors import UsageError
from cascade_lsp.lab.study import PASSED, Case, Solution, Written
from cascade_lsp.plans import Plan, Step
from cascade_lsp.policy import Decision, Evidence, Execution, decide
from cascade_lsp.testgen import Matrix, Test
from cascade_lsp.turn import choose, evidence_of


@dataclass(frozen=True, slots=True)
class Batch:
    """One request to a model: prompt tokens read, and tokens written by each of its sequences."""

    read: int
    written: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Spent:
    """What one tier's turn took: the model, its batches one after the other, and checks run in the
    sandbox, each of `check_s` seconds."""

    model: str
    batches: tuple[Batch, ...]
    checks: int
    check_s: float

    @property
    def read(self) -> int:
        return sum(batch.read for batch in self.batches)

    @property
    def written(self) -> int:
        return sum(sum(batch.written) for batch in self.batches)


@dataclass(frozen=True, slots=True)
class Taken:
    """One simulated turn: the answer's row in the pass matrix and what was seen and decided."""

    tier: str
    row: int
    evidence: Evidence
    decision: Decision
    spent: Spent


@dataclass(frozen=True, slots=True)
class Played:
    """A plan on a case: the answer's row, whether it is right, and the turns that were taken."""

    row: int
    right: bool
    turns: tuple[Taken, ...]

    @property
    def escalated(self) -> bool:
        return len(self.turns) > 1


def play(case: Case, plan: Plan, models: Mapping[str, str], style: str = "") -> Played:
    """Follow a plan on a case; `models` says which model each tier is. Each is asked in its own
    prompt style, or in `style`."""
    pool, turns = list(case.examples), list[Taken]()
    for i, step in enumerate(plan.steps):
        last = i == len(plan.steps) - 1
        turns.append(_Turn(case, step, models[step.tier], style).take(pool, last=last))
        if turns[-1].decision.action != "escalate":
            break
    rows = [turn.row for turn in turns]
    chosen = 0
    if len(turns) > 1:
        matrix = case.pass_matrix(pool, rows)
        chosen = choose(matrix, [t.evidence for t in turns], [t.tier for t in turns])
        again = 2 * len(pool) * sum(case.answers[row].whole for row in rows)
        spent = replace(turns[-1].spent, checks=turns[-1].spent.checks + again)
        turns[-1] = replace(turns[-1], spent=spent)
    row = rows[chosen]
    return Played(row, case.is_right(row), tuple(turns))


class _Turn:
    """One tier's turn on a case, as `turn.Turn` takes it."""

    def __init__(self, case: Case, step: Step, model: str, style: str) -> None:
        self.case, self.step, self.model = case, step, model
        self.written, self.style = written(case, model, style)
        self.solutions = self._solutions()
        self.whole = [case.answers[one.row].whole for one in self.solutions]
        # Tests are written with a body, or where a continuation makes the function whole.
        written_for = case.testable and (self.written.body or self.whole[0])
        self.samples = step.tests if written_for else 0

    def take(self, pool: list[Test], *, last: bool) -> Taken:
        """Return what the tier answers; its tests are added to the pool."""
        case, solutions = self.case, self.solutions
        fresh, dropped = self._tests(pool)
        pool += [test for test in fresh if useful(case, test)]
        rows = [one.row for one in solutions]
        runs = bool(self.step.k and pool and any(self.whole))
        matrix = case.pass_matrix(pool, rows) if runs else Matrix((), ((),) * len(rows))
        s = matrix.best()
        answer, features = case.answers[rows[s]], solutions[s].features
        evidence = evidence_of(
            matrix,
            s,
            execution=self._execution(s, pool),
            empty=not answer.chars,
            syntax_ok=answer.syntax_ok,
            dropped=dropped,
            features=features,
            body=self.written.body,
        )
        checks = len(fresh) + 2 * len(matrix.tests) * sum(self.whole)
        spent = Spent(self.model, self._batches(), checks, case.check_s)
        decision = decide(evidence, self.step.policy, last=last)
        return Taken(self.step.tier, rows[s], evidence, decision, spent)

    def _solutions(self) -> tuple[Solution, ...]:
        """Return the solutions that the plan grants; a place that is no body gets one."""
        k, found = max(self.step.k, 1) if self.written.body else 1, self.written.solutions
        tests = self.step.tests if self.case.testable else 0
        if len(found) < k or len(self.written.samples) < tests:
            raise UsageError(
                f"The plan wants {k} solutions and {self.step.tests} samples of tests from "
                f"{self.model}; {self.case.id} has {len(found)} and {len(self.written.samples)}. "
                "Record more with --k, --tests."
            )
        return found[:k]

    def _tests(self, pool: Sequence[Test]) -> tuple[list[Test], Mapping[str, int]]:
        """Return the tests that are new, and how many were dropped by reason."""
        if not self.samples:
            return [], {}
        tests, unusable = self.case.tests(self.model, self.style, self.samples)
        known = {test.text for test in pool}
        fresh = [test for test in tests if test.text not in known]
        stubs = (self.case.columns[int(test.text)].stub for test in fresh)
        useless = Counter("passes_on_stub" if k == PASSED else k for k in stubs if not _fails(k))
        return fresh, Counter(unusable) + useless

    def _execution(self, s: int, pool: Sequence[Test]) -> Execution:
        if not self.case.testable:
            return "not_testable"
        if not self.step.k or not (self.step.tests or pool):
            return "not_asked"
        return "ran" if self.whole[s] or self.written.body else "not_testable"

    def _batches(self) -> tuple[Batch, ...]:
        lengths = tuple(one.tokens for one in self.solutions)
        tests = tuple(one.tokens for one in self.written.samples[: self.samples])
        alone, other = self.written.read
        if not tests:
            return (Batch(alone, lengths),)
        if self.written.body:
            return (Batch(other, lengths + tests),)
        return Batch(alone, lengths), Batch(other, tests)


def written(case: Case, model: str, style: str = "") -> tuple[Written, str]:
    """Return what a model wrote for a case in a style, by default its own, and the style's name."""
    styles = case.written.get(model, {})
    name = style or next(iter(styles), "")
    if name not in styles:
        wanted = f" in the style {style!r}" if style else ""
        raise UsageError(f"{case.id} is not recorded with {model}{wanted}.")
    return styles[name], name


def useful(case: Case, test: Test) -> bool:
    """Say whether a body that returns nothing fails a test."""
    return _fails(case.columns[int(test.text)].stub)


def _fails(kind: str) -> bool:
    return kind in ("assert_failed", "error")
