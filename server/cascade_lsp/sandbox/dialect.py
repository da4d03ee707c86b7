"""Where the sandbox's interpreter differs from CPython, and what is made of it.

The portable tier runs monty, which knows part of Python. A difference between the two must never
count as a candidate's failure. Three things keep that rule: `PRELUDE` and `single_pass` give
monty the one-pass iterators that it lacks; `delayed_lines` finds code that monty evaluates
earlier than CPython; `difference` recognises what monty says of things that CPython has.
Text work on sources and messages: nothing here runs a program.
"""

import ast
import builtins
import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

TYPED = "_cascade_typed"

# In monty these builtins return lists, made at once; here they become what CPython has. The
# outer `islice` hides a class of ours behind a type that no candidate's value is confused with.
PRELUDE = f"""\
import itertools as _cascade_tools
_cascade_iter, _cascade_type = iter, type
_cascade_zip, _cascade_reversed = zip, reversed
class _CascadeZip:
    def __init__(self, sources):
        self.sources = [_cascade_iter(source) for source in sources]
    def __iter__(self):
        return self
    def __next__(self):
        if not self.sources:
            raise StopIteration
        return tuple([next(source) for source in self.sources])
class _CascadeEnumerate:
    def __init__(self, source, start):
        self.source = _cascade_iter(source)
        self.next = start
    def __iter__(self):
        return self
    def __next__(self):
        item = (self.next, next(self.source))
        self.next += 1
        return item
def zip(*sources, strict=False):
    if strict:
        return _cascade_iter(_cascade_zip(*sources, strict=True))
    return _cascade_tools.islice(_CascadeZip(sources), None)
def enumerate(iterable, start=0):
    return _cascade_tools.islice(_CascadeEnumerate(iterable, start), None)
def map(function, *sources):
    return _cascade_tools.starmap(function, _CascadeZip(sources))
def filter(function, source):
    if function is None:
        return _cascade_tools.filterfalse(lambda item: not item, source)
    return _cascade_tools.filterfalse(lambda item: not function(item), source)
def reversed(sequence):
    return _cascade_iter(_cascade_reversed(sequence))
def {TYPED}(value):
    return [value, _cascade_type(value)]
"""

_EAGER = {"list", "tuple", "set", "frozenset", "dict", "sum", "sorted", "max", "min", "join"}

# Modules monty has, at least in part; they are harmless to import here for a look at their names.
# fmt: off
_SHARED_MODULES = {
    "asyncio", "base64", "binascii", "bisect", "collections", "copy", "csv", "dataclasses",
    "datetime", "decimal", "functools", "hashlib", "itertools", "json", "math", "os", "random",
    "re", "sys", "time", "tomllib", "typing", "unicodedata",
}
# fmt: on
_TYPES = {name: kind for name, kind in vars(builtins).items() if isinstance(kind, type)} | {
    "NoneType": type(None)
}

_MODULE_ATTRIBUTE = re.compile(r"module '([\w.]+)' has no attribute '(\w+)'")
_IMPORTED_NAME = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")
_TYPE_ATTRIBUTE = re.compile(r"(?:type object )?'([\w.]+)'(?: object)? has no attribute '(\w+)'")
_NAME = re.compile(r"name '(\w+)' is not defined")
_MODULE = re.compile(r"No module named '([\w.]+)'")
_TYPE_ERRORS = re.compile(r"cannot create '[\w.]+' instances|'typing\.|print\(\) 'file' argument")


@dataclass(frozen=True, slots=True)
class Code:
    """Source text as it is fed to monty, and what CPython's parser knows of it.

    `delayed` are lines of `delayed_lines`, `names` what it binds, `raises` where its own raise
    and assert statements name what to raise (line, and column from 1), `sets` whether it uses
    sets, whose order is not the same in both.
    """

    text: str
    delayed: frozenset[int] = frozenset()
    names: frozenset[str] = frozenset()
    raises: frozenset[tuple[int, int]] = frozenset()
    sets: bool = False


class NotPython(Exception):
    """CPython does not accept the text."""


def read(text: str, mode: Literal["exec", "eval"] = "exec") -> Code:
    """Parse with CPython, which has the last word on what is Python; raise NotPython."""
    try:
        tree = ast.parse(text, mode=mode)
        assert isinstance(tree, (ast.Module, ast.Expression))
        compile(tree, "candidate", mode, dont_inherit=True)
        fed = single_pass(text, tree)
        raises = own_raises(fed, tree if fed == text else ast.parse(fed, mode=mode))
        return Code(fed, delayed_lines(tree), bound_names(tree), raises, uses_sets(tree))
    except SyntaxError as error:
        raise NotPython(f"SyntaxError: {error.msg} (line {error.lineno})") from error
    except (ValueError, MemoryError, RecursionError) as error:
        raise NotPython(f"{type(error).__name__}: {error}") from error


def single_pass(source: str, tree: ast.AST) -> str:
    """Turn generator expressions into one-pass iterators over lists; lines stay where they are."""
    starts = [0]
    text = source.encode()
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    edits = sorted(
        edit for node in _generators(tree) for edit in _wrapping(node, starts)
    )  # a later edit must not move an earlier one
    for offset, insertion in reversed(edits):
        text = text[:offset] + insertion + text[offset:]
    return text.decode()


def _generators(tree: ast.AST) -> Iterator[ast.GeneratorExp]:
    for node in ast.walk(tree):
        if isinstance(node, ast.GeneratorExp) and not any(g.is_async for g in node.generators):
            yield node


def _wrapping(node: ast.GeneratorExp, starts: list[int]) -> list[tuple[int, bytes]]:
    """Return insertions just inside the parentheses, which belong to the node."""
    assert node.end_lineno is not None and node.end_col_offset is not None
    start = starts[node.lineno - 1] + node.col_offset + 1
    end = starts[node.end_lineno - 1] + node.end_col_offset - 1
    return [(start, b"_cascade_iter(["), (end, b"])")]


def delayed_lines(tree: ast.AST) -> frozenset[int]:
    """Return the lines of code that CPython may never reach and monty evaluates at once.

    `any(1 / n for n in ns)` stops early in CPython. Where the parent consumes everything anyway,
    as `sum` does, there is no difference.
    """
    lines: set[int] = set()
    for parent in ast.walk(tree):
        if not _consumes_all(parent):
            for child in ast.iter_child_nodes(parent):
                if isinstance(child, ast.GeneratorExp):
                    lines.update(range(child.lineno, (child.end_lineno or child.lineno) + 1))
    return frozenset(lines)


def _consumes_all(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _called(node) in _EAGER


def _called(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def bound_names(tree: ast.AST) -> frozenset[str]:
    """Return every name that a program binds anywhere."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
    return frozenset(names)


def own_raises(fed: str, tree: ast.AST) -> frozenset[tuple[int, int]]:
    """Return where monty places an exception that a statement of the program raises."""
    lines = fed.encode().splitlines()
    named = [
        node.exc if isinstance(node, ast.Raise) else node.test
        for node in ast.walk(tree)
        if isinstance(node, (ast.Raise, ast.Assert))
    ]
    # The parser counts bytes, monty characters.
    return frozenset(
        (node.lineno, len(lines[node.lineno - 1][: node.col_offset].decode()) + 1)
        for node in named
        if node is not None
    )


def uses_sets(tree: ast.AST) -> bool:
    """Say whether a program makes sets, whose order differs from one interpreter to the next."""
    return any(
        isinstance(node, (ast.Set, ast.SetComp))
        or (isinstance(node, ast.Name) and node.id in ("set", "frozenset"))
        for node in ast.walk(tree)
    )


def difference(error: str, message: str, statement: str, defined: frozenset[str]) -> str:
    """Say what monty lacks where an exception that monty itself raised shows it; else "".

    `statement` is the source line that was run. `defined` are the names that the program binds:
    its own classes are no part of CPython.
    """
    match error:
        case "NotImplementedError":
            return message
        case "ModuleNotFoundError":
            return _first(_MODULE, message, "the sandbox has no module {0}")
        case "ImportError":
            return _lacking_import(message)
        case "NameError":
            return _lacking_builtin(message)
        case "AttributeError":
            return _lacking_attribute(message, defined)
        case "TypeError" if "+=" in statement and "can only concatenate list" in message:
            return "monty extends a list in place by lists alone"
        case "TypeError" if _TYPE_ERRORS.search(message):
            return f"monty: {message}"
        case "RuntimeError" if "suspension limit" in message or "monty" in message:
            return message
    return ""


def _first(pattern: re.Pattern[str], message: str, reason: str) -> str:
    found = pattern.search(message)
    return reason.format(*found.groups()) if found else message


def _lacking_import(message: str) -> str:
    found = _IMPORTED_NAME.search(message)
    if found and not _in_cpython(module=found[2], name=found[1]):
        return ""
    return _first(_IMPORTED_NAME, message, "monty has no {1}.{0}")


def _lacking_builtin(message: str) -> str:
    found = _NAME.search(message)
    if found and (found[1] in vars(builtins) or found[1].startswith("__")):
        return f"monty has no {found[1]}"
    return ""


def _lacking_attribute(message: str, defined: frozenset[str]) -> str:
    if found := _MODULE_ATTRIBUTE.search(message):
        return f"monty has no {found[1]}.{found[2]}" if _in_cpython(found[1], found[2]) else ""
    found = _TYPE_ATTRIBUTE.search(message)
    if found is None or found[1] in defined:
        return ""
    kind = _TYPES.get(found[1])
    known = kind is None or hasattr(kind, found[2])
    return f"monty has no {found[1]}.{found[2]}" if known else ""


def _in_cpython(module: str, name: str) -> bool:
    """Say whether CPython's module has that name; a module not looked into may."""
    if module not in _SHARED_MODULES:
        return module in sys.stdlib_module_names or "." in module
    return hasattr(importlib.import_module(module), name)
