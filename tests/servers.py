"""Servers of models on this machine, for the tests of the remote tier: scripted ones that answer
byte for byte what a test wants, and llama.cpp's own."""

import asyncio
import json
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests import models


@dataclass(frozen=True, slots=True)
class Call:
    """What a scripted server was asked."""

    path: str
    headers: dict[str, str]
    body: dict[str, object]
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # who asked has gone


Script = Callable[[Call, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Scripted:
    """A server that answers by a script, and remembers what it was asked."""

    port: int
    calls: list[Call] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Return its address, as settings have it."""
        return f"http://127.0.0.1:{self.port}/v1"


@asynccontextmanager
async def scripted(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    """Serve a script on a free port of this machine."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while raw := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = raw.decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines if line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                call = Call(first.split()[1], headers, json.loads(body or b"{}"))
                known.calls.append(call)
                answering = asyncio.create_task(script(call, writer))
                # Nothing more is said before the answer: what is read is the end.
                ended = asyncio.create_task(reader.read(1))
                await asyncio.wait({answering, ended}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    call.gone.set()
                await answering
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    known = Scripted(server.sockets[0].getsockname()[1])
    try:
        yield known
    finally:
        server.close()


def head(status: int = 200, kind: str = "text/event-stream", **headers: str) -> bytes:
    """Return the head of an answer that ends with its connection."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return (
        f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n{more}\r\n".encode()
    )


def event(value: object) -> bytes:
    """Return one event of a stream."""
    return f"data: {json.dumps(value)}\n\n".encode()


def piece(text: str) -> bytes:
    """Return a piece of a conversation's answer."""
    return event({"choices": [{"delta": {"content": text}}]})


def usage(prompt_tokens: int, completion_tokens: int) -> bytes:
    """Return the event that tells what an answer has cost."""
    told = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return event({"choices": [], "usage": told})


def saying(*pieces: str) -> Script:
    """Return a script that answers every conversation with these pieces."""

    async def script(call: Call, writer: asyncio.StreamWriter) -> None:
        if call.path != "/v1/chat/completions":
            writer.write(head(404, "application/json") + b"{}")
        else:
            told = b"".join(map(piece, pieces))
            writer.write(head() + told + usage(100, len(pieces)) + b"data: [DONE]\n\n")
        writer.close()

    return script


@asynccontextmanager
async def llama() -> AsyncIterator[str]:
    """Serve the small model by llama.cpp's Python server; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(models.small())]
    options = ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", "2048", "--n_threads", "2"]
    null = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, *options, stdout=null, stderr=null)
    try:
        async with asyncio.timeout(120):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                except OSError:
                    assert process.returncode is None, "the server ended"
                    await asyncio.sleep(0.2)
        writer.close()
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        await process.wait()
