"""A study says of records what a plan needs, and nothing of anybody's texts."""

import json
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from math import exp, log
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cascade_lsp import testable, testgen
from cascade_lsp.cli import app
from cascade_lsp.errors import UsageError
from cascade_lsp.lab import study
from cascade_lsp.lab.execute import answer_text, assertions, execute
from cascade_lsp.lab.problems import Problem
from cascade_lsp.lab.rows import Row, Rows
from cascade_lsp.lab.study import Answer, Case, Column, Sample, Solution, Written
from cascade_lsp.sandbox import Check, Limits, Outcome, Sandbox
from cascade_lsp.testable import Target
from cascade_lsp.testgen import MOST_TESTS, Test

PROMPT = 'def double(n):\n    """Return twice n.\n\n    >>> double(4)\n    8\n    """\n    '
DOUBLE = Problem("mine/double#1", PROMPT, "", "assert double(7) == 14", "double", "python", "m")
HOLE = replace(DOUBLE, id="mine/hole", suffix="\n    return n\n")
NOWHERE = Problem("mine/x", "x = ", "\n", "assert x == 3\n", "", "python", "mine")
RIGHT, WRONG, HALF = "    return 2 * n\n", "    return n + 2\n", "    n = n + n\n"


def batch(
    solutions: Sequence[str], tests: Sequence[str], style: str = "chat", kind: str = "body"
) -> Row:
    return {
        "kind": kind,
        "style": style,
        "read": [30, 90],
        "solutions": [{"text": text, "logprobs": [-0.1, log(0.3)]} for text in solutions],
        "tests": [{"text": text, "tokens": 20 + i} for i, text in enumerate(tests)],
    }


def record(*batches: Row, problem: Problem = DOUBLE, model: str = "s") -> Row:
    return {"problem": problem.id, "model": model, "batches": list(batches)}


def matrix_of(problem: Problem, *recorded: Row) -> Row:
    """Return a pass matrix, as if everything had passed every test but an empty body."""
    target = testable.find(problem.context)
    batches = [one for row in recorded for one in row["batches"]]
    answers = {
        answer_text(one, solution["text"], problem.context, target): None
        for one in batches
        for solution in one["solutions"]
    }
    tests = dict[str, bool]()
    if isinstance(target, Target):
        tests = {test.text: True for test in testgen.examples(target)}
        for text in (test["text"] for one in batches for test in one["tests"]):
            for found in assertions(text, target):
                tests.setdefault(found.text, False)
    return {
        "problem": problem.id,
        "models": [row["model"] for row in recorded],
        "solutions": [
            {"text": text, "whole": True, "syntax_ok": True, "hidden": "passed"} for text in answers
        ],
        "tests": [
            {"text": text, "trusted": trusted, "stub": "error", "reference": "passed"}
            for text, trusted in tests.items()
        ],
        "outcomes": [["passed"] * len(tests) for _ in answers],
        "check_ms": 5.0,
    }


def case_of(problem: Problem, *recorded: Row) -> Case:
    return study.case(study.digest(problem, recorded, matrix_of(problem, *recorded)))


def values_of(case: Case) -> list[Any]:
    return [getattr(case, field.name) for field in fields(Case)]


# -- letters ------------------------------------------------------------------------------------


def test_every_kind_of_outcome_has_a_letter_of_its_own() -> None:
    assert Outcome.__doc__
    said = Outcome.__doc__.split("docs/sandbox.md:")[1].split(".")[0]
    kinds = set(re.findall(r"\w+", said))
    assert {"passed", "sandbox_lost"} < kinds
    assert set(study.LETTERS) == kinds | {""}
    letters = list(study.LETTERS.values())
    assert len(set(letters)) == len(letters)
    assert all(len(letter) == 1 for letter in letters)


@pytest.mark.parametrize("kind", study.LETTERS)
def test_every_kind_comes_back_from_a_study(kind: str) -> None:
    one = record(batch([RIGHT], []))
    matrix = matrix_of(DOUBLE, one)
    matrix["outcomes"] = [[kind]]
    matrix["solutions"][0]["hidden"] = kind
    matrix["tests"][0] |= {"stub": kind, "reference": kind}
    case = study.case(study.digest(DOUBLE, [one], matrix))
    assert case.outcomes == ((Outcome(kind),),)
    assert case.answers[0].hidden == kind
    assert (case.columns[0].stub, case.columns[0].reference) == (kind, kind)
    assert case.is_right(0) == (kind == "passed")


# -- what a row holds ---------------------------------------------------------------------------

SECRET_PROMPT = (
    'def zibble(quorf):\n    """Wumble the quorf.\n\n    >>> zibble("nargle")\n'
    '    \'plimfan\'\n    """\n    '
)
SECRET = Problem(
    "mine/1",
    SECRET_PROMPT,
    "",
    'assert zibble("skree") == "drapwit48151623"\n',
    "zibble",
    "python",
    "mine",
    'return {"nargle": "plimfan"}.get(quorf, "drapwit48151623")',
)
SECRET_HOLE = replace(
    SECRET,
    prompt=SECRET_PROMPT + "frobnic = quorf\n    ",
    suffix="\n    return frobnic\n",
    solution='frobnic = {"nargle": "plimfan"}.get(frobnic, "drapwit48151623")',
)
TELLTALE = '"gloop") == "hurpled"\nassert zibble("gloop") == 27182818\nprint(yandle)\n'


def words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) > 3}


@pytest.mark.parametrize("problem", [SECRET, SECRET_HOLE], ids=["body", "line"])
async def test_a_digest_has_no_text_of_problems_answers_or_tests(
    problem: Problem, sandbox: Sandbox
) -> None:
    answers = [f"    {problem.solution}\n", '    return "yandle"\n']
    batches = [batch(answers, [TELLTALE])]
    if problem.suffix:
        batches = [
            batch(answers, [], "prefix", "line"),
            batch([], [TELLTALE], "", "line"),
        ]
    recorded = [record(*batches, problem=problem)]
    matrix = await execute(problem, recorded, sandbox, Limits())
    assert len(matrix["tests"]) >= 2 and len(matrix["solutions"]) == 2
    found = study.digest(problem, recorded, matrix)
    texts = [problem.prompt, problem.suffix, problem.test, problem.solution, *answers, TELLTALE]
    told = set[str]().union(*map(words, texts))
    assert {"zibble", "plimfan", "drapwit48151623", "27182818", "yandle"} < told
    assert words(json.dumps(found)) & told == set()
    assert study.case(found).is_right(0)


def test_a_row_tells_answers_tests_and_outcomes_by_number() -> None:
    tests = ["1) == 2\nassert double(1) == 3\n", "2) is None\nprint(1)\nassert double(4) == 8\n"]
    one = record(batch([RIGHT, WRONG, RIGHT], tests))
    case = case_of(DOUBLE, one)
    assert (case.id, case.source, case.group) == ("mine/double#1", "m", "mine/double")
    assert case.chars == len(PROMPT)
    assert case.answers == (Answer("passed", True, True, 12), Answer("passed", True, True, 12))
    assert case.columns == (
        Column(True, "error", "passed", 0, 0),
        Column(False, "error", "passed", 1, 1),
        Column(False, "error", "passed", 1, 2),
        Column(False, "error", "passed", 2, 3),
    )
    wrote = case.written["s"]["chat"]
    assert [solution.row for solution in wrote.solutions] == [0, 1, 0]
    assert wrote.samples == (Sample(20, (1, 2)), Sample(21, (3, "not_one_assert", 0)))
    assert (wrote.body, wrote.read) == (True, (30, 90))
    assert case.check_s == 0.0025, "each check was run twice"


def test_features_are_kept_to_four_figures() -> None:
    (solution,) = case_of(DOUBLE, record(batch([RIGHT], []))).written["s"]["chat"].solutions
    assert solution.tokens == 2
    assert solution.features["logprob_min"] == -1.204
    assert solution.features["probability_first_3"] == round((exp(-0.1) + 0.3) / 2, 4)


def test_an_empty_answer_has_no_characters() -> None:
    case = case_of(DOUBLE, record(batch(["I cannot."], [])))
    assert case.answers[0].chars == 0


def test_a_test_without_a_value_has_only_its_call() -> None:
    case = case_of(DOUBLE, record(batch([RIGHT], ["1)\nassert double(1) != 5\n"])))
    assert [column.value for column in case.columns] == [0, -1, -1]
    assert case.test(1, "s") == Test("1", "s", False, Check("1"))
    assert case.test(0) == Test("0", "docstring", True, Check("0", "eq", "0"))
    assert case.examples == (case.test(0),)


def test_a_models_styles_stay_in_the_order_they_were_asked_in() -> None:
    one = record(batch([RIGHT], [], "text"), batch([WRONG], [], "chat"))
    assert list(case_of(DOUBLE, one).written["s"]) == ["text", "chat"]


def test_the_tests_of_a_line_belong_to_every_style() -> None:
    alone = {**batch([], ["1) == 2\n", "3) == 6\n"], "", "line"), "read": [0, 70]}
    one = record(
        {**batch([HALF], [], "psm", "line"), "read": [31, 31]},
        {**batch([HALF], [], "prefix", "line"), "read": [25, 25]},
        alone,
        problem=HOLE,
    )
    wrote = case_of(HOLE, one).written["s"]
    assert list(wrote) == ["psm", "prefix"]
    assert [by_style.read for by_style in wrote.values()] == [(31, 70), (25, 70)]
    for by_style in wrote.values():
        assert not by_style.body
        assert by_style.samples == (Sample(20, (1,)), Sample(21, (2,)))
        assert [solution.row for solution in by_style.solutions] == [0]


def test_a_line_where_no_tests_were_wanted_has_none() -> None:
    asked_nothing: Row = {"kind": "line", "style": "", "solutions": [], "tests": []}
    one = record(batch([HALF], [], "psm", "line"), asked_nothing, problem=HOLE)
    wrote = case_of(HOLE, one).written["s"]["psm"]
    assert (wrote.read, wrote.samples) == ((30, 0), ())


def test_where_nothing_can_be_tested_only_answers_are_kept() -> None:
    case = case_of(NOWHERE, record(batch(["3"], [], "prefix", "line"), problem=NOWHERE))
    assert (case.columns, case.outcomes, case.examples) == ((), ((),), ())
    assert case.written["s"]["prefix"].solutions[0].row == 0


# -- tests are merged as the product merges them ------------------------------------------------

NUMBERS, VALUES = st.integers(0, 30), st.integers(0, 3)
LINES = st.one_of(
    st.builds("assert double({}) == {}".format, NUMBERS, VALUES),
    st.builds("assert {1} == double({0})".format, NUMBERS, VALUES),
    st.builds("assert double({}) is None".format, NUMBERS),
    st.builds("assert double({}) != {}".format, NUMBERS, VALUES),
    st.builds("assert double({})".format, NUMBERS),
    st.builds("assert not double({})".format, NUMBERS),
    st.builds("assert abs(double({}) - {}) < 0.1".format, NUMBERS, VALUES),
    st.builds("assert double(n={}) == {}".format, NUMBERS, VALUES),
    st.sampled_from(
        ["print(1)", "assert double(x) == 1", "assert double(1", "", "assert triple(1) == 3"]
    ),
    st.sampled_from(["assert double(4) == 8", "assert double(4) == 9", "assert True"]),
)
SAMPLES = st.lists(st.lists(LINES, max_size=14), min_size=1, max_size=4)
MANY = [f"assert double({n}) == {2 * n}" for n in range(MOST_TESTS + 3)]


@given(SAMPLES, st.integers(0, 4))
@example([["assert double(1) == 2", "assert double(1) == 3", "assert double(1) != 7"]], 1)
@example([["assert double(1) == 2"], ["assert double(1) == 2"], ["assert double(1) is None"]], 3)
@example([MANY[:20], MANY[10:]], 2)
@example([MANY, ["assert double(0) == 1"]], 2)
def test_tests_are_kept_and_dropped_as_the_product_does_it(lines: list[list[str]], n: int) -> None:
    samples = ["\n".join(sample).removeprefix("assert double(") for sample in lines]
    target = testable.find(DOUBLE.context)
    assert isinstance(target, Target)
    wanted, wanted_dropped = testgen.parse(samples[:n], target, "s")

    one = record(batch([RIGHT], samples))
    matrix = matrix_of(DOUBLE, one)
    found, dropped = study.case(study.digest(DOUBLE, [one], matrix)).tests("s", "chat", n)
    texts = [matrix["tests"][int(test.text)]["text"] for test in found]
    assert texts == [test.text for test in wanted]
    assert dropped == wanted_dropped
    assert {test.origin for test in found} <= {"s"}


# -- files --------------------------------------------------------------------------------------


def recorded() -> tuple[list[Problem], list[Row], list[Row]]:
    """Return two problems with their records and matrices, the second one's first."""
    hole = record(
        batch([HALF], [], "prefix", "line"), batch([], ["2) == 4\n"], "", "line"), problem=HOLE
    )
    both = [
        record(batch([RIGHT, WRONG], ["1) == 2\nassert double(x)\n"])),
        record(batch([WRONG], [], "text"), model="l"),
    ]
    return (
        [DOUBLE, HOLE],
        [both[0], hole, both[1]],
        [matrix_of(HOLE, hole), matrix_of(DOUBLE, *both)],
    )


def test_problems_records_and_matrices_are_joined_and_the_rest_is_left_out() -> None:
    problems, records, matrices = recorded()
    unknown = replace(DOUBLE, id="mine/unknown")
    unrun = record(problem=replace(DOUBLE, id="mine/unrun"))
    lone = {**matrices[0], "problem": "mine/lone"}
    found = list(study.digests([unknown, *problems], [*records, unrun], [lone, *matrices]))
    assert [row["problem"] for row in found] == [DOUBLE.id, HOLE.id]
    assert [list(row["written"]) for row in found] == [["s", "l"], ["s"]]
    assert list(study.digests(problems, records, [])) == []
    assert list(study.digests(problems, [], matrices)) == []


def test_the_last_matrix_of_a_problem_counts() -> None:
    problems, records, matrices = recorded()
    again = {**matrices[0], "check_ms": 9.0}
    assert [row["check_ms"] for row in study.digests(problems, records, [*matrices, again])] == [
        5.0,
        9.0,
    ]


def test_a_matrix_that_is_older_than_the_records_is_refused() -> None:
    problems, records, matrices = recorded()
    later = record(batch([RIGHT], ["9) == 18\n"]), model="new")
    with pytest.raises(UsageError, match=r"mine/double#1 was recorded .* `cascade lab execute`"):
        list(study.digests(problems, [*records, later], matrices))


def test_a_study_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    found = list(study.digests(*recorded()))
    assert study.save(found, tmp_path / "study.jsonl.gz") == 2
    loaded = study.load(tmp_path / "study.jsonl.gz")
    assert list(map(values_of, loaded)) == [values_of(study.case(row)) for row in found]
    assert loaded[0].written["l"]["text"] == Written(
        True, (30, 90), (Solution(1, loaded[0].written["l"]["text"].solutions[0].features),), ()
    )


def test_equal_rows_make_equal_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.jsonl.gz", "b.jsonl.gz")]
    for path in paths:
        study.save(study.digests(*recorded()), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_command_makes_a_study_of_what_was_recorded_and_run(tmp_path: Path) -> None:
    problems, records, matrices = recorded()
    files = {"records": records, "matrix": matrices, "problems": []}
    files["problems"] = [
        {name: getattr(one, name) for name in Problem.__slots__} for one in problems
    ]
    for name, found in files.items():
        with Rows(tmp_path / f"{name}.jsonl") as out:
            for row in found:
                out.add(row)
    paths = [str(tmp_path / f"{name}.jsonl") for name in files]
    out_path = tmp_path / "mine.jsonl.gz"
    done = CliRunner().invoke(app, ["lab", "digest", *paths, "--out", str(out_path)])
    assert done.exit_code == 0, done.output
    assert [case.id for case in study.load(out_path)] == [DOUBLE.id, HOLE.id]
