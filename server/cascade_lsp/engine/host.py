"""The engines of all of a user's windows, in a process that outlives each of them.

Run as `python -m cascade_lsp.engine.host FOLDER` by the first client (`engine.shared`), which it
tells by its exit code that somebody listens in the folder: what goes on is a child that nobody has
as a parent, so that ending a window's processes ends no other window's engines. It ends once it has
had no client for a while, or is retired and its last client has left. It computes nothing and loads
nothing: workers do (`engine.local`).
"""

import asyncio
import contextlib
import json
import logging
import os
import sys
from asyncio import StreamReader, StreamWriter, Task
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from cascade_lsp import __version__
from cascade_lsp.engine import EngineOptions, Priority, Token, Usage, wire
from cascade_lsp.engine.endpoint import Endpoint, is_mine
from cascade_lsp.engine.exchange import FAILED, Event
from cascade_lsp.engine.lease import Lease
from cascade_lsp.engine.local import LocalEngine
from cascade_lsp.errors import EngineError

_log = logging.getLogger(__name__)

FIRST_S = 30.0  # how long it waits for its first client
LOCK_S = 10.0

Stream = AsyncGenerator[Token | Usage, None]
MakeEngine = Callable[[Path, EngineOptions, Lease], LocalEngine]


@dataclass(eq=False, slots=True)
class Client:
    """One connection: what it opened, and what it has in flight."""

    writer: StreamWriter
    engine: LocalEngine | None = None
    keep: bool = False
    unload_s: float = 0.0
    opening: "Task[None] | None" = None
    requests: dict[int, "Task[None]"] = field(default_factory=dict)

    async def send(self, event: Event) -> None:
        """Write one message; one to a client that has left is dropped."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(wire.encode(event))
            await self.writer.drain()

    def ask(self, request_id: int, answering: Coroutine[Any, Any, None]) -> None:
        """Answer a request beside the others."""
        task = self.requests[request_id] = asyncio.create_task(answering)
        task.add_done_callback(partial(self._over, request_id))

    def _over(self, request_id: int, task: "Task[None]") -> None:
        del self.requests[request_id]
        if task.cancelled() and not self.writer.is_closing():
            self.writer.write(wire.encode(_end(request_id, Usage(), "cancelled")))

    def leave(self) -> None:
        """Cancel what is in flight."""
        for task in (self.opening, *self.requests.values()):
            if task is not None:
                task.cancel()
        self.writer.close()


class Host:
    """One lease, one engine per model and options, and the clients of each."""

    def __init__(self, endpoint: Endpoint, make_engine: MakeEngine = LocalEngine) -> None:
        self._endpoint = endpoint
        self._make_engine = make_engine
        self._lease = Lease()
        self._engines: dict[tuple[Path, EngineOptions], LocalEngine] = {}
        self._clients: set[Client] = set()
        self._changed = asyncio.Event()
        self._linger_s: float | None = None
        self._server: asyncio.Server | None = None
        self._identity: tuple[int, int] | None = None

    # -- its life ------------------------------------------------------------------------------

    async def serve(self, ready: Callable[[], None]) -> None:
        """Serve until nobody needs it; `ready` is called once somebody listens, here or in a
        host that was first."""
        with FileLock(self._endpoint.lock, timeout=LOCK_S):
            self._server = await self._endpoint.listen(self._connected)
            self._identity = self._endpoint.identity()
        ready()
        if self._server is None:
            return
        await self._until_unused()
        self._retire()
        await self._until_unused()  # for those who came while it left
        await asyncio.gather(*(engine.close() for engine in self._engines.values()))

    async def _until_unused(self) -> None:
        """Wait until the last client has been gone for as long as any of them wanted."""
        while True:
            self._changed.clear()
            try:
                async with asyncio.timeout(self._patience_s()):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _patience_s(self) -> float | None:
        if self._clients:
            return None
        if self._server is None:
            return 0.0
        return FIRST_S if self._linger_s is None else self._linger_s

    def _retire(self) -> None:
        """Make room for another host; who is here is served on."""
        server, self._server = self._server, None
        if server is not None:
            if self._endpoint.identity() == self._identity:
                self._endpoint.remove()
            server.close()
            self._changed.set()

    # -- its clients ---------------------------------------------------------------------------

    async def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        if not is_mine(writer):
            _log.warning("somebody who is not this user was refused")
            writer.close()
            return
        client = Client(writer)
        self._clients.add(client)
        self._changed.set()
        try:
            await client.send({"ev": "host", "version": __version__, "pid": os.getpid()})
            while (line := await reader.readline()) and self._take(client, wire.decode(line)):
                pass
        except ConnectionError:
            pass  # it left
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("a client that does not keep to the messages is hung up on: %r", error)
        finally:
            client.leave()
            self._clients.discard(client)
            self._settle(client.engine)
            self._changed.set()

    def _take(self, client: Client, message: Event) -> bool:
        """Do what a client asks; say whether the connection goes on."""
        match message["op"]:
            case "open":
                options = EngineOptions(**message["options"])
                self._linger_s = max(self._linger_s or 0.0, options.linger_s)
                client.keep, client.unload_s = bool(message["keep"]), options.unload_s
                client.engine = self._engine(Path(message["model"]), options)
                self._settle(client.engine)
                client.opening = asyncio.create_task(self._open(client, client.engine))
            case "generate" if client.engine:
                prompts = [wire.prompt_from(raw) for raw in message["prompts"]]
                stream = client.engine.generate(prompts, priority=Priority(message["priority"]))
                client.ask(message["id"], self._answer(client, message["id"], stream))
            case "cancel":
                if asked := client.requests.get(message["id"]):
                    asked.cancel()
            case "retire":
                _log.info("a host of another version takes over")
                self._retire()
                return False
            case _:
                raise ValueError(f"unexpected: {json.dumps(message)[:80]}")
        return True

    def _engine(self, model: Path, options: EngineOptions) -> LocalEngine:
        # What a window wants of sharing is no property of the engine.
        key = model, replace(options, shared=True, linger_s=0.0, unload_s=0.0)
        if key not in self._engines:
            self._engines[key] = self._make_engine(*key, self._lease)
        return self._engines[key]

    def _settle(self, engine: LocalEngine | None) -> None:
        """Let a model stay as long as any of its clients wants it to."""
        if engine is None:
            return
        users = [client for client in self._clients if client.engine is engine]
        keep = any(client.keep for client in users)
        unload_s = max((client.unload_s for client in users), default=self._linger_s or 0.0)
        engine.reside(keep=keep, unload_s=unload_s)

    async def _open(self, client: Client, engine: LocalEngine) -> None:
        try:
            await client.send({"ev": "ready"} | asdict(await engine.start()))
        except EngineError as error:
            event = {"ev": "fatal", "message": str(error), "pause_s": engine.pause_s}
            await client.send(event)

    async def _answer(self, client: Client, request_id: int, stream: Stream) -> None:
        usage, reason = Usage(), "done"
        try:
            async with aclosing(stream):
                async for item in stream:
                    if isinstance(item, Usage):
                        usage = item
                        event = {"ev": "read", "id": request_id, "usage": asdict(item)}
                        await client.send(event)
                    else:
                        await client.send({"ev": "token", "id": request_id} | asdict(item))
        except EngineError as error:
            reason = FAILED + str(error)
        await client.send(_end(request_id, usage, reason))


def _end(request_id: int, usage: Usage, reason: str) -> Event:
    return {"ev": "end", "id": request_id, "usage": asdict(usage), "reason": reason}


def main(make_engine: MakeEngine = LocalEngine) -> None:
    """Serve in a child; end with exit code 0 once somebody listens, with 1 where nobody can."""
    endpoint = Endpoint(Path(sys.argv[1]))
    heard, ready = os.pipe()
    if os.fork():
        os.close(ready)
        sys.exit(0 if os.read(heard, 1) else 1)
    os.close(heard)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(message)s")

    def listening() -> None:
        os.write(ready, b"1")
        os.close(ready)

    asyncio.run(Host(endpoint, make_engine).serve(listening))


if __name__ == "__main__":
    main()
