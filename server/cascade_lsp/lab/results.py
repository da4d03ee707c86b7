"""From a study and a price list to results: the whole report, and the plan for a budget.

The study that ships (models/study) was recorded by this project; its prices are those of the
machine that did it.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np

from cascade_lsp.errors import UsageError
from cascade_lsp.lab import pages, prices, quality, report, search
from cascade_lsp.lab.search import Asked, Bench, Choice
from cascade_lsp.lab.study import BILLIONS, LARGE, REMOTE, SMALL, Case, Written, load
from cascade_lsp.plans import MINE, Basis, Plan, load_plans
from cascade_lsp.policy import Policy

STUDIES = ("functions", "holes")  # that ship
FEWEST = 10  # problems, below which nothing is said


@dataclass(frozen=True, slots=True)
class Results:
    """A report as Markdown, and what its pictures show."""

    text: str
    reports: dict[str, report.Report]
    learned: Sequence[quality.Learned]


@dataclass(frozen=True, slots=True)
class Replayed:
    """A plan on the problems of one set, as JSON holds it: share right and mean cost in `unit`,
    each with its 95 % interval, the share escalated, and how often each tier's turn ended for each
    reason."""

    set: str
    problems: int
    unit: str
    right: tuple[float, float, float]
    cost: tuple[float, float, float]
    escalated: float
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True)
class Best:
    """A plan with its basis, and what is said of it."""

    plan: Plan
    words: str


def compute(study: Path | None, price_file: Path | None, source: str | None = None) -> Results:
    """Return everything that a study says; raise UsageError where it is too small."""
    cases, speeds, date = _read(study, price_file)
    cases = [one for one in cases if source in (None, one.source)]
    reports = dict[str, report.Report]()
    benches = list[Bench]()
    for small in SMALL:
        for unit in prices.UNITS if not benches else prices.UNITS[:1]:
            if not (both := _recorded(_functions(cases), small)) or small not in speeds:
                continue
            bench = Bench(both, {"small": small, "large": LARGE}, _price(unit, speeds))
            reports[f"Functions, in {unit}"] = report.report(
                bench, search.candidates(bench), _shipped()
            )
            benches.append(bench)
    if not benches:
        raise UsageError(
            f"Fewer than {FEWEST} problems were recorded with a small model and {LARGE}. "
            "Record more with `cascade lab record`."
        )
    first, models = benches[0], benches[0].models
    claims = report.claims(
        reports["Functions, in seconds"], reports["Functions, in dollars"], first
    )
    by_examples = report.by_examples(first, _fixed())
    stated = [case for case in first.cases if case.examples]
    if len(stated) >= FEWEST:
        bench = Bench(stated, models, first.price)
        found = report.report(bench, search.candidates(bench), _shipped())
        reports[f"Functions whose docstring states examples, in {found.unit}"] = found
        claims += report.claims_of_part("where docstrings state examples", found)
        claims += report.claims_of_examples(by_examples)
    if holes := _recorded(_holes(cases), models["small"]):
        bench = Bench(holes, models, first.price, search.HOLES)
        found = report.report(bench, search.candidates(bench))
        reports[f"Holes, in {found.unit}"] = found
        claims += report.claims_of_part("at holes", found)
        benches.append(bench)
    learned = quality.learned(first.cases, models["small"], 1, 2)
    text = pages.page(
        _head(first.cases, holes, date),
        reports,
        claims,
        {
            "functions": _tests(first.cases, models),
            **({"holes": _tests(holes, models)} if holes else {}),
        },
        learned,
        {
            one.name: report.as_right_for(first, _needs(one.name), one.probabilities)
            for one in learned
        },
        by_examples,
    )
    return Results(text, reports, learned)


def _tests(cases: Sequence[Case], models: Mapping[str, str]) -> list[quality.Tested]:
    """Return how good the tests of each model are, by prompt style and number of samples."""
    return [
        quality.tested(cases, model, models["small"], samples, style)
        for model in models.values()
        for style in quality.styles(cases, model)
        for samples in (1, 2, 4)
        if samples <= min(len(case.written[model][style].samples) for case in cases)
    ]


def write(found: Results, folder: Path) -> Iterator[Path]:
    """Write results.md and its pictures into a folder; yield what was written."""
    path = folder / "results.md"
    path.write_text(found.text, encoding="utf-8")
    yield path
    pages.draw_costs(found.reports, folder / "results-cost.svg")
    yield folder / "results-cost.svg"
    pages.draw_calibration(found.learned, folder / "results-calibration.svg")
    yield folder / "results-calibration.svg"


def replayed(
    study: Path | None, price_file: Path | None, plan: Plan, small: str | None, unit: prices.Unit
) -> list[Replayed]:
    """Play a plan on every problem of a study; return what it gives on each set and on all."""
    cases, speeds, _ = _read(study, price_file)
    bench = _bench(cases, speeds, small, unit)
    found = []
    for name in (*_sources(bench.cases), "all"):
        part = [one for one in bench.cases if name in (one.source, "all")]
        here = Bench(part, bench.models, bench.price)
        given, reasons = here.outcomes(plan), Counter[str]()
        for one in here.play(plan):
            reasons.update(f"{turn.tier}: {turn.decision.reason}" for turn in one.turns)
        found.append(
            Replayed(
                set=name,
                problems=len(part),
                unit=unit,
                right=_rounded(search.bootstrap(given.right, here.groups)),
                cost=_rounded(search.bootstrap(given.cost, here.groups)),
                escalated=round(float(given.escalated.mean()), 4),
                reasons=dict(reasons.most_common()),
            )
        )
    return found


def best(
    study: Path | None,
    price_file: Path | None,
    small: str | None,
    unit: prices.Unit,
    max_cost: float | None,
    min_right: float | None,
) -> Best:
    """Return the plan for a budget: the most right one for at most `max_cost`, or the cheapest one
    that is right at least `min_right` of the time; without either, the most right for no more than
    always asking the large model costs.

    The plan itself is chosen on all problems; what is said of it comes from choosing in the same
    way on a part of them and looking at the rest.
    """
    cases, speeds, date = _read(study, price_file)
    bench = _bench(cases, speeds, small, unit)
    large = bench.outcomes(search.plan_of(None, report.GREEDY, search.ALWAYS))
    first = bench.outcomes(search.plan_of(report.GREEDY, None, search.ALWAYS))
    goal, choice = _goal(max_cost, min_right, float(large.cost.mean()), unit)
    found = search.candidates(bench)
    rest = search.resplit(found, bench.groups, lambda _: choice)
    plan = found[
        choice(
            [float(one.outcomes.right.mean()) for one in found],
            [float(one.outcomes.cost.mean()) for one in found],
        )
    ]
    right = search.bootstrap(rest.outcomes.right, bench.groups)
    cost = search.bootstrap(rest.outcomes.cost, bench.groups)
    basis = Basis(
        problems=len(bench.cases),
        right=_rounded(right),
        cost=_rounded(cost),
        unit=unit,
        models=tuple(bench.models.values()),
        date=date,
        goal=goal,
    )
    chosen = replace(plan.plan, name=MINE, summary=report.words(plan.plan), basis=basis)
    share = float(first.cost.mean() / large.cost.mean())
    accepted = 1 - float(plan.outcomes.escalated.mean())
    return Best(chosen, _said(basis, rest.optimism, share, accepted, plan.plan))


def _goal(
    max_cost: float | None, min_right: float | None, large: float, unit: str
) -> tuple[str, Choice]:
    if min_right is not None:
        return f"the cheapest that is right {min_right:.0%} of the time", search.cheapest(min_right)
    bound = large if max_cost is None else max_cost
    words = f"the most right for at most {bound:.3g} {unit}"
    return words, search.most_right(bound)


def _said(basis: Basis, optimism: float, share: float, accepted: float, plan: Plan) -> str:
    right, cost = basis.right, basis.cost
    lines = [
        f"{report.words(plan)}: {basis.goal}.",
        f"On problems that it was not chosen on: right {right[0]:.1%} ({right[1]:.1%} to "
        f"{right[2]:.1%}) for {cost[0]:.3g} ({cost[1]:.3g} to {cost[2]:.3g}) {basis.unit}, "
        f"{basis.problems} problems; it looked {optimism:+.1%} better where it was chosen.",
    ]
    if len(plan.steps) == 1:
        lines.append("No second model is asked: under these prices a cascade does not pay here.")
    else:
        pays = "so it can pay" if accepted > share else "so asking the large one at once is cheaper"
        lines.append(
            f"Break-even: the small model costs {share:.0%} of the large one's answer before any "
            f"test, and {accepted:.0%} of its answers are accepted, {pays}."
        )
    return "\n".join(lines)


def _rounded(one: search.Interval) -> tuple[float, float, float]:
    mean, low, high = (float(f"{x:.4g}") for x in (one.mean, one.low, one.high))
    return mean, low, high


def _needs(learned: str) -> Asked:
    """Return what a learned score asks of the small tier."""
    return Asked(1, 2) if "tests" in learned else Asked(1, 0)


def _shipped() -> dict[str, Plan]:
    plans = load_plans()
    return {"the default plan": plans["default"], "the paper's plan": plans["paper"]}


def _fixed() -> dict[str, Plan]:
    """Return the plans whose thresholds do not matter where examples decide."""
    examples = search.plan_of(Asked(1, 0), report.GREEDY, Policy())
    return {
        "always large": search.plan_of(None, report.GREEDY, search.ALWAYS),
        "the small model, the large one where an example fails": examples,
        **_shipped(),
    }


def _bench(
    cases: Sequence[Case], speeds: dict[str, prices.Speed], small: str | None, unit: prices.Unit
) -> Bench:
    """Return the problems recorded with a small model, by default the first one of the study that
    has prices, and the large one."""
    name = small or next(
        (one for one in SMALL if one in speeds and _recorded(_functions(cases), one)), SMALL[0]
    )
    both = _recorded(_functions(cases), name)
    if not both or name not in speeds or LARGE not in speeds:
        raise UsageError(
            f"Nothing is known of {name} with {LARGE}: at least {FEWEST} problems have to be "
            "recorded with both, and both have to be in the price list (`cascade lab prices`)."
        )
    return Bench(both, {"small": name, "large": LARGE}, _price(unit, speeds))


def _functions(cases: Sequence[Case]) -> list[Case]:
    """Return the problems that ask for a function's whole body."""
    return [case for case in cases if all(w.body for w in _own(case))]


def _holes(cases: Sequence[Case]) -> list[Case]:
    """Return the problems that ask for a part of a function, and whose function can be tested."""
    return [case for case in cases if case.testable and not any(w.body for w in _own(case))]


def _own(case: Case) -> list[Written]:
    return [next(iter(styles.values())) for styles in case.written.values()]


def _recorded(cases: Sequence[Case], small: str) -> list[Case]:
    found = [one for one in cases if {small, LARGE} <= set(one.written)]
    return found if len(found) >= FEWEST else []


def _price(unit: prices.Unit, speeds: dict[str, prices.Speed]) -> prices.Price:
    seconds = prices.Seconds(speeds)
    if unit == "seconds":
        return seconds
    if unit == "gflop":
        return prices.Operations(BILLIONS)
    return prices.Dollars({LARGE: REMOTE[0]}, {LARGE: REMOTE[1]}, seconds)


def _read(
    study: Path | None, price_file: Path | None
) -> tuple[list[Case], dict[str, prices.Speed], str]:
    """Return a study's cases, speeds, and the date of these."""
    folder = resources.files("cascade_lsp.models").joinpath("study")
    with resources.as_file(folder) as shipped:
        files = [study] if study else [shipped / f"{name}.jsonl.gz" for name in STUDIES]
        cases = [case for file in files for case in load(file)]
        row = json.loads((price_file or shipped / "prices.json").read_text("utf-8"))
    return cases, prices.from_row(row), str(row.get("date", ""))


def _head(cases: Sequence[Case], holes: Sequence[Case], date: str) -> str:
    sets = {source: sum(one.source == source for one in cases) for source in _sources(cases)}
    of = ", ".join(f"{n} of {source}" for source, n in sets.items())
    waited = 1000 * float(np.median([one.check_s for one in cases]))
    return (
        "Written by `cascade lab report --out docs` from models/study; [lab.md](lab.md) says how "
        f"it is computed.\n\n{len(cases)} functions ({of}) and {len(holes)} holes in functions of "
        f"HumanEval, recorded {date}. A check in the sandbox takes {waited:.1f} ms. All figures "
        "of chosen plans are of problems that the choice did not see; intervals are 95 % "
        "bootstraps by problem. Levels of public benchmarks say little, they are in every model's "
        "training data: trust differences."
    )


def _sources(cases: Sequence[Case]) -> list[str]:
    return list(dict.fromkeys(one.source for one in cases))
