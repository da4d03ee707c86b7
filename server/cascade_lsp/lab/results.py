"""From a study and a price list to results: the whole report, and the plan for a budget.

The study that ships (models/study) was recorded by this project; its prices are those of the
machine that did it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np

from cascade_lsp.errors import UsageError
from cascade_lsp.lab import pages, prices, quality, report, search
from cascade_lsp.lab.search import Bench, Choice
from cascade_lsp.lab.study import BILLIONS, LARGE, REMOTE, SMALL, Case, load
from cascade_lsp.plans import MINE, Basis, Plan

FEWEST = 10  # problems, below which nothing is said


@dataclass(frozen=True, slots=True)
class Results:
    """A report as Markdown, and what its pictures show."""

    text: str
    reports: dict[str, report.Report]
    learned: Sequence[quality.Learned]


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
            if not (both := _recorded(cases, small)) or small not in speeds:
                continue
            bench = Bench(both, {"small": small, "large": LARGE}, _price(unit, speeds))
            name = f"{small} and {LARGE}, in {unit}"
            reports[name] = report.report(bench, search.candidates(bench))
            benches.append(bench)
    if not benches:
        raise UsageError(
            f"Fewer than {FEWEST} problems were recorded with a small model and {LARGE}. "
            "Record more with `cascade lab record`."
        )
    found = list(reports.values())
    seconds, dollars = found[0], next(one for one in found if one.unit == "dollars")
    models = benches[0].models
    tested = [
        quality.tested(benches[0].cases, model, models["small"], 4) for model in models.values()
    ]
    learned = quality.learned(benches[0].cases, models["small"], 1, 2)
    text = pages.page(
        _head(benches[0].cases, date),
        reports,
        report.claims(seconds, dollars, benches[0]),
        tested,
        learned,
    )
    return Results(text, reports, learned)


def write(found: Results, folder: Path) -> Iterator[Path]:
    """Write results.md and its pictures into a folder; yield what was written."""
    path = folder / "results.md"
    path.write_text(found.text, encoding="utf-8")
    yield path
    pages.draw_costs(found.reports, folder / "results-cost.svg")
    yield folder / "results-cost.svg"
    pages.draw_calibration(found.learned, folder / "results-calibration.svg")
    yield folder / "results-calibration.svg"


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
    name = small or next(
        (one for one in SMALL if one in speeds and _recorded(cases, one)), SMALL[0]
    )
    both = _recorded(cases, name)
    if not both or name not in speeds or LARGE not in speeds:
        raise UsageError(
            f"Nothing is known of {name} with {LARGE}: at least {FEWEST} problems have to be "
            "recorded with both, and both have to be in the price list (`cascade lab prices`)."
        )
    bench = Bench(both, {"small": name, "large": LARGE}, _price(unit, speeds))
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
        problems=len(both),
        right=_rounded(right),
        cost=_rounded(cost),
        unit=unit,
        models=(name, LARGE),
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
        cases = load(study or shipped / "functions.jsonl.gz")
        row = json.loads((price_file or shipped / "prices.json").read_text("utf-8"))
    return cases, prices.from_row(row), str(row.get("date", ""))


def _head(cases: Sequence[Case], date: str) -> str:
    sets = {source: sum(one.source == source for one in cases) for source in _sources(cases)}
    of = ", ".join(f"{n} of {source}" for source, n in sets.items())
    waited = 1000 * float(np.median([one.check_s for one in cases]))
    return (
        "Written by `cascade lab report --out docs` from models/study; [lab.md](lab.md) says how "
        f"it is computed.\n\n{len(cases)} problems ({of}), recorded {date}. A check in the sandbox "
        f"takes {waited:.1f} ms. All figures of chosen plans are of problems that the choice did "
        "not see; intervals are 95 % bootstraps by problem. Levels of public benchmarks say "
        "little, they are in every model's training data: trust differences."
    )


def _sources(cases: Sequence[Case]) -> list[str]:
    return list(dict.fromkeys(one.source for one in cases))
