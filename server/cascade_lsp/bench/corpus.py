"""Where to type: places in real files whose true text is known.

A place is a function whose body is gone, or a line that is gone; which ones are taken, and in which
order, follows from the seed alone.
"""

import ast
import gzip
import json
import random
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cascade_lsp.errors import UsageError

STANDARD = ("calendar", "configparser", "csv", "fractions", "heapq", "shlex", "statistics")
SHORTEST_LINE = 8  # characters
FEWEST_LINES, MOST_LINES = 2, 15


@dataclass(frozen=True, slots=True)
class Source:
    """One file of the corpus."""

    repo: str
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """What stands before the cursor, what is to be typed there, and what stands behind it."""

    name: str
    kind: Literal["body", "line"]
    head: str
    truth: str
    tail: str


def read(path: Path | None) -> list[Source]:
    """Return the files of a corpus, by default some of the standard library's."""
    if path is None:
        folder = Path(sysconfig.get_path("stdlib"))
        return [_standard(folder / f"{name}.py") for name in STANDARD]
    try:
        raw = path.read_bytes()
        lines = (gzip.decompress(raw) if path.suffix == ".gz" else raw).splitlines()
        rows = [json.loads(line) for line in lines]
        return [Source(row["repo"], row["path"], row["text"]) for row in rows]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, EOFError) as error:
        raise UsageError(f"{path} must hold JSON Lines with repo, path and text.") from error


def _standard(path: Path) -> Source:
    return Source("python", path.name, path.read_text(encoding="utf-8"))


def places(sources: Sequence[Source], count: int, seed: int) -> list[Place]:
    """Choose places, bodies and lines in turn; raise UsageError where there are too few."""
    shuffler = random.Random(seed)
    holes = [(source, hole) for source in sources for hole in _holes(source.text)]
    shuffler.shuffle(holes)
    bodies = [one for one in holes if one[1].kind == "body"][:count]
    lines = [one for one in holes if one[1].kind == "line"][:count]
    chosen = [one for pair in zip(bodies, lines, strict=False) for one in pair][:count]
    if len(chosen) < count:
        raise UsageError(f"The corpus has only {len(chosen)} places to type at.")
    return [_place(source, hole) for source, hole in chosen]


@dataclass(frozen=True, slots=True)
class _Hole:
    kind: Literal["body", "line"]
    start: int
    end: int


def _holes(text: str) -> Iterator[_Hole]:
    """Find the bodies and the lines of a file's functions, without their docstrings."""
    text_bytes = text.encode()
    try:
        tree = ast.parse(text_bytes)
    except (SyntaxError, ValueError):
        return
    ends = [0]  # of lines as the parser counts them, in characters
    for raw in text_bytes.splitlines(keepends=True):
        ends.append(ends[-1] + len(raw.decode()))
    if ends[-1] != len(text) or "\r" in text or "\f" in text:
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
        if not body or body[0].lineno == node.lineno:
            continue
        first, last = body[0].lineno, body[-1].end_lineno or 0
        rows = [text[ends[row - 1] : ends[row]].rstrip("\n") for row in range(first, last + 1)]
        if FEWEST_LINES <= len(rows) <= MOST_LINES:
            yield _Hole("body", ends[first - 1] + _indent(rows[0]), ends[last - 1] + len(rows[-1]))
        for row, line in enumerate(rows, start=first):
            if len(line.strip()) >= SHORTEST_LINE and line.isascii():
                yield _Hole("line", ends[row - 1] + _indent(line), ends[row - 1] + len(line))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _place(source: Source, hole: _Hole) -> Place:
    text = source.text
    line = text.count("\n", 0, hole.start) + 1
    name = f"{source.repo}/{source.path}:{line} {hole.kind}"
    truth = text[hole.start : hole.end].rstrip()
    return Place(name, hole.kind, text[: hole.start], truth, text[hole.end :])
