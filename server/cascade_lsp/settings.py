"""Everything a user can set, as one tree of defaulted dataclasses.

Each group is the options dataclass of the module that uses it, so a default is written once.
`parse` never raises: what is right is kept, what is wrong falls back to its default, and each
fault becomes one sentence. `python -m cascade_lsp.settings` prints docs/settings.md, and with
`--vscode` the settings of the VS Code extension's manifest.

Metadata of a field: `help` (its effect and unit), `least` (a bound below), `choices`, and
`guarded` for what makes code run, chooses what is run or keeps source text: an editor takes it
from the user alone, never from a folder that the user does not trust.
"""

import difflib
import json
import reprlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from cascade_lsp.cascade import CascadeOptions
from cascade_lsp.catalogue import ModelOptions
from cascade_lsp.context import ContextOptions
from cascade_lsp.engine import EngineOptions
from cascade_lsp.engine.remote_options import RemoteOptions
from cascade_lsp.ledger import LedgerOptions
from cascade_lsp.moments import WhenOptions
from cascade_lsp.power import PowerOptions
from cascade_lsp.sandbox import SandboxOptions

SECTION = "cascade"
LARGEST = 2**31 - 1  # of LSP's integers
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Whether there are suggestions at all, and where."""

    enabled: bool = field(
        default=True, metadata={"help": "Make suggestions. When off, no model is loaded or asked."}
    )
    network: Literal["off", "on"] = field(
        default="off",
        metadata={
            "help": "off: nothing connects to anything but this machine, except a download that "
            "you start by name; on: a remote model that you configured may be asked.",
            "guarded": True,
        },
    )
    max_file_kb: int = field(
        default=1024,
        metadata={"help": "Files of more than so many thousand characters get no suggestions."},
    )
    disabled_languages: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Languages that get no suggestions, by the editor's identifiers, "
            'such as "markdown". No model is asked for them.'
        },
    )
    lens: bool = field(
        default=False,
        metadata={
            "help": "Say above a function what tests said of the suggestion that wrote it, such as "
            '"4 of 4 tests passed".'
        },
    )
    when: WhenOptions = field(default_factory=WhenOptions)
    completion: CascadeOptions = field(default_factory=CascadeOptions)
    models: ModelOptions = field(default_factory=ModelOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)
    context: ContextOptions = field(default_factory=ContextOptions)
    sandbox: SandboxOptions = field(default_factory=SandboxOptions)
    ledger: LedgerOptions = field(default_factory=LedgerOptions)
    remote: RemoteOptions = field(default_factory=RemoteOptions)
    power: PowerOptions = field(default_factory=PowerOptions)


def parse(raw: object) -> tuple[Settings, list[str]]:
    """Read settings as a client sent them, bare or under "cascade"; return them with the faults.

    Each fault is a sentence for the user: which setting, what is wrong, what is used instead.
    """
    faults: list[str] = []
    if isinstance(raw, Mapping) and SECTION in raw:
        raw = raw[SECTION]
    return _read(Settings, raw, SECTION, faults), faults


@dataclass(frozen=True, slots=True)
class Entry:
    """One field of a group: a setting, or a group again."""

    name: str
    kind: Any
    default: Any
    metadata: Mapping[str, Any]

    @property
    def least(self) -> float:
        """Return the bound below a number: as stated, else 0 or a default under it."""
        return float(self.metadata.get("least", min(0, self.default)))

    @property
    def choices(self) -> tuple[str, ...]:
        """Return the texts of which the setting must be one; empty where it is free."""
        literal = get_args(self.kind) if get_origin(self.kind) is Literal else ()
        return tuple(self.metadata.get("choices", literal))

    @property
    def is_list(self) -> bool:
        """Say whether the setting is a list of texts."""
        return get_origin(self.kind) is tuple

    @property
    def values(self) -> str:
        """Return in words what the setting may be."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.kind in (int, float):
            return f"{_WORDS[self.kind]}, at least {self.least:g}"
        return "a list of texts" if self.is_list else _WORDS[self.kind]


def _entries(group: type) -> Iterator[Entry]:
    hints = get_type_hints(group)
    for one in fields(group):
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        yield Entry(one.name, hints[one.name], default, one.metadata)


Group = TypeVar("Group")


def _read(group: type[Group], raw: object, path: str, faults: list[str]) -> Group:
    if not isinstance(raw, Mapping | None):
        faults.append(f"{path} is {_shown(raw)}, but must be a group of settings; it is ignored.")
    given = raw if isinstance(raw, Mapping) else {}
    entries = {entry.name: entry for entry in _entries(group)}
    faults += [_unknown(path, name, entries) for name in given if name not in entries]
    return group(
        **{
            name: _value(entry, given[name], f"{path}.{name}", faults)
            for name, entry in entries.items()
            if given.get(name) is not None
        }
    )


def _value(entry: Entry, raw: object, path: str, faults: list[str]) -> object:
    if is_dataclass(entry.kind):
        return _read(entry.kind, raw, path, faults)  # type: ignore[arg-type]
    if _fits(entry, raw):
        return tuple(raw) if entry.is_list else raw  # type: ignore[arg-type]
    faults.append(
        f"{path} is {_shown(raw)}, but must be {entry.values}; {_shown(entry.default)} is used."
    )
    return entry.default


def _fits(entry: Entry, raw: object) -> bool:
    if entry.choices:
        return isinstance(raw, str) and raw in entry.choices
    if entry.is_list:
        return isinstance(raw, list | tuple) and all(isinstance(one, str) for one in raw)
    if entry.kind in (int, float) and isinstance(raw, int | float) and not isinstance(raw, bool):
        whole = isinstance(raw, int) or entry.kind is float
        return whole and entry.least <= raw <= LARGEST
    return type(raw) is entry.kind and entry.kind in (bool, str)


def _unknown(path: str, name: object, entries: Mapping[str, Entry]) -> str:
    near = difflib.get_close_matches(str(name), entries, 1)
    meant = f"; {path}.{near[0]} may be meant" if near else ""
    return f"{path}.{name} is not a setting and is ignored{meant}."


def _shown(value: object) -> str:
    return reprlib.repr(value) if isinstance(value, list | dict) else json.dumps(value)[:60]


def document() -> str:
    """Return docs/settings.md: every setting with its default and its meaning."""
    return "\n".join([_HEAD, *_section(Settings, SECTION), ""])


def _section(group: type, path: str) -> Iterator[str]:
    entries = list(_entries(group))
    yield f"\n## {path}\n\n{(group.__doc__ or '').strip()}\n"
    yield "| Setting | Default | May be | Meaning |\n|---|---|---|---|"
    for entry in entries:
        if not is_dataclass(entry.kind):
            cells = f"`{json.dumps(entry.default)}` | {entry.values} | {entry.metadata['help']}"
            yield f"| `{path}.{entry.name}` | {cells} |"
    for entry in entries:
        if is_dataclass(entry.kind):
            yield from _section(entry.kind, f"{path}.{entry.name}")  # type: ignore[arg-type]


def manifest() -> dict[str, Any]:
    """Return the settings as VS Code's `contributes.configuration` wants them: one titled group
    each, and the names of the guarded ones under "restricted"."""
    groups = list(_groups(Settings, SECTION))
    return {
        "restricted": [
            f"{path}.{entry.name}"
            for path, _, entries in groups
            for entry in entries
            if _guarded(entry)
        ],
        "configuration": [
            {
                "title": title,
                "order": order,
                "properties": {f"{path}.{entry.name}": _property(entry) for entry in entries},
            }
            for order, (path, title, entries) in enumerate(groups)
        ],
    }


def _groups(group: type, path: str) -> Iterator[tuple[str, str, list[Entry]]]:
    entries = list(_entries(group))
    title = path.removeprefix(SECTION).strip(".").capitalize() or "General"
    yield path, title, [entry for entry in entries if not is_dataclass(entry.kind)]
    for entry in entries:
        if is_dataclass(entry.kind):
            yield from _groups(entry.kind, f"{path}.{entry.name}")  # type: ignore[arg-type]


def _guarded(entry: Entry) -> bool:
    return bool(entry.metadata.get("guarded"))


def _property(entry: Entry) -> dict[str, Any]:
    default = list(entry.default) if entry.is_list else entry.default
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    schema: dict[str, Any] = {
        "type": "array" if entry.is_list else kinds.get(entry.kind, "string"),
        "default": default,
        "markdownDescription": entry.metadata["help"],
        "scope": "window",
    }
    if entry.is_list:
        schema["items"] = {"type": "string"}
    if entry.choices:
        schema["enum"] = list(entry.choices)
    if entry.kind in (int, float):
        schema["minimum"] = entry.kind(entry.least)
    return schema


_HEAD = """# Settings

A client gives settings in `initializationOptions` and in `workspace/didChangeConfiguration`, or is
asked for the section `cascade` with `workspace/configuration`; what is given later replaces
all that was given before. Both `{"cascade": {"engine": {"threads": 2}}}` and the bare tree
`{"engine": {"threads": 2}}` are read. A wrong or unknown setting is reported once and replaced by
its default; the others stay in force.

This file is generated: `python -m cascade_lsp.settings > docs/settings.md`."""


if __name__ == "__main__":
    wanted = json.dumps(manifest(), indent=2) + "\n" if "--vscode" in sys.argv else document()
    sys.stdout.write(wanted)
