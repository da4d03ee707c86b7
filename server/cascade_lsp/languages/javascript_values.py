"""Literals of JavaScript as Python values, and whether a value fits a type of TypeScript.

Reads syntax, never runs it. Both `null` and `undefined` are None. Types that are not understood
accept everything; a small model's tests are often wrong about the arguments.
"""

import json
import re
from collections.abc import Callable, Sequence

from tree_sitter import Node

from cascade_lsp.languages.javascript_module import source_of

SAFE = 2**53  # beyond it a number is no longer exactly itself

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}


class NotLiteral(Exception):
    """A piece of syntax is no literal, or none that Python has."""


def value_of(node: Node) -> object:
    """Return the value of a literal; raise NotLiteral where it is none."""
    match node.type:
        case "number":
            return _number(source_of(node))
        case "string":
            return _string(node)
        case "template_string":
            return _string(node)
        case "true" | "false":
            return node.type == "true"
        case "null" | "undefined":
            return None
        case "array":
            return [value_of(part) for part in _elements(node)]
        case "object":
            return dict(_pair(child) for child in _parts(node))
        case "unary_expression":
            return _signed(node)
        case "parenthesized_expression":
            return value_of(_only(_parts(node)))
        case "as_expression" | "satisfies_expression" | "non_null_expression":
            return value_of(node.named_children[0])
        case "new_expression":
            return _collection(node)
    raise NotLiteral(node.type)


def is_literal(node: Node) -> bool:
    """Say whether a piece of syntax is a literal with a Python value."""
    try:
        value_of(node)
    except (NotLiteral, ValueError, TypeError, RecursionError):
        return False
    return True


def _parts(node: Node) -> list[Node]:
    return [child for child in node.named_children if child.type != "comment"]


def _only(nodes: Sequence[Node]) -> Node:
    if len(nodes) != 1:
        raise NotLiteral("not one part")
    return nodes[0]


def _elements(array: Node) -> list[Node]:
    """Return the elements of an array that has no holes."""
    before = "["
    for child in array.children[1:]:
        if child.type == "," and before in ("[", ","):
            raise NotLiteral("a hole")
        before = child.type if child.type != "comment" else before
    return _parts(array)


def _number(text: str) -> object:
    text = text.replace("_", "").lower()
    if text.endswith("n") or re.fullmatch(r"0[xob].+", text):
        whole = int(text.removesuffix("n"), 0)
        return whole if text.endswith("n") or whole < SAFE else float(whole)
    if re.fullmatch(r"0\d+", text):
        raise NotLiteral("an octal number of old")
    value = float(text)
    return int(value) if value.is_integer() and value < SAFE else value


def _signed(node: Node) -> object:
    sign = source_of(node.children[0])
    if sign == "void":
        return None
    value = value_of(node.named_children[-1])
    if sign not in "+-" or isinstance(value, bool) or not isinstance(value, int | float):
        raise NotLiteral(sign)
    return -value if sign == "-" else value


def _string(node: Node) -> str:
    text = ""
    for part in node.named_children:
        if part.type == "escape_sequence":
            text += _escaped(source_of(part)[1:])
        elif part.type in ("string_fragment", "comment"):
            text += source_of(part)
        else:
            raise NotLiteral(part.type)
    # Two escapes may make one character.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _escaped(sequence: str) -> str:
    if match := re.fullmatch(r"x(\w{2})|u(\w{4})|u\{(\w+)\}", sequence):
        return chr(int(match[1] or match[2] or match[3], 16))
    if sequence in ("\n", "\r\n", "\r", "\u2028", "\u2029"):
        return ""
    if sequence.isdigit() and sequence != "0":
        raise NotLiteral("an octal escape")
    return _ESCAPES.get(sequence, sequence)


def _pair(node: Node) -> tuple[object, object]:
    key, value = node.child_by_field_name("key"), node.child_by_field_name("value")
    if node.type != "pair" or key is None or value is None:
        raise NotLiteral(node.type)
    match key.type:
        case "property_identifier":
            return source_of(key), value_of(value)
        case "string":
            return _string(key), value_of(value)
        case "number":
            return _property(_number(source_of(key))), value_of(value)
    raise NotLiteral(key.type)


def _property(number: object) -> str:
    if not isinstance(number, int):
        raise NotLiteral("a fraction as a key")
    return str(number)


def _collection(node: Node) -> object:
    """Return the value of `new Set([...])` and `new Map([...])`."""
    constructor = node.child_by_field_name("constructor")
    arguments = node.child_by_field_name("arguments")
    parts = _parts(arguments) if arguments else []
    values = value_of(_only(parts)) if parts else []
    if constructor is None or not isinstance(values, list):
        raise NotLiteral("new")
    match source_of(constructor):
        case "Set":
            return set(values)
        case "Map":
            return dict(values)
    raise NotLiteral("new")


# -- the same text for the same thing --------------------------------------------------------------


def tidy(node: Node) -> str:
    """Return a piece of syntax as text with regular blanks and quotes."""
    text, last = "", None
    for leaf in _leaves(node):
        part = json.dumps(_string(leaf), ensure_ascii=False) if _is_plain(leaf) else source_of(leaf)
        text += (" " if last is not None and _is_apart(last, leaf) else "") + part
        last = leaf
    return text


def _leaves(node: Node) -> list[Node]:
    if node.type == "comment":
        return []
    if not node.children or node.type in ("string", "template_string", "regex"):
        return [node]
    return [leaf for child in node.children for leaf in _leaves(child)]


def _is_plain(node: Node) -> bool:
    return node.type == "string" and is_literal(node)


def _is_apart(last: Node, leaf: Node) -> bool:
    if last.type == "," or (last.type == ":" and leaf.type != ")"):
        return True
    if last.type in ("(", "[", "{", ".", "...") or leaf.type in (")", "]", "}", ",", ";", "."):
        return False
    return last.end_byte < leaf.start_byte


# -- types -----------------------------------------------------------------------------------------

_PREDEFINED: dict[str, Callable[[object], bool]] = {
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "bigint": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict | list | set),
    "void": lambda value: value is None,
    "never": lambda value: False,
}
_LISTS = {"Array", "ReadonlyArray", "Iterable"}
_DICTS = {"Record", "Map", "ReadonlyMap"}


def fits(value: object, type_: Node | None) -> bool:
    """Say whether a value fits a type as far as that can be read."""
    parts = type_.named_children if type_ else []
    match type_.type if type_ else "":
        case "type_annotation" | "parenthesized_type" | "readonly_type":
            return fits(value, parts[-1])
        case "predefined_type":
            accepts = _PREDEFINED.get(source_of(type_)) if type_ else None
            return accepts is None or accepts(value)
        case "literal_type":
            return parts[0].type in ("null", "undefined") if value is None else _is(value, parts[0])
        case "union_type":
            return any(fits(value, part) for part in parts)
        case "array_type":
            return isinstance(value, list) and all(fits(one, parts[0]) for one in value)
        case "tuple_type" if not any("type" not in part.type for part in parts):
            return isinstance(value, list) and len(value) <= len(parts)
        case "generic_type" if len(parts) == 2:
            return _fits_generic(value, source_of(parts[0]), parts[1].named_children)
    return True


def _is(value: object, literal: Node) -> bool:
    return not is_literal(literal) or value_of(literal) == value


def _fits_generic(value: object, name: str, parts: Sequence[Node]) -> bool:
    if name in _LISTS and parts:
        return isinstance(value, list) and all(fits(one, parts[0]) for one in value)
    if name in _DICTS and len(parts) == 2:
        return isinstance(value, dict) and all(fits(one, parts[1]) for one in value.values())
    return not (name in ("Set", "ReadonlySet") and not isinstance(value, set))
