"""Prompts for code."""

from cascade_lsp.engine import Piece
from cascade_lsp.fim import render, solutions
from cascade_lsp.testable import Target, find
from tests.marked import place


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
