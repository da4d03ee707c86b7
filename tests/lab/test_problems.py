"""What a problem is, and that nobody who is to solve it sees how it is judged."""

import json
from pathlib import Path

import pytest

from cascade_lsp.errors import UsageError
from cascade_lsp.lab.problems import REQUIRED, Problem, load, save, shipped
from cascade_lsp.testable import Target, find

ROW = {
    "id": "mine/thrice",
    "prompt": 'def thrice(n):\n    """Return three times n."""\n    ',
    "suffix": "",
    "test": "assert thrice(7) == 21\n",
    "entry_point": "thrice",
    "language": "python",
    "source": "mine",
}
SOLVED = {**ROW, "solution": "return n + n + n"}


def file_of(tmp_path: Path, *rows: object, name: str = "p.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def hole(prompt: str, suffix: str) -> Problem:
    return Problem("h", prompt, suffix, "assert f(1)\n", "f", "python", "mine")


def test_a_problem_is_read_with_and_without_a_solution(tmp_path: Path) -> None:
    other = {**SOLVED, "id": "mine/other"}
    plain, solved = load([file_of(tmp_path, ROW, other)])
    assert (plain.id, plain.solution) == ("mine/thrice", "")
    assert (solved.id, solved.solution) == ("mine/other", "return n + n + n")


@pytest.mark.parametrize("name", REQUIRED)
def test_what_a_problem_lacks_is_said(name: str, tmp_path: Path) -> None:
    without = {key: value for key, value in ROW.items() if key != name}
    shown = "'?'" if name == "id" else "'mine/thrice'"
    for row in (without, {**ROW, name: None}):
        with pytest.raises(UsageError, match=f"lacks {name}. A problem has id, prompt, suffix"):
            load([file_of(tmp_path, row)])
    with pytest.raises(UsageError, match=f"p.jsonl: the problem {shown.replace('?', '[?]')}"):
        load([file_of(tmp_path, without)])


def test_all_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    row = {"id": "x", "prompt": "", "suffix": "", "language": "python", "entry_point": 3}
    with pytest.raises(UsageError, match=r"'x' lacks test, entry_point, source\."):
        load([file_of(tmp_path, row)])


def test_an_id_comes_once_in_all_files_together(tmp_path: Path) -> None:
    one, two = (file_of(tmp_path, ROW, name=name) for name in ("one.jsonl", "two.jsonl"))
    with pytest.raises(UsageError, match=r"two\.jsonl: the problem 'mine/thrice' is there twice"):
        load([one, two])


@pytest.mark.parametrize(
    ("id", "group"),
    [("set/7", "set/7"), ("set/7#line/2", "set/7"), ("set/7#line/2#x", "set/7"), ("#a", "")],
)
def test_holes_of_one_function_are_a_group(id: str, group: str) -> None:
    assert Problem(id, "", "", "", "", "python", "").group == group


def test_the_context_never_holds_the_test_or_the_solution() -> None:
    for problem in [Problem(**SOLVED), *shipped("functions"), *shipped("holes")]:
        context = problem.context
        assert context.document == problem.prompt + problem.suffix
        assert problem.test not in context.document
        # A solution of one word may well stand elsewhere in the document, too.
        assert len(problem.solution) < 12 or problem.solution.strip() not in context.document
        assert context.document[: context.offset] == problem.prompt


CURSORS = [
    # prompt, suffix, lead, trail
    ("def f(n):\n    m = n\n", "    return m\n", "    ", "\n"),
    ("def f(n):\n", "    return n\n", "    ", "\n"),
    ("def f(n):\n    for m in n:\n", "    return m\n", "        ", "\n"),
    ("def f(n):\n    m = n\n", "", "    ", ""),
    ("def f(n):\n    m = n\n", "\n    return m\n", "    ", ""),
    ("def f(n):\n    m = n\n    ", "\n    return m\n", "", ""),
    ("def f(n):\n    m = ", " + 1\n    return m\n", "", ""),
]


@pytest.mark.parametrize(("prompt", "suffix", "lead", "trail"), CURSORS)
def test_where_a_line_is_missing_the_cursor_stands_on_one_of_its_own(
    prompt: str, suffix: str, lead: str, trail: str
) -> None:
    problem = hole(prompt, suffix)
    assert (problem.lead, problem.trail) == (lead, trail)
    assert problem.completion("x = 1") == f"{lead}x = 1{trail}"
    context = problem.context
    assert context.completed("x = 1") == prompt + problem.completion("x = 1") + suffix
    assert context.line_head.endswith(lead)


def test_a_program_is_the_completed_document_and_its_test() -> None:
    document = 'def thrice(n):\n    """Return three times n."""\n    return n * 3'
    program = Problem(**ROW).program("return n * 3")
    assert program == f"{document}\nassert thrice(7) == 21\n\n"


CHECKS = [
    ("def check(candidate):\n    assert candidate(1)\n", 1),
    ("def check(candidate):\n    assert candidate(1)\n\ncheck(f)\n", 1),
    ("assert f(1)\n", 0),
]


@pytest.mark.parametrize(("test", "calls"), CHECKS)
def test_a_check_that_is_only_defined_is_called_once(test: str, calls: int) -> None:
    problem = Problem("c", "def f(n):\n    ", "", test, "f", "python", "mine")
    assert problem.program("return n").count("\ncheck(f)") == calls


@pytest.mark.parametrize("name", ["functions", "holes"])
def test_the_projects_own_problems_are_there(name: str) -> None:
    problems = shipped(name)
    assert len(problems) == 42
    assert all(problem.solution for problem in problems)
    for problem in problems:
        target = find(problem.context)
        assert isinstance(target, Target)
        assert target.name == problem.entry_point


def test_what_was_saved_is_loaded_and_replaces_what_was_there(tmp_path: Path) -> None:
    path = file_of(tmp_path, ROW, name="out.jsonl")
    problems = [Problem(**{**SOLVED, "id": name}) for name in ("one", "two")]
    assert save(iter(problems), path) == 2
    assert load([path]) == problems
