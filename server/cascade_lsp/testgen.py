"""Tests as evidence: ask a tier for assertions, keep the ones worth running, run them, score.

A model writes its tests without sight of any body. A line is kept only by the rules of `parse`
and `reject_useless`; examples in the docstring are tests too, and trusted. It decides nothing.
"""

import ast
import doctest
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cascade_lsp import signature
from cascade_lsp.engine import Piece, Prompt
from cascade_lsp.sandbox import Check, Limits, Outcome, Sandbox
from cascade_lsp.testable import Target

DOCSTRING = "docstring"
TEST_TOKENS = 120
MOST_TESTS = 24  # per tier; more cost time and say little
# Labels of runs that say nothing about the program; see docs/sandbox.md.
SILENT = frozenset(
    "timeout memory blocked_access output_flood result_flood inconclusive sandbox_lost".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class Test:
    """One line of evidence: its text, who wrote it, and the check that it stands for."""

    __test__ = False

    text: str
    origin: str
    trusted: bool
    check: Check


# -- asking -------------------------------------------------------------------------------------


def prompts(target: Target, style: str, samples: int) -> list[Prompt]:
    """Return `samples` prompts for five assertions each; the first is greedy.

    They begin as the solution's prompt does (the listing of the stub), so that the engine
    evaluates that part once for all.
    """
    opening = f"assert {target.name}("
    if style == "chat":
        question = (
            f"{target.listing}\nWrite 5 one-line asserts that test `{target.name}` on different "
            "inputs. Reply with one code block."
        )
        pieces = [Piece("user", question), Piece("assistant", f"```python\n{opening}")]
    else:
        pieces = [Piece("text", f"{target.stub_source}\n\n# Tests\n{opening}")]
    stop = ("```", "\ndef ", "\nclass ", "\n\n\n")
    return [
        Prompt(tuple(pieces), TEST_TOKENS, stop, temperature=0.8 if seed else 0.0, seed=seed)
        for seed in range(samples)
    ]


# -- reading ------------------------------------------------------------------------------------


def parse(
    answers: Sequence[str], target: Target, origin: str
) -> tuple[list[Test], Mapping[str, int]]:
    """Return the usable assertions of the answers, and how many lines were dropped by reason.

    Usable: one assert statement that compiles, calls the target, with literal arguments that fit
    its head, no tautology, not seen before, not contradicted by another line. `answers` continue
    the opening of `prompts`.
    """
    tests: dict[str, Test] = {}
    head = signature.head(target.header)
    dropped: Counter[str] = Counter()
    for answer in answers:
        for line in f"assert {target.name}({answer}".splitlines():
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            found = _assertion(line.strip(), target.name, head)
            if isinstance(found, str):
                dropped[found] += 1
            elif found[0] in tests:
                dropped["repeated"] += 1
            elif len(tests) >= MOST_TESTS:
                dropped["too_many"] += 1
            else:
                tests[found[0]] = Test(found[0], origin, False, found[1])
    agreed = _without_contradictions(list(tests.values()))
    dropped["contradicted"] += len(tests) - len(agreed)
    return agreed, +dropped


def _without_contradictions(tests: Sequence[Test]) -> list[Test]:
    """Drop the tests that expect different values of one call: their author does not know."""
    expected = dict[str, set[str | None]]()
    for test in tests:
        if test.check.relation == "eq":
            expected.setdefault(test.check.expression, set()).add(test.check.expected)
    return [test for test in tests if len(expected.get(test.check.expression, ())) < 2]


def _assertion(line: str, name: str, head: ast.FunctionDef | None) -> tuple[str, Check] | str:
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


def examples(target: Target) -> list[Test]:
    """Return the examples that the docstring states: `>>>` sessions and lines like `f(1) == 2`."""
    found = dict[str, Test]()
    for call, value in [*_sessions(target.doc), *_stated(target.doc, target.name)]:
        result = _assertion(f"assert {call} == {value}", target.name, None)
        if not isinstance(result, str) and result[1].strong:
            found.setdefault(result[0], Test(result[0], DOCSTRING, True, result[1]))
    return list(found.values())


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


# -- running ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Matrix:
    """Which solution passed which test: `outcomes[s][t]`, for `k` solutions and `tests`."""

    tests: tuple[Test, ...]
    outcomes: tuple[tuple[Outcome, ...], ...]

    def score(self, s: int) -> tuple[int, int, int]:
        """Return (n_s, N_t, n_t) of solution `s` over the generated tests.

        n_s counts the lines it passes, N_t the lines with a conclusive verdict for it, n_t the
        most solutions that pass any one line which it passes (arXiv 2405.15842).
        """
        generated = [t for t, test in enumerate(self.tests) if not test.trusted]
        valid = [t for t in generated if self.outcomes[s][t].conclusive]
        passed = [t for t in valid if self.outcomes[s][t].kind == "passed"]
        agree = (sum(row[t].kind == "passed" for row in self.outcomes) for t in passed)
        return len(passed), len(valid), max(agree, default=0)

    def trusted(self, s: int) -> tuple[int, int]:
        """Return how many trusted tests solution `s` passed and failed, conclusively."""
        kinds = [
            outcome.kind
            for test, outcome in zip(self.tests, self.outcomes[s], strict=True)
            if test.trusted and outcome.conclusive
        ]
        return kinds.count("passed"), len(kinds) - kinds.count("passed")

    def inconclusive(self, s: int) -> int:
        """Return how many tests say nothing about solution `s`."""
        return sum(not outcome.conclusive for outcome in self.outcomes[s])

    def best(self) -> int:
        """Return the solution that passes the trusted tests best, then the argmax of
        n_s * n_t; the first one where they tie."""

        def rank(s: int) -> tuple[int, int]:
            n_s, _, n_t = self.score(s)
            return -self.trusted(s)[1], n_s * n_t

        return max(range(len(self.outcomes)), key=rank)


async def reject_useless(
    tests: Sequence[Test], stub: str, sandbox: Sandbox, limits: Limits
) -> tuple[list[Test], Mapping[str, int]]:
    """Drop the tests that a body returning nothing passes, or that cannot be run at all."""
    outcomes = await sandbox.run(stub, [test.check for test in tests], limits)
    kept, dropped = list[Test](), Counter[str]()
    for test, outcome in zip(tests, outcomes, strict=True):
        if outcome.kind in ("assert_failed", "error"):
            kept.append(test)
        else:
            dropped["passes_on_stub" if outcome.kind == "passed" else outcome.kind] += 1
    return kept, dropped


async def run(
    tests: Sequence[Test], programs: Sequence[str | None], sandbox: Sandbox, limits: Limits
) -> Matrix:
    """Run every test against every program, twice; a verdict that changes is no verdict.

    A program of None (no whole function) fails every test.
    """
    checks = [test.check for test in tests]
    rows = []
    for source in programs:
        if source is None:
            rows.append(tuple(Outcome("error", detail="no whole function") for _ in tests))
            continue
        first = await sandbox.run(source, checks, limits, seed=0)
        again = await sandbox.run(source, checks, limits, seed=1)
        rows.append(tuple(_stable(a, b) for a, b in zip(first, again, strict=True)))
    return Matrix(tuple(tests), tuple(rows))


def _stable(first: Outcome, again: Outcome) -> Outcome:
    if first.kind == again.kind:
        return first
    changed = f"{first.kind}, then {again.kind}"
    return replace(first, kind="inconclusive", detail=f"changes between two runs: {changed}")
