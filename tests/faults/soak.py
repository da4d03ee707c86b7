"""Kill the product's processes at random moments while someone types, and see that nothing is lost.

    python -m tests.faults.soak --kills 200 --out kills.jsonl [--seed 0]

Adds a row to the file for each kill, {kill, victim, there, answered_ms, items, text, ledger,
unrecorded}: whether there was such a process, when the next key was answered and with how many
suggestions, whether the server's document equals the editor's and all requests were answered, what
is wrong with the ledger, and how many of the shown suggestions it lacks. Goes on where an earlier
run stopped. Ends with 1 if any row tells of a loss.
"""

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.faults.product import ANSWER_S, LINES, VICTIMS, Product, make_home, product

TYPED = 5  # keys between two kills
COMES_S = 10.0  # for a process to kill
LONGEST = 2000  # characters of a document, then it is begun anew: a preview shows 2,800


async def soak(home: Path, kills: range, seed: int) -> Iterator[dict]:
    """Yield a row for each kill."""
    chance, kill, text = random.Random(f"{seed}:{kills.start}"), kills.start, ""
    while kill < kills.stop:
        async with product(home) as window:
            await window.begin(text)
            while kill < kills.stop:
                victim = VICTIMS[kill % len(VICTIMS)]
                row = await strike(window, victim, chance)
                yield {"kill": kill, **row}
                kill, text = kill + 1, window.text
                if victim == "server" and row["there"]:
                    break  # the editor starts another one, with the text as it stands


async def strike(window: Product, victim: str, chance: random.Random) -> dict:
    """Type, kill, type on, and say what came of it."""
    if len(window.text) > LONGEST:
        window.editor.notify("textDocument/didClose", {"textDocument": {"uri": window.uri}})
        window.text, window.version = "", 1
        window.editor.open("", uri=window.uri)
    for letter in LINES.replace("{n}", str(window.version)):
        window.type(letter)
    waiting = [window.ask()]
    await asyncio.sleep(chance.random() * 0.6)
    for letter in "result"[:TYPED]:
        window.type(letter)
        waiting.append(window.ask())
        await asyncio.sleep(chance.random() * 0.05)
    lacking: set[str] = set()
    if victim == "writer":
        there, lacking = True, await window.kill_writer(chance.random() * 0.3)
    else:
        there = await struck(window, victim)
    if victim == "server" and there:
        await window.editor.process.wait()
        return row_of(victim, there, 0.0, 0, text=True, window=window, lacking=0)
    window.type(" = ")
    began = time.monotonic()
    items = await window.suggested()
    took_ms = (time.monotonic() - began) * 1000
    done, unanswered = await asyncio.wait(waiting, timeout=ANSWER_S)
    for one in done:
        window.show(one.result()["items"])
    known = await window.servers_text()  # prompts end without blanks
    same = known.rstrip() == window.text.rstrip() and not unanswered
    window.type("0\n\n\n")
    lacking |= await window.unrecorded()
    return row_of(
        victim, there, took_ms, len(items), text=same, window=window, lacking=len(lacking)
    )


async def struck(window: Product, victim: str) -> bool:
    """Kill a process as soon as there is one; say whether one came."""
    until = time.monotonic() + COMES_S
    # Processes have no event to wait on.
    while not (there := window.kill(victim)) and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    return there


def row_of(
    victim: str, there: bool, ms: float, items: int, *, text: bool, window: Product, lacking: int
) -> dict:
    """Return what a kill came to."""
    known = {"victim": victim, "there": there, "answered_ms": round(ms), "items": items}
    return {**known, "text": text, "ledger": window.ledger_fault(), "unrecorded": lacking}


def lost(row: dict) -> bool:
    """Say whether a row tells of a loss."""
    return not row["text"] or bool(row["ledger"]) or row["unrecorded"] > 0


async def main() -> int:
    """Run the soak; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("kills.jsonl"))
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    rows = [json.loads(row) for row in wanted.out.open()] if wanted.out.exists() else []
    folder = Path(tempfile.mkdtemp())
    try:
        with wanted.out.open("a") as out:
            async for row in soak(make_home(folder), range(len(rows), wanted.kills), wanted.seed):
                rows.append(row)
                out.write(json.dumps(row) + "\n")
                out.flush()
                print(f"{len(rows)} of {wanted.kills}: {row}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(Counter(row["victim"] for row in rows if row["there"]), sum(map(lost, rows)), "lost")
    return int(any(map(lost, rows)))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
