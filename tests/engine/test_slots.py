"""Batches over one KV cache: the parts that need no model."""

from collections.abc import Sequence

import numpy as np
import pytest

from cascade_lsp.engine import Piece, Prompt
from cascade_lsp.engine.slots import (
    BACKGROUND,
    KEYSTROKE,
    SLICE,
    Batch,
    ContextFullError,
    Logits,
    Row,
    StopFilter,
    common_prefix,
    sample,
)

STOPS = [
    ("a stop string is cut", ["x``", "` y"], ("```",), 0, "x", True),
    ("what may become a stop is held back", ["x`", "y"], ("```",), 0, "x`y", False),
    ("the earliest stop counts", ["ab", "cd"], ("d", "b"), 0, "a", True),
    ("a line indented less ends it", ["  a\n", "    b\n", "\n", "c"], (), 4, "  a\n    b", True),
    ("blank lines stay", ["a\n    b", "\n\n", "   ", " c"], (), 4, "a\n    b\n\n    c", False),
    ("the first line has no indentation of its own", ["a", "b"], (), 4, "ab", False),
    ("without a block any line may follow", ["a\n", "b"], (), 0, "a\nb", False),
]


@pytest.mark.parametrize(
    ("pieces", "stops", "indent", "text", "ended"),
    [s[1:] for s in STOPS],
    ids=[s[0] for s in STOPS],
)
def test_stop_filter(
    pieces: list[str], stops: tuple[str, ...], indent: int, text: str, ended: bool
) -> None:
    stop_filter, shown, done = StopFilter(stops, indent), "", False
    for piece in pieces:
        more, done = stop_filter.feed(piece)
        shown += more
        if done:
            break
    assert (shown + stop_filter.held, done) == (text, ended)


def test_the_common_prefix_of_token_lists() -> None:
    assert common_prefix([[1, 2, 3], [1, 2, 4], [1, 2]]) == 2
    assert common_prefix([[1, 2]]) == 2
    assert common_prefix([[1], []]) == 0


def test_greedy_sampling_takes_the_likeliest_and_its_log_probability() -> None:
    logits = np.log(np.array([0.1, 0.7, 0.2], dtype=np.float32))
    token, logprob = sample(logits, Prompt(()), np.random.default_rng(0))
    assert token == 1
    assert logprob == pytest.approx(np.log(0.7), abs=1e-5)


def test_sampling_stays_within_top_k_and_top_p() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], dtype=np.float32))
    random = np.random.default_rng(1)
    by_k = {
        sample(logits, Prompt((), temperature=1, top_k=2, top_p=1), random)[0] for _ in range(99)
    }
    by_p = {
        sample(logits, Prompt((), temperature=1, top_k=4, top_p=0.7), random)[0] for _ in range(99)
    }
    assert by_k == by_p == {0, 1}


class ScriptedDecoder:
    """A decoder over letters: each answers with the next letter of the alphabet, `z` ends."""

    def __init__(self, n_ctx: int = 400, room: int = 10_000) -> None:
        self.n_ctx, self.room = n_ctx, room
        self.cached: dict[int, list[int]] = {KEYSTROKE: [], BACKGROUND: []}
        self.decoded: list[list[Row]] = []
        self.lent: list[int] = []
        self.dropped: list[int] = []
        self.forgotten: list[int] = []

    def tokens_of(self, prompt: Prompt) -> list[int]:
        return [ord(letter) for letter in prompt.pieces[0].text]

    def piece(self, token: int) -> bytes:
        return bytes([token])

    def is_end(self, token: int) -> bool:
        return token == ord("z")

    def decode(self, rows: Sequence[Row]) -> bool:
        if len(rows) > self.room:
            return False
        self.decoded.append(list(rows))
        return True

    def logits(self, row: int) -> Logits:
        logits = np.zeros(128, dtype=np.float32)
        logits[self.decoded[-1][row][0] + 1] = 9
        return logits

    def keep(self, slot: int, tokens: Sequence[int]) -> int:
        shared = common_prefix([self.cached[slot], tokens])
        del self.cached[slot][shared:]
        return shared

    def forget(self, slot: int, start: int = 0) -> None:
        self.forgotten.append(slot)
        self.room = self.room or 10_000
        del self.cached[slot][start:]

    def lend(self, slot: int, sequence: int) -> None:
        self.lent.append(sequence)

    def drop(self, sequence: int) -> None:
        self.dropped.append(sequence)


def asked(*texts: str, n_predict: int = 9) -> list[Prompt]:
    return [Prompt((Piece("text", text),), n_predict=n_predict) for text in texts]


def answers(batch: Batch) -> list[str]:
    texts = [""] * len(batch.strands)
    for item in batch.run():
        if item is not None:
            texts[item[0]] += item[1]
    return texts


def test_a_batch_evaluates_what_its_prompts_share_once() -> None:
    decoder = ScriptedDecoder()
    batch = Batch(decoder, asked("aaau", "aaaw", "aaax"), background=False)
    assert answers(batch) == ["vwxy", "xy", "y"]
    assert [row[0] for row in decoder.decoded[0]] == [ord("a")] * 3
    assert decoder.lent == decoder.dropped == [2, 3]
    assert batch.evaluated == 3 + 3 + 4 + 2 + 1


def test_what_a_slot_holds_is_not_evaluated_again() -> None:
    decoder = ScriptedDecoder()
    answers(Batch(decoder, asked("abcw"), background=False))
    batch = Batch(decoder, asked("abcwxx"), background=False)
    answers(batch)
    assert batch.cached_tokens == 5  # the prompt and the x that was answered


def test_each_slot_keeps_its_own() -> None:
    decoder = ScriptedDecoder()
    answers(Batch(decoder, asked("abcw"), background=False))
    answers(Batch(decoder, asked("mmmm"), background=True))
    assert decoder.cached[KEYSTROKE][:4] == [ord(letter) for letter in "abcw"]


def test_between_any_two_decodes_there_is_a_pause_to_cancel_in() -> None:
    decoder = ScriptedDecoder()
    batch = Batch(decoder, asked("a" * (3 * SLICE), n_predict=2), background=False)
    for pauses, item in enumerate(batch.run()):
        if item is None:
            assert len(decoder.decoded) == pauses + 1
            assert len(decoder.decoded[-1]) <= SLICE
        if pauses == 2:
            break


def test_a_full_cache_takes_the_other_slots_room() -> None:
    decoder = ScriptedDecoder(room=0)
    assert answers(Batch(decoder, asked("w"), background=False)) == ["xy"]
    assert BACKGROUND in decoder.forgotten


def test_a_batch_that_cannot_fit_is_refused_before_anything_is_evaluated() -> None:
    decoder = ScriptedDecoder(n_ctx=8)
    with pytest.raises(ContextFullError):
        answers(Batch(decoder, asked("a" * 8), background=False))
    assert decoder.decoded == []
    with pytest.raises(ValueError, match="at most"):
        Batch(decoder, asked(*["a"] * 40), background=False)


def test_an_answer_ends_with_its_budget() -> None:
    assert answers(Batch(ScriptedDecoder(), asked("a", n_predict=3), background=False)) == ["bcd"]
