"""The user's own tests as evidence: which of them tell answers apart, and what each answer shows.

A test of the project counts only if it fails on a body that returns nothing and says the same of
an answer twice. Looking for them and running them has a time; what that leaves out is counted.
They run in the candidate's process, which could forge them: they are trusted, but weak.
"""

import ast
import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cascade_lsp.context import Context
from cascade_lsp.ledger import PROJECT
from cascade_lsp.sandbox import Check, Limits, Outcome, Sandbox, Suite
from cascade_lsp.suites import Finder, Found, OwnTest
from cascade_lsp.surroundings import parse
from cascade_lsp.testable import Target
from cascade_lsp.testgen import Matrix, Test

IMPORT_S = 2.0  # a test may need so much longer than a line: it imports the project and pytest
FAILING = ("assert_failed", "error")


@dataclass(slots=True)
class OwnTests:
    """The project's tests of one function, found once; verdicts are kept for later turns."""

    finder: Finder
    sandbox: Sandbox
    limits: Limits
    found: Found | None = None
    _compiles: bool = True
    _on_stub: dict[OwnTest, Outcome] = field(default_factory=dict)
    _verdicts: dict[tuple[OwnTest, str], Outcome] = field(default_factory=dict)

    async def run(
        self, context: Context, target: Target, texts: Sequence[str | None], within_s: float
    ) -> None:
        """Run them on the documents that `texts` at the cursor make, as far as the time goes;
        a text of None is no whole function."""
        sources = [context.completed(text) for text in texts if text]
        if context.language != "python" or not sources:
            return
        stub = stubbed(sources[0], target)
        try:
            async with asyncio.timeout(within_s):
                found = await self._find(context, target, within_s / 2)
                self._compiles = stub is not None
                if stub is None or not found.tests or not await self._can_run():
                    return
                for test in found.tests:
                    await self._try(test, stub, sources)
        except TimeoutError:
            return  # what has no verdict yet is counted as left out

    async def _find(self, context: Context, target: Target, within_s: float) -> Found:
        if self.found is None:
            find = self.finder.find
            self.found = await asyncio.to_thread(find, context.uri, target.name, within_s)
        return self.found

    async def _can_run(self) -> bool:
        """Say whether this sandbox reads projects; where it cannot, that is said once for all."""
        if (await self.sandbox.status()).tier == "native":
            return True
        found = self.found or Found()
        left_out = Counter(found.left_out) + Counter(needs_the_native_sandbox=len(found.tests))
        self.found = Found(left_out=left_out)
        return False

    async def _try(self, test: OwnTest, stub: str, sources: Sequence[str]) -> None:
        if test not in self._on_stub:
            self._on_stub[test] = await self._once(test, stub)
        if self._on_stub[test].kind not in FAILING:
            return
        for source in sources:
            if (test, source) not in self._verdicts:
                first = await self._once(test, source)
                again = await self._once(test, source) if first.conclusive else first
                self._verdicts[test, source] = _stable(first, again)

    async def _once(self, test: OwnTest, source: str) -> Outcome:
        suite = Suite(test.module, source, ((test.path, test.name),))
        limits = replace(self.limits, time_s=self.limits.time_s + IMPORT_S)
        (outcome,) = await self.sandbox.run_suite(suite, limits)
        return outcome

    def matrix(self, context: Context, texts: Sequence[str | None]) -> Matrix:
        """Return what is known of these texts: the tests that have a verdict on each of them."""
        sources = [context.completed(text) if text else None for text in texts]
        if not any(sources):
            return Matrix((), ((),) * len(sources))
        tests = [test for test in self._useful() if self._known(test, sources)]
        rows = [
            tuple(self._verdicts[test, source] if source else _NONE for test in tests)
            for source in sources
        ]
        return Matrix(tuple(map(_as_test, tests)), tuple(rows))

    def left_out(self, matrix: Matrix) -> Mapping[str, int]:
        """Return how many of the tests found are not in a matrix, by reason."""
        if self.found is None:
            return {}
        counts = Counter(self.found.left_out)
        for outcome in self._on_stub.values():
            if outcome.kind not in FAILING:
                counts["passes_on_stub" if outcome.kind == "passed" else outcome.kind] += 1
        seen = len(matrix.tests) + sum(o.kind not in FAILING for o in self._on_stub.values())
        rest = "out_of_time" if self._compiles else "document_does_not_compile"
        counts[rest] = len(self.found.tests) - seen
        return dict(+counts)

    def _useful(self) -> list[OwnTest]:
        return [test for test, outcome in self._on_stub.items() if outcome.kind in FAILING]

    def _known(self, test: OwnTest, sources: Sequence[str | None]) -> bool:
        return all((test, source) in self._verdicts for source in sources if source)


_NONE = Outcome("error", detail="no whole function")


def _as_test(test: OwnTest) -> Test:
    return Test(test.text, PROJECT, True, Check(test.name, strong=False))


def _stable(first: Outcome, again: Outcome) -> Outcome:
    if first.kind == again.kind:
        return first
    changed = f"{first.kind}, then {again.kind}"
    return replace(first, kind="inconclusive", detail=f"changes between two runs: {changed}")


def stubbed(document: str, target: Target) -> str | None:
    """Return a document with a target that returns nothing; None if it does not compile even so."""
    raw, at = document.encode(), len(document[: target.start].encode())
    node = next((one for one in parse(document).children if one.start_byte == at), None)
    if node is None:
        return None
    body = target.with_body("return None").rstrip().encode()
    source = (raw[:at] + body + raw[node.end_byte :]).decode()
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return source
