"""The search for a plan: what is chosen, on which problems, and what is said of the others."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_lsp.lab import pages, report, search
from cascade_lsp.lab.prices import Operations
from cascade_lsp.lab.replay import play
from cascade_lsp.lab.search import Asked, Bench, plan_of
from cascade_lsp.policy import Policy
from tests.lab.test_replay import MODELS, case_of

ANSWERS = {
    "both are right": ["+++*", "+++*"],
    "the large one is": ["+--", "+++*"],
    "the small one is": ["+++*", "---"],
    "none is": ["---", "-++"],
}


def bench(times: int = 5, logprob: float = -0.1) -> Bench:
    """Return problems, so many of each kind, each a group of its own."""
    cases = []
    for kind, answers in ANSWERS.items():
        for n in range(times):
            case = case_of(
                answers,
                "---",
                small=(0, 0, 0, 0),
                large=(1, 1, 1, 1),
                samples="1231",
                logprob=logprob,
            )
            cases.append(replace(case, id=f"{kind} {n}", group=f"{kind} {n}"))
    return Bench(cases, MODELS, Operations({"s": 0.5, "l": 1.5}))


@pytest.mark.parametrize("small", [Asked(1, 2), Asked(4, 4), Asked(1, 0)])
def test_a_threshold_gives_what_playing_its_plan_gives(small: Asked) -> None:
    # exp(-1.2) is 0.30: a threshold of 0.5 escalates what no test speaks for, one of 0.3 does not.
    one, asked = bench(1, logprob=-1.2), (small, Asked(0, 0))
    pair = one.pair(*asked)
    for policy in search.policies(small, search.FUNCTIONS):
        found = pair.under(policy)
        plan = plan_of(*asked, policy)
        for i, case in enumerate(one.cases):
            played = play(case, plan, MODELS)
            assert (found.right[i], found.escalated[i]) == (played.right, played.escalated)
            cost = sum(one.price.of(turn.spent) for turn in played.turns)
            assert found.cost[i] == pytest.approx(cost)


@pytest.mark.parametrize("grid", [search.FUNCTIONS, search.HOLES])
def test_where_no_tests_are_asked_for_only_the_gates_are_tried(grid: search.Grid) -> None:
    assert tuple(search.policies(Asked(1, 0), grid)) == grid.gates
    tested = list(search.policies(Asked(1, 1), grid))
    assert len(tested) == len(grid.gates) * len(search.THETAS) * len(search.SHARES)
    assert all(policy.theta_trusted <= policy.theta for policy in tested)


def test_the_most_right_that_can_be_paid_is_chosen() -> None:
    right, cost = [0.3, 0.5, 0.5, 0.9], [1.0, 3.0, 2.0, 9.0]
    assert search.most_right(5)(right, cost) == 2
    assert search.most_right(9)(right, cost) == 3
    assert search.most_right(0.5)(right, cost) == 0, "the cheapest where none can be paid"


def test_the_cheapest_that_is_right_enough_is_chosen() -> None:
    right, cost = [0.3, 0.5, 0.5, 0.9], [1.0, 3.0, 2.0, 9.0]
    assert search.cheapest(0.4)(right, cost) == 2
    assert search.cheapest(0.95)(right, cost) == 3, "the best where none is right enough"


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_no_plan_beats_one_of_the_front_and_each_other_is_beaten_or_equal(
    plans: list[tuple[int, int]],
) -> None:
    right, cost = [float(r) for r, _ in plans], [float(c) for _, c in plans]
    front = search.pareto(right, cost)
    for i in range(len(plans)):
        assert any(right[f] >= right[i] and cost[f] <= cost[i] for f in front)
    for f in front:
        assert not any(
            right[i] >= right[f]
            and cost[i] <= cost[f]
            and (right[i], cost[i]) != (right[f], cost[f])
            for i in range(len(plans))
        )


def test_a_group_is_never_on_both_sides_of_a_split() -> None:
    groups = [f"g{n // 3}" for n in range(30)]
    for inside, rest in search.splits(groups):
        assert not {g for g, i in zip(groups, inside, strict=True) if i} & {
            g for g, r in zip(groups, rest, strict=True) if r
        }
        assert (inside ^ rest).all()
        assert inside.sum() == 9


def test_what_is_reported_of_a_problem_was_not_chosen_on_it() -> None:
    # A plan per problem, right on that one alone: whatever is chosen is wrong on the rest.
    groups = [str(n) for n in range(10)]
    found = [
        search.Candidate(
            plan_of(Asked(1, n), None, Policy()),
            search.Outcomes(np.eye(10)[n], np.ones(10), np.zeros(10)),
        )
        for n in range(10)
    ]
    chosen = search.resplit(found, groups, lambda _: search.most_right(1.0))
    assert chosen.outcomes.right.sum() == 0
    assert chosen.optimism == pytest.approx(1 / 3), "one of three where it was chosen"


def test_an_interval_draws_whole_groups() -> None:
    values = np.array([1.0, 1.0, 1.0, 0.0])
    alone = search.bootstrap(values, ["a", "b", "c", "d"])
    together = search.bootstrap(values, ["a", "a", "a", "d"])
    assert alone.mean == together.mean == 0.75
    assert together.low == 0.0 and together.high == 1.0 and alone.low > 0
    assert search.ratio(values * 2, np.ones(4), list("abcd")).mean == 1.5


def test_the_report_of_a_toy_is_as_worked_out_by_hand() -> None:
    one = bench(15)
    found = report.report(one, search.candidates(one))
    levels = {level.name: level for level in found.levels}
    assert levels["always small"].right == levels["always large"].right == 0.5
    # 2 * 0.5 GFLOP for each of 100 tokens read and 5 written; 2 * 1.5 for 100 and 6.
    assert levels["always small"].cost == pytest.approx(105)
    assert levels["always large"].cost == pytest.approx(318)
    assert levels["oracle: either greedy answer is right"].right == 0.75
    best = found.goals[-1]
    assert best.level.right == pytest.approx(0.75, abs=0.01), (
        "the tests tell the small one's right answers from wrong ones"
    )
    gained = next(c for c in best.compared if c.rival == "always large")
    assert gained.right.mean == pytest.approx(0.25, abs=0.01)
    assert found.auroc["s"] == 1.0
    text = pages.as_text(found)
    assert "60 problems; s, then l; costs in gflop." in text
    assert "| always large | 50.0% |" in text
