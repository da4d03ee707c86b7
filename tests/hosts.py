"""The engine hosts that tests start: found by their folder, and told from those that ended."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

PATIENCE_S = 20.0


def alive(process: psutil.Process) -> bool:
    """Say whether a process still runs: one that nobody has fetched yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def hosts(folder: Path) -> list[psutil.Process]:
    """Return the hosts that run in a folder; one that is starting may be a parent and a child."""
    return [one for one in psutil.process_iter() if _arguments(one)[-1:] == [str(folder)]]


def workers(host: psutil.Process) -> list[psutil.Process]:
    """Return the workers of a host."""
    return [one for one in host.children() if alive(one)]


def gone(processes: Sequence[psutil.Process], within_s: float = PATIENCE_S) -> bool:
    """Wait until all of them have ended; say whether they have."""
    return until(lambda: not any(map(alive, processes)), within_s)


def until(condition: Callable[[], object], within_s: float = PATIENCE_S) -> bool:
    """Wait for something to be so; say whether it is."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() if alive(process) else []
    except psutil.Error:
        return []
