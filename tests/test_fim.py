"""Prompts for code and what is left of a model's text."""

import pytest

from cascade_lsp.engine import Piece
from cascade_lsp.fim import is_cut, render, solutions, trim, whole_lines
from cascade_lsp.testable import Target, find
from tests.marked import place

TRIMMED = [
    (
        "the rest of the block is kept",
        "def f():\n    ║\n",
        "    a = 1\n    return a\n",
        "a = 1\n    return a",
    ),
    ("a line that belongs to the block outside ends it", "def f():\n    ║\n", "    a\nb = 2", "a"),
    ("blanks that stand there already are not doubled", "    x = ║\n", " 3\n", "3"),
    ("a missing blank is not invented", "    x = ║\n", "3\n", "3"),
    ("a first line of an outer block is no completion", "    ║\n", "x = 1", ""),
    ("a fence ends the code", "x = ║\n", "3\n```\nThis sets x.", "3"),
    ("one line where text follows on it", "f(║)\n", "a, b\nc", "a, b"),
    ("a bracket that is there already is not doubled", "f(║)\n", "a, b)", "a, b"),
    ("a longer overlap is cut whole", "print(║'))\n", "'a'))", "'a"),
    (
        "the document's next line ends it",
        "    a = 1\n    ║\n    return a\n",
        "    b = 2\n    return a",
        "b = 2",
    ),
    (
        "carriage returns become the newlines of the wire",
        "    ║\n",
        "    a\r\n    b\r\n",
        "a\n    b",
    ),
    ("nothing but blanks is nothing", "    ║\n", "    \n\n", ""),
]


@pytest.mark.parametrize(
    ("marked", "written", "kept"), [r[1:] for r in TRIMMED], ids=[r[0] for r in TRIMMED]
)
def test_trim(marked: str, written: str, kept: str) -> None:
    assert trim(written, place(marked)) == kept


def test_prefix_style_shows_nothing_behind_the_cursor() -> None:
    assert render(place("a = ║\nb\n"), "prefix").pieces == (Piece("text", "a ="),)


def test_psm_style_puts_the_middle_last() -> None:
    kinds = [piece.kind for piece in render(place("a = ║\nb\n"), "psm").pieces]
    assert kinds == ["fim_pre", "text", "fim_suf", "text", "fim_mid"]


def test_spm_style_puts_the_suffix_first() -> None:
    pieces = render(place("a = ║\nb\n"), "spm").pieces
    assert [piece.text for piece in pieces] == ["", "\nb\n", "", "a =", ""]


def test_a_marker_in_the_users_text_stays_text() -> None:
    pieces = render(place("x = '<|fim_middle|>'\n║"), "psm").pieces
    assert Piece("text", "x = '<|fim_middle|>'\n") in pieces


def test_text_behind_the_cursor_asks_for_one_line() -> None:
    assert render(place("f(║)"), "prefix").stop == ("\n",)


def test_the_prompt_ends_with_the_block_of_the_cursor() -> None:
    assert render(place("def f():\n        ║"), "prefix").indent == 8


def test_the_first_solution_is_greedy_and_the_others_differ() -> None:
    target = find(place("def f(a):\n    ║"))
    assert isinstance(target, Target)
    prompts = solutions(target, "chat", 3)
    assert [p.temperature for p in prompts] == [0.0, 0.8, 0.8]
    assert len({p.seed for p in prompts}) == 3


def test_a_plan_without_tests_still_asks_for_one_solution() -> None:
    target = find(place("def f(a):\n    ║"))
    assert isinstance(target, Target)
    assert len(solutions(target, "chat", 0)) == 1


def test_a_text_whose_last_line_was_cut_is_over() -> None:
    before_return = place("def f(x):\n    ║\n    return x\n")
    for text, over in (
        ("    x += 1\n", False),
        ("    x += 1\n\n", False),
        ("    x += 1\n    return x", False),  # a line that is not whole may become another
        ("    x += 1\n    return x\n", True),
        ("    x += 1\ndef g():\n", True),
        ("", False),
    ):
        settled = trim(whole_lines(text), before_return)
        assert is_cut(text, settled) is over, text
