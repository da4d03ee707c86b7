"""Which sandbox there is: the strongest tier whose live probes hold, tried when it is first needed.

A layer that is missing means the next tier, never running anyway; where none holds, nothing is
run at all. What held is remembered per kernel, interpreter and version, so that a later start
tries only that it works: that alone needs every layer.
"""

import asyncio
import contextlib
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from cascade_lsp import __version__, paths
from cascade_lsp.sandbox import (
    Check,
    Language,
    Limits,
    Outcome,
    Project,
    Sandbox,
    Status,
    Suite,
    probes,
)
from cascade_lsp.sandbox.lane import Unavailable
from cascade_lsp.sandbox.native import WITHOUT_NAMESPACES, NativeSandbox
from cascade_lsp.sandbox.portable import PortableSandbox

Maker = Callable[[], NativeSandbox]


class TieredSandbox:
    """Run programs in the strongest tier that holds here.

    `execution` narrows the choice as the setting does; `makers` are the native tiers to try.
    """

    def __init__(
        self,
        execution: str = "auto",
        project: Project | None = None,
        makers: Sequence[tuple[str, Maker]] | None = None,
        known: Path | None = None,
    ) -> None:
        self._execution = execution
        self._makers = _native(project) if makers is None else makers
        self._known = known or paths.probes_path()
        self._lock = asyncio.Lock()
        self._chosen: Sandbox | None = None
        self._status: Status | None = None

    async def run(
        self,
        source: str,
        checks: Sequence[Check],
        limits: Limits,
        *,
        seed: int = 0,
        language: Language = "python",
    ) -> list[Outcome]:
        """Run each check against `source` in a fresh session; one outcome per check, in order."""
        status, chosen = await self._choice()
        if chosen is None:
            return [Outcome("sandbox_lost", detail=status.reason) for _ in checks]
        return await chosen.run(source, checks, limits, seed=seed, language=language)

    async def run_script(
        self, source: str, limits: Limits, *, seed: int = 0, language: Language = "python"
    ) -> Outcome:
        """Run one whole program."""
        status, chosen = await self._choice()
        if chosen is None:
            return Outcome("sandbox_lost", detail=status.reason)
        return await chosen.run_script(source, limits, seed=seed, language=language)

    async def run_suite(self, suite: Suite, limits: Limits) -> list[Outcome]:
        """Run the user's own tests; one outcome per test, in order."""
        status, chosen = await self._choice()
        if chosen is None:
            return [Outcome("sandbox_lost", detail=status.reason) for _ in suite.tests]
        return await chosen.run_suite(suite, limits)

    async def status(self) -> Status:
        """Choose the tier if need be, and say which it is and why no stronger one."""
        return (await self._choice())[0]

    async def close(self) -> None:
        """End what runs."""
        async with self._lock:
            if self._chosen is not None:
                await self._chosen.close()

    async def _choice(self) -> tuple[Status, Sandbox | None]:
        async with self._lock:
            if self._status is None or self._status.tier == "none":
                self._status, self._chosen = await self._choose()
            return self._status, self._chosen

    async def _choose(self) -> tuple[Status, Sandbox | None]:
        """Try the tiers in order, and gather why one was passed over."""
        reasons: list[str] = []
        if self._execution in ("auto", "native"):
            for name, make in self._makers:
                sandbox = make()
                try:
                    status = await self._tried(sandbox)
                except Unavailable as error:
                    reasons.append(f"{name}: {error}")
                    await sandbox.close()
                else:
                    return replace(status, reason=_because(status.reason, reasons)), sandbox
        if self._execution in ("auto", "portable"):
            portable = PortableSandbox()
            status = await portable.status()
            if status.tier != "none":
                return replace(status, reason=_because(status.reason, reasons)), portable
            reasons.append(status.reason)
            await portable.close()
        return Status("none", f"nothing is executed. {_because('', reasons)}", ()), None

    async def _tried(self, sandbox: NativeSandbox) -> Status:
        """Return the status of a tier that starts and holds; raise Unavailable."""
        try:
            status = await sandbox.status()
        except (OSError, ValueError) as error:
            raise Unavailable(str(error)) from error
        key = f"{status.tier} {status.reason} {_machine()}"
        known = key in (await asyncio.to_thread(_read, self._known)).get("held", ())
        trials = [await probes.works(sandbox)]
        if trials[0].holds and not known:
            trials += await probes.attempt(sandbox)
        last = trials[-1]
        if not last.holds:
            seen = last.outcome.seen or last.outcome.detail
            raise Unavailable(f"trying {last.name}() gave {last.outcome.kind} ({seen})")
        if not known:
            await asyncio.to_thread(_remember, self._known, key)
        return status


def news(status: Status, path: Path | None = None) -> str | None:
    """Return what a user should hear of the tier: once per change, and of a first one only if it
    is not the strongest."""
    path = path or paths.probes_path()
    known = _read(path)
    before = known.get("told")
    if before == [status.tier]:
        return None
    _write(path, {**known, "told": [status.tier]})
    if status.tier == "native" and not before:
        return None
    what = "nothing is executed" if status.tier == "none" else f"tests run in: {status.tier}"
    return f"Cascade's sandbox, {what.replace('_', ' ')}. {status.reason} See `cascade doctor`."


def _read(path: Path) -> dict[str, list[str]]:
    """Return what was remembered; nothing where that cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(path.read_text(encoding="utf-8"))
        return known if isinstance(known, dict) else {}
    return {}


def _write(path: Path, known: dict[str, list[str]]) -> None:
    """Remember, if that can be; else all is tried and told again."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(known, indent=1), encoding="utf-8")
        fresh.replace(path)


def _remember(path: Path, key: str) -> None:
    known = _read(path)
    _write(path, {**known, "held": [*known.get("held", ())[-20:], key]})


def _native(project: Project | None) -> Sequence[tuple[str, Maker]]:
    """Return the native tiers in order; a project that cannot be had is done without."""
    if sys.platform != "linux":
        return ()
    tiers: list[tuple[str, Maker]] = []
    if project is not None:
        tiers.append((f"with {project.root}", lambda: NativeSandbox(project)))
    tiers.append(("native", NativeSandbox))
    lesser = "native without namespaces"
    tiers.append((lesser, lambda: NativeSandbox(layers=WITHOUT_NAMESPACES)))
    return tiers


def _machine() -> str:
    """Name what a probe's result depends on, as far as it can be named."""
    user = os.getuid() if sys.platform != "win32" else 0
    return f"{platform.release()} {platform.machine()} {sys.version} {__version__} uid {user}"


def _because(reason: str, passed_over: Sequence[str]) -> str:
    parts = [part.rstrip(".") for part in (reason, *passed_over) if part]
    return "; ".join(parts) + "."
