"""The client of the engine host: engines that belong to the user, not to the window.

The first client starts the host (`engine.host`), later ones attach. Where nothing can be shared
(Windows, a runtime folder that others can write to, a host that does not start) the engine is a
private one in this process; the log says why.
"""

import asyncio
import logging
import os
import subprocess
import sys
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import IO

from cascade_lsp import __version__, paths
from cascade_lsp.engine import EngineOptions, ModelFacts, Priority, Prompt, Token, Usage, wire
from cascade_lsp.engine.endpoint import Endpoint, Unshareable
from cascade_lsp.engine.exchange import Event, Exchange, facts_from
from cascade_lsp.engine.lease import Lease
from cascade_lsp.engine.local import LocalEngine
from cascade_lsp.errors import EngineError

_log = logging.getLogger(__name__)

# -P: the folder that this process works in, a user's project, is no place to import from.
HOST = (sys.executable, "-P", "-m", "cascade_lsp.engine.host")
ATTEMPTS = 6  # a host of another version, a new one, and one that leaves as we come, twice
HOST_START_S, GREETING_S, OPEN_S = 30.0, 10.0, 300.0
LARGEST_LOG_BYTES = 1 << 20


class SharedEngine:
    """A model that all windows share, or a private one where that cannot be.

    `lease` is for the private engines of this process, `keep` whether the model stays loaded.
    """

    def __init__(
        self,
        model: Path,
        options: EngineOptions,
        lease: Lease,
        *,
        keep: bool = True,
        endpoint: Endpoint | None = None,
        host: Sequence[str] = HOST,
    ) -> None:
        self._model, self._options, self._lease, self._keep = model, options, lease, keep
        endpoint = endpoint or Endpoint(paths.runtime_dir())
        self._engine: Exchange = AttachedEngine(model, options, keep, endpoint, host)

    async def generate(
        self, prompts: Sequence[Prompt], *, priority: Priority = Priority.KEYSTROKE
    ) -> AsyncGenerator[Token | Usage, None]:
        """Decode a batch; see `Engine.generate`. Raise EngineError if the model cannot be had."""
        try:
            async with aclosing(self._engine.generate(prompts, priority=priority)) as stream:
                async for item in stream:
                    yield item
        except Unshareable as why:  # only ever before the first token
            engine = self._private(why)
            async with aclosing(engine.generate(prompts, priority=priority)) as stream:
                async for item in stream:
                    yield item

    async def start(self) -> ModelFacts:
        """Load the model unless it is loaded; raise EngineError if that cannot be done."""
        try:
            return await self._engine.start()
        except Unshareable as why:
            return await self._private(why).start()

    def _private(self, why: Unshareable) -> Exchange:
        if isinstance(self._engine, AttachedEngine):
            _log.warning("Models are loaded for this window alone: %s.", why)
            self._engine = LocalEngine(self._model, self._options, self._lease, keep=self._keep)
        return self._engine

    async def close(self) -> None:
        """Leave the host, which ends a while after its last client; end a private engine."""
        await self._engine.close()


class AttachedEngine(Exchange):
    """A connection to the host, for one model; raises Unshareable where there can be none."""

    def __init__(
        self,
        model: Path,
        options: EngineOptions,
        keep: bool,
        endpoint: Endpoint,
        host: Sequence[str],
    ) -> None:
        super().__init__()
        self._opening: Event = {
            "op": "open",
            "version": __version__,
            "model": str(model.absolute()),
            "options": asdict(options),
            "keep": keep,
        }
        self._endpoint = endpoint
        self._host = host
        self._writer: StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Say whether it is attached."""
        return self._writer is not None

    async def _send(self, message: Event) -> None:
        if self._writer is not None:
            try:
                self._writer.write(wire.encode(message))
                await self._writer.drain()
            except ConnectionError:
                _log.info("the engine host is gone")

    # -- attaching -----------------------------------------------------------------------------

    async def _start(self) -> ModelFacts:
        self._endpoint.prepare()
        for _ in range(ATTEMPTS):
            channel = await self._endpoint.connect()
            if channel is None:
                await self._start_host()
            elif facts := await self._attach(*channel):
                return facts
        raise Unshareable("the engine host ends again and again")

    async def _attach(self, reader: StreamReader, writer: StreamWriter) -> ModelFacts | None:
        """Open the model; None where the host left before it answered, or was told to."""
        try:
            greeting = await _answer(reader, GREETING_S)
            if greeting["version"] != __version__:
                writer.write(wire.encode({"op": "retire"}))
                await _answer(reader, GREETING_S)  # it hangs up
            writer.write(wire.encode(self._opening))
            answer = await _answer(reader, OPEN_S)
        except ConnectionError:
            writer.close()
            return None
        except BaseException:
            writer.close()
            raise
        if answer["ev"] == "fatal":
            writer.close()
            self._not_before = time.monotonic() + answer["pause_s"]
            raise EngineError(answer["message"])
        self.facts, self._writer = facts_from(answer), writer
        self._reading = asyncio.create_task(self._read(reader, writer))
        return self.facts

    async def _read(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Hand events to their requests until the connection ends."""
        try:
            while line := await reader.readline():
                self._take(wire.decode(line))
        except (ConnectionError, ValueError) as error:
            _log.info("the connection to the engine host broke: %r", error)
        writer.close()
        if self._writer is writer:  # not closed on purpose
            self._writer = None
            self._lost()
            _log.warning("the engine host ended")
        self._finish_all()

    async def _start_host(self) -> None:
        """Start a host, and wait until it, or one that was faster, listens."""
        with _log_file() as log:
            process = await asyncio.create_subprocess_exec(
                *self._host,
                str(self._endpoint.folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd="/",  # it outlives this window, and must not hold its folder
                env=_environment(),
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(HOST_START_S):
                code = await process.wait()
        except TimeoutError:
            process.kill()
            code = await process.wait()
        if code != 0:
            raise Unshareable(f"the engine host does not start, see {paths.host_log_path()}")

    async def close(self) -> None:
        """Leave the host."""
        await self._stop_starting()
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        if self._reading is not None:
            await self._reading


async def _answer(reader: StreamReader, timeout_s: float) -> Event:
    """Return the host's next message; raise ConnectionError where it left, Unshareable where it
    does not answer."""
    try:
        async with asyncio.timeout(timeout_s):
            line = await reader.readline()
    except TimeoutError:
        raise Unshareable("the engine host does not answer") from None
    except ValueError as error:  # a line without end
        raise Unshareable("the engine host does not keep to the messages") from error
    if not line:
        raise ConnectionResetError("the engine host left")
    return wire.decode(line)


def _environment() -> dict[str, str]:
    """Return this process's environment, true also for one that works in another folder."""
    home = os.environ.get("CASCADE_HOME")
    return os.environ | ({"CASCADE_HOME": str(Path(home).absolute())} if home else {})


def _log_file() -> IO[bytes]:
    """Open the host's log, emptied when it has grown large."""
    path = paths.host_log_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        large = path.exists() and path.stat().st_size > LARGEST_LOG_BYTES
        return path.open("wb" if large else "ab")
    except OSError as error:
        _log.info("the engine host has no log: %s", error)
        return Path(os.devnull).open("wb")
