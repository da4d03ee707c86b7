"""A plan played on records: what is judged, what is spent, and that it is what the cascade does."""

from collections.abc import Sequence

import pytest

from cascade_lsp import catalogue
from cascade_lsp.cascade import Cascade
from cascade_lsp.engine import Prompt
from cascade_lsp.errors import UsageError
from cascade_lsp.lab.execute import execute
from cascade_lsp.lab.problems import Problem, shipped
from cascade_lsp.lab.record import Recipe, record
from cascade_lsp.lab.replay import Case, Solution, Written, cases, play
from cascade_lsp.lab.rows import Row
from cascade_lsp.plans import Plan, Step, load_plans
from cascade_lsp.policy import Policy, Reason
from cascade_lsp.sandbox import Limits, Sandbox
from cascade_lsp.turn import Tier
from tests.scripted import ScriptedEngine, is_test_prompt

MODELS = {"small": "s", "large": "l"}
KINDS = {"+": "passed", "-": "assert_failed", "!": "error", "?": "inconclusive", ".": "timeout"}


def problem_of(example: bool = False) -> Problem:
    stated = "\n\n    >>> double(4)\n    8\n    " if example else ""
    prompt = f'def double(n: int) -> int:\n    """Return twice n.{stated}"""\n    '
    return Problem("mine/double", prompt, "", "assert double(7) == 14\n", "double", "python", "m")


def case_of(
    answers: Sequence[str],
    stub: str = "----",
    *,
    example: bool = False,
    small: Sequence[int] = (0,),
    large: Sequence[int] = (1,),
    samples: Sequence[str] = ("12", "3"),
    empty: Sequence[int] = (),
) -> Case:
    """Write a case: a line of signs per answer, over the tests `double(1..)` (the example, 4, is
    first where there is one); a `*` behind it says that it passes the hidden tests.

    `samples` names the tests of each of a model's samples, the same for both models.
    """
    numbers = ([4] if example else []) + [n for n in range(1, 9) if not example or n != 4]
    texts = [f"assert double({n}) == {2 * n}" for n in numbers[: len(stub)]]
    matrix: Row = {
        "problem": "mine/double",
        "solutions": [
            {
                "text": "" if i in empty else f"return {i}",
                "whole": i not in empty,
                "syntax_ok": True,
                "hidden": "passed" if answer.endswith("*") else "assert_failed",
            }
            for i, answer in enumerate(answers)
        ],
        "tests": [
            {"text": text, "trusted": example and i == 0, "stub": KINDS[sign], "reference": ""}
            for i, (text, sign) in enumerate(zip(texts, stub, strict=True))
        ],
        "outcomes": [[KINDS[sign] for sign in answer.rstrip("*")] for answer in answers],
        "check_ms": 5.0,
    }
    tests = tuple(
        ("\nassert double(".join(f"{n}) == {2 * int(n)}" for n in sample), 10 * len(sample))
        for sample in samples
    )
    written = {
        model: {
            "chat": Written((100, 160), tuple(Solution(i, (-0.1,) * (5 + i)) for i in found), tests)
        }
        for model, found in (("s", small), ("l", large))
    }
    return Case(problem_of(example), written, matrix)


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
    later = Written((100, 160), case.written["l"]["chat"].solutions, (("4) == 8", 7),))
    case = Case(case.problem, {**case.written, "l": {"chat": later}}, case.matrix)
    played = play(case, plan(step(), step("large", tests=1)), MODELS)
    assert [turn.evidence.n_tests for turn in played.turns] == [3, 4]
    assert played.turns[1].decision.observed == 3 / 4


def test_what_is_spent_is_counted_by_turn() -> None:
    case = case_of(["---", "---", "+++*"], "---", small=(0, 1), large=(2,))
    small, large = play(case, plan(step(k=2), step("large", tests=1)), MODELS).turns
    assert small.spent.model == "s"
    assert small.spent.read == 160
    assert small.spent.written == (5, 6, 20, 10)  # two solutions, two samples
    assert small.spent.checks == 3 + 2 * 2 * 3  # an empty body once, two answers twice
    assert small.spent.check_s == 0.0025
    # Its tests are the first tier's; then those on both answers, twice, for the choice.
    assert (large.spent.read, large.spent.written) == (160, (7, 20))
    assert large.spent.checks >= 2 * 1 * 3 + 2 * 2 * 3


def test_what_is_not_tested_reads_the_first_prompt_alone() -> None:
    (turn,) = play(case_of(["+++"], "---"), load_plans()["small"], MODELS).turns
    assert (turn.spent.read, turn.spent.written, turn.spent.checks) == (100, (5,), 0)


TOO_LITTLE = [
    (step(k=2), "wants 2 solutions and 2 samples of tests from s; there are 1 and 2"),
    (step(tests=3), "wants 1 solutions and 3 samples of tests from s; there are 1 and 2"),
    (step("huge"), "mine/double is not recorded with h in the style 'chat'"),
]


@pytest.mark.parametrize(("wanted", "said"), TOO_LITTLE)
def test_what_was_recorded_too_little_is_said(wanted: Step, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        play(case_of(["+++"], "---"), plan(wanted), {**MODELS, "huge": "h"})


def test_a_style_that_was_not_recorded_is_said() -> None:
    with pytest.raises(UsageError, match="in the style 'text'"):
        play(case_of(["+++"], "---"), plan(), MODELS, style="text")


def test_cases_join_what_belongs_together_and_leave_out_the_rest() -> None:
    problem = problem_of()
    alone = Problem("mine/alone", problem.prompt, "", "", "double", "python", "m")
    answer = "```python\ndef double(n):\n    return 0\n```"
    recorded: Row = {
        "problem": problem.id,
        "model": "s",
        "batches": [
            {
                "kind": "body",
                "style": "chat",
                "read": [7, 9],
                "solutions": [{"text": answer, "logprobs": [-0.5, -0.25]}],
                "tests": [{"text": "1) == 2", "tokens": 4}],
            },
            {"kind": "line", "style": "psm", "solutions": [], "tests": []},
        ],
    }
    matrix = {**case_of(["+"], "-").matrix, "problem": problem.id}
    (case,) = cases([alone, problem], [recorded], [matrix, {**matrix, "problem": "mine/alone"}])
    assert case.problem is problem
    assert case.written == {
        "s": {"chat": Written((7, 9), (Solution(0, (-0.5, -0.25)),), (("1) == 2", 4),))}
    }
    assert list(cases([problem], [recorded], [])) == []


# -- the same as the cascade --------------------------------------------------------------------

NAMES = {role: catalogue.load().default(role).name for role in ("small", "large")}  # type: ignore[arg-type]
OWN = {problem.id.removeprefix("own/"): problem for problem in shipped("functions")}


def scripted(solutions: Sequence[str], tests: Sequence[str]) -> ScriptedEngine:
    """Return a model that gives each of its samples its own answer."""

    def answer(prompt: Prompt) -> str:
        return (tests if is_test_prompt(prompt) else solutions)[prompt.seed]

    return ScriptedEngine(answer)


def whole(problem: Problem, body: str) -> str:
    head = problem.prompt.split('"""', 1)[0].rstrip()
    return f"Here it is:\n```python\n{head}\n    {body}\n```\n"


BADGE, CLOCK = OWN["initials-badge"], OWN["clock-after"]
BADGE_WRONG = "return name[:limit].upper()"
BADGE_ODD = "return 'AK'"
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

# problem, small bodies, small tests, large bodies, large tests, turns
AGREEING = {
    "accepted": (BADGE, [BADGE.solution], BADGE_TESTS, [BADGE.solution], BADGE_MORE, 1),
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
}


@pytest.mark.parametrize("name", AGREEING)
async def test_a_plan_is_played_as_the_cascade_follows_it(name: str, sandbox: Sandbox) -> None:
    problem, small, small_tests, large, large_tests, n_turns = AGREEING[name]
    k = len(small)
    followed = load_plans()["default"]
    if k > 1:
        steps = (step(k=k, theta=0.9), step("large", k=k, theta=0.9))
        followed = Plan("default", "", steps)
    engines = {
        "small": scripted([whole(problem, body) for body in small], small_tests),
        "large": scripted([whole(problem, body) for body in large], large_tests),
    }
    tiers = [Tier(role, NAMES[role], engine) for role, engine in engines.items()]
    cascade = Cascade(tiers, sandbox)
    cascade.plans = {"default": followed}
    real = await cascade.complete(problem.context)

    recipe = Recipe(k=k, tests=2, others=0)
    recorded = [
        await record(engine, NAMES[role], problem, recipe) for role, engine in engines.items()
    ]
    matrix = await execute(problem, recorded, sandbox, Limits())
    (case,) = cases([problem], recorded, [matrix])
    played = play(case, followed, NAMES)

    assert len(real.attempts) == len(played.turns) == n_turns
    for attempt, turn in zip(real.attempts, played.turns, strict=True):
        assert turn.tier == attempt.tier
        assert turn.evidence == attempt.evidence
        assert turn.decision == attempt.decision
        assert case.matrix["solutions"][turn.row]["text"] == attempt.text
        assert NAMES[attempt.tier] == turn.spent.model
    assert case.matrix["solutions"][played.row]["text"] == real.answer.text
    assert [turn.row for turn in played.turns][real.chosen] == played.row
    hidden = await sandbox.run_script(problem.program(real.answer.text), Limits(time_s=10))
    assert played.right == (hidden.kind == "passed")
