"""From a model's answer to a body: take a JavaScript function's body and lay it out anew.

Reads text, never runs it. The lines of a template string keep their blanks: they are its value.
"""

import re

from tree_sitter import Node

from cascade_lsp.languages import Target
from cascade_lsp.languages.javascript_module import (
    DECLARED,
    Function,
    closure,
    definitions,
    function_of,
    nodes,
    parse,
    source_of,
    values_used,
)


def body_from(answer: str, target: Target) -> str:
    """Return the body that a model's answer gives the target, ready to insert at the cursor."""
    for block in re.split(r"^```.*\n?", answer, flags=re.MULTILINE):
        function = _named(parse(block, target.language), target.name)
        if function and function.body and not function.node.has_error:
            return _placed(block, function, function.body, target)
    return ""


def _placed(answer: str, function: Function, block: Node, target: Target) -> str:
    body = _body(answer, block)
    if not body:
        return ""
    parts = [*_extras(answer, function, target), body]
    text = "\n".join(laid_out(part, target.language, target.indent) for part in parts)
    return target.lead + text.removeprefix(target.indent) + target.trail


def _named(root: Node, name: str) -> Function | None:
    """Return the function of a name, wherever in a text with prose around it."""
    statements = nodes(root, *DECLARED, "lexical_declaration", "variable_declaration")
    return next((f for n in statements if (f := function_of(n)) and f.name == name), None)


def _body(answer: str, body: Node) -> str:
    """Return the statements of a body with the blanks before them, "" if there are none."""
    if body.type != "statement_block":
        return f"return {source_of(body)};"
    inner = body.children[1:-1]
    if all(child.type in ("comment", "empty_statement") for child in inner):
        return ""
    raw = answer.encode()
    line = raw.rfind(b"\n", 0, inner[0].start_byte) + 1
    blanks = raw[line : inner[0].start_byte].decode()
    source = raw[inner[0].start_byte : inner[-1].end_byte].decode()
    return source if blanks.strip() else blanks + source


def _extras(answer: str, function: Function, target: Target) -> list[str]:
    """Return an answer's helpers that its function uses and the file lacks.

    Imports are statements of a module and cannot move into a body; calls of `require` can.
    """
    start = len(answer.encode()[: function.statement.start_byte].decode())
    known = definitions(answer, target.language, start)
    present = {name for d in definitions(target.setup, target.language, -1) for name in d.binds} | {
        target.name
    }
    body = function.body or function.node
    types = {source_of(n) for n in nodes(body, "type_identifier")}
    needed = closure(values_used(body) | types, known)
    return [d.source for d in needed if not d.binds & present and not d.source.startswith("import")]


def laid_out(text: str, language: str, indent: str) -> str:
    """Give lines of code the indentation `indent`, which is also each step of theirs."""
    lines = text.split("\n")
    fixed = _in_templates(text, language)
    free = [line for n, line in enumerate(lines) if n not in fixed and line.strip()]
    measured = free if text[:1].isspace() else free[1:]
    least = min((_blanks(line) for line in measured), default=0)
    steps = {_blanks(line) - least for line in measured} - {0}
    step = min(steps, default=1)
    laid = list[str]()
    for n, line in enumerate(lines):
        if n in fixed or not line.strip():
            laid.append(line if n in fixed else "")
            continue
        blanks = max(0, _blanks(line) - least)
        laid.append(indent * (1 + blanks // step) + " " * (blanks % step) + line.lstrip())
    return "\n".join(laid)


def _blanks(line: str) -> int:
    return len(line) - len(line.lstrip())


def _in_templates(text: str, language: str) -> set[int]:
    """Return the numbers of the lines that begin within a template string."""
    rows = set[int]()
    for template in nodes(parse(text, language), "template_string"):
        rows.update(range(template.start_point.row + 1, template.end_point.row + 1))
    return rows
