"""Find the user's own tests of a function: by reading their text, never by running it.

A test counts as one of a function if its file imports the function, or its module, the way
Python would resolve it there, and the test uses it by name: itself, or through helpers, fixtures
and set-up of its own file.
"""

import ast
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

from cascade_lsp.sandbox.suite import CONFIGURED, import_paths, package_base, rootdir

MOST_TESTS = 20
MOST_FOLDERS = 5000
MOST_FILE_BYTES = 512 * 1024
MOST_REMEMBERED = 500
FIND_S = 2.0
_TEST_FILE = re.compile(r"test_.*\.py|.*_test\.py", re.DOTALL)
_SKIPPED = frozenset(
    {"node_modules", "site-packages", "build", "dist", "venv", "env", "__pycache__", "vendor"}
)
_HOOKS = (
    "setUp", "setUpClass", "asyncSetUp", "setup_method", "setup_class", "setUpModule",
    "setup_module", "setup_function",
)  # fmt: skip

Names = frozenset[str]


@dataclass(frozen=True, slots=True)
class OwnTest:
    """One test of the project: its file below the root, its name in it (`test_f` or
    `TestCase.test_f`), and the module as which it imports the document."""

    path: str
    name: str
    module: str

    @property
    def text(self) -> str:
        """Return the test's name as pytest writes it."""
        return f"{self.path}::{self.name.replace('.', '::')}"


@dataclass(frozen=True, slots=True)
class Found:
    """The tests of a function, nearest first, and how much was left out for which reason."""

    tests: tuple[OwnTest, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)


def project_root(path: Path) -> Path:
    """Return the folder of the project that a file belongs to: the nearest one that configures
    a project or is under version control, else the file's own."""
    for folder in path.parents:
        if any((folder / name).exists() for name in (*CONFIGURED, ".git")):
            return folder
    return path.parent


def path_of(uri: str) -> Path | None:
    """Return the path of a `file:` URI."""
    match = re.fullmatch(r"file://(?:localhost)?(/.*)", uri, re.DOTALL)
    if not match:
        return None
    plain = re.sub(rb"%([0-9a-fA-F]{2})", lambda m: bytes.fromhex(m[1].decode()), match[1].encode())
    text = os.fsdecode(plain)
    return Path(text[1:] if re.match(r"/[a-zA-Z]:", text) else text)


def path_named(uri: str) -> Path:
    """Return the path that a URI names, of whatever scheme, as if it were a file's."""
    named = re.sub(r"^[\w+.-]+:(//[^/]*)?/*", "file:///", re.sub(r"[?#].*", "", uri))
    return path_of(uri) or path_of(named) or Path(uri)


class Finder:
    """Finds tests in one project; remembers what it has read until a file changes."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._read: dict[Path, tuple[tuple[int, int], _Module]] = {}

    def find(self, uri: str, function: str, within_s: float = FIND_S) -> Found:
        """Return the tests of a function of a document, found within a time."""
        path = path_of(uri)
        document = path.resolve() if path else self.root
        if self.root not in document.parents or document.suffix != ".py":
            return Found()
        ends = time.monotonic() + within_s
        walked = _walk(self.root, document, ends)
        tests, unread = list[OwnTest](), walked.cut_short
        for n, file in enumerate(walked.files):
            if time.monotonic() > ends:
                unread += len(walked.files) - n
                break
            tests += self._tests_in(file, document, function, walked.is_alone)
        left_out = {
            "over_the_limit": max(0, len(tests) - MOST_TESTS),
            "files_not_read": unread,
        }
        kept = {reason: n for reason, n in left_out.items() if n}
        return Found(tuple(tests[:MOST_TESTS]), kept)

    def _tests_in(self, file: Path, document: Path, function: str, alone: bool) -> list[OwnTest]:
        module = self._module(file, function)
        if module is None or file == document:
            return []
        if rootdir(self.root, file) not in document.parents:
            return []  # of another project in the same folder
        names = _modules(document, import_paths(self.root, file), self.root, alone)
        for name in names:
            wanted = {f"{one}.{function}" for one in self._exporters(name, document, function)}
            path = file.relative_to(self.root).as_posix()
            uses_it = [test for test, uses in module.tests if any(_is_of(u, wanted) for u in uses)]
            if uses_it:
                return [OwnTest(path, test, name) for test in uses_it]
        return []

    def _exporters(self, module: str, document: Path, function: str) -> Names:
        """Return the modules from which the function can be imported: its own, and the packages
        around it that pass it on."""
        found = {module}
        folder = document.parent if document.name != "__init__.py" else document.parent.parent
        parts = module.split(".")[:-1]
        while parts:
            package = ".".join(parts)
            read = self._module(folder / "__init__.py", function)
            passed_on = read.imports.get(function) if read else None
            stars = read.stars if read else ()
            if passed_on in {f"{one}.{function}" for one in found} or found & set(stars):
                found.add(package)
            folder = folder.parent
            parts.pop()
        return frozenset(found)

    def _module(self, file: Path, word: str) -> "_Module | None":
        """Return what a file defines if its text has the word in it."""
        try:
            facts = file.stat()
            if file.is_symlink() or facts.st_size > MOST_FILE_BYTES:
                return None
            stamp = facts.st_mtime_ns, facts.st_size
            known = self._read.get(file)
            if known and known[0] == stamp:
                return known[1]
            text = file.read_text("utf-8")
            if word not in text and "import *" not in text:
                return None
            module = _parse(text, _package(file))
        except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
            return None
        if len(self._read) >= MOST_REMEMBERED:
            self._read.pop(next(iter(self._read)))
        self._read[file] = stamp, module
        return module


def _is_of(use: str, wanted: Iterable[str]) -> bool:
    return any(use == one or use.startswith(f"{one}.") for one in wanted)


# -- files ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Walked:
    """The test files of a project, nearest first; how many folders were not looked into; whether
    no other file is named as the document is, nor another folder as its package."""

    files: Sequence[Path]
    cut_short: int
    is_alone: bool


def _walk(root: Path, document: Path, ends: float) -> _Walked:
    base = package_base(document)
    top = document.relative_to(base).parts[0] if base in document.parents else document.name
    files, folders, twins = list[Path](), [root], 0
    for seen, folder in enumerate(folders):  # it grows while it is walked: the nearest come first
        if seen >= MOST_FOLDERS or time.monotonic() > ends:
            return _Walked(_by_nearness(files, document), len(folders) - seen, False)
        for entry in _entries(folder):
            twins += entry.name == top and _is_importable(entry, folder)
            if entry.is_dir(follow_symlinks=False):
                if not _is_skipped(entry):
                    folders.append(Path(entry.path))
            elif _TEST_FILE.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                files.append(Path(entry.path))
    return _Walked(_by_nearness(files, document), 0, twins <= 1)


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _is_importable(entry: "os.DirEntry[str]", folder: Path) -> bool:
    is_module = entry.is_file() or _is_package(Path(entry.path))
    return is_module and not _is_package(folder)


def _is_skipped(entry: "os.DirEntry[str]") -> bool:
    return (
        entry.name.startswith(".")
        or entry.name in _SKIPPED
        or entry.name.endswith(".egg-info")
        or (Path(entry.path) / "pyvenv.cfg").exists()
    )


def _by_nearness(files: Sequence[Path], document: Path) -> list[Path]:
    stem = document.stem if document.stem != "__init__" else document.parent.name
    named = (f"test_{stem}.py", f"{stem}_test.py")

    def rank(file: Path) -> tuple[bool, int, str]:
        common = len(os.path.commonpath([file, document]))
        return file.name not in named, -common, str(file)

    return sorted(files, key=rank)


# -- names ----------------------------------------------------------------------------------------


def _modules(document: Path, paths: Sequence[Path], root: Path, alone: bool) -> list[str]:
    """Return the names by which a file with these import paths can import the document."""
    found = [
        name
        for i, base in enumerate(paths)
        if (name := _dotted(document, base)) and not _is_shadowed(name, paths[:i])
    ]
    # Installed as it lies, or put on the path by hand: whoever imports it by its name means it.
    base = package_base(document)
    name = _dotted(document, base)
    if alone and name and name not in found and not _is_shadowed(name, paths):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and not _is_installed(top, root):
            found.append(name)
    return list(dict.fromkeys(found))


def _dotted(document: Path, base: Path) -> str:
    if base not in document.parents:
        return ""
    parts = document.relative_to(base).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts) if all(part.isidentifier() for part in parts) else ""


def _is_shadowed(name: str, paths: Sequence[Path]) -> bool:
    top = name.partition(".")[0]
    return any((one / f"{top}.py").is_file() or _is_package(one / top) for one in paths)


def _is_package(folder: Path) -> bool:
    return (folder / "__init__.py").is_file()


def _is_installed(top: str, root: Path) -> bool:
    """Say whether the project's environment has something else of this name."""
    for environment in (".venv", "venv"):
        for pattern in ("lib/python3*/site-packages", "Lib/site-packages"):
            for folder in (root / environment).glob(pattern):
                if (folder / f"{top}.py").exists() or _is_package(folder / top):
                    return True
    return False


def _package(file: Path) -> str:
    """Return the package that a file's relative imports start from."""
    parts = file.relative_to(package_base(file)).parts[:-1]
    return ".".join(parts)


# -- what a file says -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Module:
    """What a file binds by imports, and its tests with the dotted names that each uses."""

    imports: Mapping[str, str]
    stars: tuple[str, ...]
    tests: tuple[tuple[str, Names], ...]


@dataclass(frozen=True, slots=True)
class _Unit:
    """A piece of a file: the names that it uses, as written, with what it imports itself. The
    parameters, which may name fixtures, are written `@name`."""

    uses: Names
    imports: Mapping[str, str]


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _parse(text: str, package: str) -> _Module:
    tree = ast.parse(text)
    top = list(_statements(tree.body))
    imports = dict(_imports(top, package))
    stars = tuple(_stars(top, package))
    units: dict[str, list[_Unit]] = {}
    for node in top:
        for name in _bound(node):
            units.setdefault(name, []).append(_unit(node, package))
    tests = list[tuple[str, Names]]()
    for node in top:
        if _is_test(node):
            tests.append((node.name, _reached([node.name, *_HOOKS], units, imports, stars)))
        elif isinstance(node, ast.ClassDef) and _holds_tests(node, top):
            tests += _methods(node, units, imports, stars, package)
    return _Module(imports, stars, tuple(dict(tests).items()))


def _is_test(node: ast.AST) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name.startswith("test")
    return False


def _methods(
    node: ast.ClassDef,
    units: Mapping[str, list[_Unit]],
    imports: Mapping[str, str],
    stars: tuple[str, ...],
    package: str,
) -> Iterator[tuple[str, Names]]:
    """Yield the tests of a class; what `self` is asked for is looked up in the class first."""
    inner = {**units}
    for statement in node.body:
        for name in _bound(statement):
            inner[f"self.{name}"] = [_unit(statement, package)]
    for base in node.bases:
        inner.setdefault("self.*", []).append(_unit(base, package))
    for statement in node.body:
        if _is_test(statement):
            wanted = [f"self.{name}" for name in (statement.name, *_HOOKS, "*")]
            uses = _reached([*wanted, "setUpModule", "setup_module"], inner, imports, stars)
            yield f"{node.name}.{statement.name}", uses


def _reached(
    start: Iterable[str],
    units: Mapping[str, list[_Unit]],
    imports: Mapping[str, str],
    stars: tuple[str, ...],
) -> Names:
    """Return the imported names, dotted in full, that these units use, directly or through
    other units of the file."""
    found, seen, waiting = set[str](), set[str](), list(start)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for unit in units.get(name, ()):
            for use in unit.uses:
                first, _, rest = use.partition(".")
                bound = unit.imports.get(first) or imports.get(first)
                if use.startswith("@"):
                    waiting.append(use[1:])
                elif bound:
                    found.add(f"{bound}.{rest}" if rest else bound)
                elif first in ("self", "cls") and rest:
                    waiting.append(f"self.{rest.partition('.')[0]}")
                elif first in units:
                    waiting.append(first)
                else:
                    found.update(f"{star}.{use}" for star in stars)
    return frozenset(found)


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, those under `if` and `try` as well."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            for part in ast.iter_child_nodes(node):
                inner = part.body if isinstance(part, ast.ExceptHandler) else [part]
                yield from _statements(one for one in inner if isinstance(one, ast.stmt))


def _bound(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, Definition):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        stored = (one for one in ast.walk(node) if isinstance(one, ast.Name))
        yield from (one.id for one in stored if isinstance(one.ctx, ast.Store))


def _unit(node: ast.AST, package: str) -> _Unit:
    """Read a piece: what is bound in a function hides the module's imports of the same name."""
    nodes = list(ast.walk(node))
    arguments = {one.arg for one in nodes if isinstance(one, ast.arg)}
    stored = {o.id for o in nodes if isinstance(o, ast.Name) and not isinstance(o.ctx, ast.Load)}
    local = dict(_imports(nodes, package))
    hidden = set[str]()
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        hidden = (arguments | stored) - {"self", "cls"} - set(local)
    uses = {one for one in _chains(node) if one.partition(".")[0] not in hidden}
    fixtures = {f"@{one}" for one in arguments - {"self", "cls"}}
    return _Unit(frozenset(uses | fixtures), local)


def _chains(node: ast.AST) -> Iterator[str]:
    """Yield the dotted names in a piece of syntax, each as long as it is."""
    if isinstance(node, ast.Attribute | ast.Name):
        inner, parts = node, list[str]()
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value  # type: ignore[assignment]
        if isinstance(inner, ast.Name):
            if isinstance(inner.ctx, ast.Load):
                yield ".".join([inner.id, *reversed(parts)])
            return
    for child in ast.iter_child_nodes(node):
        yield from _chains(child)


def _imports(nodes: Iterable[ast.AST], package: str) -> Iterator[tuple[str, str]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                yield bound, alias.name if alias.asname else bound
        elif isinstance(node, ast.ImportFrom):
            source = _source(node, package)
            for alias in node.names:
                if alias.name != "*" and source is not None:
                    yield alias.asname or alias.name, f"{source}.{alias.name}".lstrip(".")


def _stars(nodes: Iterable[ast.AST], package: str) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            source = _source(node, package)
            if source:
                yield source


def _source(node: ast.ImportFrom, package: str) -> str | None:
    """Return the module from which a statement imports; None if it leads out of its package."""
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    if node.level - 1 > len(parts) or not parts:
        return None
    parts = parts[: len(parts) - (node.level - 1)]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _holds_tests(node: ast.ClassDef, top: Sequence[ast.stmt]) -> bool:
    """Say whether a class is one whose tests pytest or unittest would run."""
    if node.name.startswith("Test"):
        return True
    classes = {one.name: one for one in top if isinstance(one, ast.ClassDef)}
    seen, waiting = set[str](), [node.name]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in classes:
            continue
        seen.add(name)
        bases = [ast.unparse(base) for base in classes[name].bases]
        if any(base.endswith("TestCase") for base in bases):
            return True
        waiting += bases
    return False
