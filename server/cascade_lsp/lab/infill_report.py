"""What rows of holes say: each tier by set, each filter's part, and who should be asked again.

Intervals are 95 % bootstraps by group (a problem, a commit, a repository). Rules escalate the
small tier's worst answers to the large one, at equal shares; a learned one is fitted to one half
of the groups and judged on the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cascade_lsp.errors import UsageError
from cascade_lsp.lab import pages, rows
from cascade_lsp.lab.infill import ABLATED
from cascade_lsp.lab.quality import RIDGE
from cascade_lsp.lab.scores import Logistic, auroc
from cascade_lsp.lab.search import Interval, bootstrap

Floats = npt.NDArray[np.float64]
SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
FIGURES = ("exact", "first_line", "similarity", "right")
LEARNED = "learned"
RULES = ("empty or vetoed", "first_3", "first_3_syntax", "logprob_mean", "logprob_min", LEARNED)
WORST = -99.0


@dataclass(frozen=True, slots=True)
class Pair:
    """The same places answered by both tiers, in the same order."""

    small: Sequence[rows.Row]
    large: Sequence[rows.Row]

    @property
    def groups(self) -> list[str]:
        return [row["group"] for row in self.small]

    def part(self, source: str) -> "Pair":
        inside = [i for i, row in enumerate(self.small) if row["source"] == source]
        return Pair([self.small[i] for i in inside], [self.large[i] for i in inside])


def pair(found: Sequence[rows.Row]) -> Pair:
    """Return the places that both tiers answered; raise UsageError where there is none."""
    by_tier: dict[str, dict[str, rows.Row]] = {"small": {}, "large": {}}
    for row in found:
        if row["tier"] in by_tier:  # a remote model's rows are in the first table alone
            by_tier[row["tier"]][row["hole"]] = row
    both = [hole for hole in by_tier["small"] if hole in by_tier["large"]]
    if not both:
        raise UsageError(
            "No place was answered by both tiers. Run `cascade lab fim` with --tier small and "
            "with --tier large on the same file."
        )
    return Pair(*([by_tier[tier][hole] for hole in both] for tier in ("small", "large")))


def goodness(found: Sequence[rows.Row]) -> Floats:
    """Return what counts of each row: its hidden tests where there are any, else its first line."""
    return np.array(
        [float(r["first_line"] if r["right"] is None else r["right"]) for r in found], dtype=float
    )


def scores(both: Pair, rule: str) -> Floats:
    """Return what a rule says of the small tier's answers, the worst the lowest."""
    small = both.small
    bad = np.array([row["empty"] or row["vetoed"] for row in small])
    if rule == "empty or vetoed":
        return np.where(bad, 0.0, 1.0)
    if rule == LEARNED:
        return _learned(both)
    name = {"first_3": "probability_first_3", "first_3_syntax": "probability_first_3"}.get(
        rule, rule
    )
    known = np.array([row["features"].get(name, WORST) for row in small])
    return np.where(bad, WORST, known) if rule == "first_3_syntax" else known


def _learned(both: Pair) -> Floats:
    """Return the probability that an answer is right, each half of the groups by the other."""
    names = {group: i for i, group in enumerate(dict.fromkeys(both.groups))}
    half = np.array([names[group] % 2 for group in both.groups])
    labels = goodness(both.small) > 0
    known = [
        {**row["features"], "empty": float(row["empty"]), "vetoed": float(row["vetoed"])}
        for row in both.small
    ]
    p = np.zeros(len(half))
    for n in (0, 1):
        inside = np.flatnonzero(half != n).tolist()
        if len({bool(labels[i]) for i in inside}) < 2:
            p[half == n] = 0.5
            continue
        fitted = Logistic(RIDGE).fit([known[i] for i in inside], [bool(labels[i]) for i in inside])
        for i in np.flatnonzero(half == n).tolist():
            p[i] = fitted.probability(known[i])
    return p


def escalated(both: Pair, scored: Floats, share: float) -> Floats:
    """Return what escalating the worst share gives at each place; ties are escalated by lot."""
    small, large = goodness(both.small), goodness(both.large)
    return small + _share(scored, share) * (large - small)


def _share(scored: Floats, share: float) -> Floats:
    """Return how much of each place is escalated: 1, 0, or the lot's part among equals."""
    left, up = share * len(scored), np.zeros(len(scored))
    for value in np.unique(scored):
        equal = scored == value
        up[equal] = min(1.0, max(0.0, left / equal.sum()))
        left -= equal.sum()
    return up


def report(found: Sequence[rows.Row]) -> str:
    """Return everything as Markdown."""
    return "\n".join(_report(pair(found)))


def _report(both: Pair) -> Iterator[str]:
    yield from _levels(both)
    yield from _ablation(both)
    yield from _rules(both)


def _levels(both: Pair) -> Iterator[str]:
    heads = [
        "set",
        "places",
        "tier",
        "exact",
        "first line",
        "similarity",
        "passes",
        "nothing",
        "ms",
    ]
    yield from ("## Each tier", "")
    yield (
        "Per cent with the interval; `nothing` is the share of places without a suggestion, ms the "
        "median until the whole one."
    )
    yield from ("", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|")
    for source in dict.fromkeys(row["source"] for row in both.small):
        part = both.part(source)
        for tier, of in (("small", part.small), ("large", part.large)):
            cells = [_cell(of, name, part.groups) for name in FIGURES]
            cells.append(f"{100 * np.mean([row['empty'] for row in of]):.0f}")
            cells.append(f"{np.median([row['ms'] for row in of]):.0f}")
            yield f"| {source} | {len(of)} | {tier} | {' | '.join(cells)} |"
    yield ""


def _cell(of: Sequence[rows.Row], name: str, groups: Sequence[str]) -> str:
    known = [
        (float(row[name]), g) for row, g in zip(of, groups, strict=True) if row[name] is not None
    ]
    if not known:
        return ""
    return _percent(bootstrap(np.array([x for x, _ in known]), [g for _, g in known]))


def _percent(one: Interval) -> str:
    return f"{100 * one.mean:.1f} ({100 * one.low:.1f} to {100 * one.high:.1f})"


def _ablation(both: Pair) -> Iterator[str]:
    """What each filter changes: places it touches, and what leaving it out costs."""
    yield from ("## Each filter left out", "", "| filter | tier | places | points lost |")
    yield "|---|---|---|---|"
    for name in ABLATED:
        for tier, of in (("small", both.small), ("large", both.large)):
            without = np.array([_without(row, name) for row in of])
            touched = sum(name in row["without"] for row in of)
            if touched:
                lost = bootstrap(goodness(of) - without, both.groups)
                yield f"| {name} | {tier} | {touched} | {_percent(lost)} |"
    yield ""


def _without(row: rows.Row, name: str) -> float:
    other: Mapping[str, Any] = row["without"].get(name, row)
    return float(other["first_line"] if row["right"] is None else other["right"])


def _rules(both: Pair) -> Iterator[str]:
    small, large = goodness(both.small), goodness(both.large)
    labels = [bool(x) for x in small]
    yield from ("## Asking the large model at the keystroke", "")
    yield (
        f"{len(small)} places: small {100 * small.mean():.1f} %, large {100 * large.mean():.1f} %, "
        f"either {100 * np.maximum(small, large).mean():.1f} %. Points gained over escalating as "
        "many by lot, with the interval."
    )
    yield ""
    yield f"| rule | AUROC | {' | '.join(f'{share:.0%}' for share in SHARES)} |"
    yield "|---|---|" + "---|" * len(SHARES)
    for rule in RULES:
        scored = scores(both, rule)
        cells = []
        for share in SHARES:
            by_lot = small + share * (large - small)
            cells.append(_percent(bootstrap(escalated(both, scored, share) - by_lot, both.groups)))
        yield f"| {rule} | {auroc(scored, labels):.2f} | {' | '.join(cells)} |"
    yield ""
    base = scores(both, "first_3_syntax")
    yield "| against first_3_syntax | " + " | ".join(f"{share:.0%}" for share in SHARES) + " |"
    yield "|---|" + "---|" * len(SHARES)
    for rule in RULES:
        if rule == "first_3_syntax":
            continue
        scored = scores(both, rule)
        cells = [
            _percent(
                bootstrap(
                    escalated(both, scored, share) - escalated(both, base, share), both.groups
                )
            )
            for share in SHARES
        ]
        yield f"| {rule} | {' | '.join(cells)} |"
    yield ""


def draw(found: Sequence[rows.Row], path: Path) -> None:
    """Draw how many places are right against the share at which the large model is asked."""
    both = pair(found)
    pyplot = pages.pyplot_for_svg()
    small, large = goodness(both.small).mean(), goodness(both.large).mean()
    shares = np.linspace(0, 1, 41)
    figure, axis = pyplot.subplots(figsize=(6.4, 4.6))
    oracle = goodness(both.large) - goodness(both.small)
    axis.plot(100 * shares, _curve(both, -oracle, shares), color="0.8", label="oracle")
    axis.plot([0, 100], [100 * small, 100 * large], ":", color="0.5", label="by lot")
    for rule in RULES:
        curve = _curve(both, scores(both, rule), shares)
        axis.plot(100 * shares, curve, linewidth=1.2, label=rule)
    axis.set(xlabel="places at which the large model is asked, %", ylabel="right, %")
    axis.set_title(f"The keystroke cascade at {len(both.small)} holes", fontsize=9)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7, loc="lower right")
    pages.save_svg(pyplot, figure, path)


def _curve(both: Pair, scored: Floats, shares: Floats) -> list[float]:
    return [100 * float(escalated(both, scored, float(share)).mean()) for share in shares]
