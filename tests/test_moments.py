"""When the editor's own requests are answered, and how long they wait for the next key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_lsp.context import gather
from cascade_lsp.moments import (
    LONGEST_S,
    SHORTEST_S,
    Pace,
    Reason,
    WhenOptions,
    must_go_on,
    outcome,
    typed_since,
    unwanted,
)
from tests.marked import place

PLACES: list[tuple[str, Reason]] = [
    ("x = ║", ""),
    ("def f(║):\n", ""),
    ("print(a, ║)\n", ""),
    ("x = [║],\n", ""),
    ("f('║')", ""),
    ("if x║:", ""),
    ("to║tal", "inside a word"),
    ("║total", "in the middle of a line"),
    ("x = ║ + 1", "in the middle of a line"),
    ("f(║, b)", "in the middle of a line"),
    ("    ║\n    y = 1\n", ""),
    ("# a comment ║", ""),
]


@pytest.mark.parametrize(("marked", "why"), PLACES)
def test_suggestions_come_by_themselves_only_where_a_line_can_go_on(
    marked: str, why: Reason
) -> None:
    assert unwanted(place(marked), WhenOptions()) == why


@pytest.mark.parametrize(
    ("marked", "language", "why"),
    [
        ("x = 1  # so ║", "python", "in a comment"),
        ("x = '# so ║'", "python", ""),
        ("x = 1 ║", "python", ""),
        ("// so ║", "javascript", "in a comment"),
        ("// so ║", "go", "in a comment"),
    ],
)
def test_comments_are_left_alone_where_the_user_says_so(
    marked: str, language: str, why: Reason
) -> None:
    assert unwanted(place(marked, language), WhenOptions(comments=False)) == why


def test_nothing_is_wanted_behind_what_was_accepted_until_something_is_typed() -> None:
    accepted = "x = total"
    assert unwanted(place("x = total║"), WhenOptions(), accepted) == "just accepted"
    assert unwanted(place("x = total\n║"), WhenOptions(), accepted) == ""


@pytest.mark.parametrize(
    ("selected", "instead_of", "why"),
    [
        ("print", "pri", ""),
        ("print", "", ""),
        ("print", "pxi", "against the selection"),
        ("print", "Pri", "against the selection"),  # an editor would not show it
        ("", "", ""),
    ],
)
def test_a_row_of_the_suggest_widget_is_continued_only_where_it_begins_with_what_was_typed(
    selected: str, instead_of: str, why: Reason
) -> None:
    context = place(f"{selected}║\n")
    assert unwanted(context, WhenOptions(), selected=selected, instead_of=instead_of) == why


MUST = [
    ("def f():\n    ║\n", "python", True),
    ("class A:\n    ║\n\ny = 1\n", "python", True),
    ("x = ║\n", "python", True),
    ("x = 1\n║\n", "python", False),
    ("f(║)\n", "python", False),
    ("    return║\n", "python", False),
    ("║", "python", False),
    ("function f() {\n  ║\n}\n", "javascript", True),
    ("const x = ║;\n", "javascript", True),
    ("f();\n║\n", "javascript", False),
    ("some words ║", "markdown", False),
]


@pytest.mark.parametrize(("marked", "language", "must"), MUST)
def test_a_block_or_a_statement_that_is_begun_must_go_on(
    marked: str, language: str, must: bool
) -> None:
    assert must_go_on(place(marked, language)) is must


OUTCOMES = [
    # what is typed where "f(x)" is shown, and what became of that
    ("", ""),
    ("f", ""),
    ("f(x)", "accepted"),
    ("f(x).y", "accepted"),
    ("g", "rejected"),
    ("f(y", "rejected"),
    ("()", "rejected"),
]


@pytest.mark.parametrize(("written", "became"), OUTCOMES)
def test_a_suggestion_is_accepted_rejected_or_still_open(written: str, became: str) -> None:
    began = place("a = ║\nb = 1\n")
    assert outcome("f(x)", began, began.completed(written)) == became


def test_a_bracket_that_the_editor_closes_refuses_nothing() -> None:
    began = place("f║\n")
    assert outcome("(x, y)", began, began.completed("()")) == ""
    assert outcome("[0]", began, began.completed("()")) == "rejected"


def test_an_edit_elsewhere_leaves_a_suggestion_open() -> None:
    began = place("a = ║\nb = 1\n")
    assert outcome("f(x)", began, "# so\na = \nb = 1\n") == ""


@given(st.text(), st.text(), st.text())
def test_what_was_typed_is_what_stands_between_the_old_text(
    before: str, written: str, behind: str
) -> None:
    began = gather(before + behind, len(before))
    assert typed_since(began, before + written + behind) == written


@pytest.mark.parametrize("now", ["", "a = ", "a = 1\n", "a =  1", "b = \n1"])
def test_another_edit_is_nothing_typed(now: str) -> None:
    assert typed_since(place("a = ║\nc\n"), now) is None


def typed(*keys: float, waits: tuple[float, ...] = ()) -> Pace:
    pace = Pace()
    for key in keys:
        pace.typed(key)
    for wait in waits:
        pace.answered(wait)
    return pace


PACES = [
    ("before the first answer", typed(0, 0.2, 0.4), 0.0),
    ("someone who types slowly", typed(0, 0.2, 0.4, 0.6, waits=(0.0,)), 0.2),
    ("someone who types fast", typed(0, 0.01, 0.02, 0.03, waits=(0.0,)), SHORTEST_S),
    ("very slowly", typed(0, 0.9, 1.8, waits=(0.0,)), LONGEST_S),
    ("a break is no interval", typed(0, 0.1, 60.0, 60.1, waits=(0.0,)), 0.1),
    ("no keys", typed(waits=(0.01,)), SHORTEST_S - 0.01),
    ("less what an answer takes", typed(0, 0.2, 0.4, waits=(0.05, 0.15, 0.15)), 0.05),
    ("nothing where answers are slow", typed(0, 0.2, 0.4, waits=(1.0, 2.0, 3.0)), 0.0),
]


@pytest.mark.parametrize(("pace", "pause"), [p[1:] for p in PACES], ids=[p[0] for p in PACES])
def test_the_pause_is_the_usual_one_between_keys_less_an_answers_time(
    pace: Pace, pause: float
) -> None:
    assert pace.pause_s() == pytest.approx(pause)


def test_only_the_last_keys_and_answers_count() -> None:
    pace = typed(*(n * 0.1 for n in range(100)), waits=(5.0,) * 50 + (0.02,) * 10)
    assert pace.pause_s() == pytest.approx(0.08)
