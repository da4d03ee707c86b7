"""Remember, per machine and build of llama.cpp, what the probe decode taught.

A kernel that faults on this CPU takes the worker down once, not at every start, and the number of
threads is measured once. The memory is a small JSON file; a lost or damaged one costs one more
probe.
"""

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)


def build_key() -> str:
    """Name this machine's CPU and this installed build of llama.cpp."""
    try:
        installed = importlib.metadata.distribution("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        return f"{cpu_name()} | no llama.cpp"
    # RECORD lists the digest of every installed file, so a rebuild is another build.
    record = hashlib.sha256((installed.read_text("RECORD") or "").encode()).hexdigest()
    return f"{cpu_name()} | llama-cpp-python {installed.version} | {record[:12]}"


def cpu_name() -> str:
    """Return the CPU's name, with AMX noted, as the operating system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split("\t: ", 1) for line in lines if "\t: " in line)
    amx = " amx" if "amx_tile" in fields.get("flags", "") else ""
    return fields.get("model name", platform.machine()) + amx


def safe_cause(path: Path, key: str) -> str | None:
    """Return why safe settings are needed for this key, or None when they are not."""
    cause = _read(path).get(key)
    return cause if isinstance(cause, str) else None


def remember_safe(path: Path, key: str, cause: str) -> None:
    """Record that only safe settings survived; a folder that cannot be written is tolerated."""
    _remember(path, key, cause)


@dataclass(frozen=True, slots=True)
class Threads:
    """How many threads write single tokens fastest, and how many read prompts."""

    write: int
    read: int


def threads(path: Path, key: str) -> Threads | None:
    """Return what was measured for this key, or None."""
    match _read(path).get(f"{key} | threads"):
        case [int(write), int(read)] if write > 0 and read > 0:
            return Threads(write, read)
    return None


def remember_threads(path: Path, key: str, chosen: Threads) -> None:
    """Record a measurement; a folder that cannot be written is tolerated."""
    _remember(path, f"{key} | threads", [chosen.write, chosen.read])


def _remember(path: Path, key: str, value: object) -> None:
    entries = _read(path) | {key: value}
    part = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(entries, indent=1), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        _log.info("cannot remember in %s what the machine taught: %s", path, error)


def _read(path: Path) -> dict[str, object]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}
