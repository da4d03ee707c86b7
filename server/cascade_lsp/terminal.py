"""What the commands share: how a file is read and how JSON is printed."""

import json
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from cascade_lsp.errors import UsageError

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def print_json(value: object) -> None:
    """Print a value for a program to read."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read(path: Path) -> str:
    """Return a file's text; raise UsageError where it has none."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a UTF-8 text file.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error


def seconds_of(text: str) -> float:
    """Return a time such as 30m, 12h, 7d or 2w in seconds; raise UsageError for others."""
    parts = re.fullmatch(r"(\d+)([smhdw])", text)
    if not parts:
        raise UsageError(f"{text!r} is not a length of time. Write 30m, 12h, 7d or 2w.")
    return int(parts[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[parts[2]]
