"""What every engine behind a channel shares: its requests in flight, and one start at a time.

A channel carries `engine.wire`'s messages: to a worker over its pipes (`engine.local`), to the
engine host over a socket (`engine.shared`). An end that is lost ends the requests in flight with
what there is; the next request starts it again, from the second loss in a row on after a pause
that doubles.
"""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from cascade_lsp.engine import ModelFacts, Priority, Prompt, Token, Usage, wire
from cascade_lsp.errors import EngineError

_log = logging.getLogger(__name__)

PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
LINE_LIMIT_BYTES = 1 << 24
FAILED = "failed: "  # the reason of an end whose engine could not be started, with its sentence

Event = dict[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class Request:
    """One request in flight: what to do when it is over, and its events as they come."""

    ended: Callable[[], None]
    events: asyncio.Queue[Event | None] = field(default_factory=asyncio.Queue)


class Exchange(ABC):
    """An engine at the other end of a channel."""

    def __init__(self) -> None:
        self.facts: ModelFacts | None = None
        self._requests: dict[int, Request] = {}
        self._last_id = 0
        self._idle_since = time.monotonic()
        self._starting: asyncio.Task[ModelFacts] | None = None
        self._losses = 0
        self._not_before = 0.0

    # -- what an implementation adds -----------------------------------------------------------

    @property
    @abstractmethod
    def running(self) -> bool:
        """Say whether there is somebody at the other end."""

    @abstractmethod
    async def _start(self) -> ModelFacts:
        """Start the other end; raise EngineError if that cannot be done."""

    @abstractmethod
    async def _send(self, message: Event) -> None:
        """Write one message; one to an end that is gone is dropped."""

    @abstractmethod
    async def close(self) -> None:
        """Leave the other end, or end it."""

    def _begun(self, priority: Priority) -> Callable[[], None]:
        """Take note of a new request; return what is to be called once it is over."""
        return _nothing

    # -- one request ---------------------------------------------------------------------------

    async def generate(
        self, prompts: Sequence[Prompt], *, priority: Priority = Priority.KEYSTROKE
    ) -> AsyncGenerator[Token | Usage, None]:
        """Decode a batch; see `Engine.generate`. Raise EngineError if nothing can be started."""
        if not self.running and self.pause_s:
            yield Usage()
            return
        await self.start()
        self._last_id += 1
        request_id, request = self._last_id, Request(self._begun(priority))
        self._requests[request_id] = request
        usage, n = None, 0
        try:
            await self._send(wire.generate(request_id, prompts, priority))
            if not self.running:  # it was lost meanwhile
                self._finish(request_id)
            while (event := await request.events.get()) is not None:
                if event["ev"] == "end":
                    usage = _usage(event)
                    break
                if event["ev"] == "read":
                    yield wire.usage_from(event["usage"])
                    continue
                n += 1
                yield Token(event["seq"], event["text"], event["logprob"])
            self._losses = 0 if usage else self._losses
            yield usage or Usage(new_tokens=n)
        finally:
            if usage is None and request_id in self._requests:
                # The other end still computes: the request is over with its "end", or its loss.
                await self._send({"op": "cancel", "id": request_id})

    def _take(self, event: Event) -> None:
        """Hand an event to its request."""
        if request := self._requests.get(event["id"]):
            request.events.put_nowait(event)
            if event["ev"] == "end":
                self._finish(event["id"])

    def _finish(self, request_id: int) -> None:
        """End a request, once."""
        if request := self._requests.pop(request_id, None):
            request.events.put_nowait(None)
            request.ended()
            self._idle_since = time.monotonic()

    def _finish_all(self) -> None:
        for request_id in list(self._requests):
            self._finish(request_id)

    # -- the other end's life ------------------------------------------------------------------

    @property
    def pause_s(self) -> float:
        """Return how many seconds no start is tried, as the last ones failed."""
        return max(0.0, self._not_before - time.monotonic())

    async def start(self) -> ModelFacts:
        """Start the other end unless it runs, and return what it says of the model.

        Who waits for it may be cancelled, as a keystroke is by the next one; the start goes on.
        Raise EngineError if it cannot be started.
        """
        if self.running and self.facts and self._starting is None:
            return self.facts
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._started)
        return await asyncio.shield(self._starting)

    def _started(self, starting: asyncio.Task[ModelFacts]) -> None:
        self._starting = None
        if not starting.cancelled() and (error := starting.exception()):
            _log.warning("%s", error)

    async def _stop_starting(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)

    def _lost(self) -> None:
        """Take note that the other end died: the more often in a row, the longer the pause."""
        pause = min(PAUSE_S * 2**self._losses, LONGEST_PAUSE_S) if self._losses else 0.0
        self._losses += 1
        self._not_before = time.monotonic() + pause


def facts_from(event: Event) -> ModelFacts:
    """Return the facts in a "ready"; fields that this version does not know are left out."""
    names = {f.name for f in fields(ModelFacts)}
    return ModelFacts(**{name: value for name, value in event.items() if name in names})


def _usage(end: Event) -> Usage:
    reason: str = end["reason"]
    _log.debug("a batch ended: %s", reason)
    if reason.startswith(FAILED):
        error = EngineError(reason.removeprefix(FAILED))
        _log.warning("%s", error)
        raise error
    return wire.usage_from(end["usage"])


def _nothing() -> None:
    pass
