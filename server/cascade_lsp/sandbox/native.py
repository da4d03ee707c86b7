"""The native tier, seen from the server: isolated by the Linux kernel itself.

It starts a fork server (`forkserver`), hands it one job after the other and turns what comes back
into outcomes. Programs and values travel on a socket of their own between here and the child.
Layers are never traded: what cannot be had raises at the start, and another tier is chosen.
"""

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from cascade_lsp.sandbox import Check, Language, Limits, Outcome, Project, Status, Suite
from cascade_lsp.sandbox.verdict import Expected, Report, asked_modules, expected, outcome

ALL_LAYERS = frozenset({"namespaces", "landlock", "seccomp", "rlimits"})
WITHOUT_NAMESPACES = ALL_LAYERS - {"namespaces"}
START_S = 10.0
PATIENCE_S = 8.0  # beyond a run's own limit: loading modules for it, and ending it
RUNS_PER_SERVER = 500
MOST_ANSWER_BYTES = 1024 * 1024 + 4096
_CHUNK = 65536

# The interpreter must not take anything from the environment or the user's folders.
_OPTIONS = ("-P", "-s", "-S", "-B")
_BOOT = (
    "import sys; sys.path.append(sys.argv[1]); import cascade_lsp.sandbox.forkserver as server; "
    "sys.path.remove(sys.argv[1]); server.main(int(sys.argv[2]))"
)
_ENVIRONMENT = {
    "HOME": "/.scratch",
    "TMPDIR": "/.scratch",
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    # Threads of a library's own would not survive the fork.
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
}


class Unavailable(Exception):
    """The tier cannot be had here; the text says why."""


@dataclass(slots=True)
class ForkServer:
    """A running fork server and the way to it."""

    process: "subprocess.Popen[bytes]"
    control: socket.socket
    landlock_abi: int = 0
    runs: int = 0

    def cancel(self) -> None:
        """End the run in hand; the server stays."""
        with contextlib.suppress(OSError):
            self.control.send(b"cancel")

    def end(self) -> None:
        """Kill the server and whatever it runs, and wait for it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.control.close()


@dataclass(frozen=True, slots=True)
class Job:
    """What one child is to do: evaluate an expression after a program, run a script (no
    expression), or one of the user's own tests."""

    source: str = ""
    expression: str | None = None
    seed: int = 0
    suite: dict[str, str] | None = None

    def text(self) -> bytes:
        """Write it as the child reads it."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(fields).encode()


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
        self._project = project
        self._layers = frozenset(layers)
        self._landlock_abi, self._hidden = landlock_abi, tuple(hidden)
        self._lock = asyncio.Lock()
        self._server: ForkServer | None = None

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
        if language != "python":
            return [Outcome("inconclusive", detail=f"{language} is not run here") for _ in checks]
        modules = asked_modules(source)
        return [await self._check(source, check, limits, seed, modules) for check in checks]

    async def run_script(self, source: str, limits: Limits, *, seed: int = 0) -> Outcome:
        """Run one whole program; what it printed is in `seen`, why it ended in `detail`."""
        return await self._run(Job(source, seed=seed), None, limits, asked_modules(source))

    async def run_suite(self, suite: Suite, limits: Limits) -> list[Outcome]:
        """Run the user's own tests; one outcome per test, in order, each in a fresh process."""
        project = self._project
        if project is None or not project.sources or "namespaces" not in self._layers:
            detail = "the sandbox does not read the project's sources"
            return [Outcome("inconclusive", detail=detail) for _ in suite.tests]
        what = {"root": str(project.root), "module": suite.module, "source": suite.source}
        jobs = [Job(suite={**what, "path": path, "name": name}) for path, name in suite.tests]
        return [await self._run(job, None, limits, []) for job in jobs]

    async def status(self) -> Status:
        """Start the server if need be, and name the tier; raise Unavailable where it cannot be."""
        async with self._lock:
            server = await asyncio.to_thread(self._started)
        if "namespaces" in self._layers:
            reason = f"namespaces, Landlock (ABI {server.landlock_abi}), system calls filtered"
            return Status("native", reason)
        reason = f"Landlock (ABI {server.landlock_abi}), system calls filtered, no namespaces"
        return Status("native_without_namespaces", reason)

    async def close(self) -> None:
        """End the server."""
        async with self._lock:
            await asyncio.to_thread(self._end)

    async def _check(
        self, source: str, check: Check, limits: Limits, seed: int, modules: Sequence[str]
    ) -> Outcome:
        wanted = expected(check)
        if isinstance(wanted, Outcome):
            return wanted
        return await self._run(Job(source, check.expression, seed), wanted, limits, modules)

    async def _run(
        self, job: Job, wanted: Expected | None, limits: Limits, modules: Sequence[str]
    ) -> Outcome:
        """Run a job in a thread of its own; being cancelled ends the run first."""
        async with self._lock:
            running = asyncio.create_task(
                asyncio.to_thread(self._exchange, job, limits, list(modules))
            )
            try:
                report = await asyncio.shield(running)
            except asyncio.CancelledError:
                if self._server is not None:
                    self._server.cancel()
                await asyncio.wait([running])
                raise
            except (OSError, EOFError, Unavailable, ValueError) as error:
                await asyncio.to_thread(self._end)
                return Outcome("sandbox_lost", detail=f"{type(error).__name__}: {error}")
        return outcome(report, wanted)

    # -- in the thread ----------------------------------------------------------------------

    def _exchange(self, job: Job, limits: Limits, modules: list[str]) -> Report:
        """Give the job to a child and gather what comes from it and of it."""
        server = self._started()
        server.runs += 1
        mine, theirs = socket.socketpair()
        output, outlet = os.pipe()
        order = {
            "time_s": limits.time_s,
            "memory_bytes": limits.memory_bytes,
            "imports": modules,
        }
        with mine, os.fdopen(output, "rb", buffering=0) as printed:
            try:
                descriptors = [theirs.fileno(), outlet]
                socket.send_fds(server.control, [json.dumps(order).encode()], descriptors)
            finally:
                theirs.close()
                os.close(outlet)
            deadline = time.monotonic() + limits.time_s + PATIENCE_S
            mine.settimeout(limits.time_s + PATIENCE_S)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                mine.sendall(job.text())
                mine.shutdown(socket.SHUT_WR)
            gathered = _Gathered(limits.output_bytes)
            ended = gathered.until_ended(server, mine, printed, deadline)
        if not ended.pop("begun"):
            raise Unavailable("a child of the fork server could not confine itself")
        if not ended.pop("clean") or server.runs >= RUNS_PER_SERVER:
            self._end()
        return Report(
            **ended,
            answer=bytes(gathered.answer),
            printed=bytes(gathered.printed[: limits.output_bytes]),
            flooded=gathered.flooded,
        )

    def _started(self) -> ForkServer:
        if self._server is None:
            self._server = self._start()
        return self._server

    def _end(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.end()

    def _start(self) -> ForkServer:
        if sys.platform != "linux":
            raise Unavailable("the native sandbox is Linux's")
        project = self._project
        python = project.python if project and project.python else Path(sys.executable)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        package = str(Path(__file__).parents[2])
        with tempfile.TemporaryFile() as log:
            command = [str(python), *_OPTIONS, "-c", _BOOT, package, str(theirs.fileno())]
            with theirs:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    cwd="/",
                    env=_ENVIRONMENT,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            server = ForkServer(process, ours)
            try:
                return self._greeted(server, log)
            except BaseException:
                server.end()
                raise

    def _greeted(self, server: ForkServer, log: IO[bytes]) -> ForkServer:
        """Say what is wanted and wait until the server has isolated itself."""
        setup = {
            "layers": sorted(self._layers),
            "packages": [str(path) for path in _packages(self._project)],
            "sources": [str(path) for path in _sources(self._project)],
            "concealed": [str(path) for path in _secrets(self._project)],
            "landlock_abi": self._landlock_abi,
            "hidden": list(self._hidden),
        }
        server.control.settimeout(START_S)
        server.control.send(json.dumps(setup).encode())
        text = server.control.recv(_CHUNK)
        server.control.settimeout(None)
        if not text:
            server.process.wait(START_S)
            log.seek(0)
            words = log.read().decode(errors="replace").strip().splitlines()
            raise Unavailable(f"its process ended: {words[-1] if words else 'without a word'}")
        said = json.loads(text)
        if "missing" in said:
            raise Unavailable(": ".join(said["missing"]))
        server.landlock_abi = said["landlock_abi"]
        return server


@dataclass(slots=True)
class _Gathered:
    """What came from a child so far."""

    output_bytes: int
    answer: bytearray = field(default_factory=bytearray)
    printed: bytearray = field(default_factory=bytearray)
    flooded: str = ""

    def until_ended(
        self, server: ForkServer, answers: socket.socket, printed: IO[bytes], deadline: float
    ) -> dict[str, Any]:
        """Gather until the fork server says how the run ended, and then what is left."""
        poll = select.poll()
        places = {answers.fileno(): self.answer, printed.fileno(): self.printed}
        for descriptor in (*places, server.control.fileno()):
            poll.register(descriptor, select.POLLIN)
        while True:
            ready = [d for d, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)]
            if not ready:
                raise TimeoutError("the fork server does not answer")
            for descriptor in ready:
                if descriptor in places and not self._take(descriptor, places[descriptor]):
                    poll.unregister(descriptor)
            if self._is_flood() and not self.flooded:
                self.flooded = self._is_flood()
                server.cancel()
            if server.control.fileno() in ready:
                said = server.control.recv(_CHUNK)
                if not said:
                    raise EOFError("the fork server ended")
                for descriptor, place in places.items():
                    os.set_blocking(descriptor, False)
                    while not self._is_flood() and self._take(descriptor, place):
                        continue
                self.flooded = self.flooded or self._is_flood()
                ended: dict[str, Any] = json.loads(said)
                return ended

    def _take(self, descriptor: int, place: bytearray) -> bool:
        """Read a piece; say whether there may be more. Of a flood no more is kept."""
        try:
            piece = os.read(descriptor, _CHUNK)
        except (BlockingIOError, ConnectionResetError):
            return False
        if not self._is_flood():
            place += piece
        return bool(piece)

    def _is_flood(self) -> str:
        if len(self.printed) > self.output_bytes:
            return "output_flood"
        return "result_flood" if len(self.answer) > MOST_ANSWER_BYTES else ""


# -- what of a project may be read -----------------------------------------------------------------

_SECRETS = (
    *(".env*", ".git", ".ssh", ".aws", ".netrc", ".npmrc", ".pypirc", "*.pem", "*.key", "*.p12"),
    *("*.pfx", "*.kdbx", "id_rsa*", "id_ecdsa*", "id_ed25519*", "secrets.*", "credentials*"),
)
_NEVER_WALKED = {".git", ".venv", "venv", "node_modules", "__pycache__"}
MOST_FOLDERS = 5_000


def _packages(project: Project | None) -> list[Path]:
    """Return the folders of packages installed in the project's environment."""
    if project is None or project.python is None:
        return []
    return sorted(project.python.parent.parent.glob("lib*/python3.*/site-packages"))


def _sources(project: Project | None) -> list[Path]:
    return [project.root.resolve()] if project and project.sources else []


def _secrets(project: Project | None) -> list[Path]:
    """Return what in a project's folder is never shown: secrets, keys, and its history."""
    return [found for root in _sources(project) for found in _hidden_in(root)]


def _hidden_in(root: Path) -> Iterator[Path]:
    for count, (folder, folders, files) in enumerate(os.walk(root)):
        if count >= MOST_FOLDERS:
            raise Unavailable(f"{root} has too many folders to look for secrets in")
        here = Path(folder)
        for name in (*folders, *files):
            if any(Path(name).match(pattern) for pattern in _SECRETS):
                yield here / name
        folders[:] = [name for name in folders if name not in _NEVER_WALKED]
