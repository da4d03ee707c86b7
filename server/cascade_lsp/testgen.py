"""Tests as evidence: ask a tier for assertions, keep the ones worth running, run them, score.

A model writes its tests without sight of any body. A line is kept only by the rules of `parse`
and `reject_useless`; examples in the docstring are tests too, and trusted. It decides nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cascade_lsp.engine import Piece, Prompt
from cascade_lsp.languages import Target, tests_of
from cascade_lsp.sandbox import Check, Language, Limits, Outcome, Sandbox

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
    opening, notation = tests_of(target).opening(target), target.notation
    if style == "chat":
        question = (
            f"{target.listing}\nWrite 5 one-line asserts that test `{target.name}` on different "
            "inputs. Reply with one code block."
        )
        pieces = [Piece("user", question), Piece("assistant", f"```{target.runs_as}\n{opening}")]
    else:
        pieces = [Piece("text", f"{target.stub_source}\n\n{notation.comment} Tests\n{opening}")]
    return [
        Prompt(
            tuple(pieces),
            TEST_TOKENS,
            notation.tests_stop,
            temperature=0.8 if seed else 0.0,
            seed=seed,
        )
        for seed in range(samples)
    ]


# -- reading ------------------------------------------------------------------------------------


def parse(
    answers: Sequence[str], target: Target, origin: str
) -> tuple[list[Test], Mapping[str, int]]:
    """Return the usable assertions of the answers, and how many were dropped by reason.

    Usable: one assertion that compiles, calls the target, with literal arguments that fit
    its head, no tautology, not seen before, not contradicted by another line. `answers` continue
    the opening of `prompts`.
    """
    return merged(one for answer in answers for one in read(answer, target, origin))


def read(answer: str, target: Target, origin: str) -> list[Test | str]:
    """Return an answer's lines in order: assertions, or the reasons for which a line is none."""
    reader = tests_of(target)
    return [
        one if isinstance(one, str) else Test(one[0], origin, False, one[1])
        for one in reader.assertions(reader.opening(target) + answer, target)
    ]


def merged(found: Iterable[Test | str]) -> tuple[list[Test], Mapping[str, int]]:
    """Return each test once, without those that contradict each other, and how many were dropped
    by reason; a text in `found` is the reason for which one was dropped before."""
    tests: dict[str, Test] = {}
    dropped: Counter[str] = Counter()
    for one in found:
        if isinstance(one, str):
            dropped[one] += 1
        elif one.text in tests:
            dropped["repeated"] += 1
        elif len(tests) >= MOST_TESTS:
            dropped["too_many"] += 1
        else:
            tests[one.text] = one
    agreed = _without_contradictions(list(tests.values()))
    dropped["contradicted"] += len(tests) - len(agreed)
    return agreed, +dropped


def examples(target: Target) -> list[Test]:
    """Return the examples that the documentation states, as trusted tests."""
    found = dict[str, Test]()
    for text, check in tests_of(target).examples(target):
        found.setdefault(text, Test(text, DOCSTRING, True, check))
    return list(found.values())


def _without_contradictions(tests: Sequence[Test]) -> list[Test]:
    """Drop the tests that expect different values of one call: their author does not know."""
    expected = dict[str, set[str | None]]()
    for test in tests:
        if test.check.relation in ("eq", "is"):
            expected.setdefault(test.check.expression, set()).add(test.check.expected)
    return [test for test in tests if len(expected.get(test.check.expression, ())) < 2]


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
    tests: Sequence[Test],
    stub: str,
    sandbox: Sandbox,
    limits: Limits,
    language: Language = "python",
) -> tuple[list[Test], Mapping[str, int]]:
    """Drop the tests that a body returning nothing passes, or that cannot be run at all."""
    checks = [test.check for test in tests]
    outcomes = await sandbox.run(stub, checks, limits, language=language)
    kept, dropped = list[Test](), Counter[str]()
    for test, outcome in zip(tests, outcomes, strict=True):
        if outcome.kind in ("assert_failed", "error"):
            kept.append(test)
        else:
            dropped["passes_on_stub" if outcome.kind == "passed" else outcome.kind] += 1
    return kept, dropped


async def run(
    tests: Sequence[Test],
    programs: Sequence[str | None],
    sandbox: Sandbox,
    limits: Limits,
    language: Language = "python",
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
        first = await sandbox.run(source, checks, limits, seed=0, language=language)
        again = await sandbox.run(source, checks, limits, seed=1, language=language)
        rows.append(tuple(_stable(a, b) for a, b in zip(first, again, strict=True)))
    return Matrix(tuple(tests), tuple(rows))


def _stable(first: Outcome, again: Outcome) -> Outcome:
    if first.kind == again.kind:
        return first
    changed = f"{first.kind}, then {again.kind}"
    return replace(first, kind="inconclusive", detail=f"changes between two runs: {changed}")
