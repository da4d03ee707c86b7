"""The worker's scheduling on the real llama.cpp and the small default model."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cascade_lsp.engine import EngineOptions, Piece, Priority, Prompt, Usage, collect, machine
from cascade_lsp.engine.lease import Lease
from cascade_lsp.engine.local import LocalEngine
from tests import models

FILE = "".join(f"def f{n}(a, b):\n    return a * {n} + b\n\n" for n in range(110))  # 2,000 tokens
SORTING = (Piece("user", "Write a Python function that sorts a list."), Piece("assistant", ""))


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[LocalEngine]:
    made = LocalEngine(models.small(), EngineOptions(), Lease(), memory=tmp_path / "m.json")
    await made.start()
    yield made
    await made.close()


def text(text: str, n_predict: int = 2) -> Prompt:
    return Prompt((Piece("text", text),), n_predict=n_predict)


async def one(
    engine: LocalEngine, prompt: Prompt, priority: Priority = Priority.KEYSTROKE
) -> tuple[str, Usage]:
    (answer,), usage = await collect(engine.generate([prompt], priority=priority), 1)
    return answer.text, usage


async def test_a_keystroke_interrupts_a_verification_which_then_goes_on(
    engine: LocalEngine,
) -> None:
    verified = [Prompt(SORTING, n_predict=60, temperature=0.8, seed=seed) for seed in range(3)]

    async def verify() -> list[str]:
        answers, _ = await collect(engine.generate(verified, priority=Priority.VERIFY), 3)
        return [answer.text for answer in answers]

    alone = await verify()
    await one(engine, text(FILE[:800]))
    verification = asyncio.create_task(verify())
    interruptions = 0
    while not verification.done():
        await asyncio.sleep(0.15)
        if not verification.done():
            _, usage = await one(engine, text(FILE[:800] + "x" * interruptions))
            assert usage.new_tokens == 2
            assert usage.prompt_tokens - usage.cached_tokens <= 8
            interruptions += 1
    assert interruptions > 2
    assert await verification == alone


async def test_reading_that_is_interrupted_goes_on_where_it_was(engine: LocalEngine) -> None:
    alone = await one(engine, text(FILE, 12), Priority.VERIFY)
    await one(engine, text("x"), Priority.VERIFY)  # its slot holds something else again
    reading = asyncio.create_task(one(engine, text(FILE, 12), Priority.VERIFY))
    for _ in range(3):
        await asyncio.sleep(0.8)
        await one(engine, text("y = "))
    assert not reading.done()
    answer, usage = await reading
    assert answer == alone[0]
    assert usage.cost == pytest.approx(alone[1].cost)  # nothing was evaluated twice


async def test_what_is_read_ahead_helps_the_keystroke_that_ends_it(engine: LocalEngine) -> None:
    ahead = asyncio.create_task(one(engine, text(FILE, 1), Priority.AHEAD))
    await asyncio.sleep(3)
    _, usage = await one(engine, text(FILE + "def"))
    assert usage.cached_tokens >= 128
    await ahead


async def test_a_cancel_in_the_middle_of_a_long_prompt_stops_within_a_tenth_of_a_second(
    engine: LocalEngine,
) -> None:
    for after_s in (0.3, 0.35, 0.41):
        asked = asyncio.create_task(one(engine, text(f"# {after_s}\n{FILE}")))
        await asyncio.sleep(after_s)
        asked.cancel()
        started = time.perf_counter()
        await one(engine, text("x", 1))  # one decode of its own
        assert time.perf_counter() - started < 0.2
        assert asked.cancelled()


async def test_an_engine_makes_room_for_a_more_urgent_one_and_then_goes_on(
    tmp_path: Path,
) -> None:
    lease, memory = Lease(), tmp_path / "m.json"
    small, large = (
        LocalEngine(path, EngineOptions(), lease, memory=memory)
        for path in (models.small(), models.large())
    )
    try:
        await small.start()
        alone = await one(large, text(FILE[:600], 24), Priority.VERIFY)
        later = asyncio.create_task(one(large, text(FILE[:600], 24), Priority.VERIFY))
        await asyncio.sleep(0.2)
        await one(small, text("def add(a, b):\n", 20))
        assert not later.done()
        assert (await later)[0] == alone[0]
    finally:
        await asyncio.gather(small.close(), large.close())


async def test_sixteen_sequences_are_answered_together_and_seventeen_refused(
    engine: LocalEngine,
) -> None:
    prompts = [Prompt(SORTING, n_predict=4, temperature=1.0, seed=seed) for seed in range(17)]
    answers, _ = await collect(engine.generate(prompts[:16]), 16)
    assert all(answer.logprobs for answer in answers)
    refused, usage = await collect(engine.generate(prompts), 17)
    assert usage.new_tokens == 0 and not any(answer.logprobs for answer in refused)


async def test_the_threads_are_measured_once(engine: LocalEngine, tmp_path: Path) -> None:
    chosen = machine.threads(tmp_path / "m.json", machine.build_key())
    assert chosen and engine.facts and engine.facts.threads == chosen.write
    assert engine.facts.read_per_s > engine.facts.write_per_s > 0


def between(prefix: str, suffix: str) -> Prompt:
    """Return a prompt of prefix, suffix, middle that asks for one line."""
    pieces = (
        Piece("fim_pre"),
        Piece("text", prefix),
        Piece("fim_suf"),
        Piece("text", suffix),
        Piece("fim_mid"),
    )
    return Prompt(pieces, n_predict=12, stop=("\n",))


async def test_what_is_behind_the_cursor_is_not_read_again_for_what_is_typed_before_it(
    engine: LocalEngine,
) -> None:
    head, typed = FILE[:800] + "def add(a, b):\n    return", " a + b"
    suffix = "\n\nprint(add(2, 3) == 5)\n" + FILE[800:1600]
    first, usage = await one(engine, between(head, suffix))
    assert usage.prompt_tokens - usage.cached_tokens > 400
    answers = [first]
    for n in range(1, len(typed) + 1):
        answer, usage = await one(engine, between(head + typed[:n], suffix))
        assert usage.prompt_tokens - usage.cached_tokens <= 8
        answers.append(answer)
    assert first.startswith(" a")
    assert answers[-1].strip() == "", "the line is complete as it stands"
