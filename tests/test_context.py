"""The windows around the cursor."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_lsp.cascade import Cascade
from cascade_lsp.context import CHARS_PER_TOKEN, SLACK, ContextOptions, density_after, gather
from cascade_lsp.engine import Priority, Usage
from cascade_lsp.ledger import Ledger, LedgerOptions
from cascade_lsp.server import CascadeServer
from cascade_lsp.turn import Tier
from tests.protocol.editors import NearEditor
from tests.scripted import ScriptedEngine

SMALL = ContextOptions(prefix_tokens=100, suffix_tokens=50)


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


TEXTS = st.text(alphabet="ab\n", max_size=3000)


@given(TEXTS, st.integers(0, 3000), st.floats(0.5, 8.0))
def test_windows_stay_within_their_limits_and_meet_at_the_cursor(
    text: str, offset: int, density: float
) -> None:
    context = gather(text, offset, options=SMALL, density=density)
    assert len(context.prefix) <= round(SMALL.prefix_tokens * density)
    assert len(context.suffix) <= round(SMALL.suffix_tokens * density)
    assert context.document[: context.offset].endswith(context.prefix)
    assert context.document[context.offset :].startswith(context.suffix)


DENSITIES = [
    ("code as it mostly is moves no window", 4000, 1000 * 8 // 9, 4.0),
    ("a text of many tokens gets fewer characters", 2000, 1200, 2000 / 1200),
    ("a text of few tokens gets more", 6000, 900, 6000 / 900),
    ("a short prompt says nothing", 150, 99, 4.0),
    ("nor does an answer that came to nothing", 4000, 0, 4.0),
]


@pytest.mark.parametrize(
    ("chars", "tokens", "density"), [r[1:] for r in DENSITIES], ids=[r[0] for r in DENSITIES]
)
def test_density(chars: int, tokens: int, density: float) -> None:
    assert density_after(CHARS_PER_TOKEN, chars, tokens) == density


@given(st.floats(1.0, 8.0), st.lists(st.floats(1 / 1.1, 1.1), max_size=20))
def test_once_followed_the_density_stays_while_a_document_stays_alike(
    seen: float, wavering: list[float]
) -> None:
    known = density_after(CHARS_PER_TOKEN, round(seen * 1000), 1000)
    assert known / SLACK <= seen + 0.001 <= known * SLACK + 0.01
    if known == CHARS_PER_TOKEN:
        return
    for factor in wavering:
        assert density_after(known, round(seen * factor * 1000), 1000) == known


class Dense(ScriptedEngine):
    """An engine whose model needs a token for each character."""

    async def generate(self, prompts, *, priority=Priority.KEYSTROKE):
        async for item in super().generate(prompts, priority=priority):
            tokens = sum(len(piece.text) for piece in prompts[0].pieces)
            yield replace(item, prompt_tokens=tokens) if isinstance(item, Usage) else item


async def test_in_a_document_of_many_tokens_the_window_becomes_smaller(tmp_path: Path) -> None:
    engine = Dense(lambda prompt: "1\n")
    tier = Tier("small", "script", engine, line="psm")
    ledger = Ledger.open(tmp_path / "ledger.sqlite3", LedgerOptions())
    server = CascadeServer(lambda settings, root: Cascade([tier], None), lambda settings: ledger)
    editor = NearEditor(server)
    await editor.begin()
    lines = [f"変数{n} = 値({n})" for n in range(1000)]
    editor.open("\n".join(lines))
    for line in (500, 600):
        await editor.complete(line, len(lines[line]))
    sizes = [sum(len(p.text) for p in prompt.pieces) for (prompt,) in engine.asked]
    await server.close()
    options, (first, second) = ContextOptions(), sizes
    assert first > 0.9 * CHARS_PER_TOKEN * (options.prefix_tokens + options.suffix_tokens)
    assert second <= options.prefix_tokens + options.suffix_tokens
