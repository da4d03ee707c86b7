"""Tests of JavaScript and TypeScript functions: assertions in a model's answer, examples in the
comment above a function.

Reads text, never runs it. The public functions are those of `languages.Tests`. However an
assertion is written (`console.assert`, `assert.deepStrictEqual`, `expect(...).toEqual`), it becomes
a call whose value is compared outside; `===` of an array means what its author meant by it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tree_sitter import Node

from cascade_lsp.languages import Assertion, Target
from cascade_lsp.languages.javascript_claims import Claim, arguments_of, calls_of, claim_of
from cascade_lsp.languages.javascript_module import functions, parse, source_of
from cascade_lsp.languages.javascript_values import fits, is_literal, tidy, value_of
from cascade_lsp.sandbox import Check

_SILENT = ("comment", "empty_statement", "import_statement", "hash_bang_line")


def opening(target: Target) -> str:
    """Return how a test of the target begins, up to its first argument."""
    return f"assert.deepStrictEqual({target.name}("


def assertions(answer: str, target: Target) -> Iterator[Assertion | str]:
    """Read each statement of an answer: an assertion, or the reason why it is not usable."""
    head = _Head.of(target)
    for statement in parse(answer, target.language).children:
        if statement.type not in (
            "comment",
            "empty_statement",
            "import_statement",
            "hash_bang_line",
        ):
            yield from _statement(statement, target, head)


def _statement(statement: Node, target: Target, head: "_Head") -> Iterator[Assertion | str]:
    if statement.has_error:
        yield "does_not_compile"
    elif statement.type == "expression_statement":
        yield _assertion(statement.named_children[0], target, head)
    elif not _brings_assert(statement):
        yield "not_one_assert"


def _brings_assert(statement: Node) -> bool:
    """Say whether a statement only makes assertions available."""
    return bool(re.match(r"(const|let|var)\b.*\brequire\(", source_of(statement)))


def _assertion(expression: Node, target: Target, head: "_Head | None") -> Assertion | str:
    """Return the normalised text and check of an assertion, or why it is not usable."""
    claim = claim_of(expression)
    if claim is None:
        return "not_one_assert"
    calls = [call for part in claim.parts for call in calls_of(part, target.name)]
    if not calls:
        return "does_not_call"
    if not all(is_literal(argument) for call in calls for argument in arguments_of(call)):
        return "arguments_not_literal"
    if head and not all(head.accepts(arguments_of(call)) for call in calls):
        return "arguments_do_not_fit"
    claim = _turned(claim)
    if head and not head.may_give(claim, target.name):
        return "value_does_not_fit"
    if _is_tautology(claim):
        return "tautology"
    return _checked(claim)


# -- from a claim to a check -----------------------------------------------------------------------


def _turned(claim: Claim) -> Claim:
    """Put the literal of a comparison behind the other side."""
    if claim.expected and is_literal(claim.subject) and not is_literal(claim.expected):
        return Claim(claim.expected, claim.relation, claim.subject)
    return claim


def _is_tautology(claim: Claim) -> bool:
    node = claim.subject
    if claim.expected is not None:
        return tidy(node) == tidy(claim.expected)
    if node.type == "binary_expression" and (operator := node.child_by_field_name("operator")):
        sides = [node.child_by_field_name("left"), node.child_by_field_name("right")]
        if source_of(operator) in ("||", "&&", "??"):
            return any(side is not None and is_literal(side) for side in sides)
        return len({tidy(side) for side in sides if side}) == 1
    return False


def _checked(claim: Claim) -> Assertion:
    """Turn a claim into the strongest check: a value to return, compared outside.

    Python takes 1 for True and an empty list for false, JavaScript does not: what is true or
    false, and whether there is a value at all, is told inside as a boolean.
    """
    subject = tidy(claim.subject)
    if claim.expected is None:
        call = claim.subject.type == "call_expression"
        truly = claim.relation == "truthy"
        inner = subject if call else f"({subject})"
        text = f"assert({subject})" if truly else f"assert(!{inner})"
        return text, Check(f"!!{inner}", "is", str(truly), strong=call)
    expected, sign = tidy(claim.expected), "" if claim.relation == "eq" else "!"
    text = f"assert.{'notD' if sign else 'd'}eepStrictEqual({subject}, {expected})"
    if not is_literal(claim.expected):
        inside = f'{sign}require("node:util").isDeepStrictEqual({subject}, {expected})'
        return text, Check(inside, "is", "True", strong=False)
    value = value_of(claim.expected)
    if value is None and sign:
        return text, Check(f"({subject}) == null", "is", "False")
    single = not sign and (value is None or isinstance(value, bool))
    return text, Check(subject, "is" if single else claim.relation, repr(value))


# -- what the head of the function takes and gives -------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Head:
    """A function's parameters, how many of them it needs, and the type that it promises."""

    parameters: Sequence[Node]
    least: int
    open: bool
    returns: Node | None

    @classmethod
    def of(cls, target: Target) -> "_Head":
        root = parse(target.with_body(""), target.language)
        function = next(f for f in functions(root) if f.name == target.name)
        parameters = function.parameters
        needed = [not _is_optional(p, target.doc) for p in parameters]
        rest = bool(parameters) and source_of(parameters[-1]).startswith("...")
        returns = function.node.child_by_field_name("return_type")
        least = max((n for n, one in enumerate(needed, start=1) if one), default=0)
        return cls(parameters, least, rest, returns)

    def accepts(self, arguments: Sequence[Node]) -> bool:
        """Say whether literal arguments fit the parameters in number and type."""
        if not (self.least <= len(arguments) and (self.open or len(arguments) <= self.most)):
            return False
        pairs = zip(arguments, self.parameters[: self.most], strict=False)
        return all(_fits(a, p.child_by_field_name("type")) for a, p in pairs)

    @property
    def most(self) -> int:
        """Return how many arguments have a parameter of their own."""
        return len(self.parameters) - self.open

    def may_give(self, claim: Claim, name: str) -> bool:
        """Say whether the value that a claim expects of a call is one that the head promises."""
        direct = claim.subject in list(calls_of(claim.subject, name))
        if not direct or claim.expected is None or claim.relation != "eq":
            return True
        return not is_literal(claim.expected) or _fits(claim.expected, self.returns)


def _fits(literal: Node, type_: Node | None) -> bool:
    return fits(value_of(literal), type_)


def _is_optional(parameter: Node, doc: str) -> bool:
    source = source_of(parameter)
    name = re.match(r"[\w$]+", source)
    told = bool(name and re.search(rf"@param\b[^\n]*\[\s*{re.escape(name[0])}\b", doc))
    with_default = parameter.child_by_field_name("value") or parameter.type == "assignment_pattern"
    optional = parameter.type == "optional_parameter" or source.startswith("...")
    return bool(with_default) or optional or told


# -- examples in the comment above -----------------------------------------------------------------

_YIELDS = re.compile(
    r"[`;)]*\s*(?://\s*)?(?:===?|=>|->|➞|→|//|returns?\b|should return\b|gives\b)"
    r"\s*(?:(?:=>|->|returns?\b)\s*)?(?P<value>.+)"
)
_SESSION = re.compile(r"^\s*>{1,3}\s*(?P<call>.+?);?\s*$")


def examples(target: Target) -> Iterator[Assertion]:
    """Read the examples of a comment: lines like `f(1) // => 2`, `f(1) === 2`, sessions of `>`."""
    for call, value in [*_sessions(target.doc), *_stated(target.doc, target.name)]:
        source = f"assert.deepStrictEqual({call}, {value})"
        root = parse(source, target.language)
        if not root.has_error and root.named_child_count == 1:
            found = _assertion(root.named_children[0].named_children[0], target, None)
            if not isinstance(found, str) and found[1].strong:
                yield found


def _sessions(doc: str) -> Iterator[tuple[str, str]]:
    lines = doc.splitlines()
    for line, after in pairwise(lines):
        value = re.sub(r"^\s*>{3}\s*", "", after).strip()
        if (session := _SESSION.match(line)) and _leading_literal(value) == value:
            yield session["call"], value


def _stated(doc: str, name: str) -> Iterator[tuple[str, str]]:
    for line in doc.splitlines():
        for start in re.finditer(rf"(?<![\w.$]){re.escape(name)}\(", line):
            call = _prefix(line[start.start() :], r"\)", _is_call)
            if call and (stated := _YIELDS.match(line[start.start() + len(call) :])):
                value = _leading_literal(stated["value"])
                if value:
                    yield call, value


def _prefix(text: str, end: str, wanted: Callable[[str], bool]) -> str:
    """Return the shortest beginning of `text`, up to some `end`, that is `wanted`."""
    ends = (match.end() for match in re.finditer(end, text))
    return next((text[:at] for at in ends if wanted(text[:at])), "")


def _expression(text: str) -> Node | None:
    root = parse(f"({text})", "javascript")
    inner = root.named_children[0].named_children if root.named_child_count == 1 else []
    if root.has_error or len(inner) != 1 or inner[0].type != "parenthesized_expression":
        return None
    return inner[0].named_children[0] if inner[0].named_child_count == 1 else None


def _is_call(text: str) -> bool:
    node = _expression(text)
    return node is not None and node.type == "call_expression"


def _leading_literal(text: str) -> str:
    """Return the longest beginning of `text` that is a literal, cut where words or signs end."""
    ends = {len(text), *(m.start() for m in re.finditer(r"[\s.,;)`]", text))}
    for end in sorted(ends, reverse=True):
        part = text[:end].strip(" `.,;")
        node = _expression(part) if part else None
        if node is not None and is_literal(node):
            return part
    return ""
