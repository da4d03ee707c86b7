"""The client of one worker process: start it, probe it, talk to it, restart it, unload it.

It loads nothing itself. A model that need not be kept is loaded only where there is memory for it,
and leaves memory when nobody has asked it for long, or when memory is short.
"""

import asyncio
import logging
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from cascade_lsp import paths
from cascade_lsp.engine import EngineOptions, ModelFacts, Priority, machine, room, wire
from cascade_lsp.engine.exchange import (
    LINE_LIMIT_BYTES,
    LONGEST_PAUSE_S,
    Event,
    Exchange,
    facts_from,
)
from cascade_lsp.engine.lease import Lease
from cascade_lsp.errors import EngineError

_log = logging.getLogger(__name__)

START_TIMEOUT_S = 120.0
LOOK_S = 1.0  # between two looks at whether a model may be unloaded
_ENDING = (1, 2, 9, 15)  # the signals that end a process for no fault; not all systems name them


class LocalEngine(Exchange):
    """A model in a worker process of its own.

    `lease` is shared by all engines of a machine, and says which of them computes. `keep` is
    whether the model stays loaded, and is loaded however much memory there is.
    """

    def __init__(
        self,
        model: Path,
        options: EngineOptions,
        lease: Lease,
        *,
        keep: bool = True,
        worker: Sequence[str] = (sys.executable, "-m", "cascade_lsp.engine.worker"),
        memory: Path | None = None,
        available: Callable[[], int] = room.available,
    ) -> None:
        super().__init__()
        self._model = model
        self._options = options
        self._lease = lease
        self._keep, self._unload_s = keep, options.unload_s
        self._worker = worker
        self._memory = memory or paths.machine_path()
        self._available = available
        self._process: asyncio.subprocess.Process | None = None
        self._changing = asyncio.Lock()  # held while a worker starts or is ended
        self._computing = False
        self._stderr: deque[str] = deque(maxlen=40)
        self._readers: list[asyncio.Task[None]] = []
        self._resting: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Return the worker's process id while it runs."""
        process = self._process
        # Its pipe ends before its exit code is there; a request in between would be lost.
        if process is None or process.returncode is not None or _at_end(process):
            return None
        return process.pid

    @property
    def running(self) -> bool:
        """Say whether the worker runs."""
        return self.pid is not None

    # -- one request ---------------------------------------------------------------------------

    def _begun(self, priority: Priority) -> Callable[[], None]:
        return partial(self._lease.release, self._lease.claim(self, priority))

    def set_computing(self, computing: bool) -> None:
        """Let the worker compute, or pause it within a slice."""
        self._computing = computing
        if self._process and self._process.stdin and self.pid is not None:
            self._process.stdin.write(wire.encode({"op": "compute", "on": computing}))

    async def _send(self, message: Event) -> None:
        if self._process and self._process.stdin and self.running:
            try:
                self._process.stdin.write(wire.encode(message))
                await self._process.stdin.drain()
            except (BrokenPipeError, ConnectionResetError):
                _log.info("the worker of %s is gone", self._model.name)

    # -- the worker's life ---------------------------------------------------------------------

    async def _start(self) -> ModelFacts:
        """Start a worker; one that crashes before it is ready is started again with safe
        settings, which is remembered for this machine and build. One that was killed is only
        started again."""
        async with self._changing:
            if not self._keep and (lack := room.lack(self._model, self._available())):
                raise EngineError(lack)
            if self._process is not None:
                await self._process.wait()  # it died; what it has is free first
            key = await asyncio.to_thread(machine.build_key)
            safe = machine.safe_cause(self._memory, key) is not None
            ready = await self._spawn(safe=safe)
            if ready is None and not safe and self._crashed():
                cause, ended = self._cause_of_death(), self._was_ended()
                ready = await self._spawn(safe=not ended)
                if ready is not None and not ended:
                    machine.remember_safe(self._memory, key, cause)
            if ready is None:
                raise self._gave_up(self._cause_of_death())
            self.facts = facts_from(ready)
        self.reside(keep=self._keep, unload_s=self._unload_s)
        return self.facts

    async def _spawn(self, *, safe: bool) -> Event | None:
        """Start a worker and wait until it is ready; None when it dies before that."""
        options = self._options
        self._process = await asyncio.create_subprocess_exec(
            *self._worker,
            str(self._model),
            f"--context={options.context_tokens}",
            f"--threads={options.threads}",
            f"--gpu-layers={options.gpu_layers}",
            f"--memory={self._memory}",
            *(["--safe"] if safe else []),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT_BYTES,
        )
        self._stderr.clear()
        errors = asyncio.create_task(self._read_stderr(self._process))
        assert self._process.stdout
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            self._process.kill()
            line = b""
        except BaseException:
            self._process.kill()
            raise
        event = wire.decode(line) if line else {"ev": "gone"}
        if event["ev"] == "ready":
            self.set_computing(self._computing)
            self._readers = [errors, asyncio.create_task(self._read_events(self._process))]
            return event
        await self._process.wait()
        await errors
        if event["ev"] == "fatal":
            raise self._gave_up(event["message"])
        return None

    async def _read_events(self, process: asyncio.subprocess.Process) -> None:
        """Hand events to their requests until the worker's pipe closes."""
        assert process.stdout
        while line := await process.stdout.readline():
            self._take(wire.decode(line))
        lost = self._process is process  # not ended on purpose
        if lost:
            self._lost()
        self._finish_all()
        await process.wait()
        if lost:
            _log.warning("the worker of %s ended: %s", self._model.name, self._cause_of_death())

    async def _read_stderr(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr
        while line := await process.stderr.readline():
            self._stderr.append(line.decode("utf-8", "replace").rstrip())

    def _crashed(self) -> bool:
        """Say whether the worker was brought down, rather than ended by a Python exception."""
        return self._process is not None and self._process.returncode not in (0, 1)

    def _was_ended(self) -> bool:
        """Say whether somebody ended the worker, such as a kernel short of memory."""
        return self._process is not None and -(self._process.returncode or 0) in _ENDING

    def _cause_of_death(self) -> str:
        code = self._process.returncode if self._process else None
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        last = next((line for line in reversed(self._stderr) if line.strip()), "no message")
        return f"ended with exit code {code}: {last}"

    def _gave_up(self, cause: str) -> EngineError:
        self._not_before = time.monotonic() + LONGEST_PAUSE_S
        return EngineError(
            f"The model {self._model.name} could not be started ({cause}). There will be no "
            "suggestions from it. Run `cascade doctor` to see what is wrong and how to mend it."
        )

    # -- how long it stays ---------------------------------------------------------------------

    def reside(self, *, keep: bool, unload_s: float) -> None:
        """Say whether the model stays loaded, or else how many seconds from now, or from its
        last request, it may idle; short memory unloads it earlier."""
        self._keep, self._unload_s = keep, unload_s
        self._idle_since = time.monotonic()
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        if not keep and self._process is not None:
            self._resting = asyncio.create_task(self._rest(self._process))

    async def _rest(self, process: asyncio.subprocess.Process) -> None:
        while self._process is process:
            await asyncio.sleep(LOOK_S)
            idle_s = time.monotonic() - self._idle_since
            short = self._available() < room.MARGIN_BYTES
            if not self._requests and (short or idle_s >= self._unload_s):
                why = "memory is short" if short else f"it was idle for {idle_s:.0f} s"
                _log.info("%s is unloaded: %s", self._model.name, why)
                await asyncio.shield(self._unload())  # `reside` may cancel this task

    async def _unload(self) -> None:
        """End the worker: it leaves when its stdin closes, and is killed if it does not."""
        async with self._changing:
            process, self._process = self._process, None
            if process is None or process.returncode is not None:
                return
            if process.stdin:
                process.stdin.close()
            try:
                async with asyncio.timeout(2):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
            await asyncio.gather(*self._readers, return_exceptions=True)

    async def close(self) -> None:
        """End the worker, also one that is starting."""
        await self._stop_starting()
        if self._resting is not None:
            self._resting.cancel()
        await self._unload()


def _at_end(process: asyncio.subprocess.Process) -> bool:
    return process.stdout is not None and process.stdout.at_eof()
