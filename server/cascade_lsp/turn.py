"""One tier's turn: ask it for an answer and for tests, run them, and say what was seen.

What a turn shows is evidence; whether it suffices is for `policy.decide`, and who is asked next
for `cascade`.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cascade_lsp import confidence, filters, fim, syntax, testable, testgen
from cascade_lsp.context import Context
from cascade_lsp.engine import (
    Engine,
    Gate,
    Generated,
    Priority,
    Prompt,
    Sent,
    Token,
    Usage,
    collect,
)
from cascade_lsp.ledger import DOCUMENT, Attempt, TestRun
from cascade_lsp.owntests import OwnTests
from cascade_lsp.plans import Plan, Step
from cascade_lsp.policy import Evidence, Execution, Policy, decide
from cascade_lsp.power import Spending
from cascade_lsp.sandbox import Limits, Sandbox
from cascade_lsp.suites import Finder
from cascade_lsp.testable import Target, Untestable
from cascade_lsp.testgen import Matrix, Test


@dataclass(frozen=True, slots=True)
class Tier:
    """One model of the cascade and the prompt style it gets for each use; of a remote one, the
    `gate` that says where it may be asked."""

    name: str
    model: str
    engine: Engine
    line: str = "prefix"
    body: str = "chat"
    tests: str = "chat"
    gate: Gate | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """The small tier's quick answer to a keystroke, as far as it goes; `id` will name its row in
    the ledger, `settled` is the part of `text` that ends with a whole line, and `asked_chars` the
    length of the prompt."""

    id: str
    text: str
    tier: str
    logprobs: tuple[float, ...]
    usage: Usage
    created: float
    settled: str = ""
    asked_chars: int = 0


@dataclass(frozen=True, slots=True)
class Started:
    """A tier was asked."""

    tier: str
    model: str


@dataclass(frozen=True, slots=True)
class Written:
    """A tier wrote more of its first solution."""

    tier: str
    text: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A tier's turn is over."""

    attempt: Attempt


Event = Started | Written | Judged
Watch = Callable[[Event], None]
Dropped = Mapping[str, int]


@dataclass(slots=True)
class Place:
    """One request while it is worked on: where, what is testable there, the pool of tests.

    `id` and `created` are the draft's where one was shown; `own` are the project's own tests of
    the function, where they may be run; `remote` is why a remote model was not asked, or failed,
    and `lost` what it was sent when it failed; `spending` is what may be spent on it.
    """

    id: str
    created: float
    context: Context
    target: Target | Untestable
    trigger: str
    plan: Plan
    watch: Watch
    pool: list[Test]
    own: OwnTests | None = None
    attempts: list[Attempt] = field(default_factory=list)
    remote: str = ""
    lost: tuple[Sent, ...] = ()
    spending: Spending = field(default_factory=Spending)
    started: float = field(default_factory=time.perf_counter)

    @property
    def priority(self) -> Priority:
        """Return how urgent its requests are: whether someone waits for the answer."""
        return Priority.VERIFY if self.trigger == "automatic" else Priority.KEYSTROKE

    @property
    def stub(self) -> Target | None:
        """Return the target if its body is still to be written."""
        return self.target if isinstance(self.target, Target) and self.target.stub else None

    def program(self, text: str, *, whole: bool) -> str | None:
        """Return a program with the target as `text` at the cursor makes it; see `testable`."""
        if isinstance(self.target, Untestable) or not text:
            return None
        return testable.program(self.context.completed(text), self.target, whole=whole)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a tier gave: solutions as text to insert, the program each makes, answers that hold
    tests, and the cost of all."""

    solutions: Sequence[Generated]
    programs: Sequence[str | None]
    tests: Sequence[str]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Runner:
    """What runs tests, and within which limits; without a sandbox nothing is run. `finder` looks
    for the project's own tests, which have `own_s` seconds a turn."""

    sandbox: Sandbox | None
    limits: Limits
    finder: Finder | None = None
    own_s: float = 5.0

    def own_tests(self) -> OwnTests | None:
        """Return what looks for and runs the project's own tests of one function."""
        if self.sandbox is None or self.finder is None or not self.own_s:
            return None
        return OwnTests(self.finder, self.sandbox, self.limits)

    async def run_own(self, place: Place, texts: Sequence[str | None]) -> None:
        """Run the project's own tests on answers, as far as their time goes."""
        if place.own is not None and isinstance(place.target, Target):
            await place.own.run(place.context, place.target, texts, self.own_s)

    async def matrix(self, place: Place, programs: Sequence[str | None]) -> Matrix:
        """Run the pool of tests against programs."""
        if self.sandbox is None or not place.pool or not any(programs):
            return Matrix((), ((),) * len(programs))
        language = place.target.runs_as if isinstance(place.target, Target) else "python"
        return await testgen.run(place.pool, programs, self.sandbox, self.limits, language)

    async def useful(self, place: Place, tests: Sequence[Test]) -> tuple[Sequence[Test], Dropped]:
        """Return the tests that an empty body fails, and how many are dropped by reason."""
        if self.sandbox is None or isinstance(place.target, Untestable):
            return [], {}
        stub = testable.stub_program(place.context.document, place.target)
        language = place.target.runs_as
        return await testgen.reject_useless(tests, stub, self.sandbox, self.limits, language)


@dataclass(frozen=True, slots=True)
class Turn:
    """A tier at a place, with what the plan grants it."""

    place: Place
    tier: Tier
    step: Step
    runner: Runner

    async def take(self, policy: Policy, draft: Draft | None, *, last: bool) -> Attempt:
        """Ask, run and judge; `draft` is what the tier has shown already."""
        self.place.watch(Started(self.tier.name, self.tier.model))
        asked = await self._ask(draft)
        dropped = await self._add_tests(asked.tests)
        programs = asked.programs if self.step.k else [None] * len(asked.programs)
        matrix = await self.runner.matrix(self.place, programs)
        texts = _texts(asked.solutions, programs)
        await self.runner.run_own(self.place, texts)
        own = own_matrix(self.place, texts)
        s = joined(matrix, own).best()
        evidence = self._evidence(asked, dropped, matrix, own, s)
        return Attempt(
            tier=self.tier.name,
            model=self.tier.model,
            text=asked.solutions[s].text,
            tests=_runs(joined(matrix, own), s),
            dropped=dropped,
            features=confidence.features(asked.solutions[s].logprobs),
            evidence=evidence,
            policy=policy,
            decision=decide(evidence, policy, last=last),
            usage=asked.usage,
            unused=self.place.own.left_out(own) if self.place.own and any(texts) else {},
        )

    # -- asking --------------------------------------------------------------------------------

    def prompts(self) -> list[Prompt]:
        """Return what the tier is asked where nothing was drafted."""
        place = self.place
        if place.stub is None:
            return [fim.render(shown(self.tier, place.context), self.tier.line)]
        return [*fim.solutions(place.stub, self.tier.body, self.step.k), *self._test_prompts()]

    async def _ask(self, draft: Draft | None) -> Asked:
        """Ask for a body where there is none yet, for a continuation elsewhere."""
        place = self.place
        program = place.program(draft.text, whole=True) if draft else None
        if place.stub and program is None:
            asked = await self._ask_for_bodies(place.stub)
            return replace(asked, usage=asked.usage + draft.usage) if draft else asked
        if draft is not None:
            written, usage = Generated(draft.text, list(draft.logprobs)), draft.usage
        else:
            written, usage = await continued(
                self.tier, place.context, priority=place.priority, share=place.spending.tokens
            )
            place.watch(Written(self.tier.name, written.text))
            program = place.program(written.text, whole=True)
        tests, batch = await self._batch(self._test_prompts() if program else [])
        return Asked([written], [program], [test.text for test in tests], usage + batch)

    async def _ask_for_bodies(self, target: Target) -> Asked:
        """Ask for whole functions and for tests in one batch that shares the listing's KV."""
        answers, usage = await self._batch(self.prompts())
        k = max(self.step.k, 1)
        written = [
            Generated(fim.body(answer.text, target), answer.logprobs) for answer in answers[:k]
        ]
        programs = [self.place.program(one.text, whole=False) for one in written]
        return Asked(written, programs, [answer.text for answer in answers[k:]], usage)

    def _test_prompts(self) -> list[Prompt]:
        if self.runner.sandbox is None or isinstance(self.place.target, Untestable):
            return []
        return testgen.prompts(self.place.target, self.tier.tests, self.step.tests)

    async def _batch(self, prompts: Sequence[Prompt]) -> tuple[list[Generated], Usage]:
        """Generate a batch; who watches sees its first sequence as it is written."""
        if not prompts:
            return [], Usage()

        def show(token: Token) -> None:
            if token.seq == 0 and token.text:
                self.place.watch(Written(self.tier.name, token.text))

        stream = self.tier.engine.generate(prompts, priority=self.place.priority)
        return await collect(stream, len(prompts), show)

    # -- testing what it answered --------------------------------------------------------------

    async def _add_tests(self, texts: Sequence[str]) -> Dropped:
        """Add the tier's usable tests to the pool; return what was dropped, by reason."""
        if isinstance(self.place.target, Untestable):
            return {}
        tests, unusable = testgen.parse(texts, self.place.target, self.tier.name)
        known = {test.text for test in self.place.pool}
        fresh = [test for test in tests if test.text not in known]
        kept, useless = await self.runner.useful(self.place, fresh)
        self.place.pool += kept
        return dict(Counter(unusable) + Counter(useless))

    def _evidence(
        self, asked: Asked, dropped: Dropped, matrix: Matrix, own: Matrix, s: int
    ) -> Evidence:
        written, place = asked.solutions[s], self.place
        own_passed, own_failed = own.trusted(s)
        seen = evidence_of(
            matrix,
            s,
            execution=self._execution(asked.programs[s]),
            empty=not written.text.strip(),
            syntax_ok=not syntax.adds_errors(place.context, written.text),
            dropped=dropped,
            features=confidence.features(written.logprobs),
            body=place.stub is not None,
        )
        # One that gives no verdict is as if it were not there.
        return replace(seen, own_passed=own_passed, own_failed=own_failed)

    def _execution(self, program: str | None) -> Execution:
        if isinstance(self.place.target, Untestable):
            return "not_testable"
        if self.runner.sandbox is None:
            return "off"
        if not self.step.k or not (self.step.tests or self.place.pool):
            return "not_asked"
        return "ran" if program or self.place.stub else "not_testable"


def evidence_of(
    matrix: Matrix,
    s: int,
    *,
    execution: Execution,
    empty: bool,
    syntax_ok: bool,
    dropped: Dropped,
    features: Mapping[str, float],
    body: bool,
) -> Evidence:
    """Return what is known of solution `s`: of its tests, the ones that were `dropped` by reason,
    and its tokens' `features`: the least likely token of a body, the first ones of a continuation,
    since each gate was measured there."""
    n_s, n_tests, n_t = matrix.score(s)
    passed, failed = matrix.trusted(s)
    silent = sum(n for label, n in dropped.items() if label in testgen.SILENT)
    return Evidence(
        execution=execution,
        empty=empty,
        syntax_ok=syntax_ok,
        n_tests=n_tests,
        n_s=n_s,
        n_t=n_t,
        k=len(matrix.outcomes),
        trusted_passed=passed,
        trusted_failed=failed,
        inconclusive=matrix.inconclusive(s) + silent,
        confidence=None if body else features.get("probability_first_3"),
        least=confidence.least(features) if body else None,
    )


def choose(matrix: Matrix, evidence: Sequence[Evidence], tiers: Sequence[str]) -> int:
    """Return the attempt to answer with, given the tests of all tiers on the answers of all.

    The usable answer that fails fewest of the trusted tests and the project's own, passes most of
    those, then of the others; the larger tier's where they tie, but what the user wrote gives way
    only to what is better.
    """

    def rank(i: int) -> tuple[bool, int, int, int, int]:
        usable = not evidence[i].empty and evidence[i].syntax_ok
        last = len(tiers) if tiers[i] == DOCUMENT else i
        passed, failed = matrix.trusted(i)
        return usable, -failed, passed, matrix.score(i)[0], last

    return max(range(len(tiers)), key=rank)


def shown(tier: Tier, context: Context) -> Context:
    """Return what of a context a tier may be shown."""
    if tier.gate and not tier.gate.shares(context.extra_files):
        return replace(context, extra="", extra_files=())
    return context


async def continued(
    tier: Tier, context: Context, *, priority: Priority, share: float = 1.0
) -> tuple[Generated, Usage]:
    """Continue a document at the cursor as far as the cursor's block goes, or its `share`."""
    context = shown(tier, context)
    facts = await tier.engine.start()
    prompt = fim.render(context, tier.line, facts.write_per_s, share=share)
    (written,), usage = await collect(tier.engine.generate([prompt], priority=priority), 1)
    text, at_limit = filters.clean(written.text, context), len(written.logprobs) >= prompt.n_predict
    written.text = filters.last_line(text, context) if at_limit else text
    return written, usage


def own_matrix(place: Place, texts: Sequence[str | None]) -> Matrix:
    """Return what is known of the project's own tests on answers."""
    if place.own is None:
        return Matrix((), ((),) * len(texts))
    return place.own.matrix(place.context, texts)


def joined(matrix: Matrix, own: Matrix) -> Matrix:
    """Return one matrix of a function's tests and the project's own ones."""
    rows = zip(matrix.outcomes, own.outcomes, strict=True)
    return Matrix((*matrix.tests, *own.tests), tuple((*a, *b) for a, b in rows))


def _texts(solutions: Sequence[Generated], programs: Sequence[str | None]) -> Sequence[str | None]:
    """Return the answers that make a whole function, None for the others."""
    pairs = zip(solutions, programs, strict=True)
    return [written.text if program else None for written, program in pairs]


def _runs(matrix: Matrix, s: int) -> tuple[TestRun, ...]:
    return tuple(
        TestRun(
            text=test.text,
            origin=test.origin,
            trusted=test.trusted,
            strong=test.check.strong,
            outcome=outcome.kind,
            seen=outcome.seen,
            detail=outcome.detail,
            ms=outcome.ms,
        )
        for test, outcome in zip(matrix.tests, matrix.outcomes[s], strict=True)
    )
