"""The cascade: ask a tier, gather evidence, decide, ask the next one.

Two tempos. `draft` is the keystroke: the small tier's continuation, at once. `complete` and
`verify` take seconds: solutions and tests in one batch, run in the sandbox, judged by
`policy.decide`. No threshold is compared here, and nothing here knows the editor.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from cascade_lsp import confidence, fim, testable, testgen
from cascade_lsp.context import Context
from cascade_lsp.engine import Engine, Generated, Prompt, Token, Usage, collect
from cascade_lsp.errors import EngineError, UsageError
from cascade_lsp.ledger import Attempt, Record, TestRun
from cascade_lsp.plans import Plan, Step, load_plans
from cascade_lsp.policy import Evidence, Execution, Policy, decide
from cascade_lsp.sandbox import Limits, Sandbox
from cascade_lsp.testable import Target, Untestable
from cascade_lsp.testgen import Matrix, Test


@dataclass(frozen=True, slots=True)
class CascadeOptions:
    """What is asked of the tiers, and how long an explicit request may wait for it."""

    plan: str = field(
        default="default", metadata={"help": "The plan in force, by its name in plans.toml."}
    )
    escalate: Literal["on_failure", "on_doubt"] = field(
        default="on_failure",
        metadata={
            "help": "on_failure: a larger model is asked only when something failed; "
            "on_doubt: also when an untested answer's confidence is low."
        },
    )
    verify: bool = field(
        default=True, metadata={"help": "Test suggestions in the background while you type on."}
    )
    patience_s: float = field(
        default=20.0,
        metadata={"help": "Seconds an explicitly invoked request may wait for the whole cascade."},
    )


@dataclass(frozen=True, slots=True)
class Tier:
    """One model of the cascade and the prompt style it gets for each use."""

    name: str
    model: str
    engine: Engine
    line: str = "prefix"
    body: str = "chat"
    tests: str = "chat"


@dataclass(frozen=True, slots=True)
class Draft:
    """The small tier's quick answer to a keystroke; `id` will name its row in the ledger."""

    id: str
    text: str
    tier: str
    logprobs: tuple[float, ...]
    usage: Usage
    created: float


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


@dataclass(slots=True)
class Place:
    """One request while it is worked on: where, what is testable there, the pool of tests.

    `id` and `created` are the draft's where one was shown.
    """

    id: str
    created: float
    context: Context
    target: Target | Untestable
    trigger: str
    plan: Plan
    watch: Watch
    pool: list[Test]
    attempts: list[Attempt] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    @property
    def background(self) -> bool:
        """Say whether a keystroke's prefix must be left alone."""
        return self.trigger == "automatic"

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


class Cascade:
    """The tiers, the sandbox, and the one way through them."""

    def __init__(
        self,
        tiers: Sequence[Tier],
        sandbox: Sandbox | None,
        options: CascadeOptions | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.tiers = {tier.name: tier for tier in tiers}
        self.plans = load_plans()
        self._sandbox = sandbox
        self._options = options or CascadeOptions()
        self._limits = limits or Limits()

    # -- the keystroke -------------------------------------------------------------------------

    async def draft(self, context: Context) -> Draft:
        """Return the first tier's continuation at the cursor; its text may be empty."""
        created, tier = time.time(), self._first()
        written, usage = await self._continue(tier, context, background=False)
        return Draft(
            id=_new_id(),
            text=written.text,
            tier=tier.name,
            logprobs=tuple(written.logprobs),
            usage=usage,
            created=created,
        )

    async def _continue(
        self, tier: Tier, context: Context, *, background: bool
    ) -> tuple[Generated, Usage]:
        """Continue the document at the cursor as far as the block goes."""
        prompt = fim.render(context, tier.line)
        (written,), usage = await collect(tier.engine.generate([prompt], background=background), 1)
        written.text = fim.trim(written.text, context)
        return written, usage

    def worth_verifying(self, context: Context, draft: Draft) -> bool:
        """Say whether a draft can be tested: a stub to fill, or a function that it makes whole."""
        if not self._options.verify or self._sandbox is None:
            return False
        place = self._place(context, "automatic", draft=draft)
        return place.stub is not None or place.program(draft.text, whole=True) is not None

    def unverified(self, context: Context, draft: Draft, trigger: str = "automatic") -> Record:
        """Return the record of a draft that was shown and not tested."""
        place = self._place(context, trigger, draft=draft)
        evidence = Evidence(
            execution="not_asked",
            empty=not draft.text,
            confidence=confidence.confidence(draft.logprobs),
        )
        policy = self._policy(place.plan.steps[0])
        attempt = Attempt(
            tier=draft.tier,
            model=self.tiers[draft.tier].model,
            text=draft.text,
            tests=(),
            dropped={},
            features=confidence.features(draft.logprobs),
            evidence=evidence,
            policy=policy,
            decision=decide(evidence, policy, last=True),
            usage=draft.usage,
        )
        place.attempts.append(attempt)
        return self._record(place, 0, draft.usage.ms)

    # -- the whole cascade ---------------------------------------------------------------------

    async def complete(
        self,
        context: Context,
        *,
        trigger: str = "invoked",
        plan: str | None = None,
        watch: Watch | None = None,
        patience_s: float | None = None,
    ) -> Record:
        """Ask the tiers in the plan's order until one's evidence suffices; return the best.

        After `patience_s` seconds the best so far is returned, or an untested draft.
        """
        place = self._place(context, trigger, plan=plan, watch=watch)
        try:
            async with asyncio.timeout(patience_s):
                await self._run(place)
        except TimeoutError:
            if not place.attempts:
                return self.unverified(context, await self.draft(context), trigger)
        return await self._finish(place)

    async def verify(self, context: Context, draft: Draft, watch: Watch | None = None) -> Record:
        """Test a draft that was already shown, and escalate behind the user's back if it fails."""
        place = self._place(context, "automatic", draft=draft, watch=watch)
        await self._run(place, draft)
        return await self._finish(place)

    async def _run(self, place: Place, draft: Draft | None = None) -> None:
        """Take the tiers' turns in order, until one is accepted or none is left."""
        steps = [step for step in place.plan.steps if step.tier in self.tiers]
        if not steps:
            raise _no_model()
        for i, step in enumerate(steps):
            try:
                shown = draft if i == 0 else None
                attempt = await self._attempt(place, step, shown, last=i == len(steps) - 1)
            except EngineError:
                if not place.attempts:
                    raise
                return  # the larger tier cannot be had: the best so far is the answer
            place.attempts.append(attempt)
            place.watch(Judged(attempt))
            if attempt.decision.action != "escalate":
                return

    async def _finish(self, place: Place) -> Record:
        """Choose among the attempts and make the record."""
        chosen = await self._best(place, place.attempts)
        return self._record(place, chosen, (time.perf_counter() - place.started) * 1000)

    async def _attempt(
        self, place: Place, step: Step, draft: Draft | None, *, last: bool
    ) -> Attempt:
        """Take one tier's turn: ask for solutions and tests, run them, judge."""
        tier, policy = self.tiers[step.tier], self._policy(step)
        place.watch(Started(tier.name, tier.model))
        asked = await self._ask(place, tier, step, draft)
        dropped = await self._add_tests(place, tier, asked.tests)
        programs = asked.programs if step.tests else [None] * len(asked.programs)
        matrix = await self._matrix(place, programs)
        s = matrix.best()
        evidence = self._evidence(place, step, asked, matrix, s)
        return Attempt(
            tier=tier.name,
            model=tier.model,
            text=asked.solutions[s].text,
            tests=_runs(matrix, s),
            dropped=dropped,
            features=confidence.features(asked.solutions[s].logprobs),
            evidence=evidence,
            policy=policy,
            decision=decide(evidence, policy, last=last),
            usage=asked.usage,
        )

    # -- asking a tier -------------------------------------------------------------------------

    async def _ask(self, place: Place, tier: Tier, step: Step, draft: Draft | None) -> Asked:
        """Ask for a body where there is none yet, for a continuation elsewhere."""
        program = place.program(draft.text, whole=True) if draft else None
        if place.stub and program is None:
            return await self._ask_for_bodies(place, place.stub, tier, step)
        if draft is not None:
            written, usage = Generated(draft.text, list(draft.logprobs)), draft.usage
        else:
            written, usage = await self._continue(tier, place.context, background=place.background)
            place.watch(Written(tier.name, written.text))
            program = place.program(written.text, whole=True)
        prompts = self._test_prompts(place, tier, step) if program else []
        tests, batch = await self._batch(place, tier, prompts)
        return Asked([written], [program], [test.text for test in tests], usage + batch)

    async def _ask_for_bodies(self, place: Place, target: Target, tier: Tier, step: Step) -> Asked:
        """Ask for whole functions and for tests in one batch that shares the listing's KV."""
        solutions = fim.solutions(target, tier.body, step.k)
        prompts = [*solutions, *self._test_prompts(place, tier, step)]
        answers, usage = await self._batch(place, tier, prompts)
        written = [
            Generated(self._body(place, target, tier, answer.text), answer.logprobs)
            for answer in answers[: len(solutions)]
        ]
        programs = [place.program(one.text, whole=False) for one in written]
        return Asked(written, programs, [a.text for a in answers[len(solutions) :]], usage)

    def _body(self, place: Place, target: Target, tier: Tier, answer: str) -> str:
        return testable.body_from(fim.answer_source(answer, target, tier.body), target)

    def _test_prompts(self, place: Place, tier: Tier, step: Step) -> list[Prompt]:
        if self._sandbox is None or isinstance(place.target, Untestable):
            return []
        return testgen.prompts(place.target, tier.tests, step.tests)

    async def _batch(
        self, place: Place, tier: Tier, prompts: Sequence[Prompt]
    ) -> tuple[list[Generated], Usage]:
        """Generate a batch; who watches sees its first sequence as it is written."""
        if not prompts:
            return [], Usage()

        def show(token: Token) -> None:
            if token.seq == 0 and token.text:
                place.watch(Written(tier.name, token.text))

        stream = tier.engine.generate(prompts, background=place.background)
        return await collect(stream, len(prompts), show)

    # -- testing what it answered --------------------------------------------------------------

    async def _add_tests(self, place: Place, tier: Tier, texts: Sequence[str]) -> Mapping[str, int]:
        """Add a tier's usable tests to the pool; return what was dropped, by reason."""
        if self._sandbox is None or isinstance(place.target, Untestable):
            return {}
        tests, unusable = testgen.parse(texts, place.target, tier.name)
        known = {test.text for test in place.pool}
        fresh = [test for test in tests if test.text not in known]
        stub = testable.stub_program(place.context.document, place.target)
        kept, useless = await testgen.reject_useless(fresh, stub, self._sandbox, self._limits)
        place.pool += kept
        return dict(Counter(unusable) + Counter(useless))

    async def _matrix(self, place: Place, programs: Sequence[str | None]) -> Matrix:
        tests = place.pool if self._sandbox and any(programs) else []
        if self._sandbox is None or not tests:
            return Matrix((), ((),) * len(programs))
        return await testgen.run(tests, programs, self._sandbox, self._limits)

    def _evidence(self, place: Place, step: Step, asked: Asked, matrix: Matrix, s: int) -> Evidence:
        n_s, n_tests, n_t = matrix.score(s)
        passed, failed = matrix.trusted(s)
        text = asked.solutions[s].text
        return Evidence(
            execution=self._execution(place, step, asked.programs[s]),
            empty=not text.strip(),
            syntax_ok=not testable.breaks_syntax(place.context, text),
            n_tests=n_tests,
            n_s=n_s,
            n_t=n_t,
            k=len(asked.solutions),
            trusted_passed=passed,
            trusted_failed=failed,
            inconclusive=matrix.inconclusive(s),
            confidence=None if place.stub else confidence.confidence(asked.solutions[s].logprobs),
        )

    def _execution(self, place: Place, step: Step, program: str | None) -> Execution:
        if isinstance(place.target, Untestable):
            return "not_testable"
        if self._sandbox is None:
            return "off"
        if not step.tests:
            return "not_asked"
        return "ran" if program or place.stub else "not_testable"

    async def _best(self, place: Place, attempts: Sequence[Attempt]) -> int:
        """Return the attempt to answer with: over the tests of all tiers, the usable answer that
        fails fewest trusted tests, then passes most; the larger tier's where they tie."""
        if len(attempts) == 1:
            return 0
        programs = [place.program(attempt.text, whole=False) for attempt in attempts]
        matrix = await self._matrix(place, programs)

        def rank(i: int) -> tuple[bool, int, int, int]:
            evidence = attempts[i].evidence
            usable = not evidence.empty and evidence.syntax_ok
            return usable, -matrix.trusted(i)[1], matrix.score(i)[0], i

        return max(range(len(attempts)), key=rank)

    # -- small things --------------------------------------------------------------------------

    def _first(self) -> Tier:
        for step in self._plan(None).steps:
            if step.tier in self.tiers:
                return self.tiers[step.tier]
        raise _no_model()

    def _plan(self, name: str | None) -> Plan:
        name = name or self._options.plan
        if name not in self.plans:
            raise UsageError(f"There is no plan {name!r}. The plans are: {', '.join(self.plans)}.")
        return self.plans[name]

    def _policy(self, step: Step) -> Policy:
        return replace(step.policy, escalate=self._options.escalate)

    def _place(
        self,
        context: Context,
        trigger: str,
        *,
        draft: Draft | None = None,
        plan: str | None = None,
        watch: Watch | None = None,
    ) -> Place:
        target = testable.find(context)
        return Place(
            id=draft.id if draft else _new_id(),
            created=draft.created if draft else time.time(),
            context=context,
            target=target,
            trigger=trigger,
            plan=self._plan(plan),
            watch=watch or _unwatched,
            pool=testgen.examples(target) if isinstance(target, Target) else [],
        )

    def _record(self, place: Place, chosen: int, ms: float) -> Record:
        context, target = place.context, place.target
        return Record(
            id=place.id,
            created=place.created,
            uri=context.uri,
            language=context.language,
            line=context.document.count("\n", 0, context.offset) + 1,
            column=len(context.line_head) + 1,
            trigger=place.trigger,
            plan=place.plan.name,
            function=target.name if isinstance(target, Target) else "",
            untestable=target.reason if isinstance(target, Untestable) else "",
            attempts=tuple(place.attempts),
            chosen=chosen,
            ms=round(ms, 1),
        )

    async def load(self) -> None:
        """Make the first tier ready to answer; raise EngineError if it cannot be."""
        await self._first().engine.start()

    async def close(self) -> None:
        """Release the models and end the sandbox."""
        for tier in self.tiers.values():
            await tier.engine.close()
        if self._sandbox is not None:
            await self._sandbox.close()


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


def _unwatched(_event: Event) -> None:
    pass


def _no_model() -> EngineError:
    return EngineError(
        "No model is there to answer. Run `cascade models fetch` to download the default ones."
    )


def _new_id() -> str:
    return uuid.uuid4().hex[:12]
