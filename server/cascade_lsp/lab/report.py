"""What the records say: plans chosen by resplits beside every baseline, with intervals.

All figures are of problems that a choice did not see. Each rival is granted what the plan spends:
rules that rank answers escalate as many of the worst as that buys.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cascade_lsp.lab import scores
from cascade_lsp.lab.replay import Batch, Spent
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
    alone,
    bootstrap,
    cheapest,
    most_right,
    pareto,
    plan_of,
    ratio,
    resplit,
)
from cascade_lsp.lab.study import SPECULATIVE_S
from cascade_lsp.plans import Plan

GREEDY = Asked(0, 0)
# What the small tier is asked for before a rule ranks its greedy answers.
BY_TOKENS = ("first_3", "first_3_syntax", "logprob_mean", "logprob_min")
BY_TESTS = ("s", "pass_fraction")
BOUGHT: Mapping[str, Asked] = {
    **dict.fromkeys(BY_TOKENS, GREEDY),
    "examples": Asked(1, 0),
    **dict.fromkeys(BY_TESTS, Asked(1, 2)),
}
K_RULES = ("agreement", "codet", "b4", "mbr_exec")
SHARES = np.linspace(0, 1, 21)

WITH_EXAMPLES = "with examples"
AS_DEAR = "most right for no more than always large costs"
CASCADE = "the cascade that is most right for no more than that"
AS_RIGHT = "cheapest that is as right as always large"
AS_TESTED = "cheapest that is as right as the large model's self-testing"
ANY_COST = "most right, whatever it costs"
SELF_TESTING = "large, self-testing"
TUNED = "large, self-testing only as much as makes it as right"


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
    right: Interval
    optimism: float
    chosen: Sequence[tuple[str, int]]
    compared: Sequence[Compared]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the records say under one price list."""

    problems: int
    models: str
    unit: str
    levels: Sequence[Level]
    goals: Sequence[Goal]
    auroc: Mapping[str, float]
    pareto: Sequence[Level]
    curves: Mapping[str, Sequence[Level]]


def report(
    bench: Bench, found: Sequence[Candidate], plans: Mapping[str, Plan] | None = None
) -> Report:
    """Compute the report of a search; `plans` are shown beside it as they are."""
    small = bench.outcomes(plan_of(GREEDY, None, ALWAYS))
    large = bench.outcomes(plan_of(None, GREEDY, ALWAYS))
    self_tested = bench.grid.tested
    tested = bench.outcomes(plan_of(None, self_tested, ALWAYS))
    tuned = resplit(alone(bench, "large"), bench.groups, _as_right_as(tested)).outcomes
    oracle = np.maximum(small.right, large.right)
    levels = [
        _level("always small", small),
        _level("small, self-testing", bench.outcomes(plan_of(self_tested, None, ALWAYS))),
        _level("always large", large),
        _level(f"{SELF_TESTING} (the paper's baseline)", tested),
        *(_level(name, bench.outcomes(plan)) for name, plan in (plans or {}).items()),
        _level(TUNED, tuned),
        Level("oracle: either greedy answer is right", float(oracle.mean()), 0.0, 0.0),
    ]
    if bench.price.unit == "seconds":
        levels.append(_level("large, with the small one as its draft", _speculative(bench, large)))
    rivals = Rivals(bench, small, large)
    by_tests = {SELF_TESTING: tested, TUNED: tuned}
    both = [one for one in found if len(one.plan.steps) > 1]
    goals: list[
        tuple[str, Sequence[Candidate], Callable[[Bools], Choice], Mapping[str, Outcomes]]
    ] = [
        (AS_DEAR, found, _as_dear_as(large), {}),
        (CASCADE, both, _as_dear_as(large), {}),
        (AS_RIGHT, found, _as_right_as(large), {}),
        (AS_TESTED, found, _as_right_as(tested), by_tests),
        (ANY_COST, found, lambda _: most_right(float("inf")), by_tests),
    ]
    return Report(
        problems=len(bench.cases),
        models=", then ".join(bench.models[tier] for tier in ("small", "large")),
        unit=bench.price.unit,
        levels=levels,
        goals=[
            _goal(name, resplit(among, bench.groups, choice), more, rivals)
            for name, among, choice, more in goals
        ],
        auroc={
            name: scores.auroc(rivals.scores(name), [bool(one) for one in small.right])
            for name in (*BOUGHT, *(K_RULES if self_tested.k > 1 else ()))
        },
        pareto=front(found),
        curves={
            "random": [rivals.random(share) for share in SHARES],
            **{name: [rivals.of(name, share) for share in SHARES] for name in BOUGHT},
        },
    )


def _speculative(bench: Bench, large: Outcomes) -> Outcomes:
    """Return always-large with speculative decoding: the same answers, at what a token of a drafted
    decode was measured to take; the small model reads the prompt, too."""
    turns = [played.turns[0].spent for played in bench.play(plan_of(None, GREEDY, ALWAYS))]
    drafted, plain = SPECULATIVE_S
    reads = [Spent(bench.models["small"], (Batch(one.read, ()),), 0, 0.0) for one in turns]
    more = [
        one.written * (drafted - plain) + bench.price.of(read)
        for one, read in zip(turns, reads, strict=True)
    ]
    return Outcomes(large.right, large.cost + np.array(more), large.escalated)


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
        if i < len(plan.steps) - 1 and step.tests:
            part += f" theta={step.policy.theta:g}/{step.policy.theta_trusted:g}"
        if i < len(plan.steps) - 1 and step.policy.min_least:
            part += f" least={step.policy.min_least:g}"
        if i < len(plan.steps) - 1 and step.policy.escalate == "on_doubt":
            part += f" first_3={step.policy.min_confidence:g}"
        parts.append(part)
    return ", then ".join(parts)


@dataclass(frozen=True)
class Rivals:
    """Rules that escalate the small tier's worst-ranked greedy answers to the large one."""

    bench: Bench
    small: Outcomes
    large: Outcomes

    def scores(self, rule: str) -> list[float]:
        """Return what a rule says of the small tier's answer to each case."""
        k, tests = (4, 4) if rule in K_RULES else (1, 2)  # as recorded, and as BOUGHT
        model = self.bench.models["small"]
        return [scores.choices(case, model, k, tests)[rule].score for case in self.bench.cases]

    def at_cost(self, rule: str, budget: float) -> Outcomes:
        """Return the outcomes of a rule that spends `budget` on the mean case."""
        first, order = self._ranked(rule)
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

    def of(self, rule: str, share: float) -> Level:
        """Return what escalating a share of the answers gives, the worst by a rule first."""
        first, order = self._ranked(rule)
        up = np.zeros(len(order))
        up[order] = np.clip(share * len(order) - np.arange(len(order)), 0, 1)
        return _level(rule, _mixed(first, self.large, up))

    def random(self, share: float) -> Level:
        """Return what escalating a share of the answers by lot gives."""
        up = np.full(len(self.small.right), share)
        return _level("random", _mixed(self.small, self.large, up))

    def _ranked(self, rule: str) -> tuple[Outcomes, npt.NDArray[np.intp]]:
        """Return what the small tier gives with what a rule needs, and the worst answers first."""
        first = self.bench.outcomes(plan_of(BOUGHT[rule], None, ALWAYS))
        return first, np.argsort(self.scores(rule), kind="stable")


def _mixed(first: Outcomes, then: Outcomes, share: Floats) -> Outcomes:
    return Outcomes(
        first.right * (1 - share) + then.right * share, first.cost + then.cost * share, share
    )


def _goal(name: str, chosen: Resplit, more: Mapping[str, Outcomes], rivals: Rivals) -> Goal:
    ours = chosen.outcomes
    budget = float(ours.cost.mean())
    others: list[tuple[str, Outcomes]] = [
        *more.items(),
        ("always large", rivals.large),
        ("random escalation, equal cost", rivals.random_at_cost(budget)),
        *((f"{rule}, equal cost", rivals.at_cost(rule, budget)) for rule in BOUGHT),
    ]
    groups = rivals.bench.groups
    # A rule that has escalated everything and has money left is always large once more.
    others = [o for o in others if "equal cost" not in o[0] or o[1].cost.mean() > 0.95 * budget]
    return Goal(
        name=name,
        level=_level(name, ours),
        right=bootstrap(ours.right, groups),
        optimism=chosen.optimism,
        chosen=sorted(
            ((words(plan), n) for plan, n in chosen.chosen.items()), key=lambda one: -one[1]
        )[:5],
        compared=[_compared(rival, ours, other, groups) for rival, other in others],
    )


def _as_dear_as(base: Outcomes) -> Callable[[Bools], Choice]:
    return lambda inside: most_right(float(base.cost[inside].mean()))


def _as_right_as(base: Outcomes) -> Callable[[Bools], Choice]:
    return lambda inside: cheapest(float(base.right[inside].mean()))


def _level(name: str, outcomes: Outcomes) -> Level:
    means = (outcomes.right.mean(), outcomes.cost.mean(), outcomes.escalated.mean())
    return Level(name, *map(float, means))


def as_right_for(bench: Bench, asked: Asked, scored: Floats) -> float:
    """Return the share of always-large's cost for which escalating the worst answers by a score is
    as right as that; `asked` is what the score needs of the small tier."""
    first = bench.outcomes(plan_of(asked, None, ALWAYS))
    large = bench.outcomes(plan_of(None, GREEDY, ALWAYS))
    order = np.argsort(scored, kind="stable")
    right = first.right.sum() + np.cumsum((large.right - first.right)[order])
    cost = first.cost.sum() + np.cumsum(large.cost[order])
    enough = np.flatnonzero(right >= large.right.sum())
    return float(cost[enough[0]] / large.cost.sum())


# -- with and without examples ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """A plan that was not chosen on these problems, on a part of them, against always asking the
    large model and against its self-testing."""

    part: str
    problems: int
    level: Level
    greedy: Compared
    tested: Compared


def by_examples(bench: Bench, plans: Mapping[str, Plan]) -> list[Row]:
    """Return what plans give where the docstring states examples, and where it does not."""
    found = []
    for part, states in ((WITH_EXAMPLES, True), ("without", False)):
        cases = [case for case in bench.cases if bool(case.examples) == states]
        here = Bench(cases, bench.models, bench.price, bench.grid)
        large, tested = (
            here.outcomes(plan_of(None, asked, ALWAYS)) for asked in (GREEDY, bench.grid.tested)
        )
        for name, plan in plans.items():
            ours = here.outcomes(plan)
            found.append(
                Row(
                    part,
                    len(cases),
                    _level(name, ours),
                    _compared("always large", ours, large, here.groups),
                    _compared(SELF_TESTING, ours, tested, here.groups),
                )
            )
    return found


def _compared(rival: str, ours: Outcomes, other: Outcomes, groups: Sequence[str]) -> Compared:
    return Compared(
        rival,
        bootstrap(ours.right - other.right, groups),
        ratio(ours.cost, other.cost, groups),
    )


# -- what was to be shown -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """What was to be shown, whether it is, and by which figures."""

    name: str
    verdict: str
    figures: str


def claims(local: Report, remote: Report, bench: Bench) -> list[Claim]:
    """Return what the study says of its claims, in this machine's seconds and at a remote tier's
    prices; all by problems that the plans were not chosen on."""
    paper, tuned = (_against(local, AS_TESTED, rival) for rival in (SELF_TESTING, TUNED))
    return [
        _cheaper("0.26 less cost than the large model's self-testing, as right", paper, 0.74),
        _cheaper(f"0.26 less cost than {TUNED}", tuned, 0.74),
        _pays("the large model alone, in seconds of this machine", local),
        _pays("the large model alone, at a remote tier's price", remote),
        *(
            _more_right(f"a cascade beats {rival}, {where.unit}", _against(where, CASCADE, rival))
            for where in (local, remote)
            for rival in ("first_3_syntax, equal cost", "random escalation, equal cost")
        ),
        _batch(bench),
    ]


def claims_of_part(where: str, found: Report) -> list[Claim]:
    """Return what the study says of a part of its problems, or of holes."""
    rivals = ("first_3_syntax, equal cost", "random escalation, equal cost")
    return [
        _pays(f"the large model alone, {where}", found),
        *(
            _more_right(f"a cascade beats {rival}, {where}", _against(found, CASCADE, rival))
            for rival in rivals
        ),
    ]


def claims_of_examples(rows: Sequence[Row]) -> list[Claim]:
    """Return what plans whose thresholds do not matter there say of functions with examples."""
    return [
        _cheaper(
            f"{row.level.name}, where docstrings state examples: 0.26 less cost than "
            f"{SELF_TESTING}, as right",
            row.tested,
            0.74,
        )
        for row in rows
        if row.part == WITH_EXAMPLES and row.level.name != "always large"
    ]


def _against(found: Report, goal: str, rival: str) -> Compared:
    named = next(one for one in found.goals if one.name == goal)
    return next(one for one in named.compared if one.rival == rival)


def _pays(what: str, found: Report) -> Claim:
    """More right answers at equal cost, or at least 15 % less cost for as many."""
    more, less = _against(found, AS_DEAR, "always large"), _against(found, AS_RIGHT, "always large")
    first = _more_right(f"more right than {what}, at its cost", more)
    second = _cheaper(f"0.15 less cost than {what}, as right", less, 0.85)
    shown = "shown" if "shown" in (first.verdict, second.verdict) else "not shown"
    return Claim(
        f"better than {what}: more right at its cost, or as right for 0.85 of it",
        shown,
        f"{first.figures} ({first.verdict}); {second.figures} ({second.verdict})",
    )


def _more_right(name: str, one: Compared) -> Claim:
    return Claim(name, "shown" if one.right.low > 0 else "not shown", _figures(one))


def _cheaper(name: str, one: Compared, bound: float) -> Claim:
    cheaper, worse = one.cost.high < bound, one.right.high < 0
    verdict = "not shown"
    if cheaper and not worse:
        verdict = "shown" if one.right.low >= 0 else "cheaper; as right is not excluded"
    return Claim(name, verdict, _figures(one))


def _figures(one: Compared) -> str:
    gain = f"{100 * one.right.mean:+.1f} points ({_range(one.right, 100)})"
    return f"{gain} at {one.cost.mean:.2f} ({_range(one.cost)}) of the cost"


def _range(one: Interval, times: float = 1.0) -> str:
    return f"{times * one.low:.3g} to {times * one.high:.3g}"


def _batch(bench: Bench) -> Claim:
    """One sample of tests in one batch with the solution adds at most 40 % to the small tier."""
    alone = bench.outcomes(plan_of(Asked(1, 0), None, ALWAYS)).cost
    both = bench.outcomes(plan_of(Asked(1, 1), None, ALWAYS)).cost
    share = ratio(both, alone, bench.groups)
    return Claim(
        "tests in one batch with the solution add at most 0.4 to the small tier's time",
        "shown" if share.high <= 1.4 else "not shown",
        f"{share.mean:.2f} ({_range(share)}) of the time, for one sample of five",
    )
