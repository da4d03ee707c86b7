"""What the commands share: how files, places and settings are read, and how JSON is printed."""

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cascade_lsp.errors import UsageError

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

# By their identifiers in editors.
LANGUAGES = (
    dict.fromkeys((".py", ".pyi"), "python")
    | dict.fromkeys((".js", ".mjs", ".cjs"), "javascript")
    | dict.fromkeys((".ts", ".mts", ".cts"), "typescript")
    | {".jsx": "javascriptreact", ".tsx": "typescriptreact"}
)


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


def settings_in(path: Path) -> Any:
    """Return the settings in a JSON file, the tree that an editor sends; raise UsageError for a
    fault in them."""
    from cascade_lsp.settings import parse

    try:
        settings, faults = parse(json.loads(read(path)))
    except ValueError as error:
        raise UsageError(f"{path} is no JSON: {error}.") from error
    if faults:
        raise UsageError(" ".join(faults))
    return settings


def place_in(place: str) -> Any:
    """Return the context of FILE:LINE[:COL]; raise UsageError where there is none."""
    from cascade_lsp.context import gather
    from cascade_lsp.exclusions import Exclusions

    parts = re.fullmatch(r"(.+?):(\d+)(?::(\d+))?", place)
    if not parts:
        raise UsageError(f"{place!r} is not a place. Write FILE:LINE or FILE:LINE:COL.")
    path = Path(parts[1])
    if excluded := Exclusions().reason_of(path.absolute()):
        raise UsageError(excluded)
    text = read(path)
    # Lines as editors count them: form feeds and the like end none.
    lines = re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)
    if not lines or lines[-1].endswith(("\r", "\n")):
        lines.append("")
    line = int(parts[2])
    if not 1 <= line <= len(lines):
        raise UsageError(f"{path} has {len(lines)} lines, so there is no line {line}.")
    current = lines[line - 1].rstrip("\r\n")
    column = int(parts[3]) if parts[3] else len(current) + 1
    if not 1 <= column <= len(current) + 1:
        raise UsageError(f"Line {line} of {path} has columns 1 to {len(current) + 1}.")
    offset = sum(map(len, lines[: line - 1])) + column - 1
    language = LANGUAGES.get(path.suffix, path.suffix.removeprefix(".") or "text")
    return gather(text, offset, uri=path.resolve().as_uri(), language=language)
