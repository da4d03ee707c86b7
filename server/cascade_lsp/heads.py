"""The heads of a module's definitions: what a reader of another file needs to know of them.

Pure reading of syntax, of broken texts too: signatures with the first line of what documents
them, the fields and methods of classes, short constants. Bodies are left out.
"""

import re
from collections.abc import Iterator, Mapping

from tree_sitter import Node

from cascade_lsp import surroundings
from cascade_lsp.languages import javascript_module
from cascade_lsp.surroundings import source_of

SHORT = 80  # characters of a constant that is shown
LINES = 16  # of one definition

# Decorators that change how a member is used.
_MANNERS = ("property", "classmethod", "staticmethod", "abstractmethod")
# Languages that read each other's code, by their identifiers in LSP; any other is its own.
_FAMILIES = {
    "javascriptreact": "javascript",
    "typescript": "javascript",
    "typescriptreact": "javascript",
}


def family(language: str) -> str:
    """Return the language whose code a document of `language` may be shown as its own."""
    return _FAMILIES.get(language, language)


def heads(text: str, language: str) -> Mapping[str, str]:
    """Return the heads of what a module defines, by name and in order, as source."""
    if language == "python":
        found = _of_python(surroundings.parse(text))
    elif family(language) == "javascript":
        found = _of_javascript(javascript_module.parse(text, language))
    else:
        return {}
    return {name: "\n".join(head.split("\n")[:LINES]) for name, head in found}


# -- Python ----------------------------------------------------------------------------------------


def _of_python(module: Node) -> Iterator[tuple[str, str]]:
    for statement in module.children:
        definition = statement.child_by_field_name("definition") or statement
        name = _name(definition)
        if definition.type == "function_definition":
            yield name, _function(definition)
        elif definition.type == "class_definition":
            decorators = [source_of(one) for one in statement.children if one.type == "decorator"]
            yield name, "\n".join([*decorators, _class(definition)])
        elif (left := _assigned(statement)) and len(source_of(statement)) <= SHORT:
            yield left, source_of(statement)


def _function(node: Node) -> str:
    head, doc = _head(node), _documentation(node)
    return f'{head}\n    """{doc}"""' if doc else f"{head} ..."


def _class(node: Node) -> str:
    lines, body = list[str](), node.child_by_field_name("body")
    if doc := _documentation(node):
        lines.append(f'"""{doc}"""')
    for member in body.children if body else ():
        definition = member.child_by_field_name("definition") or member
        if definition.type == "function_definition" and _is_public(_name(definition)):
            manner = [source_of(one) for one in member.children if one.type == "decorator"]
            if not any(one.endswith((".setter", ".deleter")) for one in manner):
                lines += [one for one in manner if one.endswith(_MANNERS)]
                lines.append(f"{_head(definition)} ...")
        elif (left := _assigned(member)) and _is_public(left) and len(source_of(member)) <= SHORT:
            lines.append(source_of(member))
    lines = lines[: LINES - 4]
    while lines and lines[-1].startswith("@"):
        lines.pop()
    return "\n    ".join([_head(node), *lines]) if lines else f"{_head(node)} ..."


def _head(node: Node) -> str:
    """Return a definition up to its body, on one line."""
    colons = [child.end_byte for child in node.children if child.type == ":"]
    body = node.child_by_field_name("body")
    end = (colons[-1] if colons else body.start_byte if body else node.end_byte) - node.start_byte
    written = (node.text or b"")[:end].decode()
    without_comments = re.sub(r"\s(#|//)[^\n]*\n|\\\n", "\n", written)
    one_line = re.sub(r"\s+", " ", without_comments).replace("( ", "(").strip()
    return re.sub(r",? \)", ")", one_line)


def _documentation(node: Node) -> str:
    """Return the first line of a definition's docstring."""
    body = node.child_by_field_name("body")
    first = body.named_children[0] if body and body.named_children else None
    string = first.named_children[0] if first and first.named_children else None
    if first is None or string is None or string.type != "string":
        return ""
    words = re.fullmatch(r"\w*(\"\"\"|'''|\"|')(.*)\1", source_of(string), re.DOTALL)
    return words[2].strip().split("\n")[0].strip() if words else ""


def _assigned(statement: Node) -> str:
    """Return the name that a statement binds to a value or a type, if it is one."""
    inner = statement.named_children[0] if statement.type == "expression_statement" else None
    left = inner.child_by_field_name("left") if inner and inner.type == "assignment" else None
    return source_of(left) if left and left.type == "identifier" else ""


def _is_public(name: str) -> bool:
    return not name.startswith("_") or name in ("__init__", "__call__", "__enter__")


def _name(node: Node) -> str:
    name = node.child_by_field_name("name")
    return source_of(name) if name else ""


# -- JavaScript and TypeScript ---------------------------------------------------------------------


def _of_javascript(module: Node) -> Iterator[tuple[str, str]]:
    for statement in module.children:
        node = javascript_module.exported(statement)
        doc = _comment_before(statement)
        for name, head in _declared(node):
            yield name, f"{doc}{head}"
            if statement.type == "export_statement" and source_of(statement).startswith(
                "export default"
            ):
                yield "default", f"{doc}{head}"


def _declared(node: Node) -> Iterator[tuple[str, str]]:
    match node.type:
        case "function_declaration" | "generator_function_declaration":
            yield _name(node), f"{_head(node)};"
        case "class_declaration" | "abstract_class_declaration":
            yield _name(node), _javascript_class(node)
        case "interface_declaration" | "type_alias_declaration" | "enum_declaration":
            yield _name(node), source_of(node)
        case "lexical_declaration" | "variable_declaration":
            for one in node.named_children:
                value = one.child_by_field_name("value")
                if value is not None and value.type in javascript_module.VALUES:
                    yield _name(one), f"const {_name(one)} = {_head(value)} ...;"
                elif len(source_of(node)) <= SHORT and _name(one):
                    yield _name(one), source_of(node)


def _javascript_class(node: Node) -> str:
    body, lines = node.child_by_field_name("body"), list[str]()
    for member in body.named_children if body else ():
        private = source_of(member).startswith(("private ", "#")) or _name(member).startswith("#")
        if member.type == "method_definition" and not private:
            lines.append(f"{_head(member)};")
        elif member.type == "public_field_definition" and len(source_of(member)) <= SHORT:
            lines += [] if private else [f"{source_of(member)};"]
    inside = [f"  {line}" for line in lines[: LINES - 4]]
    return "\n".join([f"{_head(node)} {{", *inside, "}"])


def _comment_before(statement: Node) -> str:
    """Return the first line with words of the comment before a statement, as a comment."""
    before = statement.prev_sibling
    if before is None or before.type != "comment" or not source_of(before).startswith("/**"):
        return ""
    words = re.search(r"[^\s*/][^\n]*", source_of(before))
    return f"/** {words[0].removesuffix('*/').strip()} */\n" if words else ""
