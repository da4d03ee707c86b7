"""Holes as a keystroke asks them, and what is said of the rows."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from cascade_lsp.errors import UsageError
from cascade_lsp.lab import infill, infill_report
from cascade_lsp.lab.infill import Match, holes, match
from cascade_lsp.lab.rows import Row, read
from cascade_lsp.sandbox import Sandbox, SandboxOptions, make_sandbox
from cascade_lsp.turn import Tier
from tests.scripted import ScriptedEngine

EDIT = {
    "id": "r/1",
    "commit": "c1",
    "path": "a.py",
    "kind": "code",
    "is_test": False,
    "is_docs": False,
    "prefix": "def f(x):\n",
    "middle": "    return x * 2",
    "suffix": "\n\n\nprint(f(1))\n",
}
BENCHMARK = {
    "task_id": "SingleLineInfilling/HumanEval/7/L1",
    "entry_point": "f",
    "prompt": "def f(x):\n",
    "suffix": "",
    "canonical_solution": "    return x * 2\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    made = make_sandbox(SandboxOptions())
    assert made is not None
    yield made
    await made.close()


def written(tmp_path: Path, *rows: Row) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_edits_of_tests_and_documentation_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, EDIT, {**EDIT, "is_test": True}, {**EDIT, "kind": "comment"})
    assert len(list(holes(path))) == 1
    assert len(list(holes(path, everything=True))) == 3


def test_the_cursor_stands_where_the_edit_is_indented_to(tmp_path: Path) -> None:
    (hole,) = holes(written(tmp_path, EDIT))
    assert hole.context.line_head == "    "
    assert (hole.solution, hole.group, hole.language) == ("return x * 2", "c1", "python")


def test_what_other_files_hold_is_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    row = {
        "prompt": "from m import area\nx = ",
        "groundtruth": "area(2)",
        "right_context": "\n",
        "metadata": {"repository": "r"},
        "crossfile_context": {"text": "# def area(side):\n"},
    }
    path = written(tmp_path, row)
    (plain,), (shown,) = holes(path), holes(path, others=True)
    assert (plain.context.extra, shown.context.extra) == ("", "# def area(side):\n")
    assert plain.id != shown.id and plain.source != shown.source and plain.group == shown.group


def test_a_row_of_no_known_form_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"rows\.jsonl:1 is no hole"):
        list(holes(written(tmp_path, {"text": "x"})))


MATCHES = [
    ("return x", "return x", Match(True, True, 1.0, 8)),
    ("return x  \n", "return x", Match(True, True, 1.0, 8)),
    ("a = 1\n    b", "a = 1\n    c", Match(False, True, 0.9091, 10)),
    ("", "abc", Match(False, False, 0.0, 0)),
    ("abx", "abc", Match(False, False, 0.6667, 2)),
]


@pytest.mark.parametrize(("answer", "truth", "found"), MATCHES)
def test_an_answer_is_compared_with_the_truth(answer: str, truth: str, found: Match) -> None:
    assert match(answer, truth) == found


async def test_a_row_says_how_near_the_draft_comes_and_holds_no_text(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    tier = Tier("small", "s", ScriptedEngine(lambda _: "    return x * 2\n"))
    edit, benchmark = (next(iter(holes(written(tmp_path, row)))) for row in (EDIT, BENCHMARK))
    first, second = [await infill.ask(tier, one, sandbox) for one in (edit, benchmark)]
    assert (first["exact"], first["similarity"], first["saved"]) == (True, 1.0, 12)
    assert (first["right"], second["right"]) == (None, True)
    assert (first["empty"], first["vetoed"]) == (False, False)
    assert "return" not in json.dumps([first, second])


async def test_each_filter_is_left_out_once_and_put_back(tmp_path: Path, sandbox: Sandbox) -> None:
    tier = Tier("small", "s", ScriptedEngine(lambda _: "    return x * 2\n" * 4 + "```\nIt is.\n"))
    (hole,) = holes(written(tmp_path, EDIT))
    row = await infill.ask(tier, hole, sandbox)
    assert row["exact"] and set(row["without"]) == {"repetition"}
    assert row["without"]["repetition"] == {"exact": False, "first_line": True, "right": None}
    assert (await infill.ask(tier, hole, sandbox))["without"] == row["without"]


async def test_places_that_were_asked_are_not_asked_again(tmp_path: Path) -> None:
    path = written(tmp_path, EDIT, {**EDIT, "id": "r/2", "commit": "c2"})
    tier = Tier("small", "s", ScriptedEngine(lambda _: "    return 1\n"))
    problems = list(holes(path))
    rows = [row async for row in infill.record(tier, problems, [])]
    assert [row["hole"] for row in rows] == ["c1#r/1", "c2#r/2"]
    (other,) = [row async for row in infill.record(tier, problems, rows[:1])]
    assert other["hole"] == "c2#r/2"


def row(n: int, tier: str, good: bool, sure: float, **more: object) -> Row:
    return {
        "hole": f"h{n}",
        "group": f"g{n}",
        "source": "s",
        "tier": tier,
        "model": tier,
        "exact": good,
        "first_line": good,
        "similarity": float(good),
        "right": None,
        "empty": False,
        "vetoed": False,
        "features": {"probability_first_3": sure, "logprob_mean": -1 / sure, "logprob_min": -2.0},
        "without": {},
        "ms": 10,
        **more,
    }


# The small tier is right at the four places of ten where it is sure, the large one everywhere.
BOTH = [
    row(n, tier, good=tier == "large" or n < 4, sure=0.9 if n < 4 else 0.3 + n / 100)
    for n in range(10)
    for tier in ("small", "large")
]


def test_the_least_sure_answers_are_escalated_first() -> None:
    both = infill_report.pair(BOTH)
    scored = infill_report.scores(both, "first_3")
    assert infill_report.escalated(both, scored, 0.3).mean() == pytest.approx(0.7)
    assert infill_report.escalated(both, -scored, 0.3).mean() == pytest.approx(0.4)


def test_among_equals_the_lot_decides() -> None:
    both = infill_report.pair(BOTH)
    equal = infill_report.escalated(both, np.ones(10), 0.5)
    assert equal.mean() == pytest.approx(0.7) and set(equal.round(2)) == {0.5, 1.0}


def test_empty_and_vetoed_answers_come_first() -> None:
    rows = [dict(one) for one in BOTH]
    rows[-2]["vetoed"] = True  # the last place of the small tier
    both = infill_report.pair(rows)
    for rule in ("empty or vetoed", "first_3_syntax"):
        assert infill_report.escalated(both, infill_report.scores(both, rule), 0.1)[9] == 1.0


def test_a_learned_rule_is_judged_on_groups_that_it_was_not_fitted_to() -> None:
    both = infill_report.pair(BOTH)
    scored = infill_report.scores(both, infill_report.LEARNED)
    assert min(scored[:4]) > max(scored[4:])


def test_the_report_says_everything_of_both_tiers() -> None:
    rows = [dict(one) for one in BOTH]
    rows[0]["without"] = {"veto": {"exact": False, "first_line": False, "right": None}}
    text = infill_report.report(rows)
    assert "| s | 10 | small | 40.0 (" in text and "| s | 10 | large | 100.0 (" in text
    assert "| veto | small | 1 | 10.0 (" in text
    assert "| first_3 | 1.00 |" in text
    assert "10 places: small 40.0 %, large 100.0 %, either 100.0 %" in text


def test_who_gains_by_how_many_questions_is_drawn(tmp_path: Path) -> None:
    infill_report.draw(BOTH, tmp_path / "a.svg")
    assert "<svg" in (tmp_path / "a.svg").read_text("utf-8")


def test_places_of_one_tier_alone_are_no_report(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--tier large"):
        infill_report.report([one for one in BOTH if one["tier"] == "small"])
    assert list(read(written(tmp_path, BOTH[0]))) == [BOTH[0]]
