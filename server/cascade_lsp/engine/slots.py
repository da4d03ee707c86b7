"""Batches of sequences over one KV cache: what is shared, what is kept, when each one ends.

It knows no llama.cpp: a `Decoder` evaluates tokens. Two slots, the keystroke's and the
background's, have a base sequence each, whose tokens stay cached from one request to the next.
"""

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cascade_lsp.engine import Prompt

SLICE = 64  # prompt tokens per decode: what a cancel waits for at most
SEQUENCES = 12  # KV sequences: one base per slot, the rest for the batch
KEYSTROKE, BACKGROUND = 0, 1  # the slots, and the base sequence of each

Logits = npt.NDArray[np.float32]
Row = tuple[int, int, int, bool]  # token, position, sequence, whether its logits are wanted


class Decoder(Protocol):
    """Something that evaluates tokens into a KV cache of several sequences.

    `cached` lists the tokens that each slot's base sequence holds.
    """

    n_ctx: int
    cached: dict[int, list[int]]

    def tokens_of(self, prompt: Prompt) -> list[int]: ...
    def piece(self, token: int) -> bytes: ...
    def is_end(self, token: int) -> bool: ...
    def decode(self, rows: Sequence[Row]) -> bool: ...
    def logits(self, row: int) -> Logits: ...
    def keep(self, slot: int, tokens: Sequence[int]) -> int: ...
    def forget(self, slot: int, start: int = 0) -> None: ...
    def lend(self, slot: int, sequence: int) -> None: ...
    def drop(self, sequence: int) -> None: ...


@dataclass(slots=True)
class Strand:
    """One sequence of a batch while it is being decoded."""

    index: int
    seq_id: int
    prompt: Prompt
    pending: "StopFilter"
    random: np.random.Generator
    decoder: codecs.IncrementalDecoder
    next_token: int = 0
    new_tokens: int = 0
    done: bool = False


@dataclass(slots=True)
class StopFilter:
    """Pass text through up to the first stop; hold back what may become one."""

    stops: tuple[str, ...]
    indent: int = 0
    held: str = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """Return the text that is safe to show and whether a stop ended it."""
        self.held += text
        cuts = [at for stop in self.stops if (at := self.held.find(stop)) >= 0]
        if (margin := self._margin()) is not None:
            cuts.append(margin)
        if cuts:
            shown, self.held = self.held[: min(cuts)], ""
            return shown, True
        keep = max((_overlap(self.held, stop) for stop in self.stops), default=0)
        if self.indent and (line := re.search(r"\n[ \t\n]*$", self.held)):
            keep = max(keep, len(self.held) - line.start())
        shown = self.held[: len(self.held) - keep]
        self.held = self.held[len(shown) :]
        return shown, False

    def _margin(self) -> int | None:
        """Return where a line begins that is indented too little, the blank ones before it too."""
        lines = re.finditer(r"(?:\n[ \t]*)*\n([ \t]*)(?=\S)", self.held)
        return next((m.start() for m in lines if len(m[1]) < self.indent), None)


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that begins `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def common_prefix(lists: Sequence[Sequence[int]]) -> int:
    """Return how many leading tokens all lists share."""
    shortest = min(map(len, lists))
    for i in range(shortest):
        if any(tokens[i] != lists[0][i] for tokens in lists):
            return i
    return shortest


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


class ContextFullError(Exception):
    """The batch does not fit into the context window."""


class Batch:
    """One request: prompts that share a beginning, decoded together.

    The shared beginning is evaluated once, in the slot's base sequence, and lent to the other
    sequences, so k samples cost little more than one.
    """

    def __init__(self, decoder: Decoder, prompts: Sequence[Prompt], background: bool) -> None:
        self.decoder = decoder
        self.slot = BACKGROUND if background else KEYSTROKE
        free = range(BACKGROUND + 1, SEQUENCES)
        if len(prompts) > len(free) + 1:
            raise ValueError(f"a batch holds at most {len(free) + 1} sequences")
        self.tokens = [decoder.tokens_of(prompt) for prompt in prompts]
        self.strands = [
            Strand(
                index=i,
                seq_id=self.slot if i == 0 else free[i - 1],
                prompt=prompt,
                pending=StopFilter(prompt.stop, prompt.indent),
                random=np.random.default_rng(prompt.seed),
                decoder=codecs.getincrementaldecoder("utf-8")("replace"),
            )
            for i, prompt in enumerate(prompts)
        ]
        self.cached_tokens = 0
        self.evaluated = 0

    def run(self) -> Iterator[tuple[int, str, float] | None]:
        """Yield (sequence, text, logprob) per token, and None between any two decodes."""
        longest = max(map(len, self.tokens)) + max(s.prompt.n_predict for s in self.strands)
        if longest > self.decoder.n_ctx:
            raise ContextFullError
        try:
            yield from self._read_prompts()
            yield from self._write_answers()
        finally:
            for strand in self.strands[1:]:
                self.decoder.drop(strand.seq_id)

    def _read_prompts(self) -> Iterator[tuple[int, str, float] | None]:
        decoder, cached = self.decoder, self.decoder.cached[self.slot]
        shared = min(common_prefix(self.tokens), min(map(len, self.tokens)) - 1)
        self.cached_tokens = decoder.keep(self.slot, self.tokens[0][:shared])
        head = self.tokens[0][self.cached_tokens : shared]
        rows = [(t, self.cached_tokens + i, self.slot, False) for i, t in enumerate(head)]
        for part in slices(rows):
            self._decode(part)
            cached += [row[0] for row in part]
            yield None
        for strand in self.strands[1:]:
            decoder.lend(self.slot, strand.seq_id)
        tails = [
            (token, position, strand.seq_id, position == len(tokens) - 1)
            for strand, tokens in zip(self.strands, self.tokens, strict=True)
            for position, token in enumerate(tokens[shared:], start=shared)
        ]
        for part in slices(tails):
            self._decode(part)
            cached += [token for token, _, seq_id, _ in part if seq_id == self.slot]
            for row, (_, _, seq_id, wanted) in enumerate(part):
                if wanted:
                    strand = next(s for s in self.strands if s.seq_id == seq_id)
                    yield from self._take(strand, row)
            yield None

    def _write_answers(self) -> Iterator[tuple[int, str, float] | None]:
        cached = self.decoder.cached[self.slot]
        while live := [s for s in self.strands if not s.done]:
            positions = [len(self.tokens[s.index]) + s.new_tokens - 1 for s in live]
            self._decode(
                [(s.next_token, at, s.seq_id, True) for s, at in zip(live, positions, strict=True)]
            )
            if live[0].seq_id == self.slot:
                cached.append(live[0].next_token)
            for row, strand in enumerate(live):
                yield from self._take(strand, row)
            yield None

    def _decode(self, rows: Sequence[Row]) -> None:
        if not self.decoder.decode(rows):
            self.decoder.forget(BACKGROUND if self.slot == KEYSTROKE else KEYSTROKE)
            if not self.decoder.decode(rows):
                raise ContextFullError
        self.evaluated += len(rows)

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
