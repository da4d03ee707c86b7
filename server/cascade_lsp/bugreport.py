"""A text that a user can attach to a bug report, without the user in it.

Versions, findings, settings that differ from their defaults, the end of the log. Removed are the
user's and the machine's name, paths but those below the product's own folders, hosts in addresses,
texts among the settings, and what looks like a secret. A line too much is removed rather than one
too few, and a file's name of several words may leave its later ones behind when it is not quoted:
so it is printed, and nobody sends it.
"""

import getpass
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

from cascade_lsp import __version__, paths
from cascade_lsp.redaction import kind_of
from cascade_lsp.settings import Settings

LOG_LINES = 50
LIBRARIES = ("llama-cpp-python", "pygls", "lsprotocol", "pydantic-monty", "psutil", "gguf")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
SHOWN = ("models",)  # groups whose texts are names of the catalogue

_URL = re.compile(r"\b([a-z][a-z0-9+.-]*)://([^\s\"'<>)\]]*)", re.IGNORECASE)
_ASSIGNED = re.compile(r"\b([A-Z][A-Z0-9_]{2,})\s*=\s*(\"[^\"]*\"|'[^']*'|\S+)")
_TOKEN = re.compile(
    r"\b(?:(?:sk|pk|rk|hf|gh[a-z]|github_pat|glpat|xox[a-z]|AKIA|AIza|eyJ)[-_A-Za-z0-9.]{12,}"
    r"|(?=[A-Za-z0-9_-]*\d)(?=[A-Za-z0-9_-]*[A-Za-z])[A-Za-z0-9_-]{32,})"
)
_BEARER = re.compile(r"\b(bearer|basic|authorization:?)\s+\S+", re.IGNORECASE)
_QUOTED = re.compile(r"([\"'`])(?:~|/|\\\\|[A-Za-z]:[\\/])[^\"'`\n]*\1")
_PLAIN = re.compile(
    r"(?<![\w<>.~/])(?:~[\\/]|/(?=\w)|/\.|\\\\|[A-Za-z]:[\\/])[^\s\"'`<>:;,)]*"
    r"(?: [^\s\"'`<>:;,/\\]+[\\/][^\s\"'`<>:;,)]*)*"
)


def report(
    findings: Sequence[Mapping[str, Any]], settings: Settings, logs: Sequence[Path] = ()
) -> str:
    """Return the report; findings are those of the doctor, as plain values."""
    lines = ["# cascade doctor --report", "", "## Versions", "", *_versions()]
    lines += ["", "## Findings", ""]
    for finding in findings:
        lines.append(f"- {finding['state']}: {finding['name']}: {finding['found']}")
    lines += ["", "## Settings that differ from their defaults", ""]
    lines += [f"- {line}" for line in _changed(settings, Settings(), "cascade")] or ["none"]
    for log in logs:
        lines += ["", f"## The last {LOG_LINES} lines of {log.name}", "", *_end_of(log)]
    return "\n".join(redacted(line, settings.remote.host) for line in lines) + "\n"


def _versions() -> Iterator[str]:
    yield f"- cascade {__version__}, Python {platform.python_version()}"
    yield f"- {platform.system()} {platform.release()} on {platform.machine()}"
    for name in LIBRARIES:
        try:
            yield f"- {name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            yield f"- {name}: not installed"


def _changed(given: Any, usual: Any, path: str) -> Iterator[str]:
    """Yield the settings that differ; texts of the user's own are not shown."""
    for one in fields(given):
        value, default, name = getattr(given, one.name), getattr(usual, one.name), one.name
        if is_dataclass(value):
            yield from _changed(value, default, f"{path}.{name}")
        elif value != default:
            free = isinstance(value, str | tuple) and not get_args(one.type)
            hidden = free and not path.endswith(SHOWN)
            yield f"{path}.{name}: {'set (a text of yours)' if hidden else value}"


def _end_of(log: Path) -> list[str]:
    try:
        return log.read_text("utf-8", errors="replace").splitlines()[-LOG_LINES:]
    except OSError as error:
        return [f"It cannot be read: {error.strerror}."]


def redacted(line: str, host: str = "") -> str:
    """Return a line without secrets, paths and names; `host` is the remote model's."""
    kind = kind_of(line)
    if kind:
        return f"<a line that seems to hold a secret ({kind}) was removed>"
    line = _URL.sub(_address, line)
    line = _BEARER.sub(r"\1 <removed>", line)
    line = _ASSIGNED.sub(r"\1=<removed>", line)
    for folder, name in _folders():
        line = line.replace(folder, name)
    line = _QUOTED.sub(r"\1<path>\1", line)
    line = _PLAIN.sub("<path>", line)
    line = _TOKEN.sub("<removed>", line)
    remote = [(host, "<remote>")] if host and host not in LOOPBACK else []
    for word, name in (*remote, *_names()):
        line = re.sub(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", name, line)
    return line


def _address(found: "re.Match[str]") -> str:
    scheme, rest = found.groups()
    host = re.split(r"[/?#]", rest.rpartition("@")[2], maxsplit=1)[0]
    name = re.sub(r":\d+$", "", host)
    return f"{scheme}://{host if name in LOOPBACK else '<removed>'}"


def _folders() -> list[tuple[str, str]]:
    """Return the product's folders with what stands for each, then the user's, longest first."""
    known = {
        str(Path(__file__).parent): "<cascade>",
        str(paths.models_dir()): "<models>",
        str(paths.state_dir()): "<state>",
        str(paths.runtime_dir()): "<runtime>",
        sys.prefix: "<python>",
        sys.base_prefix: "<base python>",
        str(Path.home()): "~",
    }
    return sorted(
        ((folder, name) for folder, name in known.items() if len(folder) > 1),
        key=lambda pair: -len(pair[0]),
    )


def _names() -> Iterator[tuple[str, str]]:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user without a name
        user = ""
    for word, name in ((user, "<user>"), (Path.home().name, "<user>"), (platform.node(), "<host>")):
        if len(word) > 1:
            yield word, name
