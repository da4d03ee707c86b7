"""JavaScript and TypeScript functions in a document: the one at the cursor, programs that define
it, bodies for it.

Reads text, never runs it. The public functions are those of `testable`. Testable are functions at
module level: declared, or the value of a `const`; exported or not.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tree_sitter import Node

from cascade_lsp.context import Context, gather
from cascade_lsp.languages import Target, Untestable
from cascade_lsp.languages.javascript_bodies import body_from
from cascade_lsp.languages.javascript_module import (
    DECLARED,
    VALUES,
    Function,
    closure,
    definitions,
    exported,
    function_of,
    functions,
    nodes,
    parameter_names,
    parse,
    runnable,
    shown,
    source_of,
    values_used,
)

__all__ = ["body_from", "emptied", "find", "program", "stub_program"]

INDENT = "  "  # of a document that shows none of its own

_NOTHING = re.compile(r":\s*(void|never|undefined|asserts\b.*)")
_ELEMENT = re.compile(r"\b(JSX|React)\b|\bReact(Node|Element)\b")


# -- the function at the cursor -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Reading:
    """A document with something at the cursor that makes it readable."""

    text: str
    root: Node
    cursor: int
    put: str

    @property
    def closes(self) -> bool:
        """Say whether the function's block had to be closed."""
        return "}" in self.put

    def function(self) -> Function | None:
        """Return the module-level function around the cursor."""
        return next((found for found in functions(self.root) if found.holds(self.cursor)), None)


_PUT = ("", "_", "\n}", "_;\n}")


def _readable(context: Context) -> _Reading:
    """Finish the cursor's line in the way that leaves the fewest errors; the first of equals."""
    cursor, best, fewest = len(context.document[: context.offset].encode()), None, 0
    for put in _PUT:
        text = context.completed(put)
        root = parse(text, context.language)
        errors = _errors(root)
        if best is None or errors < fewest:
            best, fewest = _Reading(text, root, cursor, put), errors
        if errors == 0:
            break
    assert best is not None
    return best


def find(context: Context) -> Target | Untestable:
    """Return the function at the cursor, or why nothing can be tested there."""
    reading = _readable(context)
    function = reading.function()
    inner = _innermost(reading.root, reading.cursor)
    if inner is not None and (function is None or inner != function.node):
        return _elsewhere(inner)
    if function is None:
        return Untestable("the cursor is not in a function")
    return _untestable(function, context) or _target(context, reading, function)


def _innermost(root: Node, at: int) -> Node | None:
    """Return the innermost function with a name around a byte offset; callbacks have none."""
    node = root.descendant_for_byte_range(at, at)
    while node is not None:
        if node.type in (*DECLARED, "method_definition"):
            return node
        named = ("variable_declarator", "pair", "field_definition", "public_field_definition")
        if node.type in VALUES and node.parent and node.parent.type in named:
            return node
        node = node.parent
    return None


def _elsewhere(node: Node) -> Untestable:
    """Say why a function that is not at module level cannot be tested."""
    parent = node.parent
    while parent is not None and parent.type not in (*DECLARED, *VALUES, "class_body", "object"):
        parent = parent.parent
    if parent is not None and parent.type in (*DECLARED, *VALUES):
        return Untestable("the function is nested in another one")
    if parent is not None:
        return Untestable("a method needs an instance of its class")
    return Untestable("the function is not at module level")


def _untestable(function: Function, context: Context) -> Untestable | None:
    node = function.node
    returns = node.child_by_field_name("return_type")
    promised = source_of(returns) if returns else ""
    if any(child.type == "async" for child in node.children):
        return Untestable("the function is asynchronous")
    if "generator" in node.type:
        return Untestable("the function is a generator")
    if _NOTHING.fullmatch(promised):
        return Untestable("the function returns nothing that a test could compare")
    if _ELEMENT.search(promised) or _is_component(function, context):
        return Untestable("a component gives nothing that a test could compare")
    if not function.parameters:
        return Untestable("the function takes no arguments to test it with")
    if any(source_of(p).split(":")[0].strip() == "this" for p in function.parameters):
        return Untestable("the function needs an object as its `this`")
    return None


def _is_component(function: Function, context: Context) -> bool:
    return context.language.endswith("react") and function.name[0].isupper()


def _target(context: Context, reading: _Reading, function: Function) -> Target | Untestable:
    body = function.body
    if body is None:
        return Untestable("the function's head is not finished")
    raw, statement = reading.text.encode(), function.statement
    start = len(raw[: statement.start_byte].decode())
    block = body.type == "statement_block"
    stub = _is_stub(body, reading)
    indent = _body_indent(context, raw, function)
    comment = _comment_above(raw, statement)
    header = raw[statement.start_byte : body.start_byte + block].decode().rstrip()
    ended = ";" if _is_variable(function) else ""
    lead, trail = _around(context, reading, indent, block, ended) if stub else ("", "")
    known = definitions(context.document, context.language, start)
    return Target(
        language=context.language,
        name=function.name,
        start=start,
        head=start,
        header=header,
        opening="\n".join([*([comment] if comment else []), header if block else header + " {"]),
        closing="}" + ended + "\n",
        doc=_text_of(comment),
        parameters=tuple(name for p in function.parameters for name in parameter_names(p)[:1]),
        setup=shown(known, header + source_of(body)),
        indent=indent,
        lead=lead,
        trail=trail,
        stub=stub,
    )


def _is_variable(function: Function) -> bool:
    return function.node.type in VALUES


def _is_stub(body: Node, reading: _Reading) -> bool:
    """Say whether a body is still to be written, and the cursor is where it goes."""
    if body.type != "statement_block":
        put = reading.put == "_" and source_of(body) == "_"
        return (put or body.is_missing) and body.start_byte == reading.cursor
    inside = body.start_byte < reading.cursor < body.end_byte
    return inside and all(_is_filler(child) for child in body.named_children)


def _is_filler(node: Node) -> bool:
    return node.type in ("comment", "empty_statement")


def _around(
    context: Context, reading: _Reading, indent: str, block: bool, ended: str
) -> tuple[str, str]:
    """Return what must come before and behind a body at the cursor."""
    head, tail = context.line_head, context.line_tail.strip()
    if not block:
        closed = "" if tail.startswith((";", ",", ")")) else ended
        return ("" if head.endswith(" ") else " ") + "{\n" + indent, "\n}" + closed
    lead = indent.removeprefix(head) if not head.strip() else "\n" + indent
    if reading.closes:
        return lead, "\n}" + ended
    return lead, ("\n" if tail.startswith("}") else f"\n{indent}") if tail else ""


def _body_indent(context: Context, raw: bytes, function: Function) -> str:
    """Return the indentation of the body: its own, the cursor's, or one step of the document's."""
    line = raw.rfind(b"\n", 0, function.statement.start_byte) + 1
    before = raw[line : function.statement.start_byte].decode()
    base = before if not before.strip() else ""
    body = function.body
    written = body.named_children if body and body.type == "statement_block" else []
    for child in written:
        line = raw.rfind(b"\n", 0, child.start_byte) + 1
        own = raw[line : child.start_byte].decode()
        if not own.strip() and len(own) > len(base):
            return own
    blank = "" if context.line_head.strip() else context.line_head
    return blank if len(blank) > len(base) else base + _unit(context.document)


def _unit(text: str) -> str:
    """Return the first indentation that a text shows, but for the lines of block comments."""
    found = re.search(r"^(\t|  +)(?=[^\s*])", text, re.MULTILINE)
    return found[1] if found else INDENT


def _comment_above(raw: bytes, statement: Node) -> str:
    """Return the comment right above a statement: one block, or lines that follow each other."""
    above, begin = statement.prev_sibling, statement.start_byte
    while above is not None and above.type == "comment":
        gap = raw[above.end_byte : begin]
        block = source_of(above).startswith("/*")
        if gap.count(b"\n") != 1 or (block and begin != statement.start_byte):
            break
        line = raw.rfind(b"\n", 0, above.start_byte) + 1
        if raw[line : above.start_byte].strip():
            break  # it belongs to the statement before it
        begin, above = above.start_byte, None if block else above.prev_sibling
    return raw[begin : statement.start_byte].decode().rstrip()


def _text_of(comment: str) -> str:
    """Return what a comment says, without its signs."""
    if comment.startswith("/*"):
        inner = re.sub(r"^/\*+|\*+/$", "", comment)
        return re.sub(r"^[ \t]*\*(?!\*)[ \t]?", "", inner, flags=re.MULTILINE).strip()
    return re.sub(r"^[ \t]*//+[ \t]?", "", comment, flags=re.MULTILINE).strip()


# -- a function that has a body -------------------------------------------------------------------


def emptied(context: Context) -> tuple[Context, str] | Untestable:
    """Return the function at the cursor as a stub, with the cursor where its body was, and that
    body; or why it cannot be tested as it stands."""
    document, root = context.document, parse(context.document, context.language)
    cursor = len(document[: context.offset].encode())
    # At the very end of a function the cursor is still in it.
    places = (cursor, max(0, cursor - 1))
    function = next((f for at in places for f in functions(root) if f.holds(at)), None)
    body = function.body if function else None
    if body is None:
        found = find(context)
        return found if isinstance(found, Untestable) else _no_body()
    start, end = _inside(document, body)
    stub = gather(
        document[:start] + document[end:],
        start,
        uri=context.uri,
        version=context.version,
        language=context.language,
    )
    target = find(stub)
    if isinstance(target, Untestable):
        return target
    if start == end:
        return _no_body()
    if program(document, target, whole=True) is None:
        return Untestable("the function does not give a value on every path")
    return stub, document[start:end]


def _no_body() -> Untestable:
    return Untestable("the function has no body yet")


def _inside(document: str, body: Node) -> tuple[int, int]:
    """Return where a body begins and ends within its braces, in characters."""
    raw = document.encode()
    inner: Sequence[Node] = [body]
    if body.type == "statement_block":
        inner = body.children[1:-1]
        if all(_is_filler(child) for child in inner):
            at = len(raw[: body.end_byte - 1].decode())
            return at, at
    return len(raw[: inner[0].start_byte].decode()), len(raw[: inner[-1].end_byte].decode())


def _errors(node: Node) -> int:
    if not node.has_error:
        return 0
    return int(node.is_error or node.is_missing) + sum(map(_errors, node.children))


# -- from a candidate to a program ----------------------------------------------------------------


def program(document: str, target: Target, *, whole: bool) -> str | None:
    """Return a program that defines the target as it stands in `document`, with what it needs."""
    root = parse(document, target.language)
    at = len(document[: target.start].encode())
    statement = next((n for n in root.children if n.start_byte == at), None)
    function = function_of(statement) if statement else None
    if function is None or function.name != target.name or function.statement.has_error:
        return None
    if whole and not (function.body and _gives_value(function.body)):
        return None
    return _program(document, root, target, function.statement)


def stub_program(document: str, target: Target) -> str:
    """Return a program in which the target returns nothing: what a useful test must reject."""
    root = parse(document, target.language)
    source = parse(target.with_body("return undefined;"), target.language)
    statement = next((f.statement for f in functions(source) if f.name == target.name), source)
    return _program(document, root, target, statement)


def _program(document: str, root: Node, target: Target, statement: Node) -> str:
    node = exported(statement)
    known = definitions(document, target.language, target.start)
    needs = closure(values_used(node), known)
    modular = any(n.type in ("import_statement", "export_statement") for n in root.children)
    strict = ['"use strict";'] if modular else []
    return "\n".join(
        [*strict, *runnable(needs, values_used(node), target.language), source_of(node), ""]
    )


def _gives_value(body: Node) -> bool:
    """Say whether every path through a body returns a value or throws."""
    if body.type != "statement_block":
        return True  # the expression of an arrow function
    statements = [child for child in body.named_children if not _is_filler(child)]
    return bool(statements) and _ends_with_value(statements[-1])


def _ends_with_value(node: Node | None) -> bool:
    if node is None:
        return False
    field = node.child_by_field_name
    match node.type:
        case "return_statement":
            return bool(node.named_children)
        case "throw_statement":
            return True
        case "statement_block" | "else_clause" | "finally_clause" | "catch_clause":
            inner = [n for n in node.named_children if not _is_filler(n)]
            return bool(inner) and _ends_with_value(inner[-1])
        case "if_statement":
            return all(_ends_with_value(field(part)) for part in ("consequence", "alternative"))
        case "try_statement":
            handler, final = field("handler"), field("finalizer")
            if final and _ends_with_value(final):
                return True
            return _ends_with_value(field("body")) and (not handler or _ends_with_value(handler))
        case "switch_statement":
            return _switch_gives_value(field("body"))
        case "while_statement" if source_of(field("condition") or node) in ("(true)", "(1)"):
            return not any(nodes(node, "break_statement"))
        case "for_statement" | "for_in_statement" | "while_statement" | "do_statement":
            return any(n.named_children for n in nodes(node, "return_statement"))
    return False


def _switch_gives_value(body: Node | None) -> bool:
    cases = [child for child in body.named_children if not _is_filler(child)] if body else []
    if not any(case.type == "switch_default" for case in cases):
        return False
    if any(n for case in cases for n in nodes(case, "break_statement")):
        return False
    last = [child for child in cases[-1].named_children if not _is_filler(child)]
    return bool(last) and _ends_with_value(last[-1])
