"""JSON Lines as the laboratory keeps them: appended as they come, taken up where they stopped."""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

from cascade_lsp.errors import UsageError

Row = dict[str, Any]


def read(path: Path) -> Iterator[Row]:
    """Yield the rows of a file (.gz too); a last line that was cut off is none. UsageError where a
    line before it is no JSON object."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith("\n"):
                    try:
                        yield json.loads(line)
                    except ValueError:
                        return
                elif line.strip():
                    yield _object(line, path, number)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (EOFError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is damaged: {error}. Fetch or write it again.") from error


def _object(line: str, path: Path, number: int) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UsageError(f"{path}:{number} is not JSON: {error}. Remove that line.") from error
    if not isinstance(row, dict):
        raise UsageError(f"{path}:{number} is not a JSON object. Remove that line.")
    return row


class Rows:
    """A file to which rows are appended; `had` are those it held when it was opened."""

    def __init__(self, path: Path) -> None:
        if path.suffix == ".gz":
            raise UsageError(
                f"Rows are added to a file line by line, which {path} cannot take. "
                "Name a .jsonl file; `cascade lab digest` makes a compressed study of it."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size and not _ends_a_line(path):
            _drop_last_line(path)
        self.had = list(read(path)) if path.exists() else []
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def add(self, row: Row) -> None:
        """Append a row; it is on its way to the disk when this returns."""
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _drop_last_line(path: Path) -> None:
    """Take off the line that was being written when the writer ended."""
    whole = path.read_bytes()
    with path.open("rb+") as file:
        file.truncate(whole.rfind(b"\n") + 1)
