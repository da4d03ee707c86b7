"""Batches over one KV cache: the parts that need no model."""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_lsp.engine import Piece, Priority, Prompt
from cascade_lsp.engine.slots import (
    SEQUENCES,
    SLICE,
    STALE,
    Batch,
    ContextFullError,
    Logits,
    Row,
    Slots,
    Status,
    common_prefix,
    sample,
)
from cascade_lsp.engine.stops import StopFilter

STOPS = [
    ("a stop string is cut", ["x``", "` y"], ("```",), 0, "x", True),
    ("what may become a stop is held back", ["x`", "y"], ("```",), 0, "x`y", False),
    ("the earliest stop counts", ["ab", "cd"], ("d", "b"), 0, "a", True),
    ("a line indented less ends it", ["  a\n", "    b\n", "\n", "c"], (), 4, "  a\n    b", True),
    ("blank lines stay", ["a\n    b", "\n\n", "   ", " c"], (), 4, "a\n    b\n\n    c", False),
    ("the first line has no indentation of its own", ["a", "b"], (), 4, "ab", False),
    ("without a block any line may follow", ["a\n", "b"], (), 0, "a\nb", False),
]


CLOSERS = [
    ("a bracket that closes nothing ends it", ["a, b", "(c))", " # d"], "a, b(c)"),
    ("another bracket does not", ["a]", " + b"], "a] + b"),
    ("brackets in quotes do not count", ["'a)'", ", b)"], "'a)', b"),
]


@pytest.mark.parametrize(("pieces", "text"), [c[1:] for c in CLOSERS], ids=[c[0] for c in CLOSERS])
def test_stop_filter_at_an_unopened_bracket(pieces: list[str], text: str) -> None:
    stop_filter, shown, done = StopFilter((), closer=")"), "", False
    for piece in pieces:
        if not done:
            more, done = stop_filter.feed(piece)
            shown += more
    assert shown == text


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
    """A decoder over letters: each answers with the next letter of the alphabet, `z` ends.

    It holds what a KV cache would, and fails where a token is not evaluated in its place. The
    decodes whose numbers are in `aborted` are interrupted.
    """

    def __init__(self, n_ctx: int = 400, room: int = 10_000, aborted: set[int] | None = None):
        self.n_ctx, self.room, self.aborted = n_ctx, room, aborted or set()
        self.markers = ord("<"), ord(">")
        self.cells: dict[int, dict[int, int]] = {}  # by sequence and position
        self.decoded: list[list[Row]] = []
        self.calls = 0

    def tokens_of(self, prompt: Prompt) -> list[int]:
        return [ord(letter) for letter in prompt.pieces[0].text]

    def piece(self, token: int) -> bytes:
        return bytes([token])

    def is_end(self, token: int) -> bool:
        return token == ord("z")

    def decode(self, rows: Sequence[Row]) -> Status:
        self.calls += 1
        if self.calls in self.aborted:
            return Status.ABORTED
        if len(rows) + sum(map(len, self.cells.values())) > self.room:
            return Status.FULL
        for token, position, sequence, _ in rows:
            held = self.cells.setdefault(sequence, {})
            assert sorted(held) == list(range(position)), "nothing is evaluated but at the end"
            held[position] = token
        self.decoded.append(list(rows))
        return Status.DONE

    def logits(self, row: int) -> Logits:
        logits = np.zeros(128, dtype=np.float32)
        logits[self.decoded[-1][row][0] + 1] = 9
        return logits

    def copy(self, source: int, target: int, start: int = 0, end: int = -1) -> None:
        held = self.cells.get(source, {})
        chosen = {at: token for at, token in held.items() if start <= at and (at < end or end < 0)}
        self.cells.setdefault(target, {}).update(chosen)

    def shift(self, sequence: int, start: int, by: int) -> None:
        held = self.cells[sequence]
        assert min(held) >= start
        self.cells[sequence] = {at + by: token for at, token in held.items()}

    def drop(self, sequence: int, start: int = 0) -> None:
        held = self.cells.get(sequence, {})
        self.cells[sequence] = {at: token for at, token in held.items() if at < start}


@pytest.fixture
def slots() -> Slots:
    return Slots(ScriptedDecoder())


def batch(
    slots: Slots, *texts: str, priority: Priority = Priority.KEYSTROKE, n_predict: int = 9
) -> Batch:
    prompts = [Prompt((Piece("text", text),), n_predict=n_predict) for text in texts]
    return Batch(slots, prompts, priority)


Item = tuple[int, str, float] | None


def answers(batch: Batch, steps: Iterable[Item] | None = None) -> list[str]:
    texts = [""] * len(batch.strands)
    for item in steps or batch.run():
        if item is not None:
            texts[item[0]] += item[1]
    return texts


def held(slots: Slots, sequence: int) -> str:
    cells = slots.decoder.cells.get(sequence, {})  # type: ignore[attr-defined]
    return "".join(chr(cells[at]) for at in sorted(cells))


def test_a_batch_evaluates_what_its_prompts_share_once(slots: Slots) -> None:
    three = batch(slots, "aaau", "aaaw", "aaax")
    assert answers(three) == ["vwxy", "xy", "y"]
    decoded = slots.decoder.decoded  # type: ignore[attr-defined]
    assert [row[0] for row in decoded[0]] == [ord("a")] * 3
    assert three.evaluated == 3 + 3 + 4 + 2 + 1
    assert len(slots.free) == SEQUENCES - 3


def test_what_a_slot_holds_is_not_evaluated_again(slots: Slots) -> None:
    answers(batch(slots, "abcw"))
    again = batch(slots, "abcwxx")
    answers(again)
    assert again.cached_tokens == 5  # the prompt and the x that was answered


def test_another_file_and_back_costs_nothing(slots: Slots) -> None:
    first, second = "a" * 40 + "w", "b" * 40 + "w"
    for text in (first, second):
        answers(batch(slots, text))
    for text in (first, second):
        again = batch(slots, text)
        answers(again)
        assert again.evaluated == 1 + 2  # its last token, to have its logits, and the answer


def test_prompts_that_are_equal_are_read_once(slots: Slots) -> None:
    four = batch(slots, "aaauu", "aaauu", "aaaww", "aaauu")
    assert answers(four) == ["vwxy", "vwxy", "xy", "vwxy"]
    assert four.evaluated == 3 + 2 + 2 + 3 * 4 + 2


LONG = "a" * 90
BEHIND = "<" + "m" * 40 + ">"


def test_a_suffix_is_not_read_again_for_every_character_before_it(slots: Slots) -> None:
    prefix = "a" * 90
    answers(batch(slots, f"{prefix}{BEHIND}w"))
    for typed in ("b", "bc", "bcd", "b", "", "xyx"):
        again = batch(slots, f"{prefix}{typed}{BEHIND}", n_predict=1)
        answers(again)
        fresh = again.evaluated
        assert fresh <= len(typed) + 2, "what was typed and the two markers"
        assert held(slots, 0) == f"{prefix}{typed}{BEHIND}"
    assert len(slots.free) == SEQUENCES - 3


def test_a_suffix_is_read_again_when_much_was_written_before_it(slots: Slots) -> None:
    answers(batch(slots, f"{LONG}{BEHIND}"))
    near = batch(slots, f"{LONG}{'b' * STALE}{BEHIND}", n_predict=1)
    answers(near)
    assert near.evaluated == STALE + 2
    far = batch(slots, f"{LONG}{'b' * STALE}c{BEHIND}", n_predict=1)
    answers(far)
    assert far.evaluated == 1 + len(BEHIND)
    fresh = batch(slots, f"{LONG}{'b' * STALE}cc{BEHIND}", n_predict=1)
    answers(fresh)
    assert fresh.evaluated == 1 + 2


def test_another_suffix_is_read(slots: Slots) -> None:
    answers(batch(slots, f"{LONG}{BEHIND}"))
    other = batch(slots, f"{LONG}b<nnn>", n_predict=1)
    answers(other)
    assert other.evaluated == 1 + 5


@given(aborted=st.sets(st.integers(1, 30)), at=st.integers(0, 20))
def test_a_carried_suffix_survives_no_cancel_and_leaks_nothing(aborted: set[int], at: int) -> None:
    slots = Slots(ScriptedDecoder(n_ctx=4000, aborted=aborted))
    answers(batch(slots, f"{'a' * 50}{BEHIND}w"))
    steps = batch(slots, f"{'a' * 50}{'b' * 60}{BEHIND}w").run()
    for _ in itertools.islice(steps, at):
        pass
    steps.close()
    assert answers(batch(slots, f"{'a' * 50}bb{BEHIND}w")) == ["xy"]
    assert len(slots.free) == SEQUENCES - 3


def test_a_verification_leaves_the_keystrokes_prefix_alone(slots: Slots) -> None:
    answers(batch(slots, "abcw"))
    answers(batch(slots, "mmmm", priority=Priority.VERIFY))
    assert held(slots, 0).startswith("abcw")


def test_between_any_two_decodes_there_is_a_pause_to_cancel_in(slots: Slots) -> None:
    long = batch(slots, "a" * (2 * SLICE), n_predict=2)
    decoded = slots.decoder.decoded  # type: ignore[attr-defined]
    for pauses, item in enumerate(long.run()):
        if item is None:
            assert len(decoded) == pauses + 1
            assert len(decoded[-1]) <= SLICE
        if pauses == 1:
            break


def test_what_was_left_in_the_middle_gives_its_sequences_back(slots: Slots) -> None:
    steps = batch(slots, "aaau", "aaaw").run()
    next(steps)
    steps.close()
    assert len(slots.free) == SEQUENCES - 3
    assert answers(batch(slots, "aaau", "aaaw")) == ["vwxy", "xy"]


@given(
    aborted=st.sets(st.integers(1, 60)),
    turns=st.lists(st.booleans(), max_size=60),
    length=st.integers(1, 3 * SLICE),
)
def test_however_a_verification_is_interrupted_it_answers_as_if_alone(
    aborted: set[int], turns: list[bool], length: int
) -> None:
    slots = Slots(ScriptedDecoder(n_ctx=4000, aborted=aborted))
    slow = batch(slots, "a" * length + "s", "a" * length + "t", priority=Priority.VERIFY)
    steps, seen = slow.run(), list[Item]()
    for keystroke in turns:
        if keystroke:
            assert answers(batch(slots, "b" * 200 + "w")) == ["xy"]
        else:
            seen += itertools.takewhile(lambda item: item is not None, steps)
    assert answers(slow, [*seen, *steps]) == ["tuvwxy", "uvwxy"]


def test_a_full_cache_takes_the_room_of_what_is_needed_least() -> None:
    slots = Slots(ScriptedDecoder(room=25))
    answers(batch(slots, "aaaaaaaaaw"))
    answers(batch(slots, "mmmmw", priority=Priority.VERIFY))
    assert answers(batch(slots, "bbbbbbbbbw")) == ["xy"]
    assert held(slots, 0) == ""  # the keystroke's prefix before this one
    assert held(slots, 1).startswith("bbb")


def test_a_verification_never_takes_the_latest_keystrokes_room() -> None:
    slots = Slots(ScriptedDecoder(room=16))
    answers(batch(slots, "aaaaaaaaaw"))
    with pytest.raises(ContextFullError):
        answers(batch(slots, "mmmmmmmm", priority=Priority.VERIFY))
    assert held(slots, 0).startswith("aaa")


def test_a_verification_that_waits_ends_where_a_keystroke_needs_its_room() -> None:
    slots = Slots(ScriptedDecoder(room=16))
    steps = batch(slots, "mmmmmmmm", priority=Priority.VERIFY).run()
    next(steps)
    assert answers(batch(slots, "aaaaaaaaaw")) == ["xy"]
    with pytest.raises(ContextFullError):
        list(steps)
    assert len(slots.free) == SEQUENCES - 3


def test_a_batch_that_cannot_fit_is_refused_before_anything_is_evaluated() -> None:
    slots = Slots(ScriptedDecoder(n_ctx=8))
    with pytest.raises(ContextFullError):
        answers(batch(slots, "a" * 8))
    assert slots.decoder.decoded == []  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="at most"):
        batch(slots, *["a"] * 40)


def test_an_answer_ends_with_its_budget(slots: Slots) -> None:
    assert answers(batch(slots, "a", n_predict=3)) == ["bcd"]
