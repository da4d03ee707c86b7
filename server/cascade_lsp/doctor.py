"""Checks of everything the product needs, each with what was found and a remedy.

It measures on the real thing: models are loaded, a known place is completed, the sandbox is
tried. It changes nothing but what loading a model teaches about this machine.
"""

import importlib.metadata
import platform
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import psutil

from cascade_lsp import __version__, catalogue, fim, paths, power
from cascade_lsp.assembly import open_ledger
from cascade_lsp.context import gather
from cascade_lsp.engine import ModelFacts, Piece, Prompt, collect, machine, room
from cascade_lsp.engine.lease import Lease
from cascade_lsp.engine.local import LocalEngine
from cascade_lsp.errors import CascadeError, LedgerError
from cascade_lsp.sandbox import make_sandbox
from cascade_lsp.settings import Settings

MEGABYTE = 1_000_000
NODE_WANTED = "Install Node 22.13 or newer to have JavaScript and TypeScript tested, too."
KERNEL_WANTED = (
    "What the kernel refuses is named above. User namespaces: sysctl user.max_user_namespaces, or "
    "kernel.apparmor_restrict_unprivileged_userns=0; Landlock: a kernel from 5.13 on, lsm=landlock."
)
MEMORY_WANTED = "Close programs, or set models.large to a smaller one."
HOLE, IN_IT = "def area(width, height):\n    return width * |\n\n\nprint(area(2, 3))\n", "height"
MONTH_S = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its name, how it went, what was found, and what to do about it."""

    name: str
    state: Literal["ok", "warning", "failed"]
    found: str
    remedy: str = ""

    @property
    def mark(self) -> str:
        """Return the state as one coloured sign of rich's markup."""
        return {"ok": "[green]✓", "warning": "[yellow]![/]", "failed": "[red]✗"}[self.state]

    def as_json(self) -> dict[str, Any]:
        """Return the finding as plain JSON values."""
        return asdict(self)


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Yield the findings in order; the slow ones load a model each."""
    yield Finding("cascade", "ok", f"{__version__} on Python {platform.python_version()}")
    yield _build()
    yield network(settings)
    for role in ("small", "large"):
        async for finding in _model(role, getattr(settings.models, role), settings):
            yield finding
    yield await _sandbox(settings)
    for finding in _records(settings):
        yield finding
    yield _disk()
    yield _memory()
    yield _power(settings)


def network(settings: Settings) -> Finding:
    """State what may leave this machine under these settings."""
    downloads = "a download that you start by name"
    remote = f"the remote model at {settings.remote.host}" if settings.remote.url else ""
    if settings.network == "off":
        kept = f"; {remote} is configured and not asked" if remote else ""
        found = f"off: nothing connects to anything but this machine, except {downloads}{kept}"
        return Finding("network", "ok", found, "cascade doctor --network shows it.")
    if remote:
        found = f"on: {remote} may be asked where your privacy policy lets it, and {downloads}"
        return Finding("network", "ok", found, "cascade remote preview shows what would be sent.")
    return Finding("network", "ok", f"on, but no remote model is configured; else {downloads}")


def _build() -> Finding:
    name = "llama.cpp"
    try:
        version = importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        remedy = f"{sys.executable} -m pip install llama-cpp-python"
        return Finding(name, "failed", "llama-cpp-python is not installed", remedy)
    return Finding(name, "ok", f"llama-cpp-python {version} on {machine.cpu_name()}")


async def _model(role: str, name: str, settings: Settings) -> AsyncIterator[Finding]:
    title = f"{role} model"
    try:
        model = catalogue.load().find(name)
        path = catalogue.installed(model)
    except CascadeError as error:
        remedy = f"Set models.{role} to a name that `cascade models list` shows."
        yield Finding(title, "failed", str(error), remedy)
        return
    if path is None:
        remedy = f"cascade models fetch {name}"
        yield Finding(title, "failed", f"{name} is not on this machine", remedy)
        return
    if role == "large" and (lack := room.lack(path, room.available())):
        yield Finding(title, "warning", lack, MEMORY_WANTED)
        return
    engine = LocalEngine(path, settings.engine, Lease())
    try:
        facts = await engine.start()
        yield Finding(title, "ok", f"{name}: {_described(facts)}")
        yield _kernels(title, facts)
        yield await _speed(title, engine, name)
        yield await _hole(title, engine, "psm" if facts.fim else model.style.line, name)
        yield _worker_memory(title, engine, facts)
    except CascadeError as error:
        yield Finding(title, "failed", str(error), f"cascade models verify {name}")
    finally:
        await engine.close()


def _described(facts: ModelFacts) -> str:
    fim = "FIM markers" if facts.fim else "no FIM markers"
    chat = "chat template" if facts.chat else "no chat template"
    return (
        f"loaded in {facts.load_ms / 1000:.1f} s, {facts.context_tokens} tokens of context, "
        f"{fim}, {chat}, {facts.backend} with {facts.threads} threads"
    )


def _kernels(title: str, facts: ModelFacts) -> Finding:
    name = f"{title}: kernels"
    if not facts.safe:
        return Finding(name, "ok", "all of this build's kernels survive the probe decode")
    cause = machine.safe_cause(paths.machine_path(), machine.build_key()) or "cause unknown"
    found = (
        f"this build of llama.cpp crashes here with repacked weights ({cause}), so they are off; "
        "where it was measured that cost the 0.5B model nothing and the 1.5B model 13 % of its "
        "speed of writing"
    )
    remedy = (
        'CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON '
        '-DGGML_AVX512=ON -DGGML_AVX512_VNNI=ON" pip install --force-reinstall --no-cache-dir '
        f"--no-binary llama-cpp-python llama-cpp-python, then delete {paths.machine_path()}"
    )
    return Finding(name, "warning", found, remedy)


async def _speed(title: str, engine: LocalEngine, name: str) -> Finding:
    """Complete a known place and measure reading and writing, in tokens per second."""
    text = "# Numbers.\n" * 24 + "def add(first, second):\n    return first +"
    first: list[float] = []
    started = time.perf_counter()
    (answer,), usage = await collect(
        engine.generate([Prompt((Piece("text", text),), n_predict=32)]),
        1,
        lambda token: first.append(time.perf_counter()),
    )
    if len(first) < 2:
        return Finding(f"{title}: speed", "failed", "it wrote nothing", _verify(name))
    reading = usage.prompt_tokens / (first[0] - started)
    writing = (len(first) - 1) / (first[-1] - first[0])
    budget = fim.render(gather("", 0), "prefix", writing).n_predict
    found = (
        f"reads {reading:.0f} and writes {writing:.0f} tokens per second, so that {budget} tokens "
        "are a suggestion's budget"
    )
    if "second" not in answer.text.split("\n")[0]:
        found = f"{found}, but misses a known answer"
        return Finding(f"{title}: speed", "warning", found, _verify(name))
    return Finding(f"{title}: speed", "ok", found)


async def _hole(title: str, engine: LocalEngine, style: str, name: str) -> Finding:
    """Fill a known hole in a line."""
    title = f"{title}: hole"
    prompt = fim.render(gather(HOLE.replace("|", ""), HOLE.index("|")), style)
    (answer,), _ = await collect(engine.generate([prompt]), 1)
    how = "from what is before it" if style == "prefix" else f"by FIM markers ({style})"
    first = answer.text.strip().split("\n")[0]
    if first.startswith(IN_IT):
        return Finding(title, "ok", f"fills a known hole rightly, {how}")
    return Finding(title, "warning", f"fills a known hole with {first!r}, {how}", _verify(name))


def _verify(name: str) -> str:
    return f"cascade models verify {name}, and if it is whole choose another model"


def _worker_memory(title: str, engine: LocalEngine, facts: ModelFacts) -> Finding:
    resident = psutil.Process(engine.pid).memory_info().rss / MEGABYTE
    weights = facts.weights_bytes / MEGABYTE
    found = f"{resident:.0f} MB resident: weights {weights:.0f} MB and {resident - weights:.0f} MB"
    if resident - weights <= room.ALLOWANCE_BYTES / MEGABYTE:
        return Finding(f"{title}: memory", "ok", found)
    return Finding(f"{title}: memory", "warning", found, "Lower engine.context_tokens.")


async def _sandbox(settings: Settings) -> Finding:
    box = make_sandbox(settings.sandbox)
    if box is None:
        remedy = 'Set sandbox.execution to "auto" to have answers tested.'
        return Finding("sandbox", "warning", "execution is off: answers are never tested", remedy)
    try:
        status = await box.status()
    finally:
        await box.close()
    found = f"{status.tier}: {status.reason} It runs {', '.join(status.languages) or 'nothing'}."
    match status.tier:
        case "none":
            remedy = f"{sys.executable} -m pip install pydantic-monty"
            return Finding("sandbox", "failed", found, remedy)
        case "native":
            node = "" if len(status.languages) > 2 else NODE_WANTED
            return Finding("sandbox", "ok", found, node)
        case _ if sys.platform == "linux" and settings.sandbox.execution == "auto":
            return Finding("sandbox", "warning", found, KERNEL_WANTED)
    return Finding("sandbox", "ok", found)


def _records(settings: Settings) -> Iterator[Finding]:
    try:
        ledger = open_ledger(settings)
        recent = ledger.since(MONTH_S)
    except LedgerError as error:
        yield Finding("ledger", "failed", str(error), f"Look at {paths.state_dir()}.")
        return
    state: Literal["ok", "warning"] = "warning" if ledger.notice else "ok"
    remedy = f"Look at {paths.state_dir()}." if ledger.notice else ""
    yield Finding("ledger", state, ledger.notice or f"{len(recent)} decisions in 30 days", remedy)
    outcomes = [t.outcome for record in recent for a in record.attempts for t in a.tests]
    if outcomes:
        silent = sum(outcome not in ("passed", "assert_failed", "error") for outcome in outcomes)
        share = f"{silent} of {len(outcomes)} test runs in 30 days were no evidence"
        yield Finding("tests", "ok", f"{share} ({silent / len(outcomes):.0%})")


def _disk() -> Finding:
    folder = paths.models_dir()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if free < 2:
        return Finding("disk", "warning", f"{free:.1f} GB free at {existing}", "Free some space.")
    return Finding("disk", "ok", f"{free:.0f} GB free at {existing}")


def _memory() -> Finding:
    free = psutil.virtual_memory().available / 1e9
    if free < 2:
        return Finding("memory", "warning", f"{free:.1f} GB available", MEMORY_WANTED)
    return Finding("memory", "ok", f"{free:.0f} GB available")


def _power(settings: Settings) -> Finding:
    granted = power.Gauge().spending(settings.power)
    return Finding("power", "ok", granted.told or f"{granted.why} ({granted.profile})")
