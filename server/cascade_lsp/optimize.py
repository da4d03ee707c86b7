"""Make a faster layout of an installed model for CPUs, and measure what that gained.

llama.cpp repacks IQ4_NL weights for the CPU that it runs on, which it cannot do with most other
layouts; of those that it can, this one keeps most of a model (docs/engine.md). The rewritten file
becomes a model of the user's own; nothing uses it by itself, because rounding weights a second time
may cost quality, which speed does not show.
"""

import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from cascade_lsp import catalogue
from cascade_lsp.catalogue import Model, Progress, silent
from cascade_lsp.engine import EngineOptions, Piece, Prompt, collect
from cascade_lsp.engine.lease import Lease
from cascade_lsp.engine.local import LocalEngine
from cascade_lsp.errors import EngineError, ModelError, UsageError

SUFFIX = "-iq4_nl"
ROUNDS, READ_LINES, WRITE_TOKENS = 5, 12, 24
STEADY = 1.5
WORTH = 1.05  # times as fast, below which a layout is no gain on a machine that does other things

_PROGRAM = (sys.executable, "-P", "-m", "cascade_lsp.engine.requantize")
# More bits per weight than IQ4_NL has: what takes up less would only grow, and gain no precision.
_LARGER = re.compile(r"(ALL_)?F32|B?F16|Q8_0|Q6_K|Q5_\w+|Q4_1|Q4_K\w*")


@dataclass(frozen=True, slots=True)
class Speeds:
    """Tokens per second of a prompt and of an answer, the medians of several rounds.

    `spread` is how many times as fast as the slowest round the fastest one was.
    """

    reading: float
    writing: float
    spread: float = 1.0


@dataclass(frozen=True, slots=True)
class Gain:
    """What a layout gained: the speeds of the original and of the optimized model."""

    original: Speeds
    optimized: Speeds

    @property
    def reading(self) -> float:
        """Return how many times as fast the optimized model reads."""
        return self.optimized.reading / self.original.reading

    @property
    def writing(self) -> float:
        """Return how many times as fast the optimized model writes."""
        return self.optimized.writing / self.original.writing

    @property
    def steady(self) -> bool:
        """Say whether the rounds agree, so that little else was computing."""
        return max(self.original.spread, self.optimized.spread) < STEADY

    @property
    def worth_it(self) -> bool:
        """Say whether one of the two is clearly faster, and neither clearly slower."""
        both = self.reading, self.writing
        return max(both) >= WORTH and min(both) * WORTH >= 1


def optimize(model: Model, progress: Progress = silent) -> Model:
    """Rewrite an installed model as IQ4_NL and enter it as a model of the user's own.

    Raises UsageError where there is nothing to gain or it was done before; ModelError with the
    remedy where the disk or llama.cpp refuses.
    """
    made = _planned(model)
    source = catalogue.require(model)
    with catalogue.storing(made), _alone(made):
        partial = catalogue.partial_path(made)
        try:
            _require_space(made, partial)
            file = partial / "optimized.gguf"
            _rewrite(model, source, file, progress)
            digest = catalogue.sha256_of(file, f"Checking {made.name}", progress)
            made = replace(made, size_bytes=file.stat().st_size, sha256=digest)
            catalogue.register(made, file)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return made


def _planned(model: Model) -> Model:
    """Return the entry of the optimized model, for now with the original's size and digest."""
    if not _LARGER.fullmatch(model.quantization):
        raise UsageError(
            f"{model.name} is {model.quantization} already, so there is nothing to gain: what "
            "`cascade models optimize` makes is IQ4_NL."
            if model.quantization == "IQ4_NL"
            else f"{model.name} is {model.quantization}, which IQ4_NL does not improve on. "
            "Optimize a model of more bits per weight, such as Q4_K_M or Q8_0."
        )
    name = model.name + SUFFIX
    known = {status.model.name: status for status in catalogue.load().status()}
    if name in known and known[name].path:
        raise UsageError(
            f"{model.name} is optimized already: {name}. To make it anew, remove that one first: "
            f"`cascade models remove {name}`."
        )
    return replace(model, name=name, quantization="IQ4_NL", role=None, run_here=False, sources=())


@contextmanager
def _alone(made: Model) -> Iterator[None]:
    """Keep out a second process that makes the same; the lock ends with the process."""
    partial = catalogue.partial_path(made)
    partial.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(partial.with_name(f"{made.name}.lock"), timeout=0):
            yield
    except Timeout:
        raise ModelError(
            f"{made.name} is being made by another process. Wait until it has ended, or end it."
        ) from None


def _require_space(made: Model, partial: Path) -> None:
    free, need = shutil.disk_usage(partial).free, made.size_bytes
    if free < need:
        raise ModelError(
            f"{partial.parent.parent} has {free / 1e9:.1f} GB of free disk, and {made.name} may "
            f"need {need / 1e9:.1f} GB. Make room there, then try again."
        )


def _rewrite(model: Model, source: Path, file: Path, progress: Progress) -> None:
    what, said = f"Rewriting {model.name} as IQ4_NL", file.with_name("log")
    command = [*_PROGRAM, str(source), str(file)]
    with (
        said.open("wb") as log,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        ) as child,
    ):
        assert child.stdout
        try:
            for line in child.stdout:
                done, total = map(int, line.split())
                progress(what, model.size_bytes * done // total, model.size_bytes)
        except BaseException:
            child.kill()
            raise
    code = child.returncode
    if code or not file.exists():
        raise ModelError(
            f"The weights of {model.name} could not be rewritten: {_last_words(said, code)}. "
            f"Nothing was changed. `cascade models verify {model.name}` says whether its file "
            "is whole, and `cascade doctor` whether there is disk and memory enough."
        )


def _last_words(log: Path, code: int) -> str:
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip().rstrip(".") if lines else "llama.cpp did not say why"


# -- measuring ----------------------------------------------------------------------------------


async def measure(
    original: Model, optimized: Model, options: EngineOptions, rounds: int = ROUNDS
) -> Gain:
    """Let both models read and write in turn; raise EngineError where one cannot be loaded."""
    lease = Lease()
    paths = map(catalogue.require, (original, optimized))
    engines = [LocalEngine(path, options, lease, keep=False) for path in paths]
    seen: tuple[list[Speeds], list[Speeds]] = ([], [])
    try:
        for number in range(rounds):
            for engine, speeds in zip(engines, seen, strict=True):
                speeds.append(await _speeds(engine, number))
    finally:
        for engine in engines:
            await engine.close()
    return Gain(*map(_medians, seen))


def _medians(speeds: Sequence[Speeds]) -> Speeds:
    reading = [each.reading for each in speeds]
    writing = [each.writing for each in speeds]
    spread = max(max(values) / min(values) for values in (reading, writing))
    return Speeds(statistics.median(reading), statistics.median(writing), spread)


async def _speeds(engine: LocalEngine, number: int) -> Speeds:
    """Read a text that is new to the model, and go on writing."""
    await engine.start()
    lines = (f"row_{number}_{i} = read({number}, {i * i})\n" for i in range(READ_LINES))
    prompt = Prompt((Piece("text", f"# Part {number}.\n" + "".join(lines)),), WRITE_TOKENS)
    times: list[float] = []
    began = time.perf_counter()
    _, usage = await collect(
        engine.generate([prompt]), 1, lambda token: times.append(time.perf_counter())
    )
    if len(times) < 2:
        raise EngineError("A model wrote nothing, so it was not measured. Run `cascade doctor`.")
    read = usage.prompt_tokens - usage.cached_tokens
    return Speeds(read / (times[0] - began), (len(times) - 1) / (times[-1] - times[0]))


def told(original: Model, made: Model, gain: Gain) -> tuple[str, ...]:
    """Say plainly what was gained, what is not known, and how the model is put to use."""
    was, now = gain.original, gain.optimized
    speeds = [
        f"Reading: {was.reading:.0f} before, {now.reading:.0f} tokens per second now "
        f"({gain.reading:.2f} times as fast).",
        f"Writing: {was.writing:.1f} before, {now.writing:.1f} tokens per second now "
        f"({gain.writing:.2f} times as fast).",
    ]
    if not gain.steady:
        speeds.append(
            "These figures are uncertain: from round to round they differed much, as they do "
            f"while other programs compute. To measure again, `cascade models remove {made.name}`, "
            "then optimize again."
        )
    if not gain.worth_it:
        return (
            *speeds,
            "That is no clear gain on this machine, so better keep the original: "
            f"`cascade models remove {made.name}`.",
        )
    role = "large" if original.role == "large" else "small"
    return (
        *speeds,
        "Its weights are rounded a second time, so it does not write the same. Whether it writes "
        "as well was not measured here; judge that by the documented figures.",
        f"Nothing uses it yet. To use it, set cascade.models.{role} to {made.name}.",
    )
