"""Batches of sequences over one KV cache: what is shared, what is kept, when each one ends.

It knows no llama.cpp: a `Decoder` evaluates tokens. A slot is a base sequence whose tokens stay
cached from one request to the next: two for keystrokes, so that going to another file and back
reads nothing anew, and one for what is verified behind them.
"""

import codecs
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cascade_lsp.engine import Priority, Prompt
from cascade_lsp.engine.stops import StopFilter

SLICE = 64  # prompt tokens per decode: what an interrupted read loses at most
FOREGROUND, BACKGROUND = (0, 1), 2  # the slots, and the base sequence of each
LARGEST_BATCH = 16  # sequences; more of them on two cores do not write faster
# A verification waits beside a request, and each may carry a suffix.
SEQUENCES = BACKGROUND + LARGEST_BATCH + LARGEST_BATCH + len(FOREGROUND)
STALE = 16  # tokens that may come before a suffix until it is evaluated again

Logits = npt.NDArray[np.float32]
Row = tuple[int, int, int, bool]  # token, position, sequence, whether its logits are wanted


class Status(IntEnum):
    """How a decode ended; after the last two the KV cache is as it was before."""

    DONE = 0
    FULL = 1
    ABORTED = 2


class Decoder(Protocol):
    """Something that evaluates tokens into a KV cache of several sequences."""

    n_ctx: int

    @property
    def markers(self) -> tuple[int, int]: ...  # before and behind a suffix, -1 for none
    def tokens_of(self, prompt: Prompt) -> list[int]: ...
    def piece(self, token: int) -> bytes: ...
    def is_end(self, token: int) -> bool: ...
    def decode(self, rows: Sequence[Row]) -> Status: ...
    def logits(self, row: int) -> Logits: ...
    def copy(self, source: int, target: int, start: int = 0, end: int = -1) -> None: ...
    def shift(self, sequence: int, start: int, by: int) -> None: ...
    def drop(self, sequence: int, start: int = 0) -> None: ...


@dataclass(slots=True)
class Slot:
    """A base sequence, the tokens it holds, when it was last used, and by which batch it is.
    `stale` counts the tokens written before a suffix since that was evaluated."""

    base: int
    tokens: list[int] = field(default_factory=list)
    used: int = 0
    batch: "Batch | None" = None
    stale: int = 0


@dataclass(frozen=True, slots=True)
class Carried:
    """A suffix that was evaluated already, in a sequence of its own, while what stands before it
    is being read: `tokens`, which belong at the position `start`; `stale` as in `Slot`."""

    sequence: int
    start: int
    tokens: list[int]
    stale: int


class ContextFullError(Exception):
    """The batch does not fit into the context window."""


class Slots:
    """The KV cache's sequences: who may use which, and who makes room for whom."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.free = list(range(BACKGROUND + 1, SEQUENCES))
        self._slots = [Slot(base) for base in (*FOREGROUND, BACKGROUND)]
        self._clock = 0

    def take(self, batch: "Batch", tokens: Sequence[int]) -> Slot:
        """Give a batch the slot that holds most of `tokens`, or the one unused for longest; what
        else that held is dropped, but for a suffix that comes again: that is carried along."""
        slot = self._best(batch.priority, tokens)
        self._clock += 1
        slot.used, slot.batch = self._clock, batch
        kept = common_prefix([slot.tokens, tokens])
        batch.carried = self._carry(slot, tokens, kept)
        self.cut(slot, kept)
        return slot

    def _carry(self, slot: Slot, tokens: Sequence[int], kept: int) -> Carried | None:
        """Lift the suffix that a slot holds, if it also ends `tokens` behind another prefix.

        Its keys are moved to where it now belongs; they still have seen the prefix as it was. So
        its marker is read again, and all of it once that is too long ago (docs/engine.md).
        """
        before, behind = self.decoder.markers
        if before not in slot.tokens or behind not in slot.tokens or before not in tokens:
            return None
        old, new = slot.tokens.index(before), list(tokens).index(before)
        suffix = slot.tokens[old + 1 : slot.tokens.index(behind)]
        stale = slot.stale + abs(new - old)
        if kept > min(old, new) or suffix != tokens[new + 1 :] or stale > STALE:
            return None
        carried = Carried(self.free.pop(), new + 1, suffix, stale)
        self.decoder.copy(slot.base, carried.sequence, old + 1, old + 1 + len(suffix))
        self.cut(slot, kept)  # no cell is moved that two sequences have
        self.decoder.shift(carried.sequence, old + 1, new - old)
        return carried

    def put_down(self, slot: Slot, carried: Carried) -> None:
        """Give a slot the suffix that was carried along; what is before it has been read."""
        end = carried.start + len(carried.tokens)
        self.decoder.copy(carried.sequence, slot.base, carried.start, end)
        slot.tokens += carried.tokens
        slot.stale = carried.stale
        self.drop(carried)

    def drop(self, carried: Carried) -> None:
        """Give back the sequence of a carried suffix."""
        self.decoder.drop(carried.sequence)
        self.free.append(carried.sequence)

    def _best(self, priority: Priority, tokens: Sequence[int]) -> Slot:
        if priority == Priority.VERIFY:
            return self._slots[BACKGROUND]
        idle = [slot for slot in self._slots[:BACKGROUND] if slot.batch is None]
        best = max(idle, key=lambda slot: common_prefix([slot.tokens, tokens]))
        if common_prefix([best.tokens, tokens]) < min(SLICE, len(tokens) // 2):
            return min(idle, key=lambda slot: slot.used)
        return best

    def cut(self, slot: Slot, start: int) -> None:
        """Drop what a slot holds from a position on."""
        self.decoder.drop(slot.base, start)
        del slot.tokens[start:]
        if self.decoder.markers[0] not in slot.tokens:
            slot.stale = 0

    def make_room(self, batch: "Batch") -> bool:
        """Forget what is needed least; False if nothing may be forgotten for this batch.

        What is verified never takes the room of the latest keystroke's prefix.
        """
        latest = max(self._slots[:BACKGROUND], key=lambda slot: slot.used)
        kept = {id(batch.slot)} | ({id(latest)} if batch.priority == Priority.VERIFY else set())
        # A batch that waits in a slot gives way last, and then ends.
        for slot in sorted(self._slots, key=lambda slot: (slot.batch is not None, slot.used)):
            if slot.tokens and id(slot) not in kept:
                if slot.batch is not None:
                    slot.batch.close()
                self.cut(slot, 0)
                return True
        return False


@dataclass(slots=True)
class Strand:
    """One sequence of a batch while it is being decoded."""

    index: int
    prompt: Prompt
    pending: StopFilter
    random: np.random.Generator
    decoder: codecs.IncrementalDecoder
    seq_id: int = -1
    next_token: int = 0
    new_tokens: int = 0
    done: bool = False

    @classmethod
    def of(cls, index: int, prompt: Prompt) -> "Strand":
        """Return the strand of the prompt with this index, before its first token."""
        return cls(
            index=index,
            prompt=prompt,
            pending=StopFilter(prompt.stop, prompt.indent, prompt.closer),
            random=np.random.default_rng(prompt.seed),
            decoder=codecs.getincrementaldecoder("utf-8")("replace"),
        )


def common_prefix(lists: Sequence[Sequence[int]]) -> int:
    """Return how many leading tokens all lists share, by bisection: they may be long."""
    first, *others = lists
    low, high = 0, min(map(len, lists))
    while low < high:
        middle = (low + high + 1) // 2
        if all(tokens[low:middle] == first[low:middle] for tokens in others):
            low = middle
        else:
            high = middle - 1
    return low


def sample(logits: Logits, prompt: Prompt, random: np.random.Generator) -> tuple[int, float]:
    """Choose a token (greedy at temperature 0, else top-k then top-p) and give its logprob."""
    top = float(logits.max())
    log_sum = top + float(np.log(np.exp(logits - top).sum(dtype=np.float64)))
    if prompt.temperature <= 0:
        token = int(logits.argmax())
        return token, float(logits[token]) - log_sum
    k = min(prompt.top_k, len(logits))
    best = np.argpartition(logits, -k)[-k:]
    best = best[np.argsort(-logits[best])]
    weights = np.exp((logits[best] - logits[best[0]]) / prompt.temperature)
    weights /= weights.sum()
    kept = int(np.searchsorted(np.cumsum(weights), prompt.top_p)) + 1
    weights = weights[:kept] / weights[:kept].sum()
    token = int(random.choice(best[:kept], p=weights))
    return token, float(logits[token]) - log_sum


class Batch:
    """One request: prompts that share a beginning, decoded together.

    The shared beginning is evaluated once, in the slot's base sequence, and lent to the other
    sequences, so k samples cost little more than one.
    """

    def __init__(self, slots: Slots, prompts: Sequence[Prompt], priority: Priority) -> None:
        if len(prompts) > LARGEST_BATCH:
            raise ValueError(f"a batch holds at most {LARGEST_BATCH} sequences")
        self.slots, self.decoder, self.priority = slots, slots.decoder, priority
        self.tokens = [self.decoder.tokens_of(prompt) for prompt in prompts]
        self.strands = [Strand.of(i, prompt) for i, prompt in enumerate(prompts)]
        self.slot: Slot | None = None
        self.carried: Carried | None = None
        self.ended = False
        self.cached_tokens = 0
        self.evaluated = 0

    def run(self) -> Generator[tuple[int, str, float] | None]:
        """Yield (sequence, text, logprob) per token, and None between any two decodes: there, and
        there alone, another batch may go on."""
        longest = max(map(len, self.tokens)) + max(s.prompt.n_predict for s in self.strands)
        if longest > self.decoder.n_ctx:
            raise ContextFullError
        shared = min(common_prefix(self.tokens), min(map(len, self.tokens)) - 1)
        self.slot = self.slots.take(self, self.tokens[0][:shared])
        for strand in self.strands:
            strand.seq_id = self.slots.free.pop() if strand.index else self.slot.base
        try:
            yield from self._read_prompts(self.slot, shared)
            yield from self._write_answers(self.slot)
        finally:
            self.close()

    def close(self) -> None:
        """Give back the sequences; the slot keeps what it holds."""
        if self.slot is None or self.ended:
            return
        self.ended, self.slot.batch = True, None
        if self.carried is not None:
            self.slots.drop(self.carried)
        for strand in self.strands[1:]:
            self.decoder.drop(strand.seq_id)
            self.slots.free.append(strand.seq_id)

    def _read_prompts(self, slot: Slot, shared: int) -> Iterator[tuple[int, str, float] | None]:
        self.cached_tokens = len(slot.tokens)
        if self.carried is not None:
            yield from self._read_head(slot, self.carried.start)
            self.cached_tokens += len(self.carried.tokens)
            self.slots.put_down(slot, self.carried)
            self.carried = None
        yield from self._read_head(slot, shared)
        for strand in self.strands[1:]:
            self.decoder.copy(slot.base, strand.seq_id)
        yield from self._read_tails(slot, shared)

    def _read_head(self, slot: Slot, end: int) -> Iterator[None]:
        """Read what all prompts share, up to a position."""
        start = len(slot.tokens)
        head = self.tokens[0][start:end]
        rows = [(t, start + i, slot.base, False) for i, t in enumerate(head)]
        for part in slices(rows):
            yield from self._decode(part)
            slot.tokens += [row[0] for row in part]
            yield None

    def _read_tails(self, slot: Slot, shared: int) -> Iterator[tuple[int, str, float] | None]:
        """Read the rest of each prompt, once for those that are equal, and sample first tokens."""
        alike = dict[tuple[int, ...], list[Strand]]()
        for strand in self.strands:
            alike.setdefault(tuple(self.tokens[strand.index]), []).append(strand)
        rows = [
            (token, position, strands[0].seq_id, position == len(tokens) - 1)
            for tokens, strands in alike.items()
            for position, token in enumerate(tokens[shared:], start=shared)
        ]
        by_sequence = {strands[0].seq_id: strands for strands in alike.values()}
        for part in slices(rows):
            yield from self._decode(part)
            slot.tokens += [token for token, _, seq_id, _ in part if seq_id == slot.base]
            for row, (_, _, seq_id, wanted) in enumerate(part):
                for strand in by_sequence[seq_id] if wanted else ():
                    if strand.seq_id != seq_id:
                        self.decoder.copy(seq_id, strand.seq_id, shared)
                    yield from self._take(strand, row)
            yield None

    def _write_answers(self, slot: Slot) -> Iterator[tuple[int, str, float] | None]:
        while live := [s for s in self.strands if not s.done]:
            positions = [len(self.tokens[s.index]) + s.new_tokens - 1 for s in live]
            yield from self._decode(
                [(s.next_token, at, s.seq_id, True) for s, at in zip(live, positions, strict=True)]
            )
            if live[0].seq_id == slot.base:
                slot.tokens.append(live[0].next_token)
            for row, strand in enumerate(live):
                yield from self._take(strand, row)
            yield None

    def _decode(self, rows: Sequence[Row]) -> Iterator[None]:
        """Evaluate rows; yield while that was interrupted, and again once room was made."""
        while True:
            if self.ended:
                raise ContextFullError  # a more urgent batch took its room meanwhile
            status = self.decoder.decode(rows)
            if status == Status.DONE:
                self.evaluated += len(rows)
                return
            if status == Status.ABORTED:
                yield None
            elif not self.slots.make_room(self):
                raise ContextFullError

    def _take(self, strand: Strand, row: int) -> Iterator[tuple[int, str, float]]:
        """Sample one token for a strand and yield what of it may be shown."""
        token, logprob = sample(self.decoder.logits(row), strand.prompt, strand.random)
        strand.next_token = token
        strand.new_tokens += 1
        if self.decoder.is_end(token):
            strand.done = True
            yield strand.index, strand.pending.held, logprob
            return
        text, strand.done = strand.pending.feed(strand.decoder.decode(self.decoder.piece(token)))
        if strand.new_tokens >= strand.prompt.n_predict and not strand.done:
            strand.done, text = True, text + strand.pending.held
        yield strand.index, text, logprob


def slices(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Cut rows into parts of at most SLICE."""
    for start in range(0, len(rows), SLICE):
        yield rows[start : start + SLICE]
