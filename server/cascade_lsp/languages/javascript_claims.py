"""What an assertion in JavaScript claims, in whichever of the usual ways it is written.

Reads syntax, never runs it: `console.assert`, node's `assert`, and `expect` of several libraries.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tree_sitter import Node

from cascade_lsp.languages.javascript_module import nodes, parse, source_of
from cascade_lsp.sandbox import Relation

_EQUAL = ("equal", "strictEqual", "deepEqual", "deepStrictEqual")
_UNEQUAL = ("notEqual", "notStrictEqual", "notDeepEqual", "notDeepStrictEqual")
_TO_EQUAL = ("toBe", "toEqual", "toStrictEqual", "equal", "equals", "eql", "eq", "is", "deepEqual")
_TO_BE: dict[str, tuple[Relation, str]] = {
    "toBeNull": ("eq", "null"),
    "toBeUndefined": ("eq", "undefined"),
    "toBeTruthy": ("truthy", ""),
    "toBeFalsy": ("falsy", ""),
}
# By the subject, the argument, and how many digits behind the point are compared.
_TO_HOLD = {
    "toHaveLength": "{0}.length === {1}",
    "toContain": "{0}.includes({1})",
    "toBeCloseTo": "Math.abs({0} - {1}) < 10 ** -{2} / 2",
    "closeTo": "Math.abs({0} - {1}) <= {2}",
}
_CHAIN = frozenset("to be been is that which and has have with deep".split())  # noqa: SIM905
_OPPOSITE: dict[Relation, Relation] = {
    "eq": "ne",
    "ne": "eq",
    "truthy": "falsy",
    "falsy": "truthy",
}
_COMPARED: dict[str, Relation] = {"===": "eq", "==": "eq", "!==": "ne", "!=": "ne"}


@dataclass(frozen=True, slots=True)
class Claim:
    """What an assertion claims: a relation of a value to, for some relations, an expected one."""

    subject: Node
    relation: Relation
    expected: Node | None = None

    @property
    def parts(self) -> list[Node]:
        """Return what the claim is made of."""
        return [self.subject, *([self.expected] if self.expected else [])]


def claim_of(expression: Node) -> Claim | None:
    """Return what an expression asserts, None if it is no assertion."""
    if expression.type == "await_expression" and expression.named_children:
        expression = expression.named_children[0]
    if expression.type != "call_expression":
        return None
    function, arguments = expression.child_by_field_name("function"), arguments_of(expression)
    name = source_of(function) if function else ""
    if name.startswith("expect("):
        return _expectation(function, arguments)
    match name.removeprefix("assert.").removeprefix("strict."), arguments:
        case (("assert" | "console.assert" | "ok" | "isTrue" | "isOk"), [condition, *_]):
            return _condition(condition)
        case (("isFalse" | "isNotOk"), [condition, *_]):
            return _negated(_condition(condition))
        case operation, [subject, expected, *_] if operation in _EQUAL:
            return _same_parts(Claim(subject, "eq", expected))
        case operation, [subject, expected, *_] if operation in _UNEQUAL:
            return Claim(subject, "ne", expected)
    return None


def _condition(node: Node) -> Claim:
    """Return what a condition claims, as a comparison if it is one."""
    match node.type:
        case "parenthesized_expression" if node.named_child_count == 1:
            return _condition(node.named_children[0])
        case "unary_expression" if source_of(node.children[0]) == "!":
            return _negated(_condition(node.named_children[-1]))
        case "binary_expression":
            left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
            sign = node.child_by_field_name("operator")
            relation = _COMPARED.get(source_of(sign)) if sign else None
            if relation and left and right:
                return _same_parts(Claim(left, relation, right))
    return Claim(node, "truthy")


def _negated(claim: Claim) -> Claim:
    return Claim(claim.subject, _OPPOSITE.get(claim.relation, claim.relation), claim.expected)


def _same_parts(claim: Claim) -> Claim:
    """Compare values themselves where their texts in JSON would be compared."""
    inner = [_unwrapped(part) for part in claim.parts]
    subject, expected = inner[0], inner[-1]
    return Claim(subject, claim.relation, expected) if subject and expected else claim


def _unwrapped(node: Node) -> Node | None:
    function = node.child_by_field_name("function")
    if node.type == "call_expression" and function and source_of(function) == "JSON.stringify":
        arguments = arguments_of(node)
        return arguments[0] if len(arguments) == 1 else None
    return None


def _expectation(function: Node | None, arguments: Sequence[Node]) -> Claim | None:
    """Read `expect(subject).not.toBe(expected)` and its like, of several libraries."""
    names = list[str]()
    while function is not None and function.type == "member_expression":
        name = function.child_by_field_name("property")
        names.append(source_of(name) if name else "")
        function = function.child_by_field_name("object")
    subjects = arguments_of(function) if function else []
    chain = [name for name in names[1:] if name not in _CHAIN]
    if len(subjects) != 1 or not names or chain not in ([], ["not"]):
        return None
    claim = _matched(names[0], subjects[0], arguments)
    return _negated(claim) if claim and chain else claim


def _matched(matcher: str, subject: Node, arguments: Sequence[Node]) -> Claim | None:
    if matcher in _TO_EQUAL and len(arguments) == 1:
        return Claim(subject, "eq", arguments[0])
    if matcher in _TO_BE and not arguments:
        relation, expected = _TO_BE[matcher]
        return Claim(subject, relation, _expression(expected) if expected else None)
    if matcher in _TO_HOLD and arguments:
        condition = _TO_HOLD[matcher].format(source_of(subject), *map(source_of, arguments), 2)
        return _condition(_expression(condition))
    return None


def _expression(source: str) -> Node:
    """Return an expression that is written here."""
    return parse(source, "javascript").named_children[0].named_children[0]


def calls_of(node: Node, name: str) -> Iterator[Node]:
    """Return the calls of the function `name` in a piece of syntax."""
    for call in nodes(node, "call_expression"):
        function = call.child_by_field_name("function")
        if function is not None and source_of(function) == name:
            yield call


def arguments_of(call: Node) -> list[Node]:
    arguments = call.child_by_field_name("arguments")
    children = arguments.named_children if arguments else []
    return [child for child in children if child.type != "comment"]
