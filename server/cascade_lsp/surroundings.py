"""What a function needs of its module: definitions at module level and what they use.

Reads text, never runs it. The module may be broken elsewhere: each statement is read by itself.
"""

import ast
import builtins
import importlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tree_sitter_python
from tree_sitter import Language, Node, Parser

SHOWN_CHARS = 1500  # of helpers shown to a model; what a candidate needs to run is not limited

_PYTHON = Language(tree_sitter_python.language())
# Wildcard imports from these are narrowed to the names in use: the sandbox has no wildcards.
_WILDCARDS = ("typing", "math", "collections", "itertools", "functools")


def parse(text: str) -> Node:
    """Return the syntax tree of a Python text, however broken."""
    return Parser(_PYTHON).parse(text.encode()).root_node


def source_of(node: Node) -> str:
    """Return the text of a node."""
    return (node.text or b"").decode()


@dataclass(frozen=True, slots=True)
class Definition:
    """One module-level statement: its source, the names it binds and those it uses."""

    source: str
    start: int
    binds: frozenset[str]
    uses: frozenset[str]
    is_import: bool


def surroundings(document: str, skip: int) -> list[Definition]:
    """Return the module-level statements that bind names, but the one at offset `skip`."""
    raw, found = document.encode(), []
    for node in parse(document).children:
        start = len(raw[: node.start_byte].decode())
        if start != skip and (one := _definition(source_of(node), start)):
            found.append(one)
    return found


def _definition(source: str, start: int) -> Definition | None:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    if not tree.body or (isinstance(tree.body[0], ast.If) and "__name__" in source):
        return None
    binds = frozenset(name for statement in tree.body for name in _bound(statement))
    is_import = isinstance(tree.body[0], ast.Import | ast.ImportFrom)
    return Definition(source, start, binds, names_used(tree), is_import) if binds else None


def _bound(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.Import() | ast.ImportFrom():
            yield from ((a.asname or a.name).split(".")[0] for a in statement.names)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield statement.name
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            stored = (n for n in ast.walk(statement) if isinstance(n, ast.Name))
            yield from (n.id for n in stored if isinstance(n.ctx, ast.Store))
        case ast.If() | ast.Try():
            for part in ast.iter_child_nodes(statement):
                if isinstance(part, ast.stmt):
                    yield from _bound(part)


def names_used(tree: ast.AST) -> frozenset[str]:
    """Return every name that a piece of syntax mentions."""
    return frozenset(n.id for n in ast.walk(tree) if isinstance(n, ast.Name))


def closure(names: frozenset[str], definitions: Sequence[Definition]) -> list[Definition]:
    """Return the definitions that `names` need, directly or through others, in order."""
    needed, wanted = set[int](), set(names)
    while found := [
        d for d in definitions if d.start not in needed and (d.binds & wanted or _is_future(d))
    ]:
        needed.update(d.start for d in found)
        wanted.update(*(d.uses for d in found))
    chosen = (d for d in definitions if d.start in needed or _is_star(d))
    return [d for d in (_narrowed(d, wanted, definitions) for d in chosen) if d.source]


def _is_future(definition: Definition) -> bool:
    return definition.source.startswith("from __future__")


def _is_star(definition: Definition) -> bool:
    return definition.binds == {"*"}


def _narrowed(definition: Definition, wanted: set[str], others: Sequence[Definition]) -> Definition:
    """Replace `from module import *` by the names in use, for modules known to be harmless."""
    statement = ast.parse(definition.source).body[0]
    if not _is_star(definition) or not isinstance(statement, ast.ImportFrom):
        return definition
    if statement.module not in _WILDCARDS:
        return definition
    bound = set(dir(builtins)).union(*(d.binds for d in others))
    names = sorted((wanted - bound) & set(dir(importlib.import_module(statement.module))))
    source = f"from {statement.module} import {', '.join(names)}" if names else ""
    return Definition(source, definition.start, definition.binds, definition.uses, True)


def shown(definitions: Sequence[Definition], function: str) -> str:
    """Choose what of the module a model is shown: imports, then what the function's text names,
    then the other helpers while they fit."""
    words = frozenset(re.findall(r"\w+", function))
    imports = [d for d in definitions if d.is_import]
    named = [d for d in closure(words, definitions) if not d.is_import]
    others = [d for d in reversed(definitions) if not d.is_import and d not in named]
    chosen, room = list(named), SHOWN_CHARS - sum(len(d.source) for d in [*imports, *named])
    for definition in others:
        if len(definition.source) <= room:
            chosen.append(definition)
            room -= len(definition.source)
    ordered = imports + sorted(chosen, key=lambda d: d.start)
    return "\n".join(d.source for d in ordered)
