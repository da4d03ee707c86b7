"""When the editor's own requests are answered, and how long they wait for the next key."""

import pytest

from cascade_lsp.moments import LONGEST_S, SHORTEST_S, Pace, Reason, WhenOptions, unwanted
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
