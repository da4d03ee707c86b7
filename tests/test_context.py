"""The windows around the cursor."""

from hypothesis import given
from hypothesis import strategies as st

from cascade_lsp.context import ContextOptions, gather

SMALL = ContextOptions(prefix_chars=400, suffix_chars=200)


def test_a_short_document_is_seen_whole() -> None:
    context = gather("ab\ncd", 3)
    assert (context.prefix, context.suffix) == ("ab\n", "cd")


def test_an_offset_outside_the_document_is_clamped() -> None:
    assert gather("abc", 99).prefix == "abc"
    assert gather("abc", -1).suffix == "abc"


def test_the_cursors_line_is_known_on_both_sides() -> None:
    context = gather("x\nfoo(bar)\r\ny", 6)
    assert (context.line_head, context.line_tail) == ("foo(", "bar)")


def test_typing_does_not_move_the_head_of_the_window() -> None:
    text = "".join(f"line {n}\n" for n in range(500))
    first = gather(text, 3000, options=SMALL)
    typed = gather(text[:3000] + "x" * 20 + text[3000:], 3020, options=SMALL)
    assert typed.prefix.startswith(first.prefix)


@given(st.text(alphabet="ab\n", max_size=3000), st.integers(0, 3000))
def test_windows_stay_within_their_limits_and_meet_at_the_cursor(text: str, offset: int) -> None:
    context = gather(text, offset, options=SMALL)
    assert len(context.prefix) <= SMALL.prefix_chars
    assert len(context.suffix) <= SMALL.suffix_chars
    assert context.document[: context.offset].endswith(context.prefix)
    assert context.document[context.offset :].startswith(context.suffix)
