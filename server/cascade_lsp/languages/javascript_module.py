"""What a JavaScript or TypeScript function needs of its module: definitions and what they use.

Reads text, never runs it. The module may be broken elsewhere: statements with errors are left out.
Types are shown to a model, but a program does without them: they are erased before it runs.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import tree_sitter_javascript
import tree_sitter_typescript
from tree_sitter import Language, Node, Parser

SHOWN_CHARS = 1500  # of helpers shown to a model; what a candidate needs to run is not limited

DECLARED = ("function_declaration", "generator_function_declaration")
VALUES = ("arrow_function", "function_expression", "generator_function")
_VARIABLES = ("lexical_declaration", "variable_declaration")
_TYPES = {"interface_declaration", "type_alias_declaration", "ambient_declaration"}
_DECLARATIONS = {
    *DECLARED,
    "class_declaration",
    "abstract_class_declaration",
    "enum_declaration",
    "internal_module",
    *_TYPES,
}


@cache
def _grammar(language: str) -> Language:
    match language:
        case "typescript":
            return Language(tree_sitter_typescript.language_typescript())
        case "typescriptreact":
            return Language(tree_sitter_typescript.language_tsx())
    return Language(tree_sitter_javascript.language())


def parse(text: str, language: str) -> Node:
    """Return the syntax tree of a text, however broken; `language` is its identifier in LSP."""
    return Parser(_grammar(language)).parse(text.encode()).root_node


def source_of(node: Node) -> str:
    """Return the text of a node."""
    return (node.text or b"").decode()


def nodes(node: Node, *kinds: str) -> Iterator[Node]:
    """Return the nodes of some kinds in a tree, itself included."""
    if node.type in kinds:
        yield node
    for child in node.children:
        yield from nodes(child, *kinds)


def exported(statement: Node) -> Node:
    """Return what an export statement declares; any other statement is itself."""
    if statement.type != "export_statement":
        return statement
    inner = statement.child_by_field_name("declaration") or statement.child_by_field_name("value")
    return inner or statement


@dataclass(frozen=True, slots=True)
class Function:
    """A function at module level: its whole statement, itself, and its name."""

    statement: Node
    node: Node
    name: str

    @property
    def body(self) -> Node | None:
        return self.node.child_by_field_name("body")

    @property
    def parameters(self) -> list[Node]:
        """Return the nodes of the parameters."""
        alone = self.node.child_by_field_name("parameter")
        several = self.node.child_by_field_name("parameters")
        children = several.named_children if several else [alone] if alone else []
        return [child for child in children if child.type != "comment"]

    def holds(self, at: int) -> bool:
        """Say whether a byte offset is in the statement; text may still follow an expression."""
        begin, end = self.statement.start_byte, self.statement.end_byte
        block = self.body is None or self.body.type == "statement_block"
        return begin <= at < end or (at == end and not block)


def function_of(statement: Node) -> Function | None:
    """Return the function that a module-level statement defines, if it defines just one."""
    node = exported(statement)
    if node.type in _VARIABLES:
        declarators = [child for child in node.children if child.type == "variable_declarator"]
        value = declarators[0].child_by_field_name("value") if len(declarators) == 1 else None
        if value is None or value.type not in VALUES:
            return None
        name, node = declarators[0].child_by_field_name("name"), value
    elif node.type in DECLARED:
        name = node.child_by_field_name("name")
    else:
        return None
    return Function(statement, node, source_of(name)) if name else None


def functions(root: Node) -> Iterator[Function]:
    for statement in root.children:
        if found := function_of(statement):
            yield found


# -- what it needs --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Definition:
    """One module-level statement without `export`: its source, the names it binds, the values it
    uses. A type binds its name, and is erased in a program."""

    source: str
    start: int
    binds: frozenset[str]
    uses: frozenset[str]
    is_import: bool
    is_type: bool


def definitions(document: str, language: str, skip: int) -> list[Definition]:
    """Return the module-level statements that bind names, but the one at offset `skip`."""
    raw, found = document.encode(), list[Definition]()
    for statement in parse(document, language).children:
        start = len(raw[: statement.start_byte].decode())
        if start != skip and not statement.has_error:
            found += _definition(exported(statement), start)
    return found


def _definition(node: Node, start: int) -> Iterator[Definition]:
    binds = frozenset(_bound(node))
    if not binds:
        return
    is_import = node.type == "import_statement" or (node.type in _VARIABLES and _requires(node))
    yield Definition(
        source=_terminated(node),
        start=start,
        binds=binds,
        uses=frozenset() if is_import or node.type in _TYPES else values_used(node),
        is_import=is_import,
        is_type=node.type in _TYPES or source_of(node).startswith("import type "),
    )


def _terminated(node: Node) -> str:
    """Return a statement's source, ended so that the next line cannot become a part of it."""
    source = source_of(node)
    return source if source.endswith((";", "}")) else source + ";"


def _bound(node: Node) -> Iterator[str]:
    if node.type in _DECLARATIONS:
        inner = node.named_children[0] if node.type == "ambient_declaration" else node
        name = inner.child_by_field_name("name")
        if name is not None:
            yield source_of(name)
        elif inner.type in _VARIABLES:
            yield from _bound(inner)
    elif node.type in _VARIABLES:
        for declarator in nodes(node, "variable_declarator"):
            if declarator.parent == node and (name := declarator.child_by_field_name("name")):
                yield from _pattern_names(name)
    elif node.type == "import_statement":
        for clause in nodes(node, "import_clause"):
            yield from _imported(clause)


def _imported(clause: Node) -> Iterator[str]:
    for child in nodes(clause, "identifier"):
        specifier = child.parent
        alias = specifier.child_by_field_name("alias") if specifier else None
        if alias is None or alias == child:
            yield source_of(child)


def _pattern_names(pattern: Node) -> Iterator[str]:
    """Return the names that a pattern binds; defaults in it bind none."""
    kind = pattern.type
    if kind in ("identifier", "shorthand_property_identifier_pattern"):
        yield source_of(pattern)
    elif kind in ("assignment_pattern", "object_assignment_pattern"):
        left = pattern.child_by_field_name("left")
        yield from _pattern_names(left) if left else ()
    elif kind == "pair_pattern":
        value = pattern.child_by_field_name("value")
        yield from _pattern_names(value) if value else ()
    else:
        for child in pattern.named_children:
            yield from _pattern_names(child)


def parameter_names(pattern: Node) -> list[str]:
    """Return the names that a parameter's pattern binds."""
    return list(_pattern_names(pattern))


def _requires(node: Node) -> bool:
    return any(
        source_of(call.named_children[0]) == "require" for call in nodes(node, "call_expression")
    )


def values_used(node: Node) -> frozenset[str]:
    """Return every name that a piece of syntax mentions as a value; types are other nodes."""
    kinds = ("identifier", "shorthand_property_identifier")
    return frozenset(source_of(found) for found in nodes(node, *kinds))


def closure(names: frozenset[str], known: Sequence[Definition]) -> list[Definition]:
    """Return the definitions that `names` need, directly or through others, in order."""
    needed, wanted = set[int](), set(names)
    while found := [d for d in known if d.start not in needed and d.binds & wanted]:
        needed.update(d.start for d in found)
        wanted.update(*(d.uses for d in found))
    return [d for d in known if d.start in needed]


def runnable(needs: Sequence[Definition], names: frozenset[str], language: str) -> list[str]:
    """Return the sources of the definitions that `names` need as a program has them: no types,
    and imports as calls for what is used, since a type among their names cannot be had."""
    wanted = names.union(*(d.uses for d in needs))
    values = [d for d in needs if not d.is_type]
    return [_required(d, wanted, language) if d.is_import else d.source for d in values]


def shown(known: Sequence[Definition], function: str) -> str:
    """Choose what of the module a model is shown: imports, then what the function's text names,
    then the other helpers while they fit."""
    words = frozenset(re.findall(r"[\w$]+", function))
    imports = [d for d in known if d.is_import]
    named = [d for d in closure(words, _with_words(known)) if not d.is_import]
    room = SHOWN_CHARS - sum(len(d.source) for d in [*imports, *named])
    starts = {d.start for d in named}
    for definition in reversed(known):
        fits = len(definition.source) <= room
        if fits and not definition.is_import and definition.start not in starts:
            starts.add(definition.start)
            room -= len(definition.source)
    rest = [d for d in known if d.start in starts]
    return "\n".join(d.source for d in [*imports, *rest])


def _with_words(known: Sequence[Definition]) -> list[Definition]:
    """Let definitions use every word they hold: types count for who reads them."""
    return [replace(d, uses=frozenset(re.findall(r"[\w$]+", d.source))) for d in known]


# -- imports ---------------------------------------------------------------------------------------


def _required(definition: Definition, wanted: frozenset[str], language: str) -> str:
    """Return an import as a call of `require` for the names in use; a call stays what it is."""
    statement = parse(definition.source, language).named_children[0]
    source = statement.child_by_field_name("source")
    if statement.type != "import_statement" or source is None:
        return definition.source
    module = f"require({source_of(source)})"
    names = list[str]()
    for clause in nodes(statement, "import_clause"):
        for child in clause.named_children:
            if child.type == "identifier":
                names.append(f"const {source_of(child)} = {module};")
            elif child.type == "namespace_import":
                names.append(f"const {source_of(child.named_children[0])} = {module};")
            else:
                names += _named(child, module, wanted)
    return " ".join(names)


def _named(imports: Node, module: str, wanted: frozenset[str]) -> list[str]:
    parts = list[str]()
    for specifier in nodes(imports, "import_specifier"):
        name = specifier.child_by_field_name("name")
        alias = specifier.child_by_field_name("alias") or name
        if name and alias and source_of(alias) in wanted:
            renamed = "" if alias == name else f": {source_of(alias)}"
            parts.append(source_of(name) + renamed)
    return [f"const {{ {', '.join(parts)} }} = {module};"] if parts else []
