"""Run what was recorded: every solution against every test, the hidden ones too, in the sandbox.

One row a problem, the pass matrix: `{problem, models, solutions: [{text, whole, syntax_ok,
hidden}], tests: [{text, trusted, stub, reference}], outcomes, check_ms}`, `outcomes[s][t]` being an
outcome's kind, `stub` and `reference` those of a body that returns nothing and of the known
solution ("" where there is none), `hidden` that of the problem's own tests. Which of it counts is
for `replay`.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from cascade_lsp import filters, fim, syntax, testable, testgen
from cascade_lsp.context import Context
from cascade_lsp.errors import UsageError
from cascade_lsp.lab import rows
from cascade_lsp.lab.problems import Problem
from cascade_lsp.languages import RUNS_AS
from cascade_lsp.sandbox import Limits, Sandbox, SandboxOptions, make_sandbox
from cascade_lsp.testable import Target
from cascade_lsp.testgen import Test

HIDDEN = Limits(time_s=10.0)


def answer_text(batch: rows.Row, written: str, context: Context, target: object) -> str:
    """Return what of a recorded answer is inserted at the cursor, by the shipped rules."""
    if batch["kind"] == "line" or not isinstance(target, Target):
        return filters.clean(written, context)
    return fim.body(written, target)


def assertions(written: str, target: Target) -> list[Test]:
    """Return every usable assertion of one recorded answer, also those that others contradict."""
    return [one for one in testgen.read(written, target, "") if isinstance(one, Test)]


async def execute(
    problem: Problem, records: Sequence[rows.Row], sandbox: Sandbox, limits: Limits
) -> rows.Row:
    """Run all that the models wrote for a problem; return its row."""
    context = problem.context
    target = testable.find(context)
    batches = [batch for row in records for batch in row["batches"]]
    texts = {
        answer_text(batch, one["text"], context, target): None
        for batch in batches
        for one in batch["solutions"]
    }
    tests = dict[str, Test]()
    if isinstance(target, Target):
        for test in testgen.examples(target):
            tests[test.text] = test
        written = [one["text"] for batch in batches for one in batch["tests"]]
        for test in (test for text in written for test in assertions(text, target)):
            tests.setdefault(test.text, test)
    run = _Run(problem, context, target, sandbox, limits, list(tests.values()))
    solutions = [await run.solution(text) for text in texts]
    return {
        "problem": problem.id,
        "source": problem.source,
        "group": problem.group,
        "models": [row["model"] for row in records],
        "solutions": [{k: v for k, v in s.items() if k != "outcomes"} for s in solutions],
        "tests": await run.tests_known(),
        "outcomes": [s["outcomes"] for s in solutions],
        "check_ms": round(1000 * run.seconds / run.checks, 2) if run.checks else 0,
    }


class _Run:
    """The runs of one problem."""

    def __init__(
        self,
        problem: Problem,
        context: Context,
        target: object,
        sandbox: Sandbox,
        limits: Limits,
        tests: Sequence[Test],
    ) -> None:
        self.problem, self.context, self.target = problem, context, target
        self.sandbox, self.limits, self.tests = sandbox, limits, tests
        self.seconds, self.checks = 0.0, 0

    async def solution(self, text: str) -> dict[str, Any]:
        """Run the tests and the hidden ones against one answer."""
        hidden = await self.sandbox.run_script(
            self.problem.program(self.problem.completion(text)),
            HIDDEN,
            language=RUNS_AS.get(self.problem.language, "python"),
        )
        whole = None
        if isinstance(self.target, Target) and text:
            completed = self.context.completed(text)
            whole = testable.program(completed, self.target, whole=not self.target.stub)
        return {
            "text": text,
            "whole": whole is not None,
            "syntax_ok": not syntax.adds_errors(self.context, text),
            "hidden": hidden.kind,
            "outcomes": await self._outcomes(whole),
        }

    async def tests_known(self) -> list[dict[str, Any]]:
        """Return the tests, with what an empty body and the reference show of each."""
        if not isinstance(self.target, Target) or not self.tests:
            return []
        document = self.context.document
        stub = await self._once(testable.stub_program(document, self.target))
        reference = [""] * len(self.tests)
        if self.problem.solution:
            document = self.problem.prompt + self.problem.solution + self.problem.suffix
            whole = testable.program(document, self.target, whole=False)
            reference = await self._outcomes(whole) if whole else reference
        return [
            {"text": test.text, "trusted": test.trusted, "stub": a, "reference": b}
            for test, a, b in zip(self.tests, stub, reference, strict=True)
        ]

    async def _outcomes(self, program: str | None) -> list[str]:
        if not self.tests or not isinstance(self.target, Target):
            return []
        began = time.perf_counter()
        matrix = await testgen.run(
            self.tests, [program], self.sandbox, self.limits, self.target.runs_as
        )
        if program is not None:
            self.seconds += time.perf_counter() - began
            self.checks += len(self.tests)
        return [outcome.kind for outcome in matrix.outcomes[0]]

    async def _once(self, program: str) -> list[str]:
        assert isinstance(self.target, Target)
        checks = [test.check for test in self.tests]
        language = self.target.runs_as
        outcomes = await self.sandbox.run(program, checks, self.limits, language=language)
        return [outcome.kind for outcome in outcomes]


# -- many of them -------------------------------------------------------------------------------


def missing(
    problems: Iterable[Problem],
    recorded: Mapping[str, Sequence[rows.Row]],
    had: Iterable[rows.Row],
) -> list[Problem]:
    """Return the problems of which something was recorded since they were run, or never run."""
    ran = {row["problem"]: row["models"] for row in had}
    return [
        problem
        for problem in problems
        if problem.id in recorded
        and ran.get(problem.id) != [row["model"] for row in recorded[problem.id]]
    ]


def by_problem(recorded: Iterable[rows.Row]) -> dict[str, list[rows.Row]]:
    """Return the recorded rows of each problem."""
    found: dict[str, list[rows.Row]] = {}
    for row in recorded:
        found.setdefault(row["problem"], []).append(row)
    return found


async def matrices(
    problems: Sequence[Problem], recorded: Mapping[str, Sequence[rows.Row]]
) -> AsyncIterator[rows.Row]:
    """Yield the pass matrices of problems; raise UsageError where nothing may be run."""
    async with opened() as sandbox:
        for problem in problems:
            yield await execute(problem, recorded[problem.id], sandbox, Limits())


async def failing(problems: Sequence[Problem], watch: Callable[[], None]) -> dict[str, str]:
    """Return the problems whose own solution does not pass, with what became of it."""
    failed = {}
    async with opened() as sandbox:
        for problem in problems:
            if problem.solution:
                program = problem.program(problem.solution)
                language = RUNS_AS.get(problem.language, "python")
                outcome = await sandbox.run_script(program, HIDDEN, language=language)
                if outcome.kind != "passed":
                    failed[problem.id] = outcome.kind
            watch()
    return failed


@asynccontextmanager
async def opened() -> AsyncIterator[Sandbox]:
    """Give a sandbox for a while; raise UsageError where there is none."""
    sandbox = make_sandbox(SandboxOptions())
    assert sandbox is not None
    try:
        status = await sandbox.status()
        if status.tier == "none":
            raise UsageError(
                f"Nothing can be run here: {status.reason}. `cascade sandbox status` says more."
            )
        yield sandbox
    finally:
        await sandbox.close()
