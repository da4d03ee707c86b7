"""The client of one worker process: start it, probe it, talk to it, restart it.

It loads nothing itself. A worker that dies ends the request in flight with what there is and is
started again at the next request; from the second death in a row on after a pause that doubles.
"""

import asyncio
import logging
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from cascade_lsp import paths
from cascade_lsp.engine import (
    EngineOptions,
    ModelFacts,
    Priority,
    Prompt,
    Token,
    Usage,
    machine,
    wire,
)
from cascade_lsp.engine.lease import Claim, Lease
from cascade_lsp.errors import EngineError

_log = logging.getLogger(__name__)

START_TIMEOUT_S = 120.0
PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
LINE_LIMIT_BYTES = 1 << 20

Event = dict[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class Request:
    """One request in flight: its claim to compute, and its events as they come."""

    claim: Claim
    events: asyncio.Queue[Event | None] = field(default_factory=asyncio.Queue)


class LocalEngine:
    """A model in a worker process of its own.

    `lease` is shared by all engines of a machine, and says which of them computes.
    """

    def __init__(
        self,
        model: Path,
        options: EngineOptions,
        lease: Lease,
        *,
        worker: Sequence[str] = (sys.executable, "-m", "cascade_lsp.engine.worker"),
        memory: Path | None = None,
    ) -> None:
        self.facts: ModelFacts | None = None
        self._model = model
        self._options = options
        self._lease = lease
        self._worker = worker
        self._memory = memory or paths.machine_path()
        self._process: asyncio.subprocess.Process | None = None
        self._requests: dict[int, Request] = {}
        self._computing = False
        self._last_id = 0
        self._stderr: deque[str] = deque(maxlen=40)
        self._readers: list[asyncio.Task[None]] = []
        self._starting: asyncio.Task[ModelFacts] | None = None
        self._deaths = 0
        self._not_before = 0.0

    @property
    def pid(self) -> int | None:
        """Return the worker's process id while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    # -- one request ---------------------------------------------------------------------------

    async def generate(
        self, prompts: Sequence[Prompt], *, priority: Priority = Priority.KEYSTROKE
    ) -> AsyncGenerator[Token | Usage, None]:
        """Decode a batch; see `Engine.generate`. Raise EngineError if no worker can start."""
        if self.pid is None and time.monotonic() < self._not_before:
            yield Usage()
            return
        await self.start()
        self._last_id += 1
        request_id, request = self._last_id, Request(self._lease.claim(self, priority))
        self._requests[request_id] = request
        usage = None
        try:
            await self._send(wire.generate(request_id, prompts, priority))
            if self.pid is None:  # it died meanwhile
                self._finish(request_id)
            while (event := await request.events.get()) is not None:
                if event["ev"] == "end":
                    usage = Usage(**event["usage"])
                    _log.debug("batch of %d ended: %s", len(prompts), event["reason"])
                    break
                yield Token(event["seq"], event["text"], event["logprob"])
            self._deaths = 0 if usage else self._deaths
            yield usage or Usage()
        finally:
            if usage is None and request_id in self._requests:
                # The worker still computes: the claim ends with its "end", or its death.
                await self._send({"op": "cancel", "id": request_id})

    def set_computing(self, computing: bool) -> None:
        """Let the worker compute, or pause it within a slice."""
        self._computing = computing
        if self._process and self._process.stdin and self.pid is not None:
            self._process.stdin.write(wire.encode({"op": "compute", "on": computing}))

    async def _send(self, message: Event) -> None:
        if self._process and self._process.stdin and self._process.returncode is None:
            try:
                self._process.stdin.write(wire.encode(message))
                await self._process.stdin.drain()
            except (BrokenPipeError, ConnectionResetError):
                _log.info("the worker of %s is gone", self._model.name)

    # -- the worker's life ---------------------------------------------------------------------

    async def start(self) -> ModelFacts:
        """Start the worker unless it runs, and return what it says of the model.

        Who waits for it may be cancelled, as a keystroke is by the next one; the start goes on.
        Raise EngineError if no worker can be started.
        """
        if self.pid is not None and self.facts and self._starting is None:
            return self.facts
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._started)
        return await asyncio.shield(self._starting)

    def _started(self, starting: asyncio.Task[ModelFacts]) -> None:
        self._starting = None
        if not starting.cancelled() and (error := starting.exception()):
            _log.warning("%s", error)

    async def _start(self) -> ModelFacts:
        """Start a worker; one that crashes before it is ready is started again with safe
        settings, which is remembered for this machine and build."""
        key = await asyncio.to_thread(machine.build_key)
        safe = machine.safe_cause(self._memory, key) is not None
        ready = await self._spawn(safe=safe)
        if ready is None and not safe and self._crashed():
            cause = self._cause_of_death()
            ready = await self._spawn(safe=True)
            if ready is not None:
                machine.remember_safe(self._memory, key, cause)
        if ready is None:
            raise self._gave_up(self._cause_of_death())
        names = {f.name for f in fields(ModelFacts)}
        self.facts = ModelFacts(**{k: v for k, v in ready.items() if k in names})
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
            event = wire.decode(line)
            if request := self._requests.get(event["id"]):
                request.events.put_nowait(event)
                if event["ev"] == "end":
                    self._finish(event["id"])
        await process.wait()
        if self._process is process:  # not closed on purpose
            self._pause()
        for request_id in list(self._requests):
            self._finish(request_id)

    def _finish(self, request_id: int) -> None:
        """End a request's stream and its claim, once."""
        if request := self._requests.pop(request_id, None):
            request.events.put_nowait(None)
            self._lease.release(request.claim)

    def _pause(self) -> None:
        pause = min(PAUSE_S * 2**self._deaths, LONGEST_PAUSE_S) if self._deaths else 0.0
        self._deaths += 1
        self._not_before = time.monotonic() + pause
        _log.warning("the worker of %s ended: %s", self._model.name, self._cause_of_death())

    async def _read_stderr(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr
        while line := await process.stderr.readline():
            self._stderr.append(line.decode("utf-8", "replace").rstrip())

    def _crashed(self) -> bool:
        """Say whether the worker was brought down, rather than ended by a Python exception."""
        return self._process is not None and self._process.returncode not in (0, 1)

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

    async def close(self) -> None:
        """End the worker: it leaves when its stdin closes, and is killed if it does not."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
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
