"""The portable tier: generated code runs in monty, an interpreter without a way out.

The client side. It starts `sandbox.worker` as a throw-away process with an empty environment, no
inherited files and the root as its folder; the interpreter is that process' child. Whatever
happens to either, the answer is a label and the next run has a new process. It never loads monty
itself. It is no kernel sandbox: what contains the code is an interpreter with nothing to offer.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from cascade_lsp.sandbox import Check, Language, Limits, Outcome, Status, Suite
from cascade_lsp.sandbox.wire import READY, Job, decode_outcome, encode

START_S = 20.0
PATIENCE_S = 5.0  # beyond all limits of a job, before its worker is given up
LINE_BYTES = 8 * 1024 * 1024
ONLY_PYTHON = "the interpreter sandbox runs Python alone"

# Without variables, and without the current folder on the import path.
WORKER = (sys.executable, "-E", "-P", "-X", "utf8", "-m", "cascade_lsp.sandbox.worker")
_NEEDED = ("SYSTEMROOT",)  # Windows starts no process without it

_TRIAL_LIMITS = Limits(time_s=0.1, memory_bytes=16 * 1024 * 1024)
_TRIAL_SOURCE = f"""\
def work(): return 1 + 1
def read(): return open({sys.executable!r}, 'rb').read(1)
def loop():
    while True: pass
def grow(): return 'x' * 10**9
"""
# A control that must work, then what must not.
_TRIALS = (
    (Check("work()", "eq", "2"), "passed"),
    (Check("read()"), "blocked_access"),
    (Check("loop()"), "timeout"),
    (Check("grow()"), "memory"),
)


class PortableSandbox:
    """Run programs in one worker process at a time; start it on first use."""

    def __init__(self, command: Sequence[str] = WORKER) -> None:
        self._command = command
        self._lock = asyncio.Lock()
        self._worker: Process | None = None
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
        if language != "python":
            return [Outcome("inconclusive", detail=ONLY_PYTHON) for _ in checks]
        return [await self._trusted(Job(source, check, limits, seed)) for check in checks]

    async def run_script(
        self, source: str, limits: Limits, *, seed: int = 0, language: Language = "python"
    ) -> Outcome:
        """Run one whole program; what it printed is in `seen`, why it ended in `detail`."""
        if language != "python":
            return Outcome("inconclusive", detail=ONLY_PYTHON)
        return await self._trusted(Job(source, None, limits, seed))

    async def run_suite(self, suite: Suite, limits: Limits) -> list[Outcome]:
        """Run nothing: this interpreter cannot import a project."""
        detail = "the interpreter sandbox cannot run a project's own tests"
        return [Outcome("inconclusive", detail=detail) for _ in suite.tests]

    async def status(self) -> Status:
        """Try the sandbox once, with what must work and with what must not, and remember."""
        async with self._lock:
            if self._status is not None:
                return self._status
            status, final = await self._try()
            if final:
                self._status = status
            return status

    async def close(self) -> None:
        """End the worker and the interpreter."""
        async with self._lock:
            await self._end()

    async def _trusted(self, job: Job) -> Outcome:
        """Run a job if the sandbox holds; the lock is per job, and so runs take turns."""
        status = await self.status()
        if status.tier == "none":
            return Outcome("sandbox_lost", detail=status.reason)
        async with self._lock:
            return await self._run(job)

    async def _try(self) -> tuple[Status, bool]:
        """Return the status, and whether to keep it: a lost worker is worth another try."""
        if find_spec("pydantic_monty") is None:
            return Status("none", "pydantic-monty is not installed, so nothing is executed."), True
        for check, expected in _TRIALS:
            outcome = await self._run(Job(_TRIAL_SOURCE, check, _TRIAL_LIMITS))
            if outcome.kind != expected:
                return Status(
                    "none", _trial_failed(check, expected, outcome)
                ), outcome.kind != "sandbox_lost"
        return Status("portable", "The interpreter sandbox stopped all that it must."), True

    async def _run(self, job: Job) -> Outcome:
        """Run one job; a worker that was lost or interrupted over it is ended."""
        answered = False
        try:
            async with asyncio.timeout(START_S):
                worker = self._worker or await self._start()
            async with asyncio.timeout(2 * job.limits.time_s + job.limits.sleep_s + PATIENCE_S):
                outcome = await _ask(worker, job)
            answered = True
            return outcome
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            return Outcome("sandbox_lost", detail=f"{type(error).__name__}: {error}")
        finally:
            if not answered:
                await self._end()

    async def _start(self) -> Process:
        self._worker = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            cwd=Path(sys.executable).anchor,
            env={name: os.environ[name] for name in _NEEDED if name in os.environ},
            start_new_session=True,
            limit=LINE_BYTES,
        )
        if await _line(self._worker) != READY:
            raise EOFError("the sandbox's worker did not start")
        return self._worker

    async def _end(self) -> None:
        """Kill the worker with its child, which is in the same session, and wait for it."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        _kill(worker)
        # The transport, and with it the pipes, is closed when the process was waited for.
        await worker.wait()


def _trial_failed(check: Check, expected: str, outcome: Outcome) -> str:
    return (
        f"The sandbox does not hold, so nothing is executed: trying {check.expression} gave "
        f"{outcome.kind}, not {expected} ({outcome.seen or outcome.detail})."
    )


async def _ask(worker: Process, job: Job) -> Outcome:
    assert worker.stdin is not None
    worker.stdin.write(encode(job).encode() + b"\n")
    await worker.stdin.drain()
    return decode_outcome(await _line(worker))


async def _line(worker: Process) -> str:
    assert worker.stdout is not None
    line = await worker.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError("the sandbox's worker ended")
    return line.decode().strip()


def _kill(worker: Process) -> None:
    try:
        if sys.platform == "win32":
            worker.kill()
        else:
            os.killpg(worker.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
