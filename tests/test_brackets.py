"""Brackets in texts that are no whole."""

import pytest

from cascade_lsp.brackets import brackets

READ = [
    ("", "", ()),
    ("f(a[0], {", "})", ()),
    ("a) + (b", ")", (1,)),
    ("'(' + \"[\" + (", ")", ()),
    ("don't (x", ")", ()),
    ("f(a]", ")", ()),
]


@pytest.mark.parametrize(("text", "wanted", "unopened"), READ)
def test_what_a_text_leaves_open_and_what_it_closes_for_others(
    text: str, wanted: str, unopened: tuple[int, ...]
) -> None:
    found = brackets(text)
    assert (found.wanted, found.unopened) == (wanted, unopened)


def test_a_text_closes_what_was_open_before_it() -> None:
    assert brackets("])", "])}").wanted == "}"
    assert brackets("]", ")").wanted == ")"
