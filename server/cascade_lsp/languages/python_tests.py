"""Tests of Python functions: assert lines in a model's answer, examples in docstrings.

Reads text, never runs it. The public functions are those of `languages.Tests`.
"""

import ast
import doctest
import re
from collections.abc import Iterator

from cascade_lsp import signature
from cascade_lsp.languages import Assertion, Target
from cascade_lsp.sandbox import Check


def opening(target: Target) -> str:
    """Return how a test of the target begins, up to its first argument."""
    return f"assert {target.name}("


def assertions(answer: str, target: Target) -> Iterator[Assertion | str]:
    """Read each line of an answer: an assertion, or the reason why it is not usable."""
    head = signature.head(target.header)
    for line in answer.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield _assertion(line.strip(), target.name, head)


def _assertion(line: str, name: str, head: ast.FunctionDef | None) -> Assertion | str:
    """Return the normalised text and check of an assert line, or why it is not usable."""
    try:
        statements = ast.parse(line).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return "does_not_compile"
    if len(statements) != 1 or not isinstance(statements[0], ast.Assert):
        return "not_one_assert"
    condition = statements[0].test
    calls = [call for node in ast.walk(condition) if (call := _call(node, name))]
    if not calls:
        return "does_not_call"
    if not all(_has_literal_arguments(call) for call in calls):
        return "arguments_not_literal"
    if head and not all(signature.call_fits(call, head) for call in calls):
        return "arguments_do_not_fit"
    if head and not _value_fits(condition, name, head):
        return "value_does_not_fit"
    if _is_tautology(condition):
        return "tautology"
    return f"assert {ast.unparse(condition)}", _check(condition, name)


def _call(node: ast.AST, name: str) -> ast.Call | None:
    """Return a node that is a call of the function `name`, else None."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
        return node
    return None


def _has_literal_arguments(call: ast.Call) -> bool:
    return all(_is_literal(a) for a in [*call.args, *(k.value for k in call.keywords)])


def _value_fits(condition: ast.expr, name: str, head: ast.FunctionDef) -> bool:
    """Say whether the value that `f(...) == value` expects is one that the head promises."""
    match condition:
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]) if _call(left, name):
            literal = ast.literal_eval(right) if _is_literal(right) else ...
            return literal is ... or signature.value_fits(literal, head.returns)
    return True


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _is_tautology(condition: ast.expr) -> bool:
    if isinstance(condition, ast.BoolOp):
        return any(_is_literal(value) for value in condition.values)
    if isinstance(condition, ast.Compare):
        sides = [ast.dump(side) for side in [condition.left, *condition.comparators]]
        return len(set(sides)) < len(sides)
    return False


def _check(condition: ast.expr, name: str) -> Check:
    """Turn a condition into the strongest check: a value to return, compared outside."""
    match condition:
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            if _is_literal(left) and not _is_literal(right):
                left, right = right, left
            relation = {ast.Eq: "eq", ast.NotEq: "ne", ast.Is: "is"}.get(type(op))
            if relation in ("eq", "ne", "is") and _is_literal(right):
                return Check(ast.unparse(left), relation, ast.unparse(right))  # type: ignore[arg-type]
        case ast.UnaryOp(op=ast.Not(), operand=operand) if _call(operand, name):
            return Check(ast.unparse(operand), "falsy")
        case ast.Call() if _call(condition, name):
            return Check(ast.unparse(condition), "truthy")
    return Check(ast.unparse(condition), "truthy", strong=False)


# -- docstring examples -------------------------------------------------------------------------

_YIELDS = re.compile(r"`?\s*(?:==|=>|->|➞|→|returns?|should return|gives)\s*(?P<value>.+)")


def examples(target: Target) -> Iterator[Assertion]:
    """Read the examples of a docstring: `>>>` sessions and lines like `f(1) == 2`."""
    for call, value in [*_sessions(target.doc), *_stated(target.doc, target.name)]:
        result = _assertion(f"assert {call} == {value}", target.name, None)
        if not isinstance(result, str) and result[1].strong:
            yield result


def _sessions(doc: str) -> Iterator[tuple[str, str]]:
    try:
        sessions = doctest.DocTestParser().get_examples(doc)
    except ValueError:
        return
    for example in sessions:
        if example.exc_msg is None and example.want.strip():
            yield example.source.strip(), example.want.strip()


def _stated(doc: str, name: str) -> Iterator[tuple[str, str]]:
    for line in doc.splitlines():
        for start in re.finditer(rf"(?<![\w.]){re.escape(name)}\(", line):
            call = _balanced(line[start.start() :])
            if call and (stated := _YIELDS.match(line[start.start() + len(call) :])):
                value = _leading_literal(stated["value"])
                if value:
                    yield call, value


def _balanced(text: str) -> str:
    """Return the shortest beginning of `text` that is a whole call, "" if there is none."""
    ends = (match.end() for match in re.finditer(r"\)", text))
    return next((text[:end] for end in ends if _parses(text[:end])), "")


def _parses(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def _leading_literal(text: str) -> str:
    """Return the longest beginning of `text` that is a literal, cut where words or signs end."""
    ends = [len(text), *(m.start() for m in re.finditer(r"[\s.,;)`]", text))]
    for end in sorted(set(ends), reverse=True):
        part = text[:end].strip(" `.,;")
        if part and _parses(part) and _is_literal(ast.parse(part, mode="eval").body):
            return part
    return ""
