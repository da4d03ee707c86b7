"""What a long day leaves behind: memory, descriptors and waits, measured on running servers.

    python -m tests.faults.long day|real|windows|idle --out long.jsonl
    python -m tests.faults.long report --out long.jsonl --kills kills.jsonl

`day` types 24 simulated hours into a server whose model is a script, `real` a part of it into the
whole product; time between the keys is left out. `windows` has ten windows type 50 characters a
second between them, `idle` measures what the product computes while nobody types. Rows are
added as they come. A part whose last row is there is not measured again; one that was cut short is
begun anew, as the memory of a process that has ended tells nothing of another one's. `report`
prints the tables of docs/reliability.md and draws its picture.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from statistics import quantiles

import psutil

from tests.faults.product import LINES, Product, make_home, of_home, product
from tests.faults.tell import tell
from tests.protocol.editors import far_editor

HOURS = 24
KEYS = {"day": 50_000, "real": 2_000}  # each of which asks
BURST = 5  # keys typed without waiting for an answer, as who types fast does
LETTERS = 600  # of a document, then another one is opened
WARM = 0.1  # of a part, before its first row
ROWS = 50
WINDOWS, RATE, TYPING_S = 10, 50, 60.0
SETTLE_S, IDLE_S = 30.0, 240.0
MB = 1_000_000


async def day(window: Product, keys: int) -> AsyncIterator[dict]:
    """Type, and ask at every key; yield a row for each fiftieth, from the first tenth on."""
    waits: list[float] = []
    step = keys // ROWS
    for key in range(BURST, keys + 1, BURST):
        waits.append(await burst(window, key))
        if key % step < BURST:
            if key > keys * WARM:
                p50, p95 = percentiles(waits)
                yield {"hour": round(HOURS * key / keys, 2), "keys": key, **size(window)} | {
                    "p50_ms": p50,
                    "p95_ms": p95,
                }
            waits = []


async def burst(window: Product, key: int) -> float:
    """Type some keys, each of which asks; return how long the last answer took, in ms."""
    if len(window.text) > LETTERS:
        close(window)
    code = LINES.replace("{n}", str(key // LETTERS))
    at = len(window.text) % len(code)
    letters = (code + code)[at : at + BURST]
    asked = []
    for letter in letters:
        window.type(letter)
        asked.append(window.ask())
    began = time.perf_counter()
    await asyncio.wait_for(asyncio.gather(*asked), 120)
    return (time.perf_counter() - began) * 1000


def close(window: Product) -> None:
    """Close the document and open an empty one in its place."""
    window.editor.notify("textDocument/didClose", {"textDocument": {"uri": window.uri}})
    window.editor.received.clear()
    window.text, window.version = "", 1
    window.editor.open("", uri=window.uri)


def percentiles(waits: list[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile."""
    cuts = quantiles(waits, n=20, method="inclusive")
    return round(cuts[9], 1), round(cuts[18], 1)


def size(window: Product) -> dict[str, float]:
    """Return the server's memory and descriptors, and those of its engine."""
    server = psutil.Process(window.editor.process.pid)
    engine = engine_of(window.home)
    return {
        "server_mb": round(server.memory_info().rss / MB, 2),
        "server_files": server.num_fds(),
        "engine_mb": round(sum(one.memory_info().rss for one in engine) / MB, 2),
        "engine_files": sum(one.num_fds() for one in engine),
    }


def engine_of(home: Path) -> list[psutil.Process]:
    """Return a home's engine host and its workers."""
    return [one for one in of_home(home) if "cascade_lsp.engine" in " ".join(one.cmdline())]


async def scripted_day(home: Path) -> AsyncIterator[dict]:
    """Yield the rows of a day with a scripted model."""
    async with far_editor({"testable": True}, env={"CASCADE_HOME": str(home)}) as editor:
        window = Product(home, editor, {})
        await window.begin()
        async for row in day(window, KEYS["day"]):
            yield row


async def real_day(home: Path) -> AsyncIterator[dict]:
    """Yield the rows of a part of a day with the real model and sandbox."""
    async with product(home) as window:
        await window.begin()
        async for row in day(window, KEYS["real"]):
            yield row


async def windows(home: Path, count: int = WINDOWS, seconds: float = TYPING_S) -> dict:
    """Let windows type at once for some seconds; return what became of their requests."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(product(home)) for _ in range(count)]
        for number, one in enumerate(opened):
            one.uri = (home.parent / f"window{number}.py").as_uri()
            await one.begin()
        assert await opened[0].suggested() is not None  # the model is loaded
        waits = await asyncio.gather(*(typing(one, RATE / count, seconds) for one in opened))
        engine = [" ".join(one.cmdline()) for one in engine_of(home)]
        same = [await one.servers_text() == one.text for one in opened]
    taken = [ms for one in waits for ms, _ in one]
    p50, p95 = percentiles(taken)
    return {
        "windows": count,
        "seconds": seconds,
        "answered": len(taken),
        "with_text": sum(items for one in waits for _, items in one),
        "p50_ms": p50,
        "p95_ms": p95,
        "documents_equal": all(same),
        "hosts": sum("engine.host" in one for one in engine),
        "workers": sum("engine.worker" in one for one in engine),
    }


async def typing(window: Product, rate: float, seconds: float) -> list[tuple[float, bool]]:
    """Type at a rate and ask at every key; return for each how long the answer took, in ms, and
    whether it held a suggestion."""
    code = (LINES * int(rate * seconds / len(LINES) + 1))[: int(rate * seconds)]
    asked, began = [], time.perf_counter()
    for number, letter in enumerate(code):
        await asyncio.sleep(began + number / rate - time.perf_counter())
        window.type(letter)
        asked.append(asyncio.create_task(timed(window)))
    found = await asyncio.gather(*asked)
    window.type("x")  # what a server previews ends without blanks
    return found


async def timed(window: Product) -> tuple[float, bool]:
    """Ask; return how long the answer took, in ms, and whether it held a suggestion."""
    began = time.perf_counter()
    answer = await asyncio.wait_for(window.ask(), 120)
    return (time.perf_counter() - began) * 1000, bool(answer["items"])


async def idle(home: Path) -> dict:
    """Return what the product computes while a document is open and nobody types."""
    async with product(home) as window:
        await window.begin(LINES.replace("{n}", "1"))
        window.type("return ")
        await window.suggested()
        await asyncio.sleep(SETTLE_S)
        server = psutil.Process(window.editor.process.pid)
        tree = {server, *server.children(recursive=True), *engine_of(home)}
        before = used_s(tree)
        await asyncio.sleep(IDLE_S)
        used = used_s(tree) - before
    share = 100 * used / IDLE_S
    return {
        "seconds": IDLE_S,
        "processes": len(tree),
        "cpu_s": round(used, 2),
        "percent_of_a_core": round(share, 3),
        "cpu_s_an_hour": round(share * 36, 1),
    }


def used_s(processes: set[psutil.Process]) -> float:
    """Return the processor seconds that processes and their ended children have taken."""
    total = 0.0
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            total += sum(one.cpu_times()[:4])
    return total


async def measure(part: str, home: Path) -> AsyncIterator[dict]:
    """Yield a part's rows as they come, the last one marked."""
    if part in ("windows", "idle"):
        yield {**(await (windows if part == "windows" else idle)(home)), "last": True}
        return
    async for row in (scripted_day if part == "day" else real_day)(home):
        yield {**row, "last": row["keys"] == KEYS[part]}


def rows_of(file: Path) -> Iterator[dict]:
    """Yield the rows of a file, those of parts that were cut short left out."""
    rows = [json.loads(line) for line in file.open()] if file.exists() else []
    whole = {row["run"] for row in rows if row["last"]}
    return (row for row in rows if row["run"] in whole)


async def main() -> int:
    """Run a part, or the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["day", "real", "windows", "idle", "report"])
    parser.add_argument("--out", type=Path, default=Path("long.jsonl"))
    parser.add_argument("--kills", type=Path, default=Path("kills.jsonl"))
    wanted = parser.parse_args()
    known = list(rows_of(wanted.out))
    if wanted.part == "report":
        kills = [json.loads(line) for line in wanted.kills.open()]
        print(tell(known, kills, Path("docs/reliability.svg")))
        return 0
    if any(row["part"] == wanted.part for row in known):
        print(f"{wanted.part} is measured already; nothing is done")
        return 0
    folder = Path(tempfile.mkdtemp())
    run = f"{wanted.part}-{int(time.time())}"
    try:
        with wanted.out.open("a") as out:
            async for row in measure(wanted.part, make_home(folder)):
                out.write(json.dumps({"part": wanted.part, "run": run, **row}) + "\n")
                out.flush()
                print(row, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
