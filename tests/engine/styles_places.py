"""Places to complete, for the study of prompt styles: from real commits and from HumanEval."""

import gzip
import json
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

SETS = {
    "commit": "fim_commit_replay_2025-07_on.jsonl.gz",
    "line": "fim_humaneval_single_line.jsonl.gz",
    "span": "fim_humaneval_random_span_light.jsonl.gz",
}


@dataclass(frozen=True)
class Place:
    """A hole in a file: what is before it, in it and behind it. `group` are places of one kind:
    a commit, or a problem."""

    set: str
    id: str
    group: str
    before: str
    middle: str
    behind: str
    test: str = ""

    @property
    def validation(self) -> bool:
        """Say whether the place is of the third that is for choosing."""
        return zlib.crc32(self.group.encode()) % 3 == 0

    @property
    def inside_line(self) -> bool:
        return bool(self.behind.split("\n", 1)[0].strip()) and not self.middle.endswith("\n")


def places(data: Path, name: str) -> list[Place]:
    """Read a set in its fixed order."""
    with gzip.open(data / SETS[name], "rt") as file:
        rows = [json.loads(line) for line in file]
    found = [_commit(row) if name == "commit" else _hole(name, row) for row in rows]
    kept = [place for place in found if place and place.middle.strip() and place.before.strip()]
    random.Random(7).shuffle(kept)
    return kept


def _commit(row: dict[str, Any]) -> Place | None:
    if row["kind"] != "code" or row["is_test"] or row["is_docs"]:
        return None
    return Place("commit", row["id"], row["commit"], row["prefix"], row["middle"], row["suffix"])


def _hole(name: str, row: dict[str, Any]) -> Place:
    group = "/".join(row["task_id"].split("/")[1:3])
    test = f"{row['test']}\ncheck({row['entry_point']})\n"
    before, middle = row["prompt"], row["canonical_solution"]
    return Place(name, row["task_id"], group, before, middle, row["suffix"], test)


def order(data: Path) -> Iterator[Place]:
    """Return the places, the sets in turn."""
    for turn in zip_longest(*(places(data, name) for name in SETS)):
        yield from filter(None, turn)
