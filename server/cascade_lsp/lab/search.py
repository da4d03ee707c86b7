"""Search a plan: every combination of k, l and thresholds, played on the cases by `replay`.

A plan is chosen on a validation part and reported on the rest, in many resplits by problem group,
so that every figure is of problems the choice did not see; how much better a plan looked where it
was chosen is the optimism gap. What a threshold accepts is said by the shipped `decide()`.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product

import numpy as np
import numpy.typing as npt

from cascade_lsp.lab.prices import Price
from cascade_lsp.lab.replay import Played, play
from cascade_lsp.lab.study import Case
from cascade_lsp.plans import Plan, Step
from cascade_lsp.policy import Evidence, Policy, decide

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

VALIDATION = 0.3
RESPLITS = 40
RESAMPLES = 4000
# What no evidence reaches but passed examples: always the next tier.
NEVER = Policy(theta=2.0, theta_trusted=2.0, escalate="on_doubt", min_confidence=2.0, min_least=2.0)
ALWAYS = Policy(theta=0.0, theta_trusted=0.0)
# What is tried: few values, since a choice among many on some fifty problems is a choice by chance.
THETAS = (0.5, 1.0)
SHARES = (0.0, 0.5)  # of theta, where examples pass


@dataclass(frozen=True, slots=True)
class Asked:
    """What one tier is asked for: `k` solutions and `tests` samples of assertions."""

    k: int
    tests: int


def _grid(*pairs: tuple[int, int]) -> tuple[Asked, ...]:
    return tuple(Asked(k, tests) for k, tests in pairs)


@dataclass(frozen=True, slots=True)
class Grid:
    """What is tried: of the small tier, of the large one after it, and of either alone, and the
    gates of what no test vouches for; `tested` is the paper's self-testing, the most that was
    recorded."""

    small: tuple[Asked, ...]
    large: tuple[Asked, ...]
    alone: tuple[Asked, ...]
    tested: Asked
    gates: tuple[Policy, ...]


FUNCTIONS = Grid(
    small=_grid((1, 0), (1, 1), (1, 2), (4, 0), (4, 4)),
    large=_grid((0, 0), (1, 1), (2, 1), (4, 1), (4, 4)),
    alone=_grid((0, 0), (1, 1), (2, 1), (4, 0), (4, 1), (4, 2), (4, 4)),
    tested=Asked(4, 4),
    gates=tuple(Policy(min_least=least) for least in (0.0, 0.3, 0.5, 0.6)),
)
# A place within a function gets one answer; the first tokens of a continuation are its gate.
HOLES = Grid(
    small=_grid((1, 0), (1, 1), (1, 2)),
    large=_grid((0, 0), (1, 1), (1, 2)),
    alone=_grid((0, 0), (1, 0), (1, 1), (1, 2)),
    tested=Asked(1, 2),
    gates=(Policy(), *(Policy(escalate="on_doubt", min_confidence=x) for x in (0.6, 0.8, 0.9))),
)


def plan_of(small: Asked | None, large: Asked | None, policy: Policy, name: str = "") -> Plan:
    """Return the plan that asks the small tier, and the large one where `policy` is not met."""
    steps = []
    if small is not None:
        steps.append(Step("small", small.k, small.tests, policy))
    if large is not None:
        last = replace(policy, min_least=0.0) if small else policy
        steps.append(Step("large", large.k, large.tests, last))
    return Plan(name, "", tuple(steps))


@dataclass(frozen=True)
class Outcomes:
    """A plan on all cases: `right` and `cost` (in the price's unit) by case, and the share that
    was escalated."""

    right: Floats
    cost: Floats
    escalated: Floats

    def of(self, part: npt.NDArray[np.intp]) -> "Outcomes":
        return Outcomes(self.right[part], self.cost[part], self.escalated[part])


@dataclass(frozen=True)
class Pair:
    """What two tiers were asked for, played to the end on every case: what each threshold would
    have given follows from the small tier's evidence."""

    small: Asked
    large: Asked
    evidence: tuple[Evidence, ...]
    accepted_right: Floats
    accepted_cost: Floats
    escalated_right: Floats
    escalated_cost: Floats

    def under(self, policy: Policy) -> Outcomes:
        """Return what a policy gives."""
        up = np.array([decide(e, policy).action == "escalate" for e in self.evidence])
        return Outcomes(
            np.where(up, self.escalated_right, self.accepted_right),
            np.where(up, self.escalated_cost, self.accepted_cost),
            up.astype(float),
        )


@dataclass(frozen=True)
class Bench:
    """The cases, the models, and a price list; plans are played on it once."""

    cases: Sequence[Case]
    models: Mapping[str, str]
    price: Price
    grid: Grid = FUNCTIONS
    _played: dict[Plan, list[Played]] = field(default_factory=dict)

    def play(self, plan: Plan) -> list[Played]:
        """Return a plan on every case."""
        if plan not in self._played:
            self._played[plan] = [play(case, plan, self.models) for case in self.cases]
        return self._played[plan]

    def outcomes(self, plan: Plan) -> Outcomes:
        played = self.play(plan)
        costs = [sum(self.price.of(turn.spent) for turn in one.turns) for one in played]
        return Outcomes(
            np.array([float(one.right) for one in played]),
            np.array(costs),
            np.array([float(one.escalated) for one in played]),
        )

    def pair(self, small: Asked, large: Asked) -> Pair:
        """Play two tiers to the end, whatever the first one's evidence is."""
        alone = self.outcomes(plan_of(small, None, NEVER))
        both = plan_of(small, large, NEVER)
        played, after = self.play(both), self.outcomes(both)
        return Pair(
            small,
            large,
            tuple(one.turns[0].evidence for one in played),
            alone.right,
            alone.cost,
            after.right,
            after.cost,
        )

    @cached_property
    def groups(self) -> list[str]:
        return [case.group for case in self.cases]


@dataclass(frozen=True)
class Candidate:
    """One plan of the search with its outcomes on all cases."""

    plan: Plan
    outcomes: Outcomes


def policies(asked: Asked, grid: Grid) -> Iterator[Policy]:
    """Yield the thresholds that are tried: the gates, and where there are tests those of S, lower
    where examples pass."""
    for gate in grid.gates:
        if not asked.tests:
            yield gate
            continue
        for theta, share in product(THETAS, SHARES):
            yield replace(gate, theta=theta, theta_trusted=theta * share)


def candidates(bench: Bench) -> list[Candidate]:
    """Return every plan of the search, played."""
    found = alone(bench, "small") + alone(bench, "large")
    for small, large in product(bench.grid.small, bench.grid.large):
        pair = bench.pair(small, large)
        found += [
            Candidate(plan_of(small, large, policy), pair.under(policy))
            for policy in policies(small, bench.grid)
        ]
    return found


def alone(bench: Bench, tier: str) -> list[Candidate]:
    """Return the plans that ask one tier and no other."""
    sides = [(one, None) if tier == "small" else (None, one) for one in bench.grid.alone]
    plans = [plan_of(small, large, ALWAYS) for small, large in sides]
    return [Candidate(plan, bench.outcomes(plan)) for plan in plans]


# -- choosing -----------------------------------------------------------------------------------

Choice = Callable[[Sequence[float], Sequence[float]], int]


def most_right(max_cost: float) -> Choice:
    """Return the choice of the plan that is right most often at no more than a mean cost; the
    cheapest where they tie, the cheapest of all where none is cheap enough."""

    def choose(right: Sequence[float], cost: Sequence[float]) -> int:
        affordable = [i for i, c in enumerate(cost) if c <= max_cost]
        if not affordable:
            return int(np.argmin(cost))
        return max(affordable, key=lambda i: (round(right[i], 9), -cost[i]))

    return choose


def cheapest(min_right: float) -> Choice:
    """Return the choice of the cheapest plan that is right at least so often; the best where none
    is."""

    def choose(right: Sequence[float], cost: Sequence[float]) -> int:
        good = [i for i, r in enumerate(right) if r >= min_right - 1e-9]
        if not good:
            return max(range(len(right)), key=lambda i: (right[i], -cost[i]))
        return min(good, key=lambda i: (cost[i], -right[i]))

    return choose


def pareto(right: Sequence[float], cost: Sequence[float]) -> list[int]:
    """Return the plans that no other one beats: in the order of their costs, each more right than
    all before it."""
    front, best = list[int](), -1.0
    for i in sorted(range(len(cost)), key=lambda i: (cost[i], -right[i])):
        if right[i] > best + 1e-9:
            front.append(i)
            best = right[i]
    return front


# -- resplits -----------------------------------------------------------------------------------


def splits(groups: Sequence[str], seed: int = 0) -> Iterator[tuple[Bools, Bools]]:
    """Yield RESPLITS pairs of masks: a validation part of whole groups, and the rest."""
    names = sorted(set(groups))
    for n in range(RESPLITS):
        drawn = set(random.Random(f"{seed}.{n}").sample(names, round(VALIDATION * len(names))))
        inside = np.array([group in drawn for group in groups])
        yield inside, ~inside


@dataclass(frozen=True)
class Resplit:
    """What was chosen in all resplits: each case's mean `right` and `cost` where it was not used
    for choosing, how often each plan was chosen, and the optimism gap in shares right."""

    outcomes: Outcomes
    chosen: Mapping[Plan, int]
    optimism: float


def resplit(
    found: Sequence[Candidate], groups: Sequence[str], choice_of: Callable[[Bools], Choice]
) -> Resplit:
    """Choose a plan in every resplit, and average what it gives on the rest, case by case.

    `choice_of` makes the choice from the mask of the validation part, so that budgets may be set
    by what baselines cost there.
    """
    right = np.stack([c.outcomes.right for c in found])
    cost = np.stack([c.outcomes.cost for c in found])
    up = np.stack([c.outcomes.escalated for c in found])
    sums, times = np.zeros((3, len(groups))), np.zeros(len(groups))
    chosen: dict[Plan, int] = {}
    gaps = []
    for inside, rest in splits(groups):
        choose = choice_of(inside)
        best = choose(right[:, inside].mean(axis=1).tolist(), cost[:, inside].mean(axis=1).tolist())
        chosen[found[best].plan] = chosen.get(found[best].plan, 0) + 1
        sums += np.stack([right[best], cost[best], up[best]]) * rest
        times += rest
        gaps.append(right[best][inside].mean() - right[best][rest].mean())
    mean = sums / np.maximum(times, 1)
    return Resplit(Outcomes(mean[0], mean[1], mean[2]), chosen, float(np.mean(gaps)))


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3g} ({self.low:+.3g} to {self.high:+.3g})"


def bootstrap(values: Floats, groups: Sequence[str], seed: int = 1) -> Interval:
    """Return the mean of values by case and its interval, drawing whole groups."""
    return ratio(values, np.ones(len(values)), groups, seed)


def ratio(over: Floats, under: Floats, groups: Sequence[str], seed: int = 1) -> Interval:
    """Return a ratio of sums with its interval, drawing whole groups."""
    names = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    index = np.array([names[group] for group in groups])
    a = np.bincount(index, weights=over, minlength=len(names))
    b = np.bincount(index, weights=under, minlength=len(names))
    drawn = np.random.default_rng(seed).integers(0, len(names), (RESAMPLES, len(names)))
    shares = a[drawn].sum(axis=1) / b[drawn].sum(axis=1)
    low, high = np.percentile(shares, (2.5, 97.5))
    return Interval(float(a.sum() / b.sum()), float(low), float(high))
