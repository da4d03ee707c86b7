"""What a text imports of its own workspace, as the heads of the definitions behind the names.

It reads files below the workspace's folders and runs nothing. A file that is excluded, too large
or outside the folders, whichever way leads there, is as if it were not there; so is what is
installed, which a model knows better than a head could tell.
"""

import re
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import normpath
from pathlib import Path

from cascade_lsp import heads

MOST_BYTES = 256 * 1000  # of a file that is read
MOST_IMPORTS = 100  # of one document that are followed
MOST_STARS = 10  # of one module that may pass on a name
DEPTH = 3  # modules that pass a name on, one to the next
REMEMBERED = 200
SUFFIXES = (".ts", ".tsx", ".d.ts", ".js", ".jsx", ".mjs", ".cjs")
_LANGUAGES = {".ts": "typescript", ".tsx": "typescriptreact"}


@dataclass(frozen=True, slots=True)
class Import:
    """A name of a text, and what it is bound to: `name` of `module`, the module itself where it
    is "", all names of the module where both are "*". A module is written as the language writes
    it: "a.b", "..a", "./a"."""

    bound: str
    module: str
    name: str


@dataclass(frozen=True, slots=True)
class Head:
    """What stands behind a name of a text: the head of its definition, as source, and the file
    that has it, as `Workspace.shown` gives it. Of a module, one for each definition, bound as
    "module.name"."""

    bound: str
    file: tuple[str, str]
    text: str


_PYTHON = re.compile(
    r"^[ \t]*(?:from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n#(]+)"
    r"|import[ \t]+([^\n#]+))",
    re.MULTILINE,
)
_JAVASCRIPT = re.compile(
    r"^[ \t]*(?:import|export)\s+(?:type\s+)?([^'\"`;=]*?)\s*from\s*['\"](\.[^'\"\n]*)['\"]"
    r"|^[ \t]*(?:const|let|var)\s+([^=\n]+?)\s*=\s*require\(['\"](\.[^'\"\n]*)['\"]\)",
    re.MULTILINE,
)


def imports(text: str, language: str) -> tuple[Import, ...]:
    """Return what a text imports, in order; reading its letters, not its syntax, so that a
    document may be broken, and each keystroke may ask."""
    if language == "python":
        found = _python_imports(text)
    elif heads.family(language) == "javascript":
        found = _javascript_imports(text)
    else:
        return ()
    return tuple(dict.fromkeys(found))


def _python_imports(text: str) -> Iterator[Import]:
    for module, names, modules in _PYTHON.findall(text):
        for part in re.sub(r"#[^\n]*|[()\\\s]+", " ", names or modules).split(","):
            match part.split():
                case [name, "as", bound] if module:
                    yield Import(bound, module, name)
                case [name] if module:
                    yield Import(name, module, name)
                case [name, "as", bound]:
                    yield Import(bound, name, "")
                case [name] if not module:
                    yield Import(name, name, "")


def _javascript_imports(text: str) -> Iterator[Import]:
    for clause, module, pattern, required in _JAVASCRIPT.findall(text):
        written, source = (clause or pattern).strip(), module or required
        named = re.search(r"\{([^}]*)\}", written)
        for part in named[1].split(",") if named else ():
            match re.sub(r"\btype\s|:", lambda m: " as " if m[0] == ":" else "", part).split():
                case [name, "as", bound]:
                    yield Import(bound, source, name)
                case [name]:
                    yield Import(name, source, name)
        rest = re.sub(r"\{[^}]*\}", "", written).strip(" ,\n")
        if rest == "*":
            yield Import("*", source, "*")
        if match := re.fullmatch(r"(?:\w+\s*,\s*)?\*\s*as\s+(\w+)", rest):
            yield Import(match[1], source, "")
        if match := re.match(r"\w+", rest):
            yield Import(match[0], source, "default" if clause else "")


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where is read: the workspace's folders, the texts of the documents that are open, by their
    paths, and who may see a file."""

    folders: Sequence[Path]
    texts: Mapping[Path, str]
    may_be_seen: Callable[[Path], bool]

    def folder_of(self, file: Path) -> Path | None:
        """Return the folder that a file lies in, whichever way leads there."""
        try:
            real = file.resolve()
        except (OSError, RuntimeError, ValueError):
            return None
        inside = (one for one in self.folders if one.resolve() in real.parents)
        return max(inside, key=lambda one: one in file.parents, default=None)

    def shown(self, file: Path) -> tuple[str, str]:
        """Return the innermost folder that a file is named in and its path below it; "" and its
        name where it is named in none."""
        inside = [one for one in self.folders if one in file.parents]
        folder = max(inside, key=lambda one: len(one.parts), default=None)
        return (str(folder), file.relative_to(folder).as_posix()) if folder else ("", file.name)


@dataclass(frozen=True, slots=True)
class _Module:
    """What a file defines and imports."""

    heads: Mapping[str, str]
    imports: tuple[Import, ...]

    def passing_on(self, wanted: Import) -> Iterator[Import]:
        """Yield the imports from which the module may have a name that is wanted of it."""
        named = [one for one in self.imports if one.bound == wanted.name]
        stars = [one for one in self.imports if one.bound == "*"][:MOST_STARS]
        yield from (replace(one, bound=wanted.bound) for one in named)
        yield from (replace(one, bound=wanted.bound, name=wanted.name) for one in stars)


class Reader:
    """Looks up what is imported; remembers what it has read until a file changes."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[object, _Module]] = {}

    def heads(
        self, document: Path, language: str, wanted: Sequence[Import], workspace: Workspace
    ) -> tuple[Head, ...]:
        """Return the heads of what a document imports of its workspace, in the imports' order."""
        found: dict[Head, None] = {}
        if workspace.folder_of(document):
            for one in wanted[:MOST_IMPORTS]:
                found.update(dict.fromkeys(self._behind(one, document, language, workspace, DEPTH)))
        return tuple(found)

    def _behind(
        self, wanted: Import, document: Path, language: str, workspace: Workspace, depth: int
    ) -> Iterator[Head]:
        """Yield what is behind a name: in the module, in one that it has it from, or a module."""
        for file in _files(wanted, document, language, workspace.folders):
            inside = workspace.folder_of(file)
            module = self._module(file, language, workspace) if inside else None
            if module is None:
                continue
            shown = workspace.shown(file)
            if wanted.name in ("", "*"):
                of = f"{wanted.bound}." if not wanted.name else ""
                public = {n: text for n, text in module.heads.items() if not n.startswith("_")}
                yield from (Head(f"{of}{name}", shown, text) for name, text in public.items())
                return
            if text := module.heads.get(wanted.name):
                yield Head(wanted.bound, shown, text)
                return
            for one in module.passing_on(wanted) if depth else ():
                if found := list(self._behind(one, file, language, workspace, depth - 1)):
                    yield from found
                    return
        if wanted.name and language == "python":
            joint = "" if wanted.module.endswith(".") else "."
            inner = Import(wanted.bound, f"{wanted.module}{joint}{wanted.name}", "")
            yield from self._behind(inner, document, language, workspace, 0)

    def _module(self, file: Path, language: str, workspace: Workspace) -> _Module | None:
        """Return what a file has, as the editor has it open or as it lies there."""
        try:
            facts = file.stat()
        except (OSError, ValueError):
            return None
        small = stat.S_ISREG(facts.st_mode) and facts.st_size <= MOST_BYTES
        if not small or not workspace.may_be_seen(file):
            return None
        opened = workspace.texts.get(file)
        stamp = opened if opened is not None else (facts.st_mtime_ns, facts.st_size)
        known = self._known.get(file)
        if known and known[0] == stamp:
            return known[1]
        try:
            text = opened if opened is not None else file.read_text("utf-8")
            text, language = text.replace("\r\n", "\n"), _LANGUAGES.get(file.suffix, language)
            module = _Module(heads.heads(text, language), imports(text, language))
        except (OSError, ValueError, RecursionError):
            return None
        if len(self._known) >= REMEMBERED:
            self._known.pop(next(iter(self._known)), None)
        self._known[file] = stamp, module
        return module


def _files(
    wanted: Import, document: Path, language: str, folders: Sequence[Path]
) -> Iterator[Path]:
    """Yield the files that an import may mean, the likeliest first."""
    if language != "python":
        base = Path(normpath(document.parent / wanted.module))
        stem = base.with_suffix("") if base.suffix in SUFFIXES else base
        yield base
        yield from (stem.with_name(stem.name + suffix) for suffix in SUFFIXES)
        yield from (base / f"index{suffix}" for suffix in SUFFIXES)
        return
    name = wanted.module.lstrip(".")
    level = len(wanted.module) - len(name)
    parts = name.split(".") if name else []
    if level:
        bases = [(document.parent, *document.parent.parents)[level - 1]]
    elif parts[0] in sys.stdlib_module_names:
        return
    else:
        around = [one for one in document.parents if any(_is_in(one, at) for at in folders)]
        bases = [*around, *(one / below for one in folders for below in ("", "src"))]
    for base in dict.fromkeys(bases):
        if parts:
            yield base.joinpath(*parts[:-1], f"{parts[-1]}.py")
        yield base.joinpath(*parts, "__init__.py")


def _is_in(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents
