"""Typing on every side, place by place in turn, and keeping what was seen."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from cascade_lsp.bench.corpus import Place
from cascade_lsp.bench.typist import Side, Visit, visit
from cascade_lsp.errors import UsageError

Told = Callable[[str], None]


async def replay(
    sides: Sequence[Side], places: Sequence[Place], seed: int, rows: Path | None, told: Told
) -> list[Visit]:
    """Type at every place on every side, one after the other; `told` hears of each visit.

    Visits that the file of rows has already are not made again; new ones are added to it.
    """
    known = {(one.place, one.side): one for one in read_rows(rows)}
    visits = []
    try:
        if any((place.name, side.name) not in known for place in places for side in sides):
            for side in sides:
                told(f"{side.name}: starting")
                await side.start()
        for turn, place in enumerate(places):
            first = turn % len(sides)  # nobody is always the first
            for side in (*sides[first:], *sides[:first]):
                told(f"{side.name}: {place.name}")
                seen = known.get((place.name, side.name))
                if seen is None:
                    seen = await visit(side, place, seed)
                    add_row(rows, seen)
                visits.append(seen)
    finally:
        for side in sides:
            await side.close()
    return visits


def read_rows(path: Path | None) -> list[Visit]:
    """Return the visits of a file, none where there is no such file."""
    if path is None or not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [Visit.from_json(json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{path} holds no rows of this bench; name another file.") from error


def add_row(path: Path | None, seen: Visit) -> None:
    """Write a visit at the end of a file."""
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(seen.as_json(), ensure_ascii=False) + "\n")
