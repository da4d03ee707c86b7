"""What the commands share: how a file is read and how JSON is printed."""

import json
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
