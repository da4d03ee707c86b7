"""The problem set that is shipped: every problem can be solved, and not by doing nothing.

Programs are run in the project's sandbox only.
"""

import ast
import json
from collections import Counter
from importlib.resources import files

import pytest

from cascade_lsp import testable
from cascade_lsp.context import gather
from cascade_lsp.sandbox import Limits, Sandbox

KEYS = ["id", "prompt", "suffix", "test", "entry_point", "language", "source", "solution"]
NAMES = ("functions", "holes")
LIMITS = Limits(time_s=5)
NOTHING = ("", "return None")

Problem = dict[str, str]


def problems(name: str) -> list[Problem]:
    path = files("cascade_lsp.models").joinpath("problems", f"{name}.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def all_problems() -> list[Problem]:
    return [problem for name in NAMES for problem in problems(name)]


def document(problem: Problem, text: str) -> str:
    return problem["prompt"] + text + problem["suffix"]


async def kind_of(sandbox: Sandbox, problem: Problem, text: str) -> str:
    """Return what is seen of the problem's test with `text` in the hole."""
    source = document(problem, text) + "\n" + problem["test"]
    return (await sandbox.run_script(source, LIMITS)).kind


@pytest.mark.parametrize("name", NAMES)
def test_every_problem_has_the_same_keys_and_only_text(name: str) -> None:
    for problem in problems(name):
        assert list(problem) == KEYS
        assert all(isinstance(value, str) for value in problem.values())
        assert (problem["language"], problem["source"]) == ("python", "cascade")


def test_every_id_is_unique() -> None:
    counts = Counter(problem["id"] for problem in all_problems())
    assert [key for key, count in counts.items() if count > 1] == []


def test_there_are_enough_problems_of_different_functions() -> None:
    assert [len(problems(name)) for name in NAMES] == [42, 42]
    functions = {problem["entry_point"] for problem in problems("functions")}
    holes = Counter(problem["id"].rsplit("/", 1)[0] for problem in problems("holes"))
    assert len(functions) == 42
    assert len(holes) >= 30
    assert max(holes.values()) <= 2
    assert not functions & {problem["entry_point"] for problem in problems("holes")}


def test_a_function_is_to_be_written_behind_its_docstring() -> None:
    for problem in problems("functions"):
        assert problem["prompt"].endswith('"""\n    ')
        assert problem["suffix"] == ""


def test_a_hole_has_text_before_and_behind() -> None:
    for problem in problems("holes"):
        assert problem["prompt"].strip(), problem["id"]
        assert problem["suffix"].strip(), problem["id"]


def test_every_test_is_a_number_of_plain_asserts() -> None:
    for problem in all_problems():
        statements = ast.parse(problem["test"]).body
        assert 8 <= len(statements) <= 15, problem["id"]
        assert all(isinstance(one, ast.Assert) for one in statements), problem["id"]


@pytest.mark.parametrize("name", NAMES)
async def test_every_reference_passes_its_own_test(name: str, sandbox: Sandbox) -> None:
    kinds = {
        problem["id"]: await kind_of(sandbox, problem, problem["solution"])
        for problem in problems(name)
    }
    assert {key: kind for key, kind in kinds.items() if kind != "passed"} == {}


@pytest.mark.parametrize("name", NAMES)
async def test_doing_nothing_fails_every_test(name: str, sandbox: Sandbox) -> None:
    kinds = {
        (problem["id"], text): await kind_of(sandbox, problem, text)
        for problem in problems(name)
        for text in NOTHING
    }
    failed = {"assert_failed", "error"}
    assert {key: kind for key, kind in kinds.items() if kind not in failed} == {}


@pytest.mark.parametrize("name", NAMES)
def test_the_product_can_test_every_problem(name: str) -> None:
    for problem in problems(name):
        target = testable.find(gather(document(problem, ""), len(problem["prompt"])))
        assert isinstance(target, testable.Target), problem["id"]
        assert target.name == problem["entry_point"]
        assert target.stub or name == "holes", problem["id"]
