"""The promise that nothing leaves this machine, shown on it: a real completion, watched.

`prove` runs `cascade complete` on a bundled stub twice, engine host, worker and sandbox included:
as it is, and in a network namespace without interfaces. Folders of its own keep it from sharing an
engine with the user's windows. Every call that `watching` saw is the product's own, or is reported;
what `watching` cannot see is said there. It proves nothing about other commands or other settings.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from cascade_lsp import paths
from cascade_lsp.watching import NOT_STARTED, Call, Watched, command_of

STUB = "1_leap_year.py"
PATIENCE_S = 300.0
EVIDENCE = ("passed", "assert_failed")
INSTEAD = (
    "What can be checked instead, while an editor completes: on Linux `strace -f -e trace=network "
    "cascade complete FILE:LINE`, on macOS `lsof -i -a -c python`, on Windows "
    "`Get-NetTCPConnection -OwningProcess PID`; each should show no connection. Or turn the "
    "network off: completions go on."
)


@dataclass(frozen=True, slots=True)
class Run:
    """One watched completion: whether `alone` (without interfaces), what was seen, the answer as
    `cascade complete --json` gives it; `fault` where it did not answer or was not watched."""

    alone: bool
    own: Path
    watched: Watched | None = None
    answer: dict[str, Any] = field(default_factory=dict)
    fault: str = ""

    @property
    def others(self) -> list[Call]:
        """Return the calls that are not about the product's own Unix socket."""
        calls = self.watched.calls if self.watched else []
        return [call for call in calls if not is_own(call, self.own)]

    @property
    def tested(self) -> int:
        """Return how many tests ran in the sandbox and said something."""
        return sum(test["verdict"] in EVIDENCE for test in self.answer.get("tests", ()))

    def kinds(self) -> Counter[str]:
        """Count the calls by what they are and whom they address."""
        calls = self.watched.calls if self.watched else []
        return Counter(told(call).replace(str(self.own), "its own") for call in calls)

    def as_json(self) -> dict[str, Any]:
        """Return the run as plain JSON values."""
        return {
            "alone": self.alone,
            "answered": bool(self.answer),
            "tests": self.tested,
            "processes": len(self.watched.processes) if self.watched else 0,
            "calls": dict(self.kinds()),
            "others": [f"{told(call)} by {call.program}" for call in self.others],
            "fault": self.fault,
        }


def is_own(call: Call, folder: Path) -> bool:
    """Say whether a call is about a Unix socket without a name, or with one in `folder`."""
    if call.family != "unix":
        return False
    return not call.address or Path(call.address).parent == folder


def told(call: Call) -> str:
    """Return a call in a few words."""
    return " ".join(filter(None, (call.name, call.family, call.address)))


def holds(runs: list[Run]) -> bool:
    """Say whether the promise was shown: all that was seen is the product's own, and it answered
    with a network and, where there can be a namespace without one, there."""
    first, alone = runs
    if first.watched is None or not first.answer or first.others or alone.others:
        return False
    return bool(alone.answer) or alone.watched is None


def prove() -> Iterator[Run]:
    """Yield the run with this machine's network, and the one without any."""
    for alone in (False, True):
        with tempfile.TemporaryDirectory(prefix="cascade-offline-") as folder:
            yield _run(Path(folder), alone=alone)


def _run(home: Path, *, alone: bool) -> Run:
    own = paths.runtime_dir(home)
    file, report = home / STUB, home / "report.json"
    text = resources.files("cascade_lsp.models").joinpath("stubs", STUB).read_text("utf-8")
    file.write_text(text.rstrip() + "\n    ", encoding="utf-8")
    _furnish(home)
    line = text.rstrip().count("\n") + 2
    complete = [sys.executable, "-P", "-m", "cascade_lsp", "complete", f"{file}:{line}"]
    try:
        done = subprocess.run(
            command_of(report, [*complete, "--json", "--wait"], alone=alone),
            env={**os.environ, "CASCADE_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Run(alone, own, fault=f"it did not answer within {PATIENCE_S:.0f} seconds")
    finally:
        shutil.rmtree(own, ignore_errors=True)
    if not report.exists() or done.returncode == NOT_STARTED:
        return Run(alone, own, fault=done.stderr.strip() or "the watch ended early")
    watched = Watched.read(report)
    if watched.code:
        return Run(alone, own, watched, fault=done.stderr.strip())
    return Run(alone, own, watched, json.loads(done.stdout))


def _furnish(home: Path) -> None:
    """Put the user's models in a new home, and what was learnt about kernels that crash here."""
    if paths.models_dir().is_dir():
        (home / "models").mkdir()
        target = home / "models" / "weights"
        target.symlink_to(paths.models_dir(), target_is_directory=True)
    if paths.machine_path().is_file():
        (home / "state").mkdir()
        shutil.copy(paths.machine_path(), home / "state" / paths.machine_path().name)
