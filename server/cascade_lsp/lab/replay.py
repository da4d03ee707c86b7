"""Simulate a plan from records, in seconds: the shipped evidence, the shipped `decide()`.

A case is one problem with what every model wrote for it and what the sandbox saw. Playing a plan on
it gives the answer, whether it is right, the decisions, and what was spent (`Spent`), which a
price list of `prices` turns into seconds, operations or money.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from cascade_lsp import testable, testgen
from cascade_lsp.errors import UsageError
from cascade_lsp.lab import execute, rows
from cascade_lsp.lab.problems import Problem
from cascade_lsp.plans import Plan, Step
from cascade_lsp.policy import Decision, Evidence, decide
from cascade_lsp.sandbox import Outcome
from cascade_lsp.testable import Target
from cascade_lsp.testgen import Matrix, Test
from cascade_lsp.turn import choose, evidence_of

PASSED = "passed"


@dataclass(frozen=True, slots=True)
class Solution:
    """One recorded answer: its row in the pass matrix, and its tokens' log-probabilities."""

    row: int
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """What one model wrote for one problem in one style: prompt tokens of the first solution alone
    and of the whole batch, the solutions, and samples of tests with their number of tokens."""

    read: tuple[int, int]
    solutions: tuple[Solution, ...]
    tests: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Spent:
    """What one tier's turn took: the model, prompt tokens read, tokens written by each sequence of
    the batch, and checks run in the sandbox, each of `check_s` seconds."""

    model: str
    read: int
    written: tuple[int, ...]
    checks: int
    check_s: float


@dataclass(frozen=True, eq=False)
class Case:
    """One problem, what the models wrote for it (by model, then style), and the pass matrix."""

    problem: Problem
    written: Mapping[str, Mapping[str, Written]]
    matrix: rows.Row

    @cached_property
    def target(self) -> Target:
        found = testable.find(self.problem.context)
        assert isinstance(found, Target), self.problem.id
        return found

    @cached_property
    def column(self) -> Mapping[str, int]:
        """Return the column of each test in the pass matrix."""
        return {test["text"]: i for i, test in enumerate(self.matrix["tests"])}

    @cached_property
    def examples(self) -> tuple[Test, ...]:
        return tuple(testgen.examples(self.target))

    def is_right(self, row: int) -> bool:
        """Say whether an answer passes the hidden tests."""
        return bool(self.matrix["solutions"][row]["hidden"] == PASSED)

    def tests(
        self, model: str, style: str, samples: int
    ) -> tuple[tuple[Test, ...], Mapping[str, int]]:
        """Return the tests of a model's first samples that a body returning nothing fails, and how
        many were dropped by reason, as a turn does it."""
        answers = tuple(text for text, _ in self.written[model][style].tests[:samples])
        return _tests(self, answers, model)

    def outcomes(self, tests: Sequence[Test], solution: int) -> tuple[Outcome, ...]:
        seen = self.matrix["outcomes"][solution]
        return tuple(Outcome(seen[self.column[test.text]]) for test in tests)

    def pass_matrix(self, tests: Sequence[Test], solutions: Sequence[int]) -> Matrix:
        """Return the outcomes of tests on answers."""
        return Matrix(tuple(tests), tuple(self.outcomes(tests, s) for s in solutions))


@lru_cache(maxsize=100_000)
def _tests(
    case: Case, answers: tuple[str, ...], model: str
) -> tuple[tuple[Test, ...], Counter[str]]:
    tests, dropped = testgen.parse(answers, case.target, model)
    kept, useless = list[Test](), Counter[str]()
    for test in tests:
        stub = case.matrix["tests"][case.column[test.text]]["stub"]
        if stub in ("assert_failed", "error"):
            kept.append(test)
        else:
            useless["passes_on_stub" if stub == PASSED else stub] += 1
    return tuple(kept), Counter(dropped) + useless


def cases(
    problems: Iterable[Problem], records: Iterable[rows.Row], matrices: Iterable[rows.Row]
) -> Iterator[Case]:
    """Join problems, records and pass matrices; what lacks one of the three is left out."""
    recorded, ran = execute.by_problem(records), {row["problem"]: row for row in matrices}
    for problem in problems:
        if problem.id not in recorded or problem.id not in ran:
            continue
        matrix, context = ran[problem.id], problem.context
        target = testable.find(context)
        at = {one["text"]: i for i, one in enumerate(matrix["solutions"])}
        written: dict[str, dict[str, Written]] = {}
        for row in recorded[problem.id]:
            for batch in row["batches"]:
                if batch["kind"] != "body":
                    continue
                texts = (
                    execute.answer_text(batch, one["text"], context, target)
                    for one in batch["solutions"]
                )
                written.setdefault(row["model"], {})[batch["style"]] = Written(
                    read=tuple(batch["read"]),
                    solutions=tuple(
                        Solution(at[text], tuple(one["logprobs"]))
                        for text, one in zip(texts, batch["solutions"], strict=True)
                        if text in at
                    ),
                    tests=tuple((one["text"], one["tokens"]) for one in batch["tests"]),
                )
        yield Case(problem, written, matrix)


# -- playing a plan -----------------------------------------------------------------------------


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


def play(case: Case, plan: Plan, models: Mapping[str, str], style: str = "chat") -> Played:
    """Follow a plan on a case; `models` says which model each tier is."""
    pool, turns = list(case.examples), list[Taken]()
    for i, step in enumerate(plan.steps):
        last = i == len(plan.steps) - 1
        turns.append(_take(case, step, models[step.tier], style, pool, last=last))
        if turns[-1].decision.action != "escalate":
            break
    rows_ = [turn.row for turn in turns]
    chosen = 0
    if len(turns) > 1:
        matrix = case.pass_matrix(pool, rows_)
        chosen = choose(matrix, [t.evidence for t in turns], [t.tier for t in turns])
        again = len(pool) * 2 * len(turns)
        spent = replace(turns[-1].spent, checks=turns[-1].spent.checks + again)
        turns[-1] = replace(turns[-1], spent=spent)
    row = rows_[chosen]
    return Played(row, case.is_right(row), tuple(turns))


def _take(case: Case, step: Step, model: str, style: str, pool: list[Test], *, last: bool) -> Taken:
    """Simulate one tier's turn; its tests are added to the pool."""
    if model not in case.written or style not in case.written[model]:
        raise UsageError(f"{case.problem.id} is not recorded with {model} in the style {style!r}.")
    written = case.written[model][style]
    k = max(step.k, 1)
    if len(written.solutions) < k or len(written.tests) < step.tests:
        raise UsageError(
            f"The plan wants {k} solutions and {step.tests} samples of tests from {model}; there "
            f"are {len(written.solutions)} and {len(written.tests)}. Record more with --k, --tests."
        )
    solutions = written.solutions[:k]
    found = [s.row for s in solutions]
    dropped: Mapping[str, int] = {}
    fresh: tuple[Test, ...] = ()
    if step.tests:
        fresh, dropped = case.tests(model, style, step.tests)
        known = {test.text for test in pool}
        pool += [test for test in fresh if test.text not in known]
    if step.tests and any(case.matrix["solutions"][row]["whole"] for row in found):
        matrix = case.pass_matrix(pool, found)
    else:
        matrix = Matrix((), ((),) * k)
    s = matrix.best()
    seen = case.matrix["solutions"][found[s]]
    evidence = evidence_of(
        matrix,
        s,
        execution="ran" if step.tests else "not_asked",
        text=seen["text"],
        syntax_ok=seen["syntax_ok"],
        dropped=dropped,
        logprobs=(),
    )
    checks = len(fresh) + 2 * k * len(matrix.tests)
    spent = Spent(
        model=model,
        read=written.read[1 if step.tests else 0],
        written=(
            *(len(one.logprobs) for one in solutions),
            *(n for _, n in written.tests[: step.tests]),
        ),
        checks=checks,
        # A recorded check is run twice on each answer.
        check_s=case.matrix["check_ms"] / 2000,
    )
    decision = decide(evidence, step.policy, last=last)
    return Taken(step.tier, found[s], evidence, decision, spent)
