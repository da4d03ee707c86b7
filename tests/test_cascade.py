"""The way through the tiers, on scripted models and the real sandbox."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from math import log

import pytest

from cascade_lsp import explain, testable
from cascade_lsp.cascade import Cascade, CascadeOptions
from cascade_lsp.context import Context
from cascade_lsp.engine import Priority, Prompt, Token, Usage
from cascade_lsp.errors import EngineError, ModelError, UsageError
from cascade_lsp.ledger import Record
from cascade_lsp.plans import Plan, Step
from cascade_lsp.policy import Policy, Reason
from cascade_lsp.power import PowerOptions, Reading, Spending, spending
from cascade_lsp.sandbox import (
    Check,
    Language,
    Limits,
    Outcome,
    Sandbox,
    SandboxOptions,
    Status,
    make_sandbox,
)
from cascade_lsp.sandbox.portable import PortableSandbox
from cascade_lsp.testable import Target, Untestable
from cascade_lsp.turn import Event, Judged, Started, Tier, Written
from tests.marked import place
from tests.scripted import LostEngine, ScriptedEngine, is_test_prompt

STUB = 'def double(n: int) -> int:\n    """Return twice n."""\n    ║\n'
EXAMPLE = STUB.replace("twice n.", "twice n.\n\n    >>> double(4)\n    8\n    ")
RIGHT = "def double(n: int) -> int:\n    return n * 2\n"
WRONG = "def double(n: int) -> int:\n    return n + 2\n"
TESTS = "1) == 2\nassert double(3) == 6\nassert double(0) == 0\nassert double(5) == 10\n"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    made = make_sandbox(SandboxOptions())
    assert made is not None
    yield made
    await made.close()


def model(solution: str, tests: str = TESTS, line: str = "    return n * 2\n") -> ScriptedEngine:
    def answer(prompt: Prompt) -> str:
        if prompt.pieces[0].kind != "user":
            return line
        return tests if is_test_prompt(prompt) else solution

    return ScriptedEngine(answer)


def cascade_of(
    small: ScriptedEngine,
    large: ScriptedEngine,
    sandbox: Sandbox | None,
    options: CascadeOptions | None = None,
) -> Cascade:
    """Return a cascade whose tiers both test themselves, unless `options` say otherwise."""
    options = options or CascadeOptions(plan="paper")
    return Cascade([Tier("small", "s", small), Tier("large", "l", large)], sandbox, options)


async def test_alternatives_are_distinct_the_likelier_first_and_none_for_a_whole_body() -> None:
    lines = {1: ("b\n", -2.0), 2: ("a\n", -0.5), 3: ("b\n", -1.0)}

    class Sampled(ScriptedEngine):
        async def generate(self, prompts, *, priority=Priority.KEYSTROKE):  # type: ignore[no-untyped-def]
            for seq, prompt in enumerate(prompts):
                assert prompt.temperature > 0
                text, logprob = lines[prompt.seed]
                yield Token(seq, text.strip(), logprob)
            yield Usage()

    cascade = cascade_of(Sampled(lambda prompt: ""), model(RIGHT), None)
    assert await cascade.alternatives(place("a = b = 1\nx = ║")) == ["a", "b"]
    assert await cascade.alternatives(place(STUB)) == []


async def test_a_small_answer_that_passes_its_tests_is_accepted(sandbox: Sandbox) -> None:
    large = model(RIGHT)
    record = await cascade_of(model(RIGHT), large, sandbox).complete(place(STUB))
    assert record.answer.text == "return n * 2"
    assert (record.answer.tier, record.decision.action) == ("small", "accept")
    assert [t.outcome for t in record.answer.tests] == ["passed"] * 4
    assert large.asked == []


async def test_an_answer_that_fails_its_tests_is_handed_to_the_larger_tier(
    sandbox: Sandbox,
) -> None:
    record = await cascade_of(model(WRONG), model(RIGHT), sandbox).complete(place(STUB))
    assert record.answer.tier == "large"
    assert record.answer.text == "return n * 2"
    assert (record.decision.action, record.decision.reason) == ("escalate", Reason.TESTS_FAILED)
    failed = [t for t in record.attempts[0].tests if t.outcome == "assert_failed"]
    assert [(t.text, t.seen) for t in failed] == [
        ("assert double(1) == 2", "3"),
        ("assert double(3) == 6", "5"),
        ("assert double(0) == 0", "2"),
        ("assert double(5) == 10", "7"),
    ]


async def test_a_failed_docstring_example_outweighs_generated_tests(sandbox: Sandbox) -> None:
    agreeing = "1) == 3\nassert double(2) == 4\nassert double(3) == 5\n"
    record = await cascade_of(model(WRONG, agreeing), model(RIGHT), sandbox).complete(
        place(EXAMPLE)
    )
    assert record.decision.reason == Reason.TRUSTED_FAILED
    assert record.answer.tier == "large"


async def test_the_small_answer_is_kept_when_the_larger_one_does_worse(sandbox: Sandbox) -> None:
    doubtful = "1) == 9\nassert double(3) == 6\nassert double(2) == 9\nassert double(4) == 9\n"
    small, large = model(RIGHT, doubtful), model(WRONG, TESTS)
    record = await cascade_of(small, large, sandbox).complete(place(STUB))
    assert len(record.attempts) == 2
    assert record.answer.tier == "small"


async def test_a_model_that_writes_no_valid_test_is_not_trusted(sandbox: Sandbox) -> None:
    small = model(RIGHT, tests="x) == 2\nprint('hello')\n")
    record = await cascade_of(small, model(RIGHT), sandbox).complete(place(STUB))
    assert record.decision.reason == Reason.NO_TESTS
    assert record.attempts[0].dropped == {"arguments_not_literal": 2, "not_one_assert": 2}


async def test_tests_that_an_empty_body_passes_are_dropped(sandbox: Sandbox) -> None:
    small = model(RIGHT, tests="1) != 7\nassert double(3) == 6\n")
    record = await cascade_of(small, model(RIGHT), sandbox).complete(place(STUB))
    assert record.attempts[0].dropped["passes_on_stub"] == 1


async def test_text_that_breaks_the_syntax_escalates(sandbox: Sandbox) -> None:
    small, large = model("", line="(n * 2"), model("", line="n * 2")
    record = await cascade_of(small, large, sandbox).complete(place("x = ║\n"))
    assert record.decision.reason == Reason.SYNTAX
    assert record.answer.text == "n * 2"


async def test_an_empty_answer_escalates(sandbox: Sandbox) -> None:
    record = await cascade_of(model("I cannot."), model(RIGHT), sandbox).complete(place(STUB))
    assert record.decision.reason == Reason.EMPTY
    assert record.answer.text == "return n * 2"


async def test_a_place_where_nothing_can_be_tested_is_answered_by_the_small_tier(
    sandbox: Sandbox,
) -> None:
    record = await cascade_of(model("", line="3"), model(""), sandbox).complete(place("x = ║\n"))
    assert record.decision.reason == Reason.NOT_TESTABLE
    assert record.untestable == "the cursor is not in a function"


async def test_what_the_sandbox_cannot_run_is_no_evidence() -> None:
    sandbox = PortableSandbox()
    body = "def double(n):\n    import heapq\n    return heapq.nlargest(1, [n * 2])[0]\n"
    record = await cascade_of(model(body), model(RIGHT), sandbox).complete(place(STUB))
    assert record.decision.reason == Reason.INCONCLUSIVE
    assert record.decision.action == "accept"
    assert record.attempts[0].evidence.inconclusive == 4
    await sandbox.close()


@pytest.mark.parametrize(
    ("language", "name", "document"),
    [
        ("javascript", "JavaScript", "function double(n) {\n    ║\n}\n"),
        ("typescript", "TypeScript", "function double(n: number): number {\n    ║\n}\n"),
    ],
)
async def test_a_language_that_this_sandbox_does_not_run_is_not_testable(
    language: str, name: str, document: str
) -> None:
    sandbox, small = PortableSandbox(), model("", line="    return n * 2;\n")
    record = await cascade_of(small, model(""), sandbox).complete(place(document, language))
    assert record.decision.reason == Reason.NOT_TESTABLE
    assert record.decision.action == "accept"
    assert record.untestable.startswith(f"{name} is tested only in the native sandbox with Node")
    assert "portable: The interpreter sandbox" in record.untestable
    assert not any(is_test_prompt(p) for prompts in small.asked for p in prompts)
    await sandbox.close()


class LostSandbox:
    """A sandbox whose processes cannot be started."""

    async def run(
        self,
        source: str,
        checks: Sequence[Check],
        limits: Limits,
        *,
        seed: int = 0,
        language: Language = "python",
    ) -> list[Outcome]:
        return [Outcome("sandbox_lost") for _ in checks]

    async def run_script(self, source: str, limits: Limits, *, seed: int = 0) -> Outcome:
        return Outcome("sandbox_lost")

    async def status(self) -> Status:
        return Status("none", "lost")

    async def close(self) -> None:
        pass


async def test_a_sandbox_that_is_lost_is_no_evidence_and_asks_nobody_else() -> None:
    large = model(RIGHT)
    record = await cascade_of(model(RIGHT), large, LostSandbox()).complete(place(STUB))
    assert (record.decision.action, record.decision.reason) == ("accept", Reason.INCONCLUSIVE)
    assert large.asked == []


async def test_nothing_runs_and_no_test_is_asked_for_when_execution_is_off() -> None:
    small = model(RIGHT)
    record = await cascade_of(small, model(RIGHT), None).complete(place(STUB))
    assert record.decision.reason == Reason.NOT_EXECUTED
    assert not any(is_test_prompt(p) for prompts in small.asked for p in prompts)


async def test_solutions_and_tests_are_asked_for_in_one_batch(sandbox: Sandbox) -> None:
    small = model(RIGHT)
    await cascade_of(small, model(RIGHT), sandbox).complete(place(STUB))
    (batch,) = small.asked
    assert [is_test_prompt(p) for p in batch] == [False, True, True]


async def test_a_larger_tier_that_is_lost_leaves_the_small_answer(sandbox: Sandbox) -> None:
    record = await cascade_of(model(WRONG), LostEngine(), sandbox).complete(place(STUB))
    assert record.answer.tier == "small"
    assert len(record.attempts) == 1


async def test_a_small_tier_that_is_lost_is_an_error(sandbox: Sandbox) -> None:
    with pytest.raises(EngineError):
        await cascade_of(LostEngine(), model(RIGHT), sandbox).complete(place(STUB))


async def test_a_tier_that_is_not_installed_is_left_out(sandbox: Sandbox) -> None:
    alone = Cascade([Tier("large", "l", model(RIGHT))], sandbox)
    record = await alone.complete(place(STUB))
    assert record.answer.tier == "large"
    with pytest.raises(ModelError, match="models fetch"):
        await Cascade([], sandbox).complete(place(STUB))


async def test_an_unknown_plan_is_named_with_the_known_ones(sandbox: Sandbox) -> None:
    with pytest.raises(UsageError, match="default, paper, small, large"):
        await cascade_of(model(RIGHT), model(RIGHT), sandbox).complete(place(STUB), plan="x")


async def test_the_small_plan_never_tests_and_never_escalates(sandbox: Sandbox) -> None:
    small, large = model(WRONG), model(RIGHT)
    record = await cascade_of(small, large, sandbox).complete(place(EXAMPLE), plan="small")
    assert record.decision.reason == Reason.NOT_CHECKED
    assert large.asked == []


ALONE = [
    # document, the small answer, k, action, reason, the outcomes of its tests
    (EXAMPLE, RIGHT, 1, "accept", Reason.TRUSTED_PASSED, ["passed"]),
    (EXAMPLE, WRONG, 1, "escalate", Reason.TRUSTED_FAILED, ["assert_failed"]),
    (EXAMPLE, WRONG, 0, "accept", Reason.NOT_CHECKED, []),
    (STUB, WRONG, 1, "accept", Reason.NOT_CHECKED, []),
]


@pytest.mark.parametrize(("document", "answer", "k", "action", "reason", "outcomes"), ALONE)
async def test_without_samples_of_tests_only_the_docstrings_examples_are_run(
    document: str,
    answer: str,
    k: int,
    action: str,
    reason: Reason,
    outcomes: Sequence[str],
    sandbox: Sandbox,
) -> None:
    small = model(answer)
    cascade = cascade_of(small, model(RIGHT), sandbox)
    steps = tuple(Step(tier, k, 0, Policy()) for tier in ("small", "large"))
    cascade.plans = {"paper": Plan("paper", "", steps)}
    record = await cascade.complete(place(document))
    first = record.attempts[0]
    assert (first.decision.action, first.decision.reason) == (action, reason)
    assert [test.outcome for test in first.tests] == outcomes
    assert first.evidence.execution == ("ran" if outcomes else "not_asked")
    assert not any(is_test_prompt(prompt) for batch in small.asked for prompt in batch)
    assert record.answer.text == ("return n * 2" if outcomes else "return n + 2")


async def test_who_watches_sees_each_tier_begin_write_and_be_judged(sandbox: Sandbox) -> None:
    seen: list[Event] = []
    await cascade_of(model(WRONG), model(RIGHT), sandbox).complete(place(STUB), watch=seen.append)
    kinds = [type(event) for event in seen]
    assert kinds.count(Started) == kinds.count(Judged) == 2
    assert "".join(e.text for e in seen if isinstance(e, Written)) == WRONG + RIGHT


async def test_out_of_patience_the_best_so_far_is_the_answer(sandbox: Sandbox) -> None:
    slow = ScriptedEngine(lambda prompt: RIGHT, pause_s=5)
    cascade = cascade_of(model(WRONG), slow, sandbox)
    record = await cascade.complete(place(STUB), patience_s=2)
    assert record.answer.tier == "small"
    assert slow.cancelled == 1


# -- the keystroke and what comes behind it -----------------------------------------------------


async def test_a_draft_is_the_small_tiers_continuation(sandbox: Sandbox) -> None:
    draft = await cascade_of(model(WRONG), model(RIGHT), sandbox).draft(place(STUB))
    assert (draft.text, draft.tier) == ("return n * 2", "small")


async def test_a_right_draft_is_confirmed_under_its_own_id(sandbox: Sandbox) -> None:
    cascade = cascade_of(model(WRONG), model(RIGHT), sandbox)
    draft = await cascade.draft(place(STUB))
    record = await cascade.verify(place(STUB), draft)
    assert (record.id, record.answer.text) == (draft.id, draft.text)
    assert record.decision.reason == Reason.TESTS_PASSED


async def test_a_wrong_draft_is_replaced_by_the_larger_tiers_answer(sandbox: Sandbox) -> None:
    small = model(WRONG, line="    return n + 2\n")
    cascade = cascade_of(small, model(RIGHT), sandbox)
    draft = await cascade.draft(place(STUB))
    record = await cascade.verify(place(STUB), draft)
    assert draft.text == "return n + 2"
    assert record.answer.text == "return n * 2"
    assert record.attempts[0].text == draft.text


async def test_half_a_draft_of_a_stub_is_not_judged_as_the_function(sandbox: Sandbox) -> None:
    small = model(RIGHT, line="    n = n + 2\n")
    cascade = cascade_of(small, model(RIGHT), sandbox)
    draft = await cascade.draft(place(STUB))
    record = await cascade.verify(place(STUB), draft)
    assert draft.text == "n = n + 2"
    assert record.answer.text == "return n * 2"
    assert record.answer.tier == "small"
    assert record.answer.usage.prompt_tokens == 10 + 3 * 10  # the draft's, then the batch's


WORTH = [
    (STUB, True),
    ("def f(n):\n    m = n * 3\n    ║\n", True),
    ("def f(n):\n    if n:\n        ║\n    m = n\n", False),
    ("x = ║\n", False),
]


@pytest.mark.parametrize(("marked", "worth"), WORTH)
async def test_only_what_can_be_tested_is_worth_verifying(
    marked: str, worth: bool, sandbox: Sandbox
) -> None:
    cascade = cascade_of(model(RIGHT), model(RIGHT), sandbox)
    draft = await cascade.draft(place(marked))
    assert await cascade.worth_verifying(place(marked), draft) is worth


async def test_nothing_is_verified_when_the_user_turned_it_off(sandbox: Sandbox) -> None:
    options = CascadeOptions(plan="paper", verify=False)
    cascade = cascade_of(model(RIGHT), model(RIGHT), sandbox, options)
    assert not await cascade.worth_verifying(place(STUB), await cascade.draft(place(STUB)))


async def test_cancelling_a_verification_cancels_the_model(sandbox: Sandbox) -> None:
    slow = ScriptedEngine(lambda prompt: RIGHT, pause_s=5)
    cascade = cascade_of(slow, model(RIGHT), sandbox)
    task = asyncio.create_task(cascade.complete(place(STUB)))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.cancelled == 1


async def test_a_draft_that_was_not_tested_says_so(sandbox: Sandbox) -> None:
    cascade = cascade_of(model(RIGHT), model(RIGHT), sandbox)
    draft = await cascade.draft(place(STUB))
    record = await cascade.unverified(place(STUB), draft)
    assert (record.id, record.decision.reason) == (draft.id, Reason.NOT_CHECKED)


# -- a second opinion where nothing is tested ------------------------------------------------------

NOWHERE = "x = 1\n║\n"  # where a document may well go on with nothing
DOUBT = CascadeOptions(plan="paper", escalate="on_doubt")
SECOND = [
    # the place, the small draft, its probability, whether something else was typed, the options,
    # and the reason why the large tier is asked, if it is
    ("x = ║\n", "1", 0.9, False, None, None),
    ("x = ║\n", "1", 0.9, True, None, Reason.REJECTED),
    ("x = ║\n", "1", 0.1, False, None, None),
    ("x = ║\n", "1", 0.1, False, DOUBT, Reason.LOW_CONFIDENCE),
    ("x = ║\n", "1", 0.9, False, DOUBT, None),
    ("x = ║\n", "", 0.9, False, None, Reason.EMPTY),
    ("class A:\n    ║\n", "", 0.9, False, None, Reason.EMPTY),
    ("if x:\n    ║\ny = 2\n", "", 0.9, False, None, Reason.EMPTY),
    (NOWHERE, "", 0.9, False, None, None),
    ("x = ║\n", "1", 0.9, True, CascadeOptions(plan="small"), None),
]


@pytest.mark.parametrize(
    ("marked", "drafted", "probability", "rejected", "options", "reason"), SECOND
)
async def test_the_larger_tier_continues_what_fell_short_where_nothing_is_tested(
    marked: str,
    drafted: str,
    probability: float,
    rejected: bool,
    options: CascadeOptions | None,
    reason: Reason | None,
    sandbox: Sandbox,
) -> None:
    large = model("", line="    2\n" if "    ║" in marked else "2\n")
    cascade = cascade_of(model("", line=drafted), large, sandbox, options)
    draft = replace(await cascade.draft(place(marked)), logprobs=(log(probability),))
    seen: list[Event] = []
    record = await cascade.second(place(marked), draft, seen.append, rejected=rejected)
    if reason is None:
        assert record is None
        assert large.asked == []
        return
    assert record is not None
    assert record.id == draft.id
    assert (record.decision.action, record.decision.reason) == ("escalate", reason)
    assert [attempt.text for attempt in record.attempts] == [drafted, "2"]
    assert (record.answer.tier, record.answer.text) == ("large", "2")
    assert [event.tier for event in seen if isinstance(event, Started)] == ["large"]
    assert large.urgency == [Priority.VERIFY]


async def test_a_second_opinion_that_cannot_be_had_changes_nothing(sandbox: Sandbox) -> None:
    cascade = cascade_of(model("", line="1"), LostEngine(), sandbox)
    draft = await cascade.draft(place("x = ║\n"))
    assert await cascade.second(place("x = ║\n"), draft, rejected=True) is None


async def test_the_larger_tiers_own_draft_gets_no_second_opinion(sandbox: Sandbox) -> None:
    cascade = cascade_of(model("", line="1"), model("", line="2"), sandbox)
    draft = replace(await cascade.draft(place("x = ║\n")), tier="large")
    assert await cascade.second(place("x = ║\n"), draft, rejected=True) is None


async def test_a_long_document_is_read_beside_the_keystrokes_and_once(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def find(context: Context) -> Target | Untestable:
        threads.append(threading.current_thread())
        return read(context)

    read = testable.find
    monkeypatch.setattr(testable, "find", find)
    cascade, context = cascade_of(model(RIGHT), model(RIGHT), sandbox), place(STUB)
    draft = await cascade.draft(context)
    await cascade.unverified(context, draft)
    assert await cascade.worth_verifying(context, draft)
    await cascade.verify(context, draft)
    assert len(threads) == 1
    assert threading.main_thread() not in threads


# -- the function as it stands ---------------------------------------------------------------------

WRITTEN = 'def double(n: int) -> int:\n    """Return twice n."""\n    ║return n + 2\n\n\nx = 1\n'


async def test_a_function_that_passes_the_tests_asks_nobody_for_another(sandbox: Sandbox) -> None:
    small = model(WRONG)
    document = WRITTEN.replace("n + 2", "n * 2")
    record = await cascade_of(small, model(RIGHT), sandbox).check(place(document))
    assert isinstance(record, Record)
    assert [a.tier for a in record.attempts] == ["document"]
    assert record.attempts[0].decision.action == "accept"
    assert all(is_test_prompt(prompt) for batch in small.asked for prompt in batch)


async def test_the_tests_of_a_function_are_written_without_its_body(sandbox: Sandbox) -> None:
    small = model(RIGHT)
    await cascade_of(small, model(RIGHT), sandbox).check(place(WRITTEN))
    prompts = [piece.text for batch in small.asked for p in batch for piece in p.pieces]
    assert not any("n + 2" in text for text in prompts)


async def test_a_function_that_fails_gets_a_version_that_holds(sandbox: Sandbox) -> None:
    record = await cascade_of(model(WRONG), model(RIGHT), sandbox).check(place(WRITTEN))
    assert isinstance(record, Record)
    assert [a.tier for a in record.attempts] == ["document", "small", "large"]
    assert record.attempts[0].text == "return n + 2"
    assert (record.answer.tier, record.answer.text) == ("large", "return n * 2")
    assert record.trigger == "verify"
    assert "the large model's version is better" in explain.verdict(record)


async def test_what_the_user_wrote_gives_way_only_to_what_is_better(sandbox: Sandbox) -> None:
    record = await cascade_of(model(WRONG), model(WRONG), sandbox).check(place(WRITTEN))
    assert isinstance(record, Record)
    assert len(record.attempts) == 3
    assert record.answer.tier == "document"
    assert "no model has written a better one" in explain.verdict(record)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (STUB, "no body yet"),
        ("x = 1║\n", "not in a function"),
        ("def f(x):\n    ║if x:\n        return 1\n", "on every path"),
    ],
)
async def test_a_function_that_cannot_be_judged_says_why(
    sandbox: Sandbox, document: str, reason: str
) -> None:
    found = await cascade_of(model(RIGHT), model(RIGHT), sandbox).check(place(document))
    assert isinstance(found, Untestable)
    assert reason in found.reason


FIRST_LINES = [
    ("one that cannot be right is not", "    y = n)\n    return y\n", "", ""),
    ("one that is only begun is", "    y = g(\n        n)\n", "y = g(", "y = g(\n        n)"),
]


@pytest.mark.parametrize(
    ("line", "early", "whole"), [r[1:] for r in FIRST_LINES], ids=[r[0] for r in FIRST_LINES]
)
async def test_a_first_line_is_shown_early(line: str, early: str, whole: str) -> None:
    cascade = cascade_of(model("", line=line), model(""), None)
    first, *_, last = [draft async for draft in cascade.drafts(place("def f(n):\n    ║\n"))]
    assert (first.settled, last.text) == (early, whole)


# -- what may be spent -----------------------------------------------------------------------------

SAVER = spending(Reading(on_battery=True, percent=18.0), PowerOptions())


async def test_a_draft_is_as_much_shorter_as_less_may_be_spent() -> None:
    small = model(RIGHT)
    cascade = cascade_of(small, model(RIGHT), None)
    for share in (1.0, 0.5):
        cascade.spending = Spending(tokens=share)
        await cascade.draft(place(STUB))
    whole, half = (prompts[0].n_predict for prompts in small.asked)
    assert half == whole // 2


async def test_where_the_machine_is_spared_the_larger_local_model_is_not_asked(
    sandbox: Sandbox,
) -> None:
    large = model(RIGHT)
    cascade = cascade_of(model(WRONG), large, sandbox)
    cascade.spending = SAVER
    record = await cascade.complete(place(STUB))
    assert (record.answer.tier, large.asked) == ("small", [])
    assert isinstance(checked := await cascade.check(place(STUB.replace("║", "return 3║"))), Record)
    assert (checked.attempts[0].decision.action, large.asked) == ("escalate", [])


async def test_the_only_model_that_is_here_is_asked_however_the_machine_is(
    sandbox: Sandbox,
) -> None:
    cascade = Cascade([Tier("large", "l", model(RIGHT))], sandbox)
    cascade.spending = SAVER
    assert (await cascade.complete(place(STUB))).answer.tier == "large"


@pytest.mark.parametrize(("most", "asked"), [(None, 1), (1, 1), (0, 0)])
async def test_no_more_tests_are_asked_for_than_may_be_spent(
    sandbox: Sandbox, most: int | None, asked: int
) -> None:
    small = model(RIGHT)
    cascade = cascade_of(small, model(RIGHT), sandbox, CascadeOptions(plan="few"))
    cascade.plans["few"] = Plan("few", "", (Step("small", 1, 1, Policy()),))
    cascade.spending = Spending(tests=most)
    record = await cascade.complete(place(EXAMPLE))
    assert sum(map(is_test_prompt, small.asked[0])) == asked
    assert record.answer.tests  # examples are there already, and are run


async def test_a_decision_says_what_was_spared_and_why(sandbox: Sandbox) -> None:
    cascade = cascade_of(model(RIGHT), model(RIGHT), sandbox)
    assert "Spared" not in explain.decision(await cascade.complete(place(STUB)))
    cascade.spending = SAVER
    record = await cascade.complete(place(STUB))
    assert record.power == SAVER.told
    assert "Spared: on battery at 18 % (saver): " in explain.decision(record)
    assert explain.as_json(record)["power"] == SAVER.told
