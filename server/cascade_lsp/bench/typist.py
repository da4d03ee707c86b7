"""Somebody who types a known text, key by key, and sees what an editor would show meanwhile.

Keys come in bursts. Each key changes the text and asks for a suggestion, which ends the request
before it; after the last key of a burst the typist waits for the answer. A suggestion is accepted,
whole, if the true text goes on with it. How fast somebody types at a place, and in which bursts,
follows from the seed and from what is typed, so that it is the same on every side.
"""

import asyncio
import random
import re
import time
from collections.abc import Awaitable
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from cascade_lsp.bench.corpus import Place

FASTEST_S, SLOWEST_S = 0.08, 0.2  # between two keys
SHORTEST_LOOK_S, LONGEST_LOOK_S = 0.5, 2.0  # from the cursor's coming to a place to the first key
LONGEST_BURST = 6  # keys
PATIENCE_S = 10.0
MOST_KEYS = 60  # per place
WORTH = 3  # characters other than blanks, for less than which nobody takes a suggestion


@dataclass(frozen=True, slots=True)
class Answer:
    """What was suggested at the cursor; `misplaced` if it is meant for another place or text."""

    text: str
    misplaced: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """What a side has done so far: requests, those that began an inference, those that needed no
    new one, and tokens; None where it does not say."""

    requests: int = 0
    drafts: int = 0
    cached: int = 0
    read: int | None = None
    written: int | None = None

    def since(self, before: "Work") -> "Work":
        """Return what was done after `before`."""
        return Work(
            self.requests - before.requests,
            self.drafts - before.drafts,
            self.cached - before.cached,
            _less(self.read, before.read),
            _less(self.written, before.written),
        )


def _less(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else after - before


class Side(Protocol):
    """A server with the client that belongs to it."""

    name: str

    async def start(self) -> None:
        """Start the server and load its model."""
        ...

    async def open(self, name: str, head: str, tail: str) -> None:
        """Show a document with the cursor between its halves."""
        ...

    def type(self, text: str) -> Awaitable[Answer]:
        """Insert a text at the cursor and ask for a suggestion; the request before this one ends
        with whatever came of it, mostly nothing."""
        ...

    async def leave(self) -> None:
        """Close the document, and wait until nothing is computed any more."""
        ...

    async def work(self) -> Work:
        """Return what was done since the start."""
        ...

    def cpu_s(self) -> float:
        """Return the processor seconds of all its processes since the start."""
        ...

    async def close(self) -> None:
        """End the server."""
        ...


@dataclass(frozen=True, slots=True)
class Key:
    """One key: where in the true text, and what became of its request.

    `ms` is the wait for the answer after the last key of a burst; `first_line` says whether the
    suggestion's first line is the rest of the true one, None where nothing of it is left.
    """

    at: int
    last: bool
    opening: bool = False
    answered: bool = False
    ms: float | None = None
    inferred: bool = False
    stale: bool = False
    first_line: bool | None = None
    suggestion: str = ""
    accepted: int = 0


@dataclass(frozen=True, slots=True)
class Visit:
    """What one side did at one place."""

    side: str
    place: str
    keys: tuple[Key, ...]
    work: Work
    cpu_s: float

    def as_json(self) -> dict[str, Any]:
        """Return a row of a file of visits."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Visit":
        """Read a row back."""
        keys = tuple(Key(**key) for key in row["keys"])
        return cls(**{**row, "keys": keys, "work": Work(**row["work"])})


_Asked = tuple[Key, "asyncio.Future[Answer]"]


async def visit(side: Side, place: Place, seed: int, pace: float = 1.0) -> Visit:
    """Type at one place; `pace` stretches the pauses between keys."""
    before, cpu_before = await side.work(), side.cpu_s()
    await side.open(place.name, place.head, place.tail)
    look = random.Random(f"{seed} {place.name}").uniform(SHORTEST_LOOK_S, LONGEST_LOOK_S)
    await asyncio.sleep(pace * look)
    asked, at, accepted, opening = list[_Asked](), 0, "", True
    while at < len(place.truth) and len(asked) < MOST_KEYS:
        dice = random.Random(f"{seed} {place.name} {at}")
        strokes = keystrokes(place.truth[at:])[: dice.randint(1, LONGEST_BURST)]
        if accepted:  # by one key, after which the editor asks what comes next
            strokes = [accepted]
        for stroke in strokes[:-1]:
            at += len(stroke)
            overtaken = asyncio.ensure_future(side.type(stroke))
            await asyncio.sleep(pace * dice.uniform(FASTEST_S, SLOWEST_S))
            asked.append((Key(at, last=False, answered=overtaken.done()), overtaken))
        at += len(strokes[-1])
        begun = Key(at, last=True, opening=opening)
        key, future = await _last_key(side, strokes[-1], begun, place.truth[at:])
        accepted = key.suggestion if _is_taken(key, place.truth[at:]) else ""
        asked.append((replace(key, accepted=len(accepted)), future))
        opening = False
    await side.leave()
    keys = tuple(_came_late(*one) for one in asked)
    work = (await side.work()).since(before)
    return Visit(side.name, place.name, keys, work, side.cpu_s() - cpu_before)


async def _last_key(side: Side, text: str, key: Key, rest: str) -> _Asked:
    """Type the last key of a burst, or accept a suggestion, and wait for the answer."""
    before = await side.work()
    began = time.perf_counter()
    future = asyncio.ensure_future(side.type(text))
    await asyncio.wait([future], timeout=PATIENCE_S)
    key = replace(key, ms=(time.perf_counter() - began) * 1000, inferred=True)
    if not future.done():
        return key, future
    answer, work = future.result(), (await side.work()).since(before)
    seen = replace(
        key,
        answered=True,
        inferred=work.drafts > 0,
        stale=answer.misplaced,
        first_line=_first_line_is_right(answer.text, rest),
        suggestion=answer.text,
    )
    return seen, future


def _came_late(key: Key, future: "asyncio.Future[Answer]") -> Key:
    """Say of a key that had no answer in time whether one came for a text that was gone."""
    late = not key.answered and future.done() and not future.cancelled()
    return replace(key, stale=bool(future.result().text)) if late else key


def keystrokes(text: str) -> list[str]:
    """Cut a text into keys; Enter brings the next line's indentation, as editors do."""
    return re.findall(r"\n[ \t]*|[^\n]", text)


def _first_line_is_right(suggestion: str, rest: str) -> bool | None:
    line = rest.split("\n", 1)[0].rstrip()
    return suggestion.split("\n", 1)[0].rstrip() == line if line.strip() else None


def _is_taken(key: Key, rest: str) -> bool:
    """Say whether a suggestion is worth a key, and the true text goes on with all of it."""
    text = key.suggestion
    return not key.stale and rest.startswith(text) and len("".join(text.split())) >= WORTH
