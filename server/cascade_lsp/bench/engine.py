"""The engine by itself: its speed beside a bare loop, batches, cancels, and who gives way to whom.

Whatever is compared is measured in turn, so that a noisy machine disturbs both alike; figures are
medians with quartiles.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cascade_lsp.bench.wired import Bare, Worker
from cascade_lsp.engine import Piece, Priority, Prompt

WIDTHS = (1, 2, 4, 8, 16)
VERIFIED = 8  # sequences of a verification
LONG = 110  # functions in a text that takes long to read: some 2,000 tokens
ENDLESS = 256  # tokens, before which something is cancelled

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: how often, tokens written per run, functions in a text to be read."""

    repeats: int = 7
    written: int = 64
    functions: int = 20


QUICK = Size(repeats=1, written=8, functions=4)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some measurements with the quartiles and the 95th percentile."""

    median: float
    low: float
    high: float
    p95: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of at least one measurement."""
    low, median, high, p95 = (float(p) for p in np.percentile(values, [25, 50, 75, 95]))
    return Spread(round(median, 4), round(low, 4), round(high, 4), round(p95, 4), len(values))


Figures = dict[str, Spread]


def code(number: int, functions: int) -> str:
    """Return a text of so many functions that begins like no other number's."""
    dice = random.Random(number)
    names = ("area", "volume", "total", "share", "distance", "weight", "price", "speed")
    parts = [f"# Measurements, part {number}\n\n"]
    for i in range(functions):
        name = dice.choice(names)
        parts.append(f"def {name}_{i}(first, second):\n    return first * {i} + second\n\n\n")
    return "".join(parts)


def asked(text: str, n: int, seed: int = 0) -> Prompt:
    """Return a prompt for `n` tokens, greedy for seed 0."""
    return Prompt((Piece("text", text),), n, temperature=0.8 if seed else 0.0, seed=seed)


async def measure(model: Path, size: Size, told: Told) -> Figures:
    """Measure all that needs the worker alone."""
    figures: Figures = {}
    async with Worker(model) as worker:
        told("The worker beside a bare loop")
        async with Bare(model) as bare:
            figures |= await beside_bare(worker, bare, size)
        told("Batches")
        figures |= await batches(worker, size)
        told("Cancels")
        figures |= await cancels(worker, 2 * size.repeats)
        told("A keystroke while something is verified")
        figures |= await giving_way(worker, size)
    return figures


async def beside_bare(worker: Worker, bare: Bare, size: Size) -> Figures:
    """Compare tokens a second, read and written, in turn and in changing order."""
    read: dict[str, list[float]] = {"worker": [], "bare": []}
    write: dict[str, list[float]] = {"worker": [], "bare": []}

    async def by_worker(text: str) -> None:
        run, usage = await worker.whole([asked(text, size.written)])
        fresh = usage["prompt_tokens"] - usage["cached_tokens"]
        read["worker"].append(fresh / (run.read - run.asked))
        write["worker"].append((usage["new_tokens"] - 1) / run.write_s)

    async def by_bare(text: str) -> None:
        done = await bare.run(text, size.written)
        read["bare"].append(done["read"] / done["read_s"])
        write["bare"].append(done["written"] / done["write_s"])

    for turn in range(size.repeats + 1):
        text = code(turn, size.functions) + "def "
        for measured in (by_worker, by_bare)[:: 1 if turn % 2 else -1]:
            await measured(text)
    figures: Figures = {}
    for what, taken in (("read", read), ("write", write)):
        ours, theirs = taken["worker"][1:], taken["bare"][1:]  # the first turn warms up
        figures[f"{what}_per_s_worker"] = spread(ours)
        figures[f"{what}_per_s_bare"] = spread(theirs)
        figures[f"{what}_worker_over_bare"] = spread(
            [a / b for a, b in zip(ours, theirs, strict=True)]
        )
    return figures


async def batches(worker: Worker, size: Size) -> Figures:
    """Measure how much more is written by several sequences together, and what tests add."""
    speeds: dict[int, list[float]] = {width: [] for width in WIDTHS}
    alone, tested = list[float](), list[float]()
    for turn in range(size.repeats):
        text = code(1000 + turn, size.functions) + "def "
        for width in WIDTHS:
            prompts = [asked(text, size.written // 2, seed) for seed in range(1, width + 1)]
            run, usage = await worker.whole(prompts)
            speeds[width].append((usage["new_tokens"] - width) / run.write_s)
        draft = asked(text, size.written)
        tests = [asked(text, size.written, seed) for seed in (1, 2)]
        alone.append((await worker.whole([draft]))[0].ms)
        tested.append((await worker.whole([draft, *tests]))[0].ms)
    figures = {f"write_per_s_batch_of_{width}": spread(speeds[width]) for width in WIDTHS}
    over = [b / a for a, b in zip(alone, tested, strict=True)]
    return {**figures, "draft_with_two_tests_over_draft": spread(over)}


async def cancels(worker: Worker, repeats: int) -> Figures:
    """Measure from a cancel until the worker has stopped, while it reads and while it writes."""
    taken: dict[str, list[float]] = {"reading": [], "writing": []}
    for turn in range(repeats):
        dice = random.Random(turn)
        for doing, text in (("reading", code(2000 + turn, LONG)), ("writing", code(1, 2))):
            number = worker.begin([asked(text + "def ", ENDLESS)])
            run = worker.run(number)
            if doing == "writing":
                await run.begun.wait()
            await asyncio.sleep(dice.uniform(0.1, 0.4))
            before = time.perf_counter()
            worker.cancel(number)
            if (await run.ended)["reason"] == "cancelled":
                taken[doing].append((time.perf_counter() - before) * 1000)
    return {f"cancel_ms_{doing}": spread(ms) for doing, ms in taken.items() if ms}


async def giving_way(worker: Worker, size: Size) -> Figures:
    """Measure keystrokes alone and while a verification is computed behind them, in turn."""
    waits: dict[bool, list[float]] = {False: [], True: []}
    typed = code(3000, size.functions)
    line = "def circumference(radius):\n    return 2 * 3.14159 * radius\n\n\n"
    for _ in range(size.repeats):
        for behind in (False, True):
            async with _verification(worker) if behind else _nothing():
                for at in range(0, len(line), 6):
                    run, _ = await worker.whole([asked(typed + line[: at + 6], 8)])
                    waits[behind].append(run.ms)
                    await asyncio.sleep(0.1)
        typed += line
    alone, beside = waits[False], waits[True]
    return {
        "keystroke_ms_alone": spread(alone),
        "keystroke_ms_beside_verification": spread(beside),
        "keystroke_beside_over_alone": spread(
            [b / a for a, b in zip(alone, beside, strict=True)],
        ),
    }


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _verification(worker: Worker) -> AsyncIterator[None]:
    """Keep a batch of several sequences computed with VERIFY, again and again."""

    async def verify() -> None:
        while True:
            prompts = [asked(code(4000, LONG // 4), ENDLESS, 1 + seed) for seed in range(VERIFIED)]
            number = worker.begin(prompts, Priority.VERIFY)
            try:
                await asyncio.shield(worker.run(number).ended)
            except asyncio.CancelledError:
                worker.cancel(number)
                await worker.run(number).ended
                raise

    task = asyncio.create_task(verify())
    await asyncio.sleep(1.0)  # it is under way
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
