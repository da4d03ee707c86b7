"""A plan played on a study: what is judged, what is spent, and that it is what the cascade does."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from cascade_lsp import catalogue, confidence
from cascade_lsp.cascade import Cascade
from cascade_lsp.engine import Prompt
from cascade_lsp.errors import UsageError
from cascade_lsp.lab import study
from cascade_lsp.lab.execute import execute
from cascade_lsp.lab.problems import Problem, shipped
from cascade_lsp.lab.record import Recipe, record
from cascade_lsp.lab.replay import Batch, play, useful, written
from cascade_lsp.lab.study import Answer, Case, Column, Sample, Solution, Written
from cascade_lsp.plans import Plan, Step, load_plans
from cascade_lsp.policy import Evidence, Policy, Reason
from cascade_lsp.sandbox import Check, Language, Limits, Outcome, Sandbox, Status, Suite
from cascade_lsp.turn import Event, Started, Tier
from tests.scripted import ScriptedEngine, is_test_prompt

MODELS = {"small": "s", "large": "l"}
KINDS = {"+": "passed", "-": "assert_failed", "!": "error", "?": "inconclusive", ".": "timeout"}


def solution_of(row: int, logprob: float = -0.1) -> Solution:
    return Solution(row, confidence.features((logprob,) * (5 + row)))


def case_of(
    answers: Sequence[str],
    stub: str = "----",
    *,
    example: bool = False,
    small: Sequence[int] = (0,),
    large: Sequence[int] = (1,),
    samples: Sequence[str] = ("12", "3"),
    empty: Sequence[int] = (),
    body: bool = True,
    partial: Sequence[int] = (),
    logprob: float = -0.1,
) -> Case:
    """Write a case: a line of signs per answer, over the tests `double(1..)` (the example, 4, is
    first where there is one); a `*` behind it says that it passes the hidden tests.

    `samples` names the tests of each of a model's samples, the same for both models. Where no
    `body` is missing, `partial` answers do not make the function whole. Every token has the same
    `logprob`, and each answer one token more than the one before it.
    """
    numbers = ([4] if example else []) + [n for n in range(1, 9) if not example or n != 4]
    column = {str(n): i for i, n in enumerate(numbers)}
    found = tuple(
        Sample(10 * len(sample), tuple(column.get(sign, sign) for sign in sample))
        for sample in samples
    )
    return Case(
        id="mine/double",
        source="m",
        group="mine/double",
        chars=70,
        testable=True,
        answers=tuple(
            Answer(
                "passed" if answer.endswith("*") else "assert_failed",
                whole=i not in empty and i not in partial,
                syntax_ok=True,
                chars=0 if i in empty else 8,
            )
            for i, answer in enumerate(answers)
        ),
        columns=tuple(
            Column(example and i == 0, KINDS[sign], "", i, i) for i, sign in enumerate(stub)
        ),
        outcomes=tuple(
            tuple(Outcome(KINDS[sign]) for sign in answer.rstrip("*")) for answer in answers
        ),
        written={
            model: {
                "own": Written(
                    body, (100, 160), tuple(solution_of(row, logprob) for row in rows), found
                )
            }
            for model, rows in (("s", small), ("l", large))
        },
        check_s=0.0025,
    )


def step(tier: str = "small", k: int = 1, tests: int = 2, **thresholds: float) -> Step:
    return Step(tier, k, tests, Policy(**thresholds))  # type: ignore[arg-type]


def plan(*steps: Step) -> Plan:
    return Plan("mine", "", steps or (step(), step("large")))


def judged(case: Case, *steps: Step) -> tuple[str, Reason, float | None]:
    """Return what became of the first tier's answer."""
    decision = play(case, plan(*steps), MODELS).turns[0].decision
    return decision.action, decision.reason, decision.observed


JUDGED = [
    # the small answer's outcomes, theta, action, reason, S
    ("+++", 1.0, "accept", Reason.TESTS_PASSED, 1.0),
    ("++-", 0.66, "accept", Reason.TESTS_PASSED, 2 / 3),
    ("++-", 0.67, "escalate", Reason.TESTS_FAILED, 2 / 3),
    ("+--", 0.5, "escalate", Reason.TESTS_FAILED, 1 / 3),
    ("!!!", 0.1, "escalate", Reason.TESTS_FAILED, 0.0),
    ("+??", 1.0, "accept", Reason.TESTS_PASSED, 1.0),
    ("???", 1.0, "accept", Reason.INCONCLUSIVE, None),
]


@pytest.mark.parametrize(("outcomes", "theta", "action", "reason", "score"), JUDGED)
def test_an_answer_is_accepted_where_its_score_reaches_theta(
    outcomes: str, theta: float, action: str, reason: Reason, score: float | None
) -> None:
    case = case_of([outcomes, "+++*"], "---")
    assert judged(case, step(theta=theta), step("large")) == (action, reason, score)


def test_agreement_of_solutions_is_part_of_the_score() -> None:
    # The first passes two of three, one of them as one of the two others does: S = 2/3 * 2/3.
    case = case_of(["++-", "+--", "---", "+++*"], "---", small=(0, 1, 2), large=(3,))
    played = play(case, plan(step(k=3, theta=0.45), step("large")), MODELS)
    assert played.turns[0].decision.observed == pytest.approx(4 / 9)
    assert played.escalated
    assert not play(case, plan(step(k=3, theta=0.44), step("large")), MODELS).escalated


def test_the_best_of_several_answers_is_judged_and_given() -> None:
    case = case_of(["+--", "+++*", "---"], "---", small=(0, 1, 2))
    played = play(case, plan(step(k=3)), MODELS)
    assert (played.row, played.right, played.escalated) == (1, True, False)
    first = play(case, plan(step(k=1)), MODELS)
    assert (first.row, first.right) == (0, False)


EXAMPLES = [
    # outcomes of the example and three tests
    ("-+++", "escalate", Reason.TRUSTED_FAILED),
    ("+---", "escalate", Reason.TESTS_FAILED),
    ("++--", "accept", Reason.TESTS_PASSED),  # 1/3 reaches theta_trusted, not theta
    ("?+--", "escalate", Reason.TESTS_FAILED),
]


@pytest.mark.parametrize(("outcomes", "action", "reason"), EXAMPLES)
def test_an_example_that_fails_escalates_and_one_that_passes_lowers_the_bound(
    outcomes: str, action: str, reason: Reason
) -> None:
    case = case_of([outcomes, "++++*"], example=True, samples=("1", "23"))
    assert judged(case)[:2] == (action, reason)


def test_an_example_alone_is_enough() -> None:
    case = case_of(["+", "+"], "-", example=True, samples=("", ""))
    assert judged(case)[:2] == ("accept", Reason.TRUSTED_PASSED)


NO_TESTS = [
    ("---", ("", ""), "no valid one was written"),
    ("+++", ("12", "3"), "an empty body passes them all"),
]


@pytest.mark.parametrize(("stub", "samples", "_why"), NO_TESTS)
def test_without_a_useful_test_an_answer_is_not_accepted(
    stub: str, samples: Sequence[str], _why: str
) -> None:
    case = case_of(["+++", "+++*"], stub, samples=samples)
    assert judged(case)[:2] == ("escalate", Reason.NO_TESTS)


def test_tests_that_say_nothing_of_an_empty_body_are_no_evidence_either_way() -> None:
    case = case_of(["+++", "+++*"], "..?")
    assert judged(case)[:2] == ("accept", Reason.INCONCLUSIVE)


def test_only_the_samples_that_the_plan_grants_are_read() -> None:
    case = case_of(["++-", "+++*"], "---")
    assert judged(case, step(tests=1, theta=1.0)) == ("accept", Reason.TESTS_PASSED, 1.0)
    assert judged(case, step(tests=2, theta=1.0))[0] == "best_effort"


def test_an_empty_answer_escalates() -> None:
    case = case_of(["!!!", "+++*"], "---", empty=(0,))
    assert judged(case)[:2] == ("escalate", Reason.EMPTY)


def test_the_last_tier_does_its_best() -> None:
    played = play(case_of(["---", "---"], "---"), plan(), MODELS)
    assert [turn.decision.action for turn in played.turns] == ["escalate", "best_effort"]


ALONE = [
    # the examples' outcomes, k, action, reason
    ("+", 1, "accept", Reason.TRUSTED_PASSED),
    ("-", 1, "escalate", Reason.TRUSTED_FAILED),
    ("?", 1, "accept", Reason.INCONCLUSIVE),
    ("-", 0, "accept", Reason.NOT_CHECKED),
]


@pytest.mark.parametrize(("outcomes", "k", "action", "reason"), ALONE)
def test_without_samples_of_tests_the_examples_are_run_but_never_on_a_draft(
    outcomes: str, k: int, action: str, reason: Reason
) -> None:
    case = case_of([outcomes, "+*"], "-", example=True, samples=())
    turn = play(case, plan(step(k=k, tests=0), step("large", tests=0)), MODELS).turns[0]
    assert (turn.decision.action, turn.decision.reason) == (action, reason)
    assert turn.evidence.execution == ("ran" if k else "not_asked")
    assert turn.spent.batches == (Batch(100, (5,)),)
    assert turn.spent.checks == 2 * k


def test_where_no_example_and_no_test_is_to_be_run_nobody_asked() -> None:
    (turn,) = play(case_of(["---"], "---"), plan(step(tests=0)), MODELS).turns
    assert (turn.evidence.execution, turn.spent.checks) == ("not_asked", 0)
    assert turn.decision.reason == Reason.NOT_CHECKED


UNLIKELY = [
    # example, samples of tests, action, reason
    (False, 0, "escalate", Reason.UNLIKELY_TOKEN),
    (False, 2, "escalate", Reason.UNLIKELY_TOKEN),
    (True, 0, "accept", Reason.TRUSTED_PASSED),
    (True, 2, "accept", Reason.TESTS_PASSED),
]


@pytest.mark.parametrize(("example", "tests", "action", "reason"), UNLIKELY)
def test_an_unlikely_token_escalates_what_no_example_vouches_for(
    example: bool, tests: int, action: str, reason: Reason
) -> None:
    case = case_of(["++++", "++++*"], example=example)
    gated = step(tests=tests, min_least=0.95)
    assert judged(case, gated, step("large"))[:2] == (action, reason)


def test_an_unchecked_plan_gives_the_first_answer() -> None:
    case = case_of(["---", "+++*"], "---", small=(0, 1))
    for name, row, right in (("small", 0, False), ("large", 1, True)):
        played = play(case, load_plans()[name], MODELS)
        assert (played.row, played.right, len(played.turns)) == (row, right, 1)
        assert played.turns[0].decision.reason == Reason.NOT_CHECKED
        assert played.turns[0].evidence.execution == "not_asked"


CHOSEN = [
    # small, large, chosen
    ("+--", "+++", 1),
    ("+--", "+--", 1),  # the larger one's where they tie
    ("+--", "---", 0),
    ("+--", "?--", 0),
]


@pytest.mark.parametrize(("small", "large", "chosen"), CHOSEN)
def test_the_answer_is_chosen_by_the_tests_of_all_tiers(
    small: str, large: str, chosen: int
) -> None:
    assert play(case_of([small, large], "---"), plan(), MODELS).row == chosen


def test_a_failed_example_outweighs_every_other_test_in_the_choice() -> None:
    case = case_of(["-+++", "+---"], example=True, samples=("1", "23"))
    assert play(case, plan(), MODELS).row == 1


def test_an_empty_answer_is_never_chosen_over_a_text() -> None:
    case = case_of(["---", "!!!"], "---", empty=(1,))
    assert play(case, plan(), MODELS).row == 0


def test_a_later_tiers_tests_join_those_of_the_earlier() -> None:
    case = case_of(["---+", "+++-"], "----")
    later = replace(case.written["l"]["own"], samples=(Sample(7, (3,)),))
    case = replace(case, written={**case.written, "l": {"own": later}})
    played = play(case, plan(step(), step("large", tests=1)), MODELS)
    assert [turn.evidence.n_tests for turn in played.turns] == [3, 4]
    assert played.turns[1].decision.observed == 3 / 4


def test_a_line_that_is_no_test_is_counted_by_its_reason() -> None:
    case = case_of(["+++", "+++*"], "--.", samples=("1xx1", "3"))
    (turn,) = play(case, plan(step()), MODELS).turns
    assert case.tests("s", "own", 2)[1] == {"x": 2, "repeated": 1}
    assert (turn.evidence.n_tests, turn.evidence.inconclusive) == (1, 1)


def test_what_is_spent_is_counted_by_turn() -> None:
    case = case_of(["---", "---", "+++*"], "---", small=(0, 1), large=(2,))
    small, large = play(case, plan(step(k=2), step("large", tests=1)), MODELS).turns
    assert small.spent.model == "s"
    # Two solutions and two samples, in one batch.
    assert small.spent.batches == (Batch(160, (5, 6, 20, 10)),)
    assert (small.spent.read, small.spent.written) == (160, 41)
    assert small.spent.checks == 3 + 2 * 2 * 3  # an empty body once, two answers twice
    assert small.spent.check_s == 0.0025
    # Its tests are the first tier's; then those on both answers, twice, for the choice.
    assert large.spent.batches == (Batch(160, (7, 20)),)
    assert large.spent.checks == 2 * 1 * 3 + 2 * 2 * 3


def test_nothing_is_run_on_an_answer_without_the_function() -> None:
    case = case_of(["!!!", "!!!", "+++*"], "---", small=(0, 1), large=(2,), empty=(0,))
    small, large = play(case, plan(step(k=2), step("large", tests=0)), MODELS).turns
    assert small.spent.checks == 3 + 2 * 1 * 3
    assert large.spent.checks == 2 * 1 * 3 + 2 * 1 * 3


def test_what_is_not_tested_reads_the_first_prompt_alone() -> None:
    (turn,) = play(case_of(["+++"], "---"), load_plans()["small"], MODELS).turns
    assert turn.spent.batches == (Batch(100, (5,)),)
    assert (turn.spent.read, turn.spent.written, turn.spent.checks) == (100, 5, 0)


TOO_LITTLE = [
    (step(k=2), "wants 2 solutions and 2 samples of tests from s; mine/double has 1 and 2"),
    (step(tests=3), "wants 1 solutions and 3 samples of tests from s; mine/double has 1 and 2"),
    (step("huge"), r"mine/double is not recorded with h\."),
]


@pytest.mark.parametrize(("wanted", "said"), TOO_LITTLE)
def test_what_was_recorded_too_little_is_said(wanted: Step, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        play(case_of(["+++"], "---"), plan(wanted), {**MODELS, "huge": "h"})


def test_a_style_that_was_not_recorded_is_said() -> None:
    with pytest.raises(UsageError, match="in the style 'text'"):
        play(case_of(["+++"], "---"), plan(), MODELS, style="text")


def test_a_models_own_style_is_played_unless_another_is_asked_for() -> None:
    case = case_of(["+--", "+++*"], "---")
    other = replace(case.written["s"]["own"], solutions=(solution_of(1),))
    case = replace(case, written={"s": {"own": case.written["s"]["own"], "other": other}})
    alone = plan(step())
    assert [play(case, alone, MODELS, style).row for style in ("", "own", "other")] == [0, 0, 1]
    assert written(case, "s") == (case.written["s"]["own"], "own")
    assert written(case, "s", "other") == (other, "other")


def test_a_test_is_useful_where_a_body_that_returns_nothing_fails_it() -> None:
    case = case_of(["+++++"], "+-!?.")
    assert [useful(case, case.test(i)) for i in range(5)] == [False, True, True, False, False]


# -- where a line is continued ------------------------------------------------------------------


def test_a_continuation_is_one_answer_and_its_tests_are_asked_for_after_it() -> None:
    case = case_of(["++-", "+++*"], "---", body=False)
    small = play(case, plan(step(k=3, theta=0.9), step("large")), MODELS).turns[0]
    assert (small.evidence.execution, small.evidence.k) == ("ran", 1)
    assert (small.decision.reason, small.decision.observed) == (Reason.TESTS_FAILED, 2 / 3)
    assert small.spent.batches == (Batch(100, (5,)), Batch(160, (20, 10)))
    assert small.spent.checks == 3 + 2 * 3


@pytest.mark.parametrize("example", [False, True])
def test_nothing_is_asked_or_run_of_half_a_function(example: bool) -> None:
    case = case_of(["!!!!", "++++*"], example=example, body=False, partial=(0,))
    (turn,) = play(case, plan(), MODELS).turns
    assert (turn.decision.action, turn.decision.reason) == ("accept", Reason.NOT_TESTABLE)
    assert (turn.evidence.n_tests, turn.evidence.trusted_failed) == (0, 0)
    assert turn.spent.batches == (Batch(100, (5,)),)
    assert turn.spent.checks == 0


GATES = [
    # exp(-0.1) is 0.9048; the gate of bodies is not one of continuations.
    (Policy(min_least=0.9049), "accept", Reason.NOT_TESTABLE),
    (
        Policy(escalate="on_doubt", min_confidence=0.9049),
        "escalate",
        Reason.LOW_CONFIDENCE,
    ),
]


@pytest.mark.parametrize(("policy", "action", "reason"), GATES)
def test_a_continuation_that_nothing_vouches_for_is_gated_by_its_tokens(
    policy: Policy, action: str, reason: Reason
) -> None:
    case = case_of(["!!!", "+++*"], "---", body=False, partial=(0,))
    assert judged(case, Step("small", 1, 2, policy), step("large"))[:2] == (action, reason)


def test_a_body_is_gated_by_its_least_likely_token_and_a_continuation_by_its_first() -> None:
    for body in (True, False):
        (turn,) = play(case_of(["+++"], "---", body=body), plan(step()), MODELS).turns
        assert (turn.evidence.confidence is None) is body
        assert (turn.evidence.least is not None) is body


# -- the same as the cascade --------------------------------------------------------------------

NAMES = {role: catalogue.load().default(role).name for role in ("small", "large")}  # type: ignore[arg-type]
OWN = {problem.id.removeprefix("own/"): problem for problem in shipped("functions")}


class CountingSandbox:
    """The sandbox, counting the checks that it is given."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox, self.checks = sandbox, 0

    async def run(
        self,
        source: str,
        checks: Sequence[Check],
        limits: Limits,
        *,
        seed: int = 0,
        language: Language = "python",
    ) -> list[Outcome]:
        self.checks += len(checks)
        return await self.sandbox.run(source, checks, limits, seed=seed, language=language)

    async def run_script(
        self, source: str, limits: Limits, *, seed: int = 0, language: Language = "python"
    ) -> Outcome:
        return await self.sandbox.run_script(source, limits, seed=seed, language=language)

    async def run_suite(self, suite: Suite, limits: Limits) -> list[Outcome]:
        return await self.sandbox.run_suite(suite, limits)

    async def status(self) -> Status:
        return await self.sandbox.status()

    async def close(self) -> None:
        await self.sandbox.close()


def scripted(solutions: Sequence[str], tests: Sequence[str]) -> ScriptedEngine:
    """Return a model that gives each of its samples its own answer."""

    def answer(prompt: Prompt) -> str:
        return (tests if is_test_prompt(prompt) else solutions)[prompt.seed]

    return ScriptedEngine(answer)


def answer_of(body: str) -> str:
    """Return a model's answer with a body: on the line that its prompt ends with, or in a fence."""
    return body if "```" in body else f"    {body}\n"


BADGE, CLOCK = OWN["initials-badge"], OWN["clock-after"]
BADGE_WRONG = "return name[:limit].upper()"
BADGE_ODD = "return 'AK'"
BADGE_ANEW = f"Here it is:\n```python\n{BADGE.prompt}{BADGE.solution}\n```\n"
BADGE_FLOOD = 'print("x" * 10**6)\n    return "AK"'
BADGE_TESTS = (
    '"ada king") == "AK"\nassert initials_badge("bo") == "B"\n',
    '"a b c", 3) == "ABC"\n',
)
BADGE_MORE = (
    '"ada king") == "AK"\nassert initials_badge("x y z", 1) == "X"\n'
    "assert initials_badge(7) == 1\nassert initials_badge(name) == 'A'\n",
    '"") == ""\n',
)
BADGE_FALSE = ('"ada king") == "AD"\nassert initials_badge("bo") == "BO"\n', '"bo") == "B"\n')
USELESS = ('"ada") != 3\nprint(1)\n', "1\n")
CLOCK_WRONG = 'return f"{hour}:{minute + passed}"'
CLOCK_HALF = 'return "10:15"'
CLOCK_TESTS = (
    '1, 0, 0) == "01:00"\nassert clock_after(9, 50, 25) == "10:15"\n',
    '0, 0, -1) == "23:59"\n',
)
NONE = "I cannot do that."

LABEL = Problem(
    "mine/label",
    'def label(n: int) -> str:\n    """Say what n is.\n\n    >>> label(0)\n    \'none\'\n    """\n'
    "    n = abs(n)\n    ",
    "\n\n\ndef shout(n: int) -> str:\n    return label(n).upper()\n",
    "assert label(0) == 'none'\nassert label(-1) == 'one'\nassert label(2) == 'many'\n",
    "label",
    "python",
    "mine",
    'return ["none", "one", "many"][min(n, 2)]',
)
NOWHERE = Problem("mine/x", "x = ", "\n", "assert x == 3\n", "", "python", "mine")
PLAIN = replace(LABEL, id="mine/plain", prompt=LABEL.prompt.replace(">>> label(0)", "Zero is:"))
LABEL_WRONG = 'return ["none", "many"][min(n, 1)]'
LABEL_NONE = 'return "many"'
LABEL_HALF = 'if n == 0:\n        return "none"'
LABEL_TESTS = ('1) == "one"\nassert label(9) == "many"\n', '-1) == "one"\n')

# problem, small bodies, small tests, large bodies, large tests, turns
AGREEING = {
    "accepted": (BADGE, [BADGE.solution], BADGE_TESTS, [BADGE.solution], BADGE_MORE, 1),
    "begun anew": (BADGE, [BADGE_ANEW], BADGE_TESTS, [BADGE.solution], BADGE_MORE, 1),
    "escalated": (BADGE, [BADGE_WRONG], BADGE_TESTS, [BADGE.solution], BADGE_MORE, 2),
    "both wrong": (BADGE, [BADGE_WRONG], BADGE_TESTS, [BADGE_WRONG], BADGE_MORE, 2),
    "small kept": (BADGE, [BADGE.solution], BADGE_FALSE, [BADGE_WRONG], BADGE_TESTS, 2),
    "false tests": (BADGE, [BADGE.solution], BADGE_FALSE, [BADGE.solution], BADGE_TESTS, 2),
    "no tests": (BADGE, [BADGE.solution], USELESS, [BADGE.solution], USELESS, 2),
    "empty": (BADGE, [NONE], BADGE_TESTS, [BADGE.solution], BADGE_TESTS, 2),
    "both empty": (BADGE, [NONE], BADGE_TESTS, [NONE], BADGE_MORE, 2),
    "flood": (BADGE, [BADGE_FLOOD], BADGE_TESTS, [BADGE.solution], BADGE_MORE, 1),
    "broken": (BADGE, ["return )"], BADGE_TESTS, [BADGE.solution], BADGE_MORE, 2),
    "example passed": (CLOCK, [CLOCK.solution], CLOCK_TESTS, [CLOCK.solution], CLOCK_TESTS, 1),
    "example failed": (CLOCK, [CLOCK_HALF], CLOCK_TESTS, [CLOCK.solution], CLOCK_TESTS, 2),
    "examples failed": (CLOCK, [CLOCK_WRONG], USELESS, [CLOCK_HALF], CLOCK_TESTS, 2),
    "several": (
        BADGE,
        [BADGE_WRONG, BADGE.solution, NONE],
        BADGE_TESTS,
        [BADGE_ODD, BADGE_WRONG, BADGE.solution],
        BADGE_MORE,
        2,
    ),
    "examples alone passed": (CLOCK, [CLOCK.solution], USELESS, [CLOCK.solution], USELESS, 1),
    "examples alone failed": (CLOCK, [CLOCK_HALF], USELESS, [CLOCK.solution], USELESS, 2),
    "no examples": (BADGE, [BADGE_WRONG], USELESS, [BADGE.solution], USELESS, 1),
    "an unlikely one": (BADGE, [BADGE_WRONG], USELESS, [BADGE.solution], BADGE_TESTS, 2),
    "unchecked": (CLOCK, [CLOCK_WRONG], USELESS, [CLOCK.solution], USELESS, 1),
    "then unchecked": (CLOCK, [CLOCK_HALF], CLOCK_TESTS, [CLOCK.solution], USELESS, 2),
    "line accepted": (PLAIN, [LABEL.solution], LABEL_TESTS, [LABEL.solution], LABEL_TESTS, 1),
    "line escalated": (PLAIN, [LABEL_WRONG], LABEL_TESTS, [LABEL.solution], LABEL_TESTS, 2),
    "line without tests": (PLAIN, [LABEL.solution], USELESS, [LABEL.solution], USELESS, 2),
    "line with an example": (LABEL, [LABEL_NONE], LABEL_TESTS, [LABEL_WRONG], LABEL_TESTS, 2),
    "line and example alone": (LABEL, [LABEL_WRONG], USELESS, [LABEL.solution], USELESS, 1),
    "several lines": (
        PLAIN,
        [LABEL_WRONG, LABEL.solution],
        LABEL_TESTS,
        [LABEL.solution, LABEL_NONE],
        LABEL_TESTS,
        2,
    ),
    "half a function": (PLAIN, [LABEL_HALF], LABEL_TESTS, [LABEL.solution], LABEL_TESTS, 1),
    "empty line": (LABEL, [""], LABEL_TESTS, [LABEL.solution], LABEL_TESTS, 2),
    "empty, then half": (LABEL, [""], LABEL_TESTS, [LABEL_HALF], LABEL_TESTS, 2),
    "broken line": (LABEL, ["return ("], LABEL_TESTS, [LABEL.solution], LABEL_TESTS, 2),
    "unchecked line": (LABEL, [LABEL_NONE], LABEL_TESTS, [LABEL.solution], LABEL_TESTS, 1),
    "an unlikely half": (LABEL, [LABEL_HALF], USELESS, [LABEL_NONE], LABEL_TESTS, 1),
    "by default accepted": (BADGE, [BADGE_WRONG], USELESS, [NONE, NONE], BADGE_TESTS, 1),
    "by default escalated": (
        CLOCK,
        [CLOCK_WRONG],
        USELESS,
        [CLOCK_HALF, CLOCK.solution],
        CLOCK_TESTS,
        2,
    ),
    "nowhere": (NOWHERE, ["3"], USELESS, ["4"], USELESS, 1),
    "nowhere, unchecked": (NOWHERE, ["3"], USELESS, ["4"], USELESS, 1),
}
UNCHECKED = step(k=0, tests=0), step("large", k=0, tests=0)
EXAMPLES_ALONE = step(tests=0), step("large", tests=0)
# The steps where they are not those of the plan in which both models test themselves.
STEPS = {
    "several": (step(k=3, theta=0.9), step("large", k=3, theta=0.9)),
    "examples alone passed": EXAMPLES_ALONE,
    "examples alone failed": EXAMPLES_ALONE,
    "no examples": EXAMPLES_ALONE,
    "an unlikely one": (step(tests=0, min_least=0.95), step("large")),
    "unchecked": UNCHECKED,
    "then unchecked": (step(), step("large", k=0, tests=0)),
    "line and example alone": EXAMPLES_ALONE,
    "several lines": (step(k=2, theta=0.9), step("large", k=2, theta=0.9)),
    "unchecked line": UNCHECKED,
    "an unlikely half": (step(min_least=0.95), step("large")),
    "by default accepted": load_plans()["default"].steps,
    "by default escalated": load_plans()["default"].steps,
    "nowhere, unchecked": UNCHECKED,
}


def rounded(evidence: Evidence) -> Evidence:
    """Return evidence with its figures as a study keeps them."""
    if evidence.confidence is None:
        return evidence
    return replace(evidence, confidence=round(evidence.confidence, study.FIGURES))


@pytest.mark.parametrize("name", list(AGREEING))
async def test_a_plan_is_played_as_the_cascade_follows_it(name: str, sandbox: Sandbox) -> None:
    problem, small, small_tests, large, large_tests, n_turns = AGREEING[name]
    followed = Plan("default", "", STEPS.get(name, load_plans()["paper"].steps))
    engines = {
        "small": scripted(list(map(answer_of, small)), small_tests),
        "large": scripted(list(map(answer_of, large)), large_tests),
    }
    tiers = [Tier(role, NAMES[role], engine) for role, engine in engines.items()]
    counting = CountingSandbox(sandbox)
    began = list[int]()

    def watch(event: Event) -> None:
        if isinstance(event, Started):
            began.append(counting.checks)

    cascade = Cascade(tiers, counting)
    cascade.plans = {"default": followed}
    real = await cascade.complete(problem.context, watch=watch)
    checks = [b - a for a, b in pairwise([*began, counting.checks])]

    recorded = [
        await record(
            engines[one.tier], NAMES[one.tier], problem, Recipe(max(one.k, 1), one.tests, others=0)
        )
        for one in followed.steps
    ]
    matrix = await execute(problem, recorded, sandbox, Limits())
    texts = [one["text"] for one in matrix["solutions"]]
    case = study.case(study.digest(problem, recorded, matrix))
    played = play(case, followed, NAMES)

    assert len(real.attempts) == len(played.turns) == n_turns
    for attempt, turn in zip(real.attempts, played.turns, strict=True):
        assert turn.tier == attempt.tier
        assert turn.evidence == rounded(attempt.evidence)
        assert turn.decision == attempt.decision
        assert texts[turn.row] == attempt.text
        assert turn.spent.model == NAMES[attempt.tier]
        assert turn.spent.read == attempt.usage.prompt_tokens
        assert turn.spent.written == attempt.usage.new_tokens
    assert texts[played.row] == real.answer.text
    assert [turn.row for turn in played.turns][real.chosen] == played.row
    assert [turn.spent.checks for turn in played.turns] == checks
    program = problem.program(problem.completion(real.answer.text))
    hidden = await sandbox.run_script(program, Limits(time_s=10))
    assert played.right == (hidden.kind == "passed")
