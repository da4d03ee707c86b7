"""How many requests the remote tier's client holds, and what each costs this machine: by hand.

    python -m tests.engine.remote_load llama-server [--slots 4]    beside a real llama-server
    python -m tests.engine.remote_load                             beside a server that only talks

Each client asks for a line, and for the next one as soon as it has it; every tenth is given up
after its first token. Prints one row per number of clients.
"""

import argparse
import asyncio
import resource
import socket
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cascade_lsp.engine import Piece, Prompt
from cascade_lsp.engine.remote import RemoteEngine
from cascade_lsp.engine.remote_options import RemoteOptions
from cascade_lsp.errors import RemoteError
from tests import models
from tests.engine.test_remote import Purse
from tests.servers import event, head, scripted

SECONDS = 20.0
CLIENTS = (1, 4, 16, 64)
ABOVE = "".join(f"def plus_{n}(first):\n    return first + {n}\n\n\n" for n in range(20))


def hole(n: int) -> Prompt:
    """Return a hole of about 300 tokens that no other request has."""
    text = f"{ABOVE}def add_{n}(first, second):\n    return first"
    pieces = (Piece("fim_pre"), Piece("text", text), Piece("fim_suf"), Piece("text", "\n"))
    return Prompt((*pieces, Piece("fim_mid")), n_predict=16, stop=("\n",))


async def client(engine: RemoteEngine, first: int, until: float, rows: list[tuple[str, float]]):
    """Ask until the time is over."""
    n = first
    while time.monotonic() < until:
        n += 1000
        started, stream = time.monotonic(), engine.generate([hole(n)])
        try:
            await anext(stream)
            if (n // 1000) % 10 == 0:
                await stream.aclose()
                rows.append(("given up", time.monotonic() - started))
                continue
            async for _ in stream:
                pass
            rows.append(("answered", time.monotonic() - started))
        except RemoteError as error:
            rows.append((str(error), time.monotonic() - started))


async def measure(url: str, clients: int) -> str:
    """Return one row of the table."""
    options = RemoteOptions(url=url, timeout_s=120, api="infill", day_tokens=10**9)
    engine = RemoteEngine(options, str, Purse())
    rows: list[tuple[str, float]] = []
    began, used = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    until = began + SECONDS
    async with asyncio.TaskGroup() as group:
        for first in range(clients):
            group.create_task(client(engine, first, until, rows))
    took, end = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    await engine.close()
    cpu = end.ru_utime + end.ru_stime - used.ru_utime - used.ru_stime
    answered = sorted(s for how, s in rows if how == "answered")
    given_up = sum(how == "given up" for how, _ in rows)
    failed = len(rows) - len(answered) - given_up
    p95 = answered[int(len(answered) * 0.95)] if answered else 0.0
    return (
        f"| {clients} | {len(answered) / took:.1f} | {statistics.median(answered):.2f} | "
        f"{p95:.2f} | {given_up} | {failed} | {1000 * cpu / max(1, len(rows)):.1f} |"
    )


@asynccontextmanager
async def llama_server(program: str, slots: int) -> AsyncIterator[str]:
    """Serve the small model by llama.cpp's own server; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    room = str(1024 * slots)
    options = ["-m", str(models.small()), "-np", str(slots), "-c", room, "-t", "2"]
    null = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *(program, *options, "--host", "127.0.0.1", "--port", port), stdout=null, stderr=null
    )
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", int(port))
                break
            except OSError:
                await asyncio.sleep(0.2)
        writer.close()
        await asyncio.sleep(5)  # it listens before its model is loaded
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def talking() -> AsyncIterator[str]:
    """Serve sixteen tokens to whoever asks, at once."""

    async def script(_call, writer):
        writer.write(head() + event({"content": " x"}) * 16 + event({"content": "", "stop": True}))
        writer.close()

    async with scripted(script) as server:
        yield server.url


async def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", nargs="?")
    parser.add_argument("--slots", type=int, default=4)
    wanted = parser.parse_args()
    serving = llama_server(wanted.program, wanted.slots) if wanted.program else talking()
    print("| clients | answers a second | p50 s | p95 s | given up | failed | client's CPU ms |")
    print("|---|---|---|---|---|---|---|")
    async with serving as url:
        for clients in CLIENTS:
            print(await measure(url, clients), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
