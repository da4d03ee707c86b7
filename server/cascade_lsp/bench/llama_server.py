"""The peer: llama-server, asked in one of the manners of `bench.plugin`.

It is given what the plug-ins lack: a request that is overtaken is aborted at once. Answers are
streamed, which lets the tokens of aborted ones be counted. What the plug-ins ask ahead, behind an
answer, is not asked.

It speaks HTTP to the server that it started on 127.0.0.1, and to nobody else.
"""

import asyncio
import json
import shutil
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil

from cascade_lsp.bench import PEER_HELP
from cascade_lsp.bench.plugin import ClientCache, Manner
from cascade_lsp.bench.processes import Meter, threads
from cascade_lsp.bench.typist import Answer, Work
from cascade_lsp.context import Context, gather
from cascade_lsp.errors import EngineError, UsageError

HOST = "127.0.0.1"
LOADING_S = 300.0
LINE_LIMIT_BYTES = 1 << 22


def find(peer: str) -> Path:
    """Return the program of this name or path; raise UsageError with how to get it."""
    found = shutil.which(peer)
    if found is None:
        raise UsageError(f"There is no {peer}. {PEER_HELP}")
    return Path(found)


async def free_port() -> int:
    """Return a port on which nobody listens."""
    server = await asyncio.start_server(lambda *_: None, HOST, 0)
    async with server:
        port: int = server.sockets[0].getsockname()[1]
        return port


class Server:
    """A llama-server process on a port of its own."""

    def __init__(self, program: Path, model: Path, options: Sequence[str]) -> None:
        self._command = [str(program), "-m", str(model), "-c", "4096", "-np", "1", *options]
        self._process: asyncio.subprocess.Process | None = None
        self._port = 0

    async def start(self) -> None:
        """Start it and wait until it has loaded its model."""
        self._port = await free_port()
        where = ["--host", HOST, "--port", str(self._port), "-t", str(threads())]
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            *where,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(LOADING_S):
            while not await self._is_ready():
                if self._process.returncode is not None:
                    raise EngineError(
                        f"{self._command[0]} ended with exit code {self._process.returncode}. "
                        f"Run it by hand to see why: {' '.join([*self._command, *where])}"
                    )
                await asyncio.sleep(0.2)

    async def _is_ready(self) -> bool:
        try:
            status, _, writer = await send(self._port, "GET", "/health", None)
        except (OSError, EOFError):
            return False
        writer.close()
        return status == 200

    async def events(self, path: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Send a request and yield the events of its answer; closing this aborts it."""
        streamed = {**body, "stream": True, "return_progress": True}
        try:
            status, reader, writer = await send(self._port, "POST", path, streamed)
        except (OSError, EOFError) as error:
            raise EngineError(f"llama-server does not answer {path} any more: {error}") from error
        try:
            if status != 200:
                raise EngineError(f"llama-server answered {path} with status {status}.")
            while line := await reader.readline():  # a chunk's length and the blanks are passed by
                if line.startswith(b"data: {"):
                    event = json.loads(line[6:])
                    yield event
                    if event.get("stop"):
                        return
        finally:
            writer.close()

    def processes(self) -> list[psutil.Process]:
        """Return the processes to be metered."""
        alive = self._process and self._process.returncode is None
        return [psutil.Process(self._process.pid)] if alive and self._process else []

    async def close(self) -> None:
        """End the process."""
        if self._process and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()


async def send(
    port: int, method: str, path: str, body: dict[str, Any] | None
) -> tuple[int, StreamReader, StreamWriter]:
    """Send one HTTP request; return the status, and the streams with the body still to come."""
    reader, writer = await asyncio.open_connection(HOST, port, limit=LINE_LIMIT_BYTES)
    raw = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(raw)}\r\nConnection: close\r\n\r\n".encode() + raw)
    try:
        status = int((await reader.readuntil(b"\r\n")).split()[1])
        while (await reader.readuntil(b"\r\n")).strip():
            pass
    except BaseException:
        writer.close()
        raise
    return status, reader, writer


class Peer:
    """A side of the comparison: a server, and a client that remembers its answers."""

    def __init__(self, manner: Manner, program: Path, model: Path) -> None:
        self.name = manner.name
        self._manner = manner
        self._server = Server(program, model, manner.options)
        self._meter = Meter(self._server.processes)
        self._cache = ClientCache()
        self._request: asyncio.Task[str] | None = None
        self._name, self._head, self._tail = "", "", ""
        self._requests, self._drafts, self._cached = 0, 0, 0
        self._read, self._written = 0, 0

    async def start(self) -> None:
        """Start the server and let it answer once."""
        await self._server.start()
        await self.open("warm", "def add(a, b):\n    return", "\n")
        await self.type(" ")
        await self.leave()

    async def open(self, name: str, head: str, tail: str) -> None:
        """Show a document with the cursor between its halves."""
        self._name, self._head, self._tail = name, head, tail

    async def type(self, text: str) -> Answer:
        """Insert a text at the cursor and ask for a suggestion, of the cache or of the server."""
        self._head += text
        self._requests += 1
        self._abort()
        if cached := self._cache.get(self._head, self._tail):
            self._cached += 1
            return Answer(cached)
        self._drafts += 1
        document, offset = self._head + self._tail, len(self._head)
        context = gather(document, offset, uri=self._name)
        request = self._request = asyncio.create_task(self._ask(context))
        await asyncio.wait([request])
        return Answer("" if request.cancelled() else request.result())

    def _abort(self) -> None:
        if self._request:
            self._request.cancel()

    async def _ask(self, context: Context) -> str:
        path, body = self._manner.request(context)
        text, read, written = "", 0, 0
        try:
            async with aclosing(self._server.events(path, body)) as events:  # type: ignore[type-var]
                async for event in events:
                    if "error" in event:
                        raise EngineError(f"llama-server failed: {event['error']}")
                    text += event.get("content", "")
                    written = event.get("tokens_predicted", written)
                    if progress := event.get("prompt_progress"):
                        read = progress["processed"] - progress["cache"]
        finally:
            self._read += read
            self._written += written
        shown = self._manner.shown(text, context)
        if shown:
            before = context.document[: context.offset]
            self._cache.put(before, context.document[context.offset :], shown)
        return shown

    async def leave(self) -> None:
        """Close the document, and wait until nothing is computed any more."""
        self._abort()
        await self._meter.rest()

    async def work(self) -> Work:
        """Return what was done since the start."""
        done = self._requests, self._drafts, self._cached
        return Work(*done, self._read, self._written)

    def cpu_s(self) -> float:
        """Return the processor seconds of the server."""
        return self._meter.read()

    async def close(self) -> None:
        """End the server."""
        self._abort()
        await self._server.close()
