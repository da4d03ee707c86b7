"""What the records say: plans chosen by resplits beside every baseline, with intervals.

All figures are of problems that a choice did not see. Each rival is granted what the plan spends:
rules that rank answers escalate as many of the worst as that buys.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cascade_lsp.lab import scores
from cascade_lsp.lab.search import (
    ALWAYS,
    Asked,
    Bench,
    Bools,
    Candidate,
    Choice,
    Floats,
    Interval,
    Outcomes,
    Resplit,
    bootstrap,
    cheapest,
    most_right,
    pareto,
    plan_of,
    ratio,
    resplit,
)
from cascade_lsp.plans import Plan

GREEDY, SELF_TESTED = Asked(0, 0), Asked(4, 3)
STYLE = "chat"
BY_TOKENS = ("first_3", "first_3_syntax", "logprob_mean", "logprob_min")
BY_TESTS = ("s", "pass_fraction", "examples")
K_RULES = ("agreement", "codet", "b4", "mbr_exec")


@dataclass(frozen=True, slots=True)
class Level:
    """One way to answer all problems: its share right, mean cost and share escalated."""

    name: str
    right: float
    cost: float
    escalated: float


@dataclass(frozen=True, slots=True)
class Compared:
    """A goal's plans against a rival: shares right gained, and the ratio of the costs."""

    rival: str
    right: Interval
    cost: Interval


@dataclass(frozen=True, slots=True)
class Goal:
    """What was wanted of a plan, what the chosen ones gave on the problems not chosen on."""

    name: str
    level: Level
    optimism: float
    chosen: Sequence[tuple[str, int]]
    compared: Sequence[Compared]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the records say under one price list."""

    problems: int
    unit: str
    levels: Sequence[Level]
    goals: Sequence[Goal]
    auroc: Mapping[str, float]
    pareto: Sequence[Level]


def report(bench: Bench, found: Sequence[Candidate]) -> Report:
    """Compute the report of a search."""
    small = bench.outcomes(plan_of(GREEDY, None, ALWAYS))
    large = bench.outcomes(plan_of(None, GREEDY, ALWAYS))
    tested = bench.outcomes(plan_of(None, SELF_TESTED, ALWAYS))
    oracle = np.maximum(small.right, large.right)
    levels = [
        _level("always small", small),
        _level("small, self-testing", bench.outcomes(plan_of(SELF_TESTED, None, ALWAYS))),
        _level("always large", large),
        _level("large, self-testing (the paper's baseline)", tested),
        Level("oracle: either greedy answer is right", float(oracle.mean()), 0.0, 0.0),
    ]
    rivals = Rivals(bench, small, large)
    goals: list[tuple[str, Callable[[Bools], Choice], Outcomes]] = [
        ("most right for no more than always large costs", _as_dear_as(large), large),
        ("cheapest that is as right as always large", _as_right_as(large), large),
        (
            "cheapest that is as right as the large model's self-testing",
            _as_right_as(tested),
            tested,
        ),
        ("most right, whatever it costs", lambda _: most_right(float("inf")), tested),
    ]
    return Report(
        problems=len(bench.cases),
        unit=bench.price.unit,
        levels=levels,
        goals=[
            _goal(name, resplit(found, bench.groups, choice), base, rivals)
            for name, choice, base in goals
        ],
        auroc={
            name: scores.auroc(
                [c.score for c in rivals.choices(name)], [bool(one) for one in small.right]
            )
            for name in (*BY_TOKENS, *BY_TESTS, *K_RULES)
        },
        pareto=front(found),
    )


def front(found: Sequence[Candidate]) -> list[Level]:
    """Return the plans on all problems that no other one beats: where chosen and reported are the
    same, so this is for a picture, not for a claim."""
    right = [float(one.outcomes.right.mean()) for one in found]
    cost = [float(one.outcomes.cost.mean()) for one in found]
    return [_level(words(found[i].plan), found[i].outcomes) for i in pareto(right, cost)]


def words(plan: Plan) -> str:
    """Return a plan in a few words."""
    parts = []
    for i, step in enumerate(plan.steps):
        part = f"{step.tier} k={step.k} l={step.tests}"
        if i < len(plan.steps) - 1:
            part += f" theta={step.policy.theta:g}/{step.policy.theta_trusted:g}"
        parts.append(part)
    return ", then ".join(parts)


@dataclass(frozen=True)
class Rivals:
    """Rules that escalate the small tier's worst-ranked greedy answers to the large one."""

    bench: Bench
    small: Outcomes
    large: Outcomes

    def choices(self, rule: str) -> list[scores.Choice]:
        """Return what a rule says of the small tier's answer to each case."""
        k, tests = (4, 3) if rule in K_RULES else (1, 2)
        model = self.bench.models["small"]
        return [scores.choices(case, model, STYLE, k, tests)[rule] for case in self.bench.cases]

    def at_cost(self, rule: str, budget: float) -> Outcomes:
        """Return the outcomes of a rule that spends `budget` on the mean case."""
        asked = Asked(1, 2) if rule in BY_TESTS else GREEDY
        first = self.bench.outcomes(plan_of(asked, None, ALWAYS))
        order = np.argsort([choice.score for choice in self.choices(rule)], kind="stable")
        left = budget * len(order) - first.cost.sum()
        share = np.zeros(len(order))
        for i in order:
            share[i] = min(1.0, max(0.0, left / self.large.cost[i]))
            left -= self.large.cost[i] * share[i]
        return _mixed(first, self.large, share)

    def random_at_cost(self, budget: float) -> Outcomes:
        """Return the mean outcomes of escalating by lot as many as `budget` buys."""
        left = budget - self.small.cost.mean()
        share = float(np.clip(left / self.large.cost.mean(), 0, 1))
        return _mixed(self.small, self.large, np.full(len(self.small.right), share))


def _mixed(first: Outcomes, then: Outcomes, share: Floats) -> Outcomes:
    return Outcomes(
        first.right * (1 - share) + then.right * share, first.cost + then.cost * share, share
    )


def _goal(name: str, chosen: Resplit, base: Outcomes, rivals: Rivals) -> Goal:
    ours = chosen.outcomes
    budget = float(ours.cost.mean())
    others: list[tuple[str, Outcomes]] = [
        ("always large", rivals.large),
        ("random escalation, equal cost", rivals.random_at_cost(budget)),
        *(
            (f"{rule}, equal cost", rivals.at_cost(rule, budget))
            for rule in (*BY_TOKENS, *BY_TESTS)
        ),
    ]
    if base is not rivals.large:
        others.insert(0, ("large, self-testing", base))
    groups = rivals.bench.groups
    return Goal(
        name=name,
        level=_level(name, ours),
        optimism=chosen.optimism,
        chosen=sorted(
            ((words(plan), n) for plan, n in chosen.chosen.items()), key=lambda one: -one[1]
        )[:5],
        compared=[
            Compared(
                rival,
                bootstrap(ours.right - other.right, groups),
                ratio(ours.cost, other.cost, groups),
            )
            for rival, other in others
        ],
    )


def _as_dear_as(base: Outcomes) -> Callable[[Bools], Choice]:
    return lambda inside: most_right(float(base.cost[inside].mean()))


def _as_right_as(base: Outcomes) -> Callable[[Bools], Choice]:
    return lambda inside: cheapest(float(base.right[inside].mean()))


def _level(name: str, outcomes: Outcomes) -> Level:
    means = (outcomes.right.mean(), outcomes.cost.mean(), outcomes.escalated.mean())
    return Level(name, *map(float, means))


def as_text(found: Report) -> str:
    """Return a report as Markdown."""
    lines = [
        f"{found.problems} problems; costs in {found.unit}",
        "",
        "| | right | cost | escalated |",
        "|---|---|---|---|",
        *(_row(level) for level in (*found.levels, *(goal.level for goal in found.goals))),
        "",
    ]
    for goal in found.goals:
        lines += [
            f"### {goal.name}",
            "",
            f"Chosen most often: {'; '.join(f'{plan} ({n})' for plan, n in goal.chosen)}. "
            f"Optimism where chosen: {goal.optimism:+.3f}.",
            "",
            "| against | shares right gained | cost, ratio |",
            "|---|---|---|",
            *(f"| {c.rival} | {c.right} | {c.cost} |" for c in goal.compared),
            "",
        ]
    lines += ["| AUROC of | for: the small model's greedy answer is right |", "|---|---|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in found.auroc.items()]
    return "\n".join([*lines, "", "Pareto front, in sample:", "", *map(_row, found.pareto), ""])


def _row(level: Level) -> str:
    return f"| {level.name} | {level.right:.1%} | {level.cost:.3g} | {level.escalated:.0%} |"
