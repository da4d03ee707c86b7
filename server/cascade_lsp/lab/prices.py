"""What a turn costs: seconds on a machine, operations, or money, by an explicit price list.

Seconds follow from what was measured on the machine itself: tokens read a second, and the time of
one decode for every number of sequences in the batch, which is far from proportional.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal, Protocol

from cascade_lsp.engine import Engine, Piece, Priority, Prompt, Usage
from cascade_lsp.lab import rows
from cascade_lsp.lab.replay import Spent

Unit = Literal["seconds", "gflop", "dollars"]
UNITS: tuple[Unit, ...] = ("seconds", "dollars", "gflop")
WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16)
STEPS, REPEATS = 24, 3


class Price(Protocol):
    """A price list: what a turn costs, in `unit`."""

    @property
    def unit(self) -> Unit: ...

    def of(self, spent: Spent) -> float: ...


@dataclass(frozen=True, slots=True)
class Speed:
    """One model on one machine: prompt tokens read a second, and milliseconds of one decode by the
    number of sequences that write together."""

    read_per_s: float
    step_ms: Mapping[int, float]

    def step_s(self, width: int) -> float:
        """Return the seconds of one decode, interpolated between measured widths."""
        known = sorted(self.step_ms)
        if width in self.step_ms:
            return self.step_ms[width] / 1000
        for low, high in pairwise(known):
            if low < width < high:
                share = (width - low) / (high - low)
                return (self.step_ms[low] * (1 - share) + self.step_ms[high] * share) / 1000
        return self.step_ms[known[-1]] * width / known[-1] / 1000


@dataclass(frozen=True, slots=True)
class Seconds:
    """Wall seconds on the machine where the speeds were measured, the sandbox's checks included.

    `overhead_s` is added for every turn: the pipe, parsing, the sandbox's first answer.
    """

    speeds: Mapping[str, Speed]
    overhead_s: float = 0.0
    unit: Unit = "seconds"

    def of(self, spent: Spent) -> float:
        speed = self.speeds[spent.model]
        model_s = sum(
            batch.read / speed.read_per_s + _writing_s(batch.written, speed)
            for batch in spent.batches
        )
        return self.overhead_s + model_s + spent.checks * spent.check_s


def _writing_s(written: Sequence[int], speed: Speed) -> float:
    """Return the seconds of sequences that write together, fewer and fewer of them as they end."""
    seconds, done = 0.0, 0
    for i, length in enumerate(sorted(written)):
        seconds += (length - done) * speed.step_s(len(written) - i)
        done = length
    return seconds


@dataclass(frozen=True, slots=True)
class Operations:
    """Tokens times parameters: 2 * parameters * tokens, in GFLOP; executing tests is free."""

    parameters: Mapping[str, float]  # in billions
    unit: Unit = "gflop"

    def of(self, spent: Spent) -> float:
        return 2 * self.parameters[spent.model] * (spent.read + spent.written)


@dataclass(frozen=True, slots=True)
class Dollars:
    """Money per million tokens read and written; a local model's seconds are priced by `local`, the
    dollars that a second of this machine is worth."""

    read: Mapping[str, float]
    written: Mapping[str, float]
    seconds: Seconds
    local: float = 0.0
    unit: Unit = "dollars"

    def of(self, spent: Spent) -> float:
        if spent.model not in self.read:
            return self.local * self.seconds.of(spent)
        paid = spent.read * self.read[spent.model] + spent.written * self.written[spent.model]
        return paid / 1e6 + self.local * spent.checks * spent.check_s


# -- measuring speeds ---------------------------------------------------------------------------


async def measure(engine: Engine, watch: Callable[[], None] = lambda: None) -> Speed:
    """Measure a model's speeds on this machine, the widths in turn; medians of REPEATS."""
    await engine.start()
    steps: dict[int, list[float]] = {width: [] for width in WIDTHS}
    reads = []
    for turn in range(REPEATS):
        for width in WIDTHS:
            steps[width].append(await _step(engine, width))
            watch()
        reads.append(await _read_per_s(engine, turn))
    return Speed(median(reads), {width: round(median(ms), 2) for width, ms in steps.items()})


async def _step(engine: Engine, width: int) -> float:
    """Return the milliseconds of one decode of so many sequences."""
    prompt = Prompt((Piece("text", "def area(width, height):\n"),), STEPS)
    times, usage = list[float](), Usage()
    async for item in engine.generate([prompt] * width, priority=Priority.VERIFY):
        if isinstance(item, Usage):  # once when the prompts are read, once at the end
            times.append(time.perf_counter())
            usage = item
    return (times[-1] - times[0]) / (usage.new_tokens / width - 1) * 1000


async def _read_per_s(engine: Engine, turn: int) -> float:
    text = "".join(f"def f{turn}_{n}(a, b):\n    return a * {n} + b\n\n" for n in range(24))
    began = time.perf_counter()
    tokens = 0
    async for item in engine.generate([Prompt((Piece("text", text),), 1)]):
        if isinstance(item, Usage):
            tokens = item.prompt_tokens
    return tokens / (time.perf_counter() - began)


def as_row(speeds: Mapping[str, Speed]) -> rows.Row:
    return {
        model: {"read_per_s": round(s.read_per_s, 1), "step_ms": dict(s.step_ms)}
        for model, s in speeds.items()
    }


def from_row(row: rows.Row) -> dict[str, Speed]:
    """Return the speeds of each model in a price file."""
    return {
        model: Speed(one["read_per_s"], {int(n): ms for n, ms in one["step_ms"].items()})
        for model, one in row.items()
        if isinstance(one, dict) and "step_ms" in one
    }
