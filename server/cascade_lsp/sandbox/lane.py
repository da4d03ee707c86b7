"""One fork server, seen from here: how it is started, given jobs, cancelled and replaced.

Blocking; whoever serves an editor calls it in a thread. Programs and values travel on a socket of
their own between here and the child, so that no later child finds them in the server's memory.
"""

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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from cascade_lsp.sandbox import Language, Limits
from cascade_lsp.sandbox.verdict import Report

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
    language: Language = "python"
    suite: dict[str, str] | None = None

    def text(self) -> bytes:
        """Write it as the child reads it."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(fields).encode()


class Lane:
    """Runs one job at a time in a fork server, which it starts on first use.

    `python` is the interpreter that isolates itself, `setup` gives what it is told, which is
    looked up anew at each start.
    """

    def __init__(self, python: Path, setup: Callable[[], dict[str, Any]]) -> None:
        self._python, self._setup = python, setup
        self._server: ForkServer | None = None

    def start(self) -> ForkServer:
        """Return the running server; raise Unavailable where it cannot isolate itself."""
        if self._server is None:
            self._server = self._begin()
        return self._server

    def cancel(self) -> None:
        """End the run in hand."""
        if self._server is not None:
            self._server.cancel()

    def end(self) -> None:
        """End the server."""
        server, self._server = self._server, None
        if server is not None:
            server.end()

    def run(self, job: Job, limits: Limits, modules: list[str]) -> Report:
        """Give the job to a child and gather what comes from it and of it."""
        server = self.start()
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
            self.end()
        return Report(
            **ended,
            answer=bytes(gathered.answer),
            printed=bytes(gathered.printed[: limits.output_bytes]),
            flooded=gathered.flooded,
        )

    def _begin(self) -> ForkServer:
        if sys.platform != "linux":
            raise Unavailable("the native sandbox is Linux's")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        package = str(Path(__file__).parents[2])
        with tempfile.TemporaryFile() as log:
            command = [str(self._python), *_OPTIONS, "-c", _BOOT, package, str(theirs.fileno())]
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
        server.control.settimeout(START_S)
        server.control.send(json.dumps(self._setup()).encode())
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
