"""The cascade: ask a tier, gather evidence, decide, ask the next one.

Two tempos. `draft` is the keystroke: the small tier's continuation, at once. `complete` and
`verify` take seconds: solutions and tests in one batch, run in the sandbox, judged by
`policy.decide`. No threshold is compared here, and nothing here knows the editor.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from copy import copy
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from statistics import fmean
from typing import Literal

from cascade_lsp import confidence, filters, fim, testable, testgen
from cascade_lsp.context import Context
from cascade_lsp.engine import Generated, Priority, Prompt, Sent, Usage, collect
from cascade_lsp.errors import EngineError, ModelError, RemoteError, UsageError
from cascade_lsp.ledger import DOCUMENT, Attempt, Record
from cascade_lsp.moments import must_go_on
from cascade_lsp.plans import MINE, SHIPPED, Plan, Step, load_mine, load_plans
from cascade_lsp.policy import Evidence, Policy, Reason, decide
from cascade_lsp.power import Spending
from cascade_lsp.sandbox import Language, Limits, Sandbox, Status
from cascade_lsp.suites import Finder
from cascade_lsp.testable import Target, Untestable
from cascade_lsp.turn import (
    Draft,
    Event,
    Judged,
    Place,
    Runner,
    Tier,
    Turn,
    Watch,
    choose,
    joined,
    own_matrix,
)

_LOG = logging.getLogger(__name__)

ALTERNATIVES = 3  # that are sampled for who asks to choose
FAILED = (Reason.TRUSTED_FAILED, Reason.OWN_FAILED, Reason.TESTS_FAILED)


@dataclass(frozen=True, slots=True)
class CascadeOptions:
    """What is asked of the tiers, and how long an explicit request may wait for it."""

    plan: str = field(
        default="default",
        metadata={
            "help": "The plan in force: which model is asked when. `mine` is what "
            "`cascade lab plan --save` found for this machine.",
            "choices": (*SHIPPED, MINE),
        },
    )
    escalate: Literal["on_failure", "on_doubt"] = field(
        default="on_failure",
        metadata={
            "help": "on_failure: a larger model is asked only when something failed (tests, an "
            "empty answer where code must stand, something else typed than was suggested), or, for "
            "a whole function, where nothing vouches for a token that the plan calls unlikely; "
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
    own_tests_s: float = field(
        default=5.0,
        metadata={
            "help": "Seconds that one tier's turn may spend on the project's own tests of the "
            "function, where `cascade.sandbox.project` lets them run; 0: they are not run."
        },
    )


@dataclass(frozen=True, slots=True)
class Preview:
    """What a remote model would be sent, and why it would not be asked ("" if it would)."""

    model: str
    refused: str
    requests: tuple[Sent, ...]


class Cascade:
    """The tiers, the sandbox, and the one way through them.

    `elsewhere` says what runs tests for the project in another folder, the same for the same one.
    """

    def __init__(
        self,
        tiers: Sequence[Tier],
        sandbox: Sandbox | None,
        options: CascadeOptions | None = None,
        limits: Limits | None = None,
        finder: Finder | None = None,
        elsewhere: Callable[[Path | None], Runner] | None = None,
    ) -> None:
        self.tiers = {tier.name: tier for tier in tiers}
        self.spending = Spending()  # what may be spent now, of each request that comes
        self.plans = dict(load_plans())
        self._options = self._with_plan(options or CascadeOptions())
        self._runner = Runner(sandbox, limits or Limits(), finder, self._options.own_tests_s)
        self._elsewhere = elsewhere
        self._projects = {self._runner: self}
        self._read: tuple[Context, Target | Untestable] | None = None  # the last place

    def within(self, root: Path | None) -> "Cascade":
        """Return the cascade of the same tiers for the project in a folder; any one of them closes
        all."""
        runner = self._elsewhere(root) if self._elsewhere else self._runner
        if runner not in self._projects:
            self._projects[runner] = other = copy(self)
            other._runner = runner
        return self._projects[runner]

    # -- the keystroke -------------------------------------------------------------------------

    async def drafts(
        self, context: Context, *, priority: Priority = Priority.KEYSTROKE
    ) -> AsyncGenerator[Draft, None]:
        """Yield the first tier's continuation at the cursor as it grows, and last the whole, whose
        text may be empty. Closing the iterator cancels the computation."""
        tier = self._first()
        facts = await tier.engine.start()
        prompt = fim.render(context, tier.line, facts.write_per_s, share=self.spending.tokens)
        draft = Draft(_new_id(), "", tier.name, (), Usage(), time.time())
        draft = replace(draft, asked_chars=sum(len(piece.text) for piece in prompt.pieces))
        raw = settled = ""
        async with aclosing(tier.engine.generate([prompt], priority=priority)) as stream:
            async for item in stream:
                if isinstance(item, Usage):
                    draft = replace(draft, usage=item)
                    continue
                raw += item.text
                if "\n" in item.text:
                    settled = filters.clean(filters.whole_lines(raw), context)
                    draft = replace(draft, settled=filters.veto(settled, context, True))
                text, logprobs = filters.clean(raw, context), (*draft.logprobs, item.logprob)
                draft = replace(draft, text=text, logprobs=logprobs)
                yield draft
                if filters.is_cut(raw, settled):
                    break
        at_limit = len(draft.logprobs) >= prompt.n_predict
        text = filters.whole(draft.text, context, cut=at_limit)
        yield replace(draft, text=text, settled=text)

    async def draft(self, context: Context) -> Draft:
        """Return the first tier's whole continuation at the cursor; its text may be empty."""
        return [draft async for draft in self.drafts(context)][-1]

    async def alternatives(self, context: Context) -> list[str]:
        """Return other continuations than the first tier's likeliest one, the likelier first, each
        once; none where a whole body is wanted, for the tiers' turns write those."""
        place = await self._place(context, "invoked")
        if place.stub is not None:
            return []
        tier, facts = self._first(), await self._first().engine.start()
        prompt = fim.render(context, tier.line, facts.write_per_s, share=self.spending.tokens)
        prompts = [
            replace(prompt, temperature=0.8, seed=seed) for seed in range(1, ALTERNATIVES + 1)
        ]
        stream = tier.engine.generate(prompts, priority=Priority.KEYSTROKE)
        answers, _ = await collect(stream, len(prompts))
        likeliest_first = sorted(answers, key=lambda one: -fmean(one.logprobs or [-inf]))
        texts = [_usable(one, prompt, context) for one in likeliest_first]
        return list(dict.fromkeys(text for text in texts if text))

    async def warm(self, context: Context) -> None:
        """Let the first tier read what is before the cursor, while nothing else is to do."""
        tier = self._first()
        prompt = replace(fim.render(context, tier.line), n_predict=1)
        await collect(tier.engine.generate([prompt], priority=Priority.AHEAD), 1)

    async def worth_verifying(self, context: Context, draft: Draft) -> bool:
        """Say whether a draft can be tested: a stub to fill, or a function that it makes whole."""
        if not self._options.verify or self._runner.sandbox is None:
            return False
        place = await self._place(context, "automatic", draft=draft)
        return place.stub is not None or place.program(draft.text, whole=True) is not None

    async def unverified(
        self, context: Context, draft: Draft, trigger: str = "automatic"
    ) -> Record:
        """Return the record of a draft that was shown and not tested."""
        place = await self._place(context, trigger, draft=draft)
        place.attempts.append(self._untested(place, draft, last=True))
        return self._record(place, 0, draft.usage.ms)

    async def second(
        self,
        context: Context,
        draft: Draft,
        watch: Watch | None = None,
        *,
        rejected: bool = False,
    ) -> Record | None:
        """Let the next tier continue where no test is run and the first tier's draft does not
        suffice; None where it does, or no other tier can be asked. It does not if it is empty
        where code must stand, if it was `rejected`, that is, the user has typed something else
        than was suggested just before, or if its confidence is low and the user minds that."""
        place = await self._place(context, "automatic", draft=draft, watch=watch)
        (first, _), *others = await self._steps(place)
        drafted = self._untested(place, draft, last=not others, rejected=rejected)
        may_be_empty = not draft.text and not must_go_on(context)
        if draft.tier != first.tier or drafted.decision.action != "escalate" or may_be_empty:
            return None
        place.started -= draft.usage.ms / 1000
        step, tier = replace(others[0][0], k=0, tests=0), others[0][1]
        turn = Turn(place, tier, step, self._runner)
        try:
            written = await turn.take(self._policy(step), None, last=len(others) == 1)
        except EngineError as error:
            if not isinstance(error, RemoteError):
                return None  # nobody waits for it, and the draft was shown
            place.remote, place.lost = str(error), error.sent
            place.attempts.append(self._untested(place, draft, last=True, rejected=rejected))
            return await self._finish(place)
        place.attempts += [drafted, written]
        return await self._finish(place)

    def _untested(
        self, place: Place, draft: Draft, *, last: bool, rejected: bool = False
    ) -> Attempt:
        """Return a draft as a tier's turn; its syntax was seen to when it became whole."""
        evidence = Evidence(
            execution="not_asked",
            empty=not draft.text,
            confidence=confidence.confidence(draft.logprobs),
            rejected=rejected,
        )
        policy = self._policy(place.plan.steps[0])
        return Attempt(
            tier=draft.tier,
            model=self.tiers[draft.tier].model,
            text=draft.text,
            tests=(),
            dropped={},
            features=confidence.features(draft.logprobs),
            evidence=evidence,
            policy=policy,
            decision=decide(evidence, policy, last=last),
            usage=draft.usage,
        )

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
        place = await self._place(context, trigger, plan=plan, watch=watch)
        try:
            async with asyncio.timeout(patience_s):
                await self._run(place)
        except TimeoutError:
            if not place.attempts:
                return await self.unverified(context, await self.draft(context), trigger)
        return await self._finish(place)

    async def verify(self, context: Context, draft: Draft, watch: Watch | None = None) -> Record:
        """Test a draft that was already shown, and escalate behind the user's back if it fails."""
        place = await self._place(context, "automatic", draft=draft, watch=watch)
        place.started -= draft.usage.ms / 1000  # the draft's time is a part of the decision's
        await self._run(place, draft)
        return await self._finish(place)

    async def check(self, context: Context, watch: Watch | None = None) -> Record | Untestable:
        """Test the function at the cursor as it stands, and let the tiers write it anew if it
        fails; its own body is the first attempt, of the tier "document". Its tests are written by
        the tier that the plan trusts with that, or the first one that is here; the default plan's
        where the one in force tests nothing."""
        emptied = await asyncio.to_thread(testable.emptied, context)
        if isinstance(emptied, Untestable):
            return emptied
        stub, body = emptied
        tier = self._first()
        draft = Draft(_new_id(), body, tier.name, (), Usage(), time.time())
        plan = None if any(step.tests for step in self._plan(None).steps) else "default"
        place = await self._place(stub, "verify", draft=draft, plan=plan, watch=watch)
        await self._see_languages(place)
        if isinstance(place.target, Untestable):
            return place.target
        step = replace(next(step for step in place.plan.steps if step.tests), k=1)
        spared = step.tier == "large" and not place.spending.large
        try:
            asked = tier if spared else self.tiers.get(step.tier, tier)
            turn = Turn(place, asked, step, self._runner)
            attempt = await turn.take(self._policy(step), draft, last=False)
        except EngineError:
            if asked is tier:
                raise
            attempt = await Turn(place, tier, step, self._runner).take(
                self._policy(step), draft, last=False
            )
        place.attempts.append(replace(attempt, tier=DOCUMENT, model="", features={}))
        if attempt.decision.reason in FAILED:
            await self._run(place)
        return await self._finish(place)

    async def _run(self, place: Place, draft: Draft | None = None) -> None:
        """Take the tiers' turns in order, until one is accepted or none is left."""
        steps = await self._steps(place)
        await self._see_languages(place)
        for i, (step, tier) in enumerate(steps):
            try:
                shown = draft if i == 0 else None
                turn = Turn(place, tier, step, self._runner)
                attempt = await turn.take(self._policy(step), shown, last=i == len(steps) - 1)
            except EngineError as error:
                if not place.attempts:
                    raise
                if isinstance(error, RemoteError):
                    place.remote, place.lost = str(error), error.sent
                return  # the larger tier cannot be had: the best so far is the answer
            place.attempts.append(attempt)
            place.watch(Judged(attempt))
            if attempt.decision.action != "escalate":
                return

    async def _finish(self, place: Place) -> Record:
        """Choose among the attempts and make the record."""
        chosen = await self._best(place, place.attempts)
        return self._record(place, chosen, (time.perf_counter() - place.started) * 1000)

    async def _best(self, place: Place, attempts: Sequence[Attempt]) -> int:
        """Return the attempt to answer with, by the tests of all tiers."""
        if len(attempts) == 1:
            return 0
        whole = place.stub is None
        programs = [place.program(attempt.text, whole=whole) for attempt in attempts]
        texts = [a.text if p else None for a, p in zip(attempts, programs, strict=True)]
        ran = await self._runner.matrix(place, programs)
        matrix = joined(ran, own_matrix(place, texts))
        return choose(matrix, [a.evidence for a in attempts], [a.tier for a in attempts])

    async def preview(self, context: Context) -> Preview | None:
        """Say what the remote model would be asked at a place, and send nothing; None if there is
        no remote model."""
        remote = self.tiers.get("remote")
        if remote is None or remote.gate is None:
            return None
        place = await self._place(context, "verify")
        large = [step for step in place.plan.steps if step.tier == "large"]
        step = large[-1] if large else place.plan.steps[-1]
        refused = await remote.gate.refusal(context.uri)
        try:
            turn = Turn(place, remote, step, self._runner)
            return Preview(remote.model, refused, remote.gate.preview(turn.prompts()))
        except RemoteError as error:
            return Preview(remote.model, refused or str(error), ())

    # -- small things --------------------------------------------------------------------------

    async def _steps(self, place: Place) -> list[tuple[Step, Tier]]:
        """Return whose turn it is when, of the models that are here: a remote model takes every
        turn but the first of the large one's, where it may be asked; where the machine is spared,
        nobody does. Raise ModelError if there is none."""
        remote, place.remote = self.tiers.get("remote"), ""
        if remote and remote.gate:
            place.remote = await remote.gate.refusal(place.context.uri)
        asked = list[tuple[Step, Tier]]()
        for step in place.plan.steps:
            may = asked and remote and step.tier == "large" and not place.remote
            tier = remote if may else self.tiers.get(step.tier)
            spared = asked and tier and tier.name == "large" and not place.spending.large
            if tier and not spared:
                asked.append((_within(step, place.spending), tier))
        if not asked:
            raise _no_model()
        return asked

    def _first(self) -> Tier:
        for step in self._plan(None).steps:
            if step.tier in self.tiers:
                return self.tiers[step.tier]
        raise _no_model()

    def _with_plan(self, options: CascadeOptions) -> CascadeOptions:
        """Return the options with the default plan where this machine's own cannot be had."""
        if options.plan != MINE:
            return options
        try:
            self.plans[MINE] = load_mine()
        except UsageError as error:
            _LOG.warning("%s Until then the default plan is in force.", error)
            return replace(options, plan="default")
        return options

    def _plan(self, name: str | None) -> Plan:
        name = name or self._options.plan
        if name == MINE and MINE not in self.plans:
            self.plans[MINE] = load_mine()
        if name not in self.plans:
            raise UsageError(f"There is no plan {name!r}. The plans are: {', '.join(self.plans)}.")
        return self.plans[name]

    def _policy(self, step: Step) -> Policy:
        return replace(step.policy, escalate=self._options.escalate)

    async def _place(
        self,
        context: Context,
        trigger: str,
        *,
        draft: Draft | None = None,
        plan: str | None = None,
        watch: Watch | None = None,
    ) -> Place:
        target = await self._target(context)
        return Place(
            id=draft.id if draft else _new_id(),
            created=draft.created if draft else time.time(),
            context=context,
            target=target,
            trigger=trigger,
            plan=self._plan(plan),
            watch=watch or _unwatched,
            pool=testgen.examples(target) if isinstance(target, Target) else [],
            own=self._runner.own_tests(),
            spending=self.spending,
        )

    async def _target(self, context: Context) -> Target | Untestable:
        """Read what can be tested at a place, off the event loop: a long document takes a while."""
        if self._read is None or self._read[0] is not context:
            target = await asyncio.to_thread(testable.find, context)
            self._read = context, target
            return target
        return self._read[1]

    async def _see_languages(self, place: Place) -> None:
        """Take in which languages the sandbox runs here: what it does not run is not testable."""
        target, sandbox = place.target, self._runner.sandbox
        if sandbox is None or isinstance(target, Untestable) or target.runs_as == "python":
            return  # every sandbox runs Python: it need not be started to know that
        status = await sandbox.status()
        if target.runs_as not in status.languages:
            place.target, place.pool, place.own = _not_run(target.runs_as, status), [], None

    def _record(self, place: Place, chosen: int, ms: float) -> Record:
        context, target = place.context, place.target
        accepted = [one.decision.action for one in place.attempts] == ["accept"]
        return Record(
            id=place.id,
            created=place.created,
            uri=context.uri,
            language=context.language,
            line=context.document.count("\n", 0, context.offset) + 1 - context.first_line,
            column=len(context.line_head) + 1,
            trigger=place.trigger,
            plan=place.plan.name,
            function=target.name if isinstance(target, Target) else "",
            untestable=target.reason if isinstance(target, Untestable) else "",
            attempts=tuple(place.attempts),
            chosen=chosen,
            ms=round(ms, 1),
            remote="" if accepted else place.remote,  # nobody else was wanted
            lost=place.lost,
            power=place.spending.told,
        )

    async def sandbox_status(self) -> Status:
        """Say which sandbox tests run in, and why."""
        sandbox = self._runner.sandbox
        return await sandbox.status() if sandbox else Status("none", "running code is turned off")

    async def load(self) -> None:
        """Make the first tier ready to answer; raise ModelError if no model is here, EngineError
        if it cannot be."""
        await self._first().engine.start()

    async def close(self) -> None:
        """Release the models and end the sandboxes."""
        for tier in self.tiers.values():
            await tier.engine.close()
        for runner in self._projects:
            if runner.sandbox is not None:
                await runner.sandbox.close()


def _usable(written: Generated, prompt: Prompt, context: Context) -> str:
    """Return what of a whole answer to a keystroke may be suggested."""
    cut = len(written.logprobs) >= prompt.n_predict
    return filters.whole(filters.clean(written.text, context), context, cut=cut)


def _unwatched(_event: Event) -> None:
    pass


def _within(step: Step, spending: Spending) -> Step:
    """Return a turn with no more prompts for tests than may be spent."""
    if spending.tests is None:
        return step
    return replace(step, tests=min(step.tests, spending.tests))


def _not_run(language: Language, status: Status) -> Untestable:
    name = "TypeScript" if language == "typescript" else "JavaScript"
    here = f"{status.tier}: {status.reason.rstrip('.')}"
    return Untestable(
        f"{name} is tested only in the native sandbox with Node, which is not here ({here})"
    )


def _no_model() -> ModelError:
    return ModelError(
        "No model is there to answer. Run `cascade models fetch` to download the default ones."
    )


def _new_id() -> str:
    return uuid.uuid4().hex[:12]
