"""The pass matrix of a hand-written record, in the real sandbox, as worked out by hand."""

import pytest

from cascade_lsp.lab import execute
from cascade_lsp.lab.problems import Problem
from cascade_lsp.lab.rows import Row
from cascade_lsp.sandbox import Limits, Sandbox
from cascade_lsp.testable import find

THRICE = Problem(
    id="mine/thrice#a",
    prompt='def thrice(n: int) -> int:\n    """Return three times n.\n\n    >>> thrice(2)\n'
    '    6\n    """\n    ',
    suffix="",
    test="assert thrice(7) == 21\nassert thrice(-1) == -3\n",
    entry_point="thrice",
    language="python",
    source="mine",
    solution="return n + n + n",
)
RIGHT, WRONG, BROKEN = (
    f"```python\ndef thrice(n: int) -> int:\n    return {value}\n```"
    for value in ("n * 3", "n + 4", "n.times(3)")
)
# The first begins behind "assert thrice(". The second sample contradicts the first.
SAMPLES = [
    "1) == 3\nassert thrice(0) == 4\nassert thrice(2) != 9\nprint(1)\n",
    "1) == 5\nassert thrice(2) == 6\nassert thrice(0) is not None\n",
]
TESTS = [
    # text, trusted, an empty body, the reference, RIGHT, WRONG, BROKEN
    ("assert thrice(2) == 6", True, "assert_failed", "passed", "passed", "passed", "error"),
    ("assert thrice(1) == 3", False, "assert_failed", "passed", "passed", "assert_failed", "error"),
    (
        "assert thrice(0) == 4",
        False,
        "assert_failed",
        "assert_failed",
        "assert_failed",
        "passed",
        "error",
    ),
    ("assert thrice(2) != 9", False, "passed", "passed", "passed", "passed", "error"),
    (
        "assert thrice(1) == 5",
        False,
        "assert_failed",
        "assert_failed",
        "assert_failed",
        "passed",
        "error",
    ),
]


def batch(solutions: list[str], tests: list[str], style: str = "chat") -> Row:
    return {
        "kind": "body",
        "style": style,
        "read": [30, 90],
        "solutions": [{"text": text, "logprobs": [-0.1]} for text in solutions],
        "tests": [{"text": text, "tokens": 20} for text in tests],
    }


def record(*batches: Row, problem: str = THRICE.id, model: str = "s") -> Row:
    return {"problem": problem, "model": model, "batches": list(batches)}


async def test_every_answer_is_run_against_every_test(sandbox: Sandbox) -> None:
    recorded = [record(batch([RIGHT, WRONG, BROKEN], SAMPLES))]
    row = await execute.execute(THRICE, recorded, sandbox, Limits())
    assert (row["problem"], row["source"], row["group"]) == (THRICE.id, "mine", "mine/thrice")
    assert row["models"] == ["s"]
    assert row["solutions"] == [
        {"text": text, "whole": True, "syntax_ok": True, "hidden": hidden}
        for text, hidden in (
            ("return n * 3", "passed"),
            ("return n + 4", "assert_failed"),
            ("return n.times(3)", "error"),
        )
    ]
    known = {text: (trusted, stub, reference) for text, trusted, stub, reference, *_ in TESTS}
    seen = {test["text"]: test for test in row["tests"]}
    for text, (trusted, stub, reference) in known.items():
        assert seen[text] == {
            "text": text,
            "trusted": trusted,
            "stub": stub,
            "reference": reference,
        }
    columns = [[test["text"] for test in row["tests"]].index(text) for text in known]
    assert [[kinds[c] for c in columns] for kinds in row["outcomes"]] == [
        list(kinds) for kinds in zip(*(test[4:] for test in TESTS), strict=True)
    ]
    assert row["check_ms"] > 0


async def test_the_examples_come_first_and_every_text_once(sandbox: Sandbox) -> None:
    recorded = [record(batch([RIGHT], SAMPLES)), record(batch([RIGHT, RIGHT], SAMPLES), model="l")]
    row = await execute.execute(THRICE, recorded, sandbox, Limits())
    texts = [test["text"] for test in row["tests"]]
    assert [test["trusted"] for test in row["tests"]] == [True] + [False] * (len(texts) - 1)
    assert len(set(texts)) == len(texts)
    assert [one["text"] for one in row["solutions"]] == ["return n * 3"]
    assert [len(kinds) for kinds in row["outcomes"]] == [len(texts)]


NO_FUNCTION = [("I cannot.", ""), ("```python\ndef other(n):\n    return 3\n```", "")]


@pytest.mark.parametrize(("written", "text"), NO_FUNCTION)
async def test_an_answer_without_the_function_fails_everything(
    written: str, text: str, sandbox: Sandbox
) -> None:
    recorded = [record(batch([written], SAMPLES))]
    row = await execute.execute(THRICE, recorded, sandbox, Limits())
    (solution,) = row["solutions"]
    assert (solution["text"], solution["whole"]) == (text, False)
    assert solution["hidden"] != "passed"
    assert set(row["outcomes"][0]) == {"error"}
    assert [t["reference"] for t in row["tests"] if t["trusted"]] == ["passed"]


@pytest.mark.parametrize("style", ["chat", "text"])
@pytest.mark.parametrize("written", ["    return n * 3\n", RIGHT])
async def test_an_answer_continues_the_begun_function_or_begins_it_anew(
    style: str, written: str, sandbox: Sandbox
) -> None:
    recorded = [record(batch([written], ["1) == 3\n"], style=style))]
    row = await execute.execute(THRICE, recorded, sandbox, Limits())
    assert [(one["text"], one["hidden"]) for one in row["solutions"]] == [
        ("return n * 3", "passed")
    ]


async def test_without_a_known_solution_nothing_is_said_of_it(sandbox: Sandbox) -> None:
    unsolved = Problem(
        **{n: getattr(THRICE, n) for n in Problem.__dataclass_fields__ if n != "solution"}
    )
    row = await execute.execute(unsolved, [record(batch([RIGHT], SAMPLES))], sandbox, Limits())
    assert {test["reference"] for test in row["tests"]} == {""}
    assert row["solutions"][0]["hidden"] == "passed"


LINES = [
    # A line is missing: the cursor is on a line of its own, indented.
    ("def thrice(n):\n    m = n + n\n", "    return m\n", "    m = m + n\n"),
    # A part of a line is missing.
    ("def thrice(n):\n    m = n + n\n    return ", " + n\n", "m"),
]


@pytest.mark.parametrize(("prompt", "suffix", "solution"), LINES)
async def test_a_continuation_is_put_where_the_cursor_stood(
    prompt: str, suffix: str, solution: str, sandbox: Sandbox
) -> None:
    problem = Problem(
        "l", prompt, suffix, THRICE.test, "thrice", "python", "mine", solution=solution
    )
    line: Row = {**batch([solution, "m = 0"], []), "kind": "line", "style": "prefix"}
    tests: Row = {**batch([], ["1) == 3\n"]), "kind": "line", "style": ""}
    row = await execute.execute(problem, [record(line, tests, problem="l")], sandbox, Limits())
    assert row["solutions"][0]["text"] == solution.strip()
    assert [one["hidden"] == "passed" for one in row["solutions"]] == [True, False]
    assert row["outcomes"][0] == ["passed"]
    assert row["tests"][0]["reference"] == "passed"


async def test_where_nothing_can_be_tested_only_the_hidden_tests_are_run(
    sandbox: Sandbox,
) -> None:
    problem = Problem("m", "x = ", "\n", "assert x == 3\n", "", "python", "mine", "3")
    line: Row = {**batch(["3", "4"], []), "kind": "line", "style": "psm"}
    row = await execute.execute(problem, [record(line, problem="m")], sandbox, Limits())
    assert [(s["text"], s["hidden"]) for s in row["solutions"]] == [
        ("3", "passed"),
        ("4", "assert_failed"),
    ]
    assert (row["tests"], row["outcomes"], row["check_ms"]) == ([], [[], []], 0)


async def test_text_that_breaks_the_syntax_is_marked(sandbox: Sandbox) -> None:
    problem = Problem("m", "x = ", "\n", "assert x == 3\n", "", "python", "mine", "3")
    line: Row = {**batch(["(3"], []), "kind": "line", "style": "psm"}
    row = await execute.execute(problem, [record(line, problem="m")], sandbox, Limits())
    assert (row["solutions"][0]["syntax_ok"], row["solutions"][0]["hidden"]) == (False, "error")


def test_contradicted_assertions_are_kept_for_whoever_judges() -> None:
    target = find(THRICE.context)
    found = execute.assertions("1) == 3\nassert thrice(1) == 4\nassert n == 1\n", target)  # type: ignore[arg-type]
    assert [test.text for test in found] == ["assert thrice(1) == 3", "assert thrice(1) == 4"]


def test_rows_are_grouped_by_problem() -> None:
    a, b, c = record(problem="a"), record(problem="b"), record(problem="a", model="l")
    assert execute.by_problem([a, b, c]) == {"a": [a, c], "b": [b]}


def test_what_was_recorded_since_it_was_run_is_missing() -> None:
    other = Problem("o", THRICE.prompt, "", THRICE.test, "thrice", "python", "mine")
    recorded = execute.by_problem([record(), record(problem="o"), record(problem="o", model="l")])
    problems = [THRICE, other, Problem("never", "", "", "", "", "python", "mine")]
    ran: list[Row] = [
        {"problem": THRICE.id, "models": ["s"]},
        {"problem": "o", "models": ["s"]},
    ]
    assert execute.missing(problems, recorded, []) == [THRICE, other]
    assert execute.missing(problems, recorded, ran) == [other]
    again: Row = {"problem": "o", "models": ["s", "l"]}
    assert execute.missing(problems, recorded, [*ran, again]) == []


async def test_matrices_come_problem_by_problem() -> None:
    other = Problem("o", THRICE.prompt, "", THRICE.test, "thrice", "python", "mine")
    recorded = {p.id: [record(batch([RIGHT], []), problem=p.id)] for p in (THRICE, other)}
    found = [row async for row in execute.matrices([other, THRICE], recorded)]
    assert [row["problem"] for row in found] == ["o", THRICE.id]


async def test_a_reference_that_fails_its_own_tests_is_found() -> None:
    values = {n: getattr(THRICE, n) for n in Problem.__dataclass_fields__}
    wrong = Problem(**{**values, "id": "wrong", "solution": "return n"})
    unsolved = Problem(**{**values, "id": "unsolved", "solution": ""})
    seen: list[None] = []
    failed = await execute.failing([THRICE, wrong, unsolved], lambda: seen.append(None))
    assert failed == {"wrong": "assert_failed"}
    assert len(seen) == 3
