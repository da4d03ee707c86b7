"""The processes of a side: their home, which ones they are, and what they cost.

A server under test gets a home of its own, so that no user's ledger learns of it. A host of engines
may outlive the server and hang on nobody: by its home it is found.
"""

import asyncio
import contextlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from cascade_lsp import paths

QUIET_S = 0.3  # in which a side that rests uses less than IDLE_SHARE of one core
IDLE_SHARE = 0.1
LONGEST_REST_S = 20.0


class Home:
    """A throw-away CASCADE_HOME with the installed weights in it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="cascade-bench-"))
        models, state = self.path / "models", self.path / "state"
        models.mkdir()
        state.mkdir()
        (models / "weights").symlink_to(paths.models_dir(), target_is_directory=True)
        if paths.machine_path().is_file():  # what is known to crash here need not crash again
            shutil.copy(paths.machine_path(), state)

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a process that lives here."""
        return {**os.environ, "CASCADE_HOME": str(self.path)}

    def processes(self) -> list[psutil.Process]:
        """Return the processes that live here, whoever started them."""
        return [one for one in psutil.process_iter() if self._lives_here(one)]

    def _lives_here(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("CASCADE_HOME") == str(self.path)
        except (psutil.Error, OSError):
            return False

    def clear(self) -> None:
        """End the processes that are left, and delete the home."""
        left = self.processes()
        for process in left:
            _end(process)
        psutil.wait_procs(left, timeout=5)
        shutil.rmtree(self.path, ignore_errors=True)


def _end(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.terminate()


class Meter:
    """The processor seconds of changing processes, those that have ended included."""

    def __init__(self, processes: Callable[[], Iterable[psutil.Process]]) -> None:
        self._processes = processes
        self._used: dict[tuple[int, float], float] = {}

    def read(self) -> float:
        """Return the sum so far in seconds, what was used before the first reading included."""
        for process in self._processes():
            try:
                times = process.cpu_times()
                self._used[process.pid, process.create_time()] = times.user + times.system
            except psutil.Error:
                continue
        return sum(self._used.values())

    async def rest(self) -> None:
        """Wait until hardly anything is computed, so that the next side has the machine."""
        before = self.read()
        for _ in range(round(LONGEST_REST_S / QUIET_S)):
            await asyncio.sleep(QUIET_S)
            after = self.read()
            if after - before < IDLE_SHARE * QUIET_S:
                return
            before = after


def threads() -> int:
    """Return the physical cores this process may use: what every side computes with."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(psutil.cpu_count(logical=False) or 1, usable or 1))


def machine() -> dict[str, object]:
    """Say on what a measurement was made."""
    from cascade_lsp.engine.machine import build_key

    return {
        "engine": build_key(),
        "threads": threads(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }
