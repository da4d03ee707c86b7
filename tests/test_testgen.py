"""What becomes of a line that a model wrote as a test, and how a pass matrix is scored."""

import pytest

from cascade_lsp.sandbox import Check, Outcome
from cascade_lsp.testable import Target, find
from cascade_lsp.testgen import Matrix, Test, examples, parse, prompts
from tests.marked import place


def target_of(docstring: str = "Doc.") -> Target:
    found = find(place(f'def f(a, b=2):\n    """{docstring}"""\n    ║'))
    assert isinstance(found, Target)
    return found


KEPT = [
    ("assert f(1) == 2", Check("f(1)", "eq", "2")),
    ("assert 2 == f(1)", Check("f(1)", "eq", "2")),
    ("assert f(1) != 2", Check("f(1)", "ne", "2")),
    ("assert f(1) is None", Check("f(1)", "is", "None")),
    ("assert f(1)", Check("f(1)", "truthy")),
    ("assert not f(1)", Check("f(1)", "falsy")),
    ("assert len(f([1])) == 1", Check("len(f([1]))", "eq", "1")),
    ('assert f(-1, b="x") == {"k": [1]}, "message"', Check("f(-1, b='x')", "eq", "{'k': [1]}")),
    ("assert abs(f(1) - 2) < 0.1", Check("abs(f(1) - 2) < 0.1", "truthy", strong=False)),
]


@pytest.mark.parametrize(("line", "check"), KEPT, ids=[k[0] for k in KEPT])
def test_a_usable_line_becomes_the_strongest_check(line: str, check: Check) -> None:
    tests, dropped = parse(["0) == 99\n" + line], target_of(), "small")
    assert tests[1].check == check
    assert not dropped


DROPPED = [
    ("assert f(1", "does_not_compile"),
    ("print(f(1))", "not_one_assert"),
    ("assert f(1) == 2; f(2)", "not_one_assert"),
    ("assert g(1) == 2", "does_not_call"),
    ("assert f(x) == 2", "arguments_not_literal"),
    ("assert f(f(1)) == 2", "arguments_not_literal"),
    ("assert f(1) == f(1)", "tautology"),
    ("assert f(1) or True", "tautology"),
    ("assert f(0) == 99", "repeated"),
    ("assert f(1, 2, 3) == 2", "arguments_do_not_fit"),
]


@pytest.mark.parametrize(("line", "reason"), DROPPED, ids=[d[0] for d in DROPPED])
def test_a_useless_line_is_dropped_and_counted(line: str, reason: str) -> None:
    tests, dropped = parse(["0) == 99\n" + line], target_of(), "small")
    assert len(tests) == 1
    assert dropped == {reason: 1}


def test_what_a_model_says_twice_and_differently_it_does_not_know() -> None:
    tests, dropped = parse(["1) == 2\nassert f(3) == 4", "1) == 3"], target_of(), "small")
    assert [test.text for test in tests] == ["assert f(3) == 4"]
    assert dropped == {"contradicted": 2}


def test_a_value_that_the_head_does_not_promise_is_dropped() -> None:
    found = find(place("def f(a: int) -> int:\n    ║"))
    assert isinstance(found, Target)
    tests, dropped = parse(["1) == 2\nassert f(2) == '3'\nassert f('x') == 1"], found, "small")
    assert [test.text for test in tests] == ["assert f(1) == 2"]
    assert dropped == {"value_does_not_fit": 1, "arguments_do_not_fit": 1}


STATED = [
    (">>> f(1)\n    3", "assert f(1) == 3"),
    (">>> f('a')\n    'b'", "assert f('a') == 'b'"),
    ("f(1) == 3", "assert f(1) == 3"),
    ("For example, f([1, 2]) -> [1].", "assert f([1, 2]) == [1]"),
    ("f(2) returns 4.", "assert f(2) == 4"),
    ("`f('a)')` => 'x', and so on", "assert f('a)') == 'x'"),
    ("f((1, 2), b=3) ➞ (2, 1)", "assert f((1, 2), b=3) == (2, 1)"),
]


@pytest.mark.parametrize(("docstring", "text"), STATED, ids=[s[0] for s in STATED])
def test_an_example_in_the_docstring_is_a_trusted_test(docstring: str, text: str) -> None:
    (example,) = examples(target_of(docstring))
    assert (example.text, example.trusted, example.origin) == (text, True, "docstring")


@pytest.mark.parametrize(
    "docstring",
    [
        "Call f(x) -> y.",
        ">>> x = 3",
        ">>> f(1)\n    Traceback (most recent call last):\n    E: x",
        "self.f(1) == 2",
    ],
)
def test_what_states_no_literal_value_is_no_example(docstring: str) -> None:
    assert examples(target_of(docstring)) == []


def test_tests_are_asked_for_without_any_body_and_begin_as_the_solution_does() -> None:
    target = target_of()
    for prompt in prompts(target, "chat", 2):
        assert prompt.pieces[0].text.startswith(target.listing)
        assert prompt.pieces[-1].text.endswith("assert f(")


def matrix(*rows: str, trusted: int = 0) -> Matrix:
    """Write a pass matrix: a row per solution, `+` passed, `-` failed, `?` no evidence."""
    kinds = {"+": "passed", "-": "assert_failed", "?": "inconclusive"}
    tests = tuple(
        Test(f"assert f({t})", "x", t < trusted, Check(f"f({t})")) for t in range(len(rows[0]))
    )
    return Matrix(tests, tuple(tuple(Outcome(kinds[c]) for c in row) for row in rows))


def test_the_score_counts_lines_passed_and_solutions_that_agree() -> None:
    m = matrix("++--", "+---", "-+++")
    assert m.score(0) == (2, 4, 2)
    assert m.score(2) == (3, 4, 2)
    assert m.best() == 2


def test_lines_without_a_verdict_do_not_count() -> None:
    assert matrix("+?-?").score(0) == (1, 2, 1)
    assert matrix("+?-?").inconclusive(0) == 2


def test_trusted_tests_are_counted_apart_and_come_first() -> None:
    m = matrix("-+++", "+---", trusted=1)
    assert m.score(0) == (3, 3, 1)
    assert m.trusted(0) == (0, 1)
    assert m.best() == 1


def test_the_first_of_equal_solutions_is_chosen() -> None:
    assert matrix("+-", "-+").best() == 0
