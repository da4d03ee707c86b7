"""The engine hosts that tests start: found by their folder, and told from those that ended."""

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

PATIENCE_S = 20.0
HOST = "cascade_lsp.engine.host"


def alive(process: psutil.Process) -> bool:
    """Say whether a process still runs: one that nobody has fetched yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def hosts(folder: Path) -> list[psutil.Process]:
    """Return the hosts that run in a folder; one that is starting may be a parent and a child."""
    return [one for one in psutil.process_iter() if arguments(one)[-1:] == [str(folder)]]


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


def of_home(home: Path) -> list[psutil.Process]:
    """Return the hosts, and their workers, whose `CASCADE_HOME` is a folder or lies in it."""
    found = [one for one in psutil.process_iter() if HOST in arguments(one) and _is_of(one, home)]
    return [*found, *(worker for host in found for worker in workers(host))]


def end_all_of(home: Path) -> set[Path]:
    """Kill what `of_home` finds; return the folders with their sockets."""
    left = of_home(home)
    folders = {Path(arguments(one)[-1]) for one in left if HOST in arguments(one)}
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    assert gone(left)
    return folders


def _is_of(process: psutil.Process, home: Path) -> bool:
    try:
        told = process.environ().get("CASCADE_HOME")
    except psutil.Error:
        return False
    return told is not None and Path(told).is_relative_to(home)


def arguments(process: psutil.Process) -> list[str]:
    """Return the words a process was started with; none of one that has ended."""
    try:
        return process.cmdline() if alive(process) else []
    except psutil.Error:
        return []
