"""The user's own tests as evidence: which count, what they decide, and how long they may take."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from cascade_lsp import explain
from cascade_lsp.cascade import Cascade, CascadeOptions
from cascade_lsp.context import Context
from cascade_lsp.ledger import Attempt, Record
from cascade_lsp.owntests import OwnTests, stubbed
from cascade_lsp.policy import Reason
from cascade_lsp.sandbox import (
    Check,
    Language,
    Limits,
    Outcome,
    Project,
    Sandbox,
    SandboxOptions,
    Status,
    Suite,
    make_sandbox,
)
from cascade_lsp.suites import Finder
from cascade_lsp.testable import Target, find
from cascade_lsp.turn import Tier
from tests.marked import place
from tests.scripted import ScriptedEngine
from tests.test_cascade import RIGHT, WRONG, model

STUB = 'def double(n: int) -> int:\n    """Return n."""\n    ║\n\n\ndef other(n):\n    return n\n'
TESTS = """\
from shop.sums import double, other


def test_three():
    assert double(3) == 6


def test_zero():
    assert double(0) == 0


def test_other():
    assert other(3) == 3 or double
"""
UNHURRIED = CascadeOptions(plan="paper", own_tests_s=60)
# What the model believes of a function whose documentation says little.
MISTAKEN = "1) == 3\nassert double(3) == 5\nassert double(5) == 7\nassert double(2) == 4\n"


def project(root: Path, tests: str = TESTS) -> Context:
    """Write a project and return the place of the function in it."""
    for name, text in {
        "shop/__init__.py": "",
        "shop/sums.py": STUB.replace("║", "..."),
        "tests/test_sums.py": tests,
        "pyproject.toml": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return place(STUB, uri=(root / "shop/sums.py").as_uri())


Answer = Callable[[Suite, int], Outcome]


class ScriptedSandbox:
    """Says of each test what the script says; `n` counts how often it was asked the same."""

    def __init__(self, answer: Answer, *, tier: str = "native", pause_s: float = 0) -> None:
        self.answer, self.tier, self.pause_s = answer, tier, pause_s
        self.asked: list[Suite] = []

    async def run(
        self,
        source: str,
        checks: Sequence[Check],
        limits: Limits,
        *,
        seed: int = 0,
        language: Language = "python",
    ) -> list[Outcome]:
        return [Outcome("inconclusive") for _ in checks]

    async def run_script(self, source: str, limits: Limits, *, seed: int = 0) -> Outcome:
        return Outcome("inconclusive")

    async def run_suite(self, suite: Suite, limits: Limits) -> list[Outcome]:
        await asyncio.sleep(self.pause_s)
        self.asked.append(suite)
        return [self.answer(suite, self.asked.count(suite))]

    async def status(self) -> Status:
        return Status(self.tier, "scripted")  # type: ignore[arg-type]

    async def close(self) -> None:
        pass


def by_source(on_stub: str, on_answer: str) -> Answer:
    return lambda suite, _: Outcome(on_stub if "return None" in suite.source else on_answer)


async def tried(
    root: Path, sandbox: ScriptedSandbox, texts: Sequence[str | None], within_s: float = 5
) -> tuple[OwnTests, list[list[str]], dict[str, int]]:
    """Run the project's tests on answers; return the kinds of outcomes, and what was left out."""
    context = project(root)
    target = find(context)
    assert isinstance(target, Target)
    own = OwnTests(Finder(root), sandbox, Limits())
    await own.run(context, target, texts, within_s)
    matrix = own.matrix(context, texts)
    return own, [[o.kind for o in row] for row in matrix.outcomes], dict(own.left_out(matrix))


# -- which of them count --------------------------------------------------------------------------


async def test_a_test_counts_if_it_fails_on_a_body_that_returns_nothing(tmp_path: Path) -> None:
    sandbox = ScriptedSandbox(by_source("assert_failed", "passed"))
    own, kinds, left_out = await tried(tmp_path, sandbox, ["return n * 2"])
    assert (kinds, left_out) == ([["passed"] * 3], {})
    stub, first, again = sandbox.asked[:3]
    assert stub.tests == first.tests == (("tests/test_sums.py", "test_three"),)
    assert first == again
    assert 'def double(n: int) -> int:\n    """Return n."""\n    return None\n' in stub.source
    assert "return n * 2\n\n\ndef other(n):\n    return n\n" in first.source
    assert {test.module for test in sandbox.asked} == {"shop.sums"}
    test = own.matrix(project(tmp_path), ["return n * 2"]).tests[0]
    assert (test.text, test.origin) == ("tests/test_sums.py::test_three", "project")
    assert (test.trusted, test.check.strong) == (True, False)


@pytest.mark.parametrize(
    ("on_stub", "reason"),
    [
        ("passed", "passes_on_stub"),
        ("test_error", "test_error"),
        ("inconclusive", "inconclusive"),
        ("timeout", "timeout"),
        ("blocked_access", "blocked_access"),
        ("sandbox_lost", "sandbox_lost"),
    ],
)
async def test_one_that_says_nothing_of_the_stub_is_left_out_and_counted(
    tmp_path: Path, on_stub: str, reason: str
) -> None:
    sandbox = ScriptedSandbox(by_source(on_stub, "passed"))
    _, kinds, left_out = await tried(tmp_path, sandbox, ["return n * 2"])
    assert (kinds, left_out) == ([[]], {reason: 3})
    assert len(sandbox.asked) == 3


@pytest.mark.parametrize("kind", ["timeout", "inconclusive", "test_error", "memory", "crash"])
async def test_one_that_says_nothing_of_an_answer_is_no_evidence(tmp_path: Path, kind: str) -> None:
    sandbox = ScriptedSandbox(by_source("error", kind))
    own, kinds, _ = await tried(tmp_path, sandbox, ["return n * 2"])
    assert kinds == [[kind] * 3]
    assert own.matrix(project(tmp_path), ["return n * 2"]).trusted(0) == (0, 0)
    assert len(sandbox.asked) == 2 * 3


async def test_a_verdict_that_changes_is_no_verdict(tmp_path: Path) -> None:
    def answer(suite: Suite, n: int) -> Outcome:
        stub = "return None" in suite.source
        return Outcome("assert_failed" if stub or n > 1 else "passed")

    _, kinds, _ = await tried(tmp_path, ScriptedSandbox(answer), ["return n * 2"])
    assert kinds == [["inconclusive"] * 3]


async def test_verdicts_are_kept_for_the_next_turn(tmp_path: Path) -> None:
    sandbox = ScriptedSandbox(by_source("error", "passed"))
    context = project(tmp_path)
    own, _, _ = await tried(tmp_path, sandbox, ["return n * 2"])
    target = find(context)
    assert isinstance(target, Target)
    asked = len(sandbox.asked)
    await own.run(context, target, ["return n * 2", "return n + n"], 5)
    assert len(sandbox.asked) == asked + 2 * 3
    kinds = own.matrix(context, ["return n * 2", None, "return n + n"]).outcomes
    assert [[o.kind for o in row] for row in kinds] == [
        ["passed"] * 3,
        ["error"] * 3,
        ["passed"] * 3,
    ]


async def test_answers_that_are_no_function_are_not_run(tmp_path: Path) -> None:
    sandbox = ScriptedSandbox(by_source("error", "passed"))
    _, kinds, left_out = await tried(tmp_path, sandbox, [None])
    assert (kinds, left_out, sandbox.asked) == ([[]], {}, [])


# -- time and place -------------------------------------------------------------------------------


async def test_out_of_time_what_was_not_run_is_counted(tmp_path: Path) -> None:
    sandbox = ScriptedSandbox(by_source("error", "passed"), pause_s=0.3)
    _, kinds, left_out = await tried(tmp_path, sandbox, ["return n * 2"], within_s=1.5)
    assert kinds == [["passed"]]
    assert left_out == {"out_of_time": 2}


async def test_a_sandbox_that_reads_no_project_runs_none_and_says_so(tmp_path: Path) -> None:
    sandbox = ScriptedSandbox(by_source("error", "passed"), tier="portable")
    _, kinds, left_out = await tried(tmp_path, sandbox, ["return n * 2"])
    assert (kinds, left_out, sandbox.asked) == ([[]], {"needs_the_native_sandbox": 3}, [])


async def test_in_a_document_that_does_not_compile_none_is_run(tmp_path: Path) -> None:
    context = project(tmp_path)
    broken = place(STUB + "def broken(:\n", uri=context.uri)
    target = find(broken)
    assert isinstance(target, Target)
    sandbox = ScriptedSandbox(by_source("error", "passed"))
    own = OwnTests(Finder(tmp_path), sandbox, Limits())
    await own.run(broken, target, ["return n * 2"], 5)
    left_out = own.left_out(own.matrix(broken, ["return n * 2"]))
    assert (left_out, sandbox.asked) == ({"document_does_not_compile": 3}, [])


def test_a_stub_takes_the_place_of_the_function_alone() -> None:
    context = place("@cached\ndef f(x):\n    y = x\n    ║\n\n\nclass A:\n    é = 1\n")
    target = find(context)
    assert isinstance(target, Target)
    assert stubbed(context.completed("return y"), target) == (
        "@cached\ndef f(x):\n    return None\n\n\nclass A:\n    é = 1\n"
    )


# -- what they decide, in the native sandbox -------------------------------------------------------


@pytest.fixture
async def native(tmp_path: Path) -> AsyncIterator[Sandbox]:
    tmp_path.joinpath("project").mkdir()
    box = make_sandbox(
        SandboxOptions(project="sources"), Project(root_of(tmp_path), Path(sys.executable), True)
    )
    assert box is not None
    if (await box.status()).tier != "native":
        pytest.skip("the native sandbox is not here")
    yield box
    await box.close()


def root_of(tmp_path: Path) -> Path:
    return tmp_path / "project"


async def completed(
    root: Path,
    sandbox: Sandbox,
    small: ScriptedEngine,
    large: ScriptedEngine,
    tests: str = TESTS,
    options: CascadeOptions | None = None,
) -> Record:
    tiers = [Tier("small", "s", small), Tier("large", "l", large)]
    cascade = Cascade(tiers, sandbox, options or UNHURRIED, None, Finder(root))
    return await cascade.complete(project(root, tests))


def own_outcomes(attempt: Attempt) -> dict[str, str]:
    runs = [test for test in attempt.tests if test.origin == "project"]
    assert all(test.trusted and not test.strong for test in runs)
    return {test.text.rpartition("::")[2]: test.outcome for test in runs}


async def test_an_answer_that_fails_a_test_of_the_project_is_handed_on(
    tmp_path: Path, native: Sandbox
) -> None:
    root = root_of(tmp_path)
    record = await completed(root, native, model(WRONG, MISTAKEN), model(RIGHT))
    assert (record.decision.action, record.decision.reason) == ("escalate", Reason.OWN_FAILED)
    assert record.answer.tier == "large"
    assert own_outcomes(record.attempts[0]) == {
        "test_three": "assert_failed",
        "test_zero": "assert_failed",
    }
    assert own_outcomes(record.answer) == {"test_three": "passed", "test_zero": "passed"}
    assert record.answer.unused == {"passes_on_stub": 1}
    told = explain.decision(record)
    assert "it fails 2 of 2 tests of the project that import it" in told
    assert "✗ `tests/test_sums.py::test_three`: saw `assert 5 == 6" in told


async def test_an_answer_that_passes_them_needs_little_else(
    tmp_path: Path, native: Sandbox
) -> None:
    large = model(RIGHT)
    record = await completed(root_of(tmp_path), native, model(RIGHT, MISTAKEN), large)
    assert (record.decision.action, record.decision.reason) == ("accept", Reason.OWN_PASSED)
    assert record.answer.evidence.own_passed == 2
    assert record.decision.required == record.answer.policy.theta_own
    assert large.asked == []


async def test_but_it_needs_something_that_it_cannot_forge(tmp_path: Path, native: Sandbox) -> None:
    against = "1) == 3\nassert double(3) == 5\nassert double(5) == 7\n"
    record = await completed(root_of(tmp_path), native, model(RIGHT, against), model(RIGHT))
    assert record.decision.reason == Reason.TESTS_FAILED
    assert record.attempts[0].evidence.own_passed == 2


async def test_tests_that_the_sandbox_does_not_let_run_are_no_evidence(
    tmp_path: Path, native: Sandbox
) -> None:
    tests = """\
import socket
from shop.sums import double

def test_network():
    with socket.create_connection(("127.0.0.1", 9), 1):
        assert double(3) == 6

def test_endless():
    while double(3) is not None:
        pass
    assert False

def test_its_own_fault(nobody_has_this):
    assert double(3) == 6
"""
    record = await completed(root_of(tmp_path), native, model(RIGHT), model(RIGHT), tests)
    evidence = record.answer.evidence
    assert (evidence.own_passed, evidence.own_failed) == (0, 0)
    assert record.decision.reason == Reason.TESTS_PASSED
    assert own_outcomes(record.answer) == {"test_endless": "timeout"}
    assert sum(record.answer.unused.values()) == 2


async def test_with_no_time_none_is_looked_for(tmp_path: Path, native: Sandbox) -> None:
    options = CascadeOptions(plan="paper", own_tests_s=0)
    small = model(RIGHT)
    record = await completed(root_of(tmp_path), native, small, model(RIGHT), options=options)
    assert own_outcomes(record.answer) == {}
    assert record.answer.unused == {}


async def test_the_better_answer_by_the_projects_tests_is_kept(
    tmp_path: Path, native: Sandbox
) -> None:
    half = "def double(n: int) -> int:\n    return 6\n"
    record = await completed(
        root_of(tmp_path), native, model(half, MISTAKEN), model(WRONG, MISTAKEN)
    )
    assert [a.decision.reason for a in record.attempts] == [Reason.OWN_FAILED] * 2
    assert record.answer.tier == "small"


async def test_the_function_as_it_stands_is_checked_with_them(
    tmp_path: Path, native: Sandbox
) -> None:
    root = root_of(tmp_path)
    context = project(root)
    written = place(STUB.replace("║", "║return n + 2"), uri=context.uri)
    tiers = [Tier("small", "s", model(WRONG, MISTAKEN)), Tier("large", "l", model(RIGHT))]
    record = await Cascade(tiers, native, UNHURRIED, None, Finder(root)).check(written)
    assert isinstance(record, Record)
    assert [a.tier for a in record.attempts] == ["document", "small", "large"]
    assert record.attempts[0].decision.reason == Reason.OWN_FAILED
    assert record.answer.tier == "large"


@pytest.mark.parametrize("forgery", ["import os\n    os._exit(0)", "import sys\n    sys.exit(0)"])
async def test_ending_the_process_is_not_passing(
    tmp_path: Path, native: Sandbox, forgery: str
) -> None:
    solution = f"def double(n: int) -> int:\n    {forgery}\n"
    record = await completed(root_of(tmp_path), native, model(solution), model(RIGHT))
    assert "passed" not in own_outcomes(record.attempts[0]).values()
