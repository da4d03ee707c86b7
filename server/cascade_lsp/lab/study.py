"""A study: what was recorded and run, without a text: counts, features and verdicts.

One row a problem, small enough to be kept with the project and free of anybody's problem
statements; `replay`, `scores` and `report` need nothing else. A test is a column of the pass
matrix, known by its number; which tests exclude each other follows from the numbers of their call
and of the value they expect.
"""

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from cascade_lsp import confidence, testable, testgen
from cascade_lsp.errors import UsageError
from cascade_lsp.lab import execute, rows
from cascade_lsp.lab.problems import Problem
from cascade_lsp.sandbox import Check, Outcome
from cascade_lsp.testable import Target
from cascade_lsp.testgen import Matrix, Test

PASSED = "passed"
# The models of the study that ships (models/study), and the price of a remote tier: dollars per
# million tokens read and written.
SMALL = ("qwen2.5-coder-0.5b-instruct-q4_k_m-iq4_nl", "qwen2.5-coder-0.5b-instruct-q4_k_m")
LARGE = "qwen2.5-coder-1.5b-instruct-q4_k_m"
BILLIONS = {SMALL[0]: 0.49, SMALL[1]: 0.49, LARGE: 1.54}
REMOTE = (0.1, 0.4)
# Seconds a token of LARGE with the small model as its draft, measured on the study's machine by
# `python -m tests.engine.speculation` (docs/engine.md); without a draft they were 0.024 there.
SPECULATIVE_S = (0.040, 0.024)
# An outcome's kind as one letter; "" is that of a test which could not be run.
LETTERS: Mapping[str, str] = {
    PASSED: "p",
    "assert_failed": "a",
    "error": "e",
    "test_error": "T",
    "timeout": "t",
    "memory": "m",
    "blocked_syscall": "s",
    "blocked_access": "b",
    "crash": "c",
    "exited_early": "x",
    "output_flood": "o",
    "result_flood": "r",
    "tampered": "w",
    "inconclusive": "i",
    "cancelled": "n",
    "sandbox_lost": "l",
    "": "-",
}
KINDS = {letter: kind for kind, letter in LETTERS.items()}
FIGURES = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """One distinct answer: what the hidden tests say, whether it makes a whole function, whether
    the file still parses with it, and its characters (0: nothing but blanks)."""

    hidden: str
    whole: bool
    syntax_ok: bool
    chars: int


@dataclass(frozen=True, slots=True)
class Solution:
    """One recorded answer: its row in the pass matrix, and `confidence.features` of its tokens."""

    row: int
    features: Mapping[str, float]

    @property
    def tokens(self) -> int:
        return int(self.features["tokens"])


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer that holds tests: its tokens, and in order the columns it states, or the reasons
    for which a line is none."""

    tokens: int
    found: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """What one model wrote for one problem in one style.

    `read` are the prompt tokens of the first solution alone and of its batch with the tests; where
    a line was continued (not `body`), the second are those of the tests, asked after it.
    """

    body: bool
    read: tuple[int, int]
    solutions: tuple[Solution, ...]
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One test: whether it is an example of the docstring, what became of it on a body that returns
    nothing and on the known solution, and the numbers of its call and of the value it expects (-1
    where it expects none)."""

    trusted: bool
    stub: str
    reference: str
    call: int
    value: int


@dataclass(frozen=True, eq=False)
class Case:
    """One problem of a study; `written` is by model, then style, a model's own style first."""

    id: str
    source: str
    group: str
    chars: int
    testable: bool
    answers: tuple[Answer, ...]
    columns: tuple[Column, ...]
    outcomes: tuple[tuple[Outcome, ...], ...]
    written: Mapping[str, Mapping[str, Written]]
    check_s: float

    @cached_property
    def examples(self) -> tuple[Test, ...]:
        return tuple(self.test(i) for i, one in enumerate(self.columns) if one.trusted)

    def test(self, column: int, origin: str = testgen.DOCSTRING) -> Test:
        """Return a column as a test; its text is the column's number."""
        one = self.columns[column]
        if one.value < 0:
            return Test(str(column), origin, one.trusted, Check(str(one.call)))
        check = Check(str(one.call), "eq", str(one.value))
        return Test(str(column), origin, one.trusted, check)

    def is_right(self, row: int) -> bool:
        """Say whether an answer passes the hidden tests."""
        return self.answers[row].hidden == PASSED

    def tests(self, model: str, style: str, n: int) -> tuple[Sequence[Test], Mapping[str, int]]:
        """Return the usable tests of a model's first `n` samples, and how many were dropped by
        reason, as the shipped `testgen` merges them."""
        return _merged(self, model, style, n)

    def pass_matrix(self, tests: Sequence[Test], answers: Sequence[int]) -> Matrix:
        """Return the outcomes of tests on answers."""
        columns = [int(test.text) for test in tests]
        seen = (tuple(self.outcomes[row][c] for c in columns) for row in answers)
        return Matrix(tuple(tests), tuple(seen))


@lru_cache(maxsize=100_000)
def _merged(case: Case, model: str, style: str, n: int) -> tuple[Sequence[Test], Mapping[str, int]]:
    samples = case.written[model][style].samples[:n]
    found = (
        one if isinstance(one, str) else case.test(one, model)
        for sample in samples
        for one in sample.found
    )
    return testgen.merged(found)


# -- from texts ---------------------------------------------------------------------------------


def digests(
    problems: Iterable[Problem], records: Iterable[rows.Row], matrices: Iterable[rows.Row]
) -> Iterator[rows.Row]:
    """Join problems, records and pass matrices to rows without texts; what lacks one of the three
    is left out. Raise UsageError where the matrix is older than the records."""
    recorded, ran = execute.by_problem(records), {row["problem"]: row for row in matrices}
    for problem in problems:
        if problem.id not in recorded or problem.id not in ran:
            continue
        own, matrix = recorded[problem.id], ran[problem.id]
        if matrix["models"] != [row["model"] for row in own]:
            raise UsageError(
                f"{problem.id} was recorded with more models than were run. "
                "Run `cascade lab execute` again: it does what is missing."
            )
        yield digest(problem, own, matrix)


def digest(problem: Problem, records: Sequence[rows.Row], matrix: rows.Row) -> rows.Row:
    """Return the row of one problem."""
    calls, values = dict[str, int](), dict[str, int]()
    context = problem.context
    target = testable.find(context)
    read = _Reader(
        target if isinstance(target, Target) else None,
        {one["text"]: i for i, one in enumerate(matrix["solutions"])},
        {one["text"]: i for i, one in enumerate(matrix["tests"])},
        lambda batch, text: execute.answer_text(batch, text, context, target),
    )
    checks = read.checks(records)

    def column(one: rows.Row) -> list[Any]:
        check = checks.get(one["text"])
        call = calls.setdefault(check.expression if check else one["text"], len(calls))
        plain = check is not None and check.relation in ("eq", "is")
        value = values.setdefault(str(check.expected), len(values)) if check and plain else -1
        seen = LETTERS[one["stub"]] + LETTERS[one["reference"]]
        return [int(one["trusted"]), seen, call, value]

    return {
        "problem": problem.id,
        "source": problem.source,
        "group": problem.group,
        "chars": len(problem.prompt),
        "testable": isinstance(target, Target),
        "check_ms": matrix["check_ms"],
        "answers": [
            [LETTERS[a["hidden"]], int(a["whole"]), int(a["syntax_ok"]), len(a["text"].strip())]
            for a in matrix["solutions"]
        ],
        "tests": [column(one) for one in matrix["tests"]],
        "outcomes": ["".join(LETTERS[kind] for kind in row) for row in matrix["outcomes"]],
        "written": {row["model"]: read.written(row) for row in records},
    }


class _Reader:
    """Reads the answers of one problem's records as rows and columns of its pass matrix."""

    def __init__(self, target: Target | None, answers: Any, tests: Any, text_of: Any) -> None:
        self.target, self.rows, self.columns, self.text_of = target, answers, tests, text_of

    def checks(self, records: Sequence[rows.Row]) -> Mapping[str, Check]:
        """Return every assertion that was recorded, by its text."""
        if self.target is None:
            return {}
        written = (t["text"] for row in records for b in row["batches"] for t in b["tests"])
        found = (test for text in written for test in execute.assertions(text, self.target))
        examples = testgen.examples(self.target)
        return {test.text: test.check for test in (*examples, *found)}

    def written(self, row: rows.Row) -> dict[str, Any]:
        """Return what one model wrote, by style; the tests of a line were asked by themselves."""
        found, alone = dict[str, Any](), None
        for batch in row["batches"]:
            if not batch["style"]:
                alone = batch
                continue
            found[batch["style"]] = {
                "body": batch["kind"] == "body",
                "read": batch.get("read", [0, 0]),
                "solutions": [
                    self._solution(batch, one)
                    for one in batch["solutions"]
                    if self.text_of(batch, one["text"]) in self.rows
                ],
                "samples": [self._sample(one) for one in batch["tests"]],
            }
        if alone is not None:
            for one in found.values():
                one["read"] = [one["read"][0], alone.get("read", [0, 0])[1]]
                one["samples"] = [self._sample(test) for test in alone["tests"]]
        return found

    def _solution(self, batch: rows.Row, one: rows.Row) -> list[Any]:
        features = confidence.features(one["logprobs"])
        rounded = {name: round(value, FIGURES) for name, value in features.items()}
        return [self.rows[self.text_of(batch, one["text"])], rounded]

    def _sample(self, one: rows.Row) -> list[Any]:
        found = testgen.read(one["text"], self.target, "") if self.target else []
        columns = (x if isinstance(x, str) else self.columns[x.text] for x in found)
        return [one["tokens"], list(columns)]


# -- from rows ----------------------------------------------------------------------------------


def case(row: rows.Row) -> Case:
    """Return a study's row as what can be played."""
    return Case(
        id=row["problem"],
        source=row["source"],
        group=row["group"],
        chars=row["chars"],
        testable=row["testable"],
        answers=tuple(Answer(KINDS[a], bool(b), bool(c), n) for a, b, c, n in row["answers"]),
        columns=tuple(
            Column(bool(trusted), KINDS[seen[0]], KINDS[seen[1]], call, value)
            for trusted, seen, call, value in row["tests"]
        ),
        outcomes=tuple(tuple(_outcome(x) for x in letters) for letters in row["outcomes"]),
        written={
            model: {style: _written(one) for style, one in styles.items()}
            for model, styles in row["written"].items()
        },
        check_s=row["check_ms"] / 2000,  # a check was run twice on each answer
    )


@lru_cache
def _outcome(letter: str) -> Outcome:
    return Outcome(KINDS[letter])


def _written(one: rows.Row) -> Written:
    return Written(
        body=one["body"],
        read=(one["read"][0], one["read"][1]),
        solutions=tuple(Solution(row, features) for row, features in one["solutions"]),
        samples=tuple(Sample(tokens, tuple(found)) for tokens, found in one["samples"]),
    )


def load(path: Path) -> list[Case]:
    """Read a study file (.gz too)."""
    return [case(row) for row in rows.read(path)]


def save(found: Iterable[rows.Row], path: Path) -> int:
    """Write a study (.gz: compressed); equal rows make equal bytes. Return how many there were."""
    lines = [json.dumps(row, separators=(",", ":")) + "\n" for row in found]
    text = "".join(lines).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
    return len(lines)
