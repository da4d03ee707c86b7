"""Python functions in a document: the one at the cursor, programs that define it, bodies for it.

Reads text, never runs it. The public functions are those of `testable`.
"""

import ast
import textwrap
from collections.abc import Iterator, Sequence

from tree_sitter import Node

from cascade_lsp.context import Context, gather
from cascade_lsp.languages import Target, Untestable
from cascade_lsp.surroundings import (
    closure,
    names_used,
    parse,
    shown,
    source_of,
    surroundings,
)


def find(context: Context) -> Target | Untestable:
    """Return the function at the cursor, or why nothing can be tested there."""
    lead, source = _parseable(context)
    cursor = len((context.document[: context.offset] + lead).encode())
    node = _enclosing(parse(source), cursor)
    if node is None:
        return Untestable("the cursor is not in a function")
    target = _untestable(node) or _target(context, source.encode(), node, lead)
    if isinstance(target, Target) and not target.stub and lead and not context.line_head:
        return Untestable("the cursor is not in a function")  # at the margin behind a whole one
    return target


def emptied(context: Context) -> tuple[Context, str] | Untestable:
    """Return the function at the cursor as a stub, with the cursor where its body was, and that
    body; or why it cannot be tested as it stands."""
    document, root = context.document, parse(context.document)
    cursor = len(document[: context.offset].encode())
    # At the very end of a function the cursor is still in it.
    node = _enclosing(root, cursor) or _enclosing(root, max(0, cursor - 1))
    body = node and node.child_by_field_name("body")
    if body is None:
        here = find(context)  # it also sees functions that are only begun
        begun = isinstance(here, Target) and here.stub
        reason = "the function has no body yet" if begun else "the cursor is not in a function"
        return Untestable(reason)
    start, end = _without_docstring(document, body)
    text = document[:start] + document[end:]
    stub = gather(text, start, uri=context.uri, version=context.version)
    target = find(stub)
    if isinstance(target, Untestable):
        return target
    if document[start:end] in ("", "pass", "..."):
        return Untestable("the function has no body yet")
    if program(document, target, whole=True) is None:
        return Untestable("the function does not give a value on every path")
    return stub, document[start:end]


def _without_docstring(document: str, body: Node) -> tuple[int, int]:
    """Return where a body begins behind its docstring, and where it ends, in characters."""
    docstring = _docstring([child for child in body.named_children if child.type != "comment"])
    begin = body.start_byte
    if docstring:
        behind = body.named_children[body.named_children.index(docstring) + 1 :]
        begin = behind[0].start_byte if behind else body.end_byte
    raw = document.encode()
    return len(raw[:begin].decode()), len(raw[: body.end_byte].decode())


def _errors(node: Node) -> int:
    if not node.has_error:
        return 0
    return int(node.is_error or node.is_missing) + sum(map(_errors, node.children))


def _parseable(context: Context) -> tuple[str, str]:
    """Return how a statement would begin at the cursor, and the document with `...` there.

    A document in the middle of an edit rarely parses. Of the few ways in which the cursor's
    line can be finished the one with the fewest errors is taken.
    """
    leads = ["", "\n" + _next_indent(context)]
    if context.line_head.rstrip().endswith(":"):
        leads.reverse()
    if not context.line_head.strip():
        leads = [_next_indent(context).removeprefix(context.line_head), ""]
    texts = [(lead, context.completed(lead + "...")) for lead in leads]
    return min(texts, key=lambda pair: _errors(parse(pair[1])))


def _next_indent(context: Context) -> str:
    """Return the indentation that a statement after the last written line would have.

    Right after a stub (its `def` line or its docstring) this is the body's indentation even if
    the cursor stands at the margin; elsewhere a blank line's own indentation is believed.
    """
    written = context.document[: context.offset].rstrip()
    line = written[written.rfind("\n") + 1 :]
    indent = line[: len(line) - len(line.lstrip())]
    if line.endswith(":"):
        own = context.line_head if not context.line_head.strip() else ""
        return own if len(own) > len(indent) else indent + "    "
    blank = not context.line_head.strip()
    after_docstring = line.endswith(('"""', "'''"))
    return context.line_head if blank and context.line_head and not after_docstring else indent


def _enclosing(root: Node, cursor: int) -> Node | None:
    """Return the innermost function definition around a byte offset."""
    node = root.descendant_for_byte_range(cursor, cursor)
    while node is not None and node.type != "function_definition":
        node = node.parent
    return node


def _untestable(node: Node) -> Untestable | None:
    parent = node.parent
    while parent is not None:
        if parent.type == "class_definition":
            return Untestable("a method needs an instance of its class")
        if parent.type == "function_definition":
            return Untestable("the function is nested in another one")
        parent = parent.parent
    if node.children[0].type == "async":
        return Untestable("the function is asynchronous")
    returns = node.child_by_field_name("return_type")
    if returns is not None and returns.text == b"None":
        return Untestable("the function returns nothing that a test could compare")
    if any(True for _ in _nodes(node, "yield")):
        return Untestable("the function is a generator")
    return None


def _nodes(node: Node, kind: str) -> Iterator[Node]:
    if node.type == kind:
        yield node
    for child in node.children:
        yield from _nodes(child, kind)


def _target(context: Context, raw: bytes, node: Node, lead: str) -> Target | Untestable:
    body = node.child_by_field_name("body")
    name = node.child_by_field_name("name")
    parameters = node.child_by_field_name("parameters")
    if body is None or name is None or parameters is None:
        return Untestable("the function's head is not finished")
    names = tuple(_parameter_names(parameters))
    if not names:
        return Untestable("the function takes no arguments to test it with")
    outer = node.parent if node.parent and node.parent.type == "decorated_definition" else node
    statements = [child for child in body.named_children if child.type != "comment"]
    docstring = _docstring(statements)
    start = len(raw[: outer.start_byte].decode())
    header = raw[outer.start_byte : body.start_byte].decode().rstrip()
    stub = all(_is_filler(s) for s in statements if s != docstring)
    indent = _body_indent(raw, node, body)
    return Target(
        language=context.language,
        name=source_of(name),
        start=start,
        head=len(raw[: node.start_byte].decode()),
        header=header,
        opening=f"{header}\n{indent}{source_of(docstring)}" if docstring else header,
        closing="",
        doc=_text_of(docstring) if docstring else "",
        parameters=names,
        setup=shown(surroundings(context.document, start), header + source_of(body)),
        indent=indent,
        lead="\n" + indent if stub and context.line_head.strip() else lead,
        trail="",
        stub=stub,
    )


def _text_of(docstring: Node) -> str:
    try:
        value = ast.literal_eval(textwrap.dedent(source_of(docstring)))
    except (ValueError, SyntaxError):
        return ""
    return value if isinstance(value, str) else ""


def _body_indent(raw: bytes, node: Node, body: Node) -> str:
    line_start = raw.rfind(b"\n", 0, body.start_byte) + 1
    before = raw[line_start : body.start_byte].decode()
    return before if not before.strip() else " " * (node.start_point.column + 4)


def _parameter_names(parameters: Node) -> Iterator[str]:
    for child in parameters.named_children:
        found = next(_nodes(child, "identifier"), None)
        if child.type not in ("comment", "keyword_separator", "positional_separator") and found:
            yield source_of(found)


def _docstring(statements: Sequence[Node]) -> Node | None:
    first = statements[0] if statements else None
    if first is not None and first.type == "expression_statement":
        child = first.named_children[0] if first.named_children else None
        if (
            child is not None
            and child.type == "string"
            and not list(_nodes(child, "interpolation"))
        ):
            return first
    return None


def _is_filler(statement: Node) -> bool:
    return statement.type == "pass_statement" or source_of(statement) == "..."


# -- from a candidate to a program --------------------------------------------------------------


def program(document: str, target: Target, *, whole: bool) -> str | None:
    """Return a program that defines the target as it stands in `document`, with what it needs."""
    raw = document.encode()
    root = parse(document)
    at = len(document[: target.start].encode())
    node = next((n for n in root.children if n.start_byte == at), None)
    source = raw[node.start_byte : node.end_byte].decode() if node else ""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    function = tree.body[0] if tree.body else None
    if not isinstance(function, ast.FunctionDef) or function.name != target.name:
        return None
    if whole and not _gives_value(function.body):
        return None
    needs = closure(names_used(tree), surroundings(document, target.start))
    return "\n".join([*(d.source for d in needs), source, ""])


def stub_program(document: str, target: Target) -> str:
    """Return a program in which the target returns nothing: what a useful test must reject."""
    source = target.with_body("return None")
    try:
        uses = names_used(ast.parse(source))
    except SyntaxError:
        uses = frozenset()
    needs = closure(uses, surroundings(document, target.start))
    return "\n".join([*(d.source for d in needs), source])


def _gives_value(body: Sequence[ast.stmt]) -> bool:
    """Say whether every path through these statements returns a value or raises."""
    match body[-1]:
        case ast.Return(value=value):
            return value is not None
        case ast.Raise():
            return True
        case ast.If(body=then, orelse=other):
            return bool(other) and _gives_value(then) and _gives_value(other)
        case ast.With(body=inner):
            return _gives_value(inner)
        case ast.Try(body=inner, handlers=handlers, orelse=other, finalbody=final):
            if final and _gives_value(final):
                return True
            return _gives_value(other or inner) and all(_gives_value(h.body) for h in handlers)
        case ast.While(test=ast.Constant(value=True)) as loop:
            return not any(isinstance(n, ast.Break) for n in ast.walk(loop))
        case ast.Match(cases=cases):
            return all(_gives_value(case.body) for case in cases)
        case ast.For() | ast.While():
            return any(isinstance(n, ast.Return) and n.value for n in ast.walk(body[-1]))
    return False


# -- from a model's answer to a body ------------------------------------------------------------


def body_from(answer: str, target: Target) -> str:
    """Return the body that a model's answer gives the target, ready to insert at the cursor."""
    root = parse(answer)
    function = next(
        (n for n in _nodes(root, "function_definition") if _is_named(n, target.name)), None
    )
    if function is None or function.has_error:
        return ""
    lines = _body_lines(source_of(function))
    if not lines:
        return ""
    extras = _extras(root, function, target, "\n".join(lines))
    body = "\n".join(_reindented(line, target.indent) for line in [*extras, *lines])
    return target.lead + textwrap.indent(body, target.indent).removeprefix(target.indent)


def _reindented(line: str, unit: str) -> str:
    """Give a line of an answer, indented by fours, the document's unit of indentation."""
    levels = (len(line) - len(line.lstrip(" "))) // 4
    return unit * levels + line[4 * levels :]


def _is_named(node: Node, name: str) -> bool:
    found = node.child_by_field_name("name")
    return found is not None and source_of(found) == name


def _body_lines(source: str) -> list[str]:
    """Return a function's body without its docstring and fillers, dedented, comments kept."""
    try:
        function = ast.parse(textwrap.dedent(source)).body[0]
    except (SyntaxError, ValueError):
        return []
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    has_docstring = ast.get_docstring(function, clean=False) is not None
    statements = function.body[1:] if has_docstring else function.body
    if not statements:
        return []
    if statements[0].lineno == function.lineno:
        return [ast.unparse(statement) for statement in statements]
    begin = (function.body[0].end_lineno or 0) if has_docstring else _head_end(function)
    fillers = {s.lineno for s in statements if ast.unparse(s) in ("pass", "...")}
    if len(fillers) == len(statements):
        return []
    lines = enumerate(source.splitlines()[begin:], start=begin + 1)
    kept = "\n".join(line for n, line in lines if n not in fillers)
    return textwrap.dedent(kept).strip("\n").splitlines()


def _head_end(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the line number on which the `def` and its arguments end."""
    lines = [function.lineno, function.body[0].lineno - 1]
    arguments = [n.end_lineno for n in ast.walk(function.args) if isinstance(n, ast.arg)]
    ends = [line for line in arguments if line is not None]
    returns = function.returns.end_lineno if function.returns else None
    return min(lines[1], max([lines[0], *ends, returns or 0])) if lines[1] >= lines[0] else lines[0]


def _extras(root: Node, function: Node, target: Target, body: str) -> list[str]:
    """Return the lines of an answer's imports and helpers that a body uses and the file lacks."""
    answer = source_of(root)
    own = surroundings(answer, len(answer.encode()[: function.start_byte].decode()))
    present = {name for d in surroundings(target.setup, -1) for name in d.binds}
    uses = names_used(ast.parse("def _():\n" + textwrap.indent(body, " ")))
    needed = (d for d in closure(uses, own) if target.name not in d.binds)
    return [line for d in needed if not d.binds <= present for line in d.source.splitlines()]
