"""Write a report down: docs/results.md and its pictures, from a study and a price list alone."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cascade_lsp.errors import UsageError
from cascade_lsp.lab.quality import Learned, Tested
from cascade_lsp.lab.report import Claim, Goal, Level, Report, Row
from cascade_lsp.lab.scores import BINS

UNITS = {"seconds": "s", "gflop": "GFLOP", "dollars": "$"}
MARKS = "osD^P"  # of the first levels: the baselines, and the default plan
CURVES = ("random", "first_3_syntax", "logprob_min", "examples", "s")


def as_text(found: Report) -> str:
    """Return a report as Markdown: levels, what was chosen, and the rivals at equal cost."""
    return "\n".join(_report(found))


def _report(found: Report) -> Iterator[str]:
    yield from (f"{found.problems} problems; {found.models}; costs in {found.unit}.", "")
    yield from ("| | right | cost | escalated |", "|---|---|---|---|")
    yield from (_row(level) for level in (*found.levels, *(goal.level for goal in found.goals)))
    yield ""
    for goal in found.goals:
        yield from _goal(goal)
    yield from ("| AUROC of | for: the small model's greedy answer is right |", "|---|---|")
    yield from (f"| {name} | {value:.2f} |" for name, value in found.auroc.items())
    yield ""


def _row(level: Level) -> str:
    return f"| {level.name} | {level.right:.1%} | {level.cost:.3g} | {level.escalated:.0%} |"


def _goal(goal: Goal) -> Iterator[str]:
    chosen = "; ".join(f"{plan} ({n})" for plan, n in goal.chosen)
    yield from (f"**{goal.name}.** Chosen most often: {chosen}.", "")
    yield from (f"Shares right were {goal.optimism:+.3f} higher where it was chosen.", "")
    yield from ("| against | shares right gained | cost, ratio |", "|---|---|---|")
    yield from (
        f"| {c.rival} | {c.right} | {c.cost.mean:.2f} ({c.cost.low:.2f} to {c.cost.high:.2f}) |"
        for c in goal.compared
    )
    yield ""


def page(
    head: str,
    reports: Mapping[str, Report],
    claims: Sequence[Claim],
    tested: Mapping[str, Sequence[Tested]],
    learned: Sequence[Learned],
    as_right: Mapping[str, float],
    by_examples: Sequence[Row],
) -> str:
    """Return docs/results.md; `reports` are by their headings."""
    lines = ["# Results", "", head, "", "## What was to be shown", ""]
    lines += ["| claim | verdict | figures |", "|---|---|---|"]
    lines += [f"| {c.name} | {c.verdict} | {c.figures} |" for c in claims]
    lines += ["", "![Cost against accuracy](results-cost.svg)", ""]
    lines += ["## With and without examples in the docstring", "", *_by_examples(by_examples), ""]
    for name, found in reports.items():
        lines += [f"## {name}", "", as_text(found)]
    lines += ["## The tests that models write", ""]
    lines += ["Wrong and right answers are the small model's greedy ones.", ""]
    for name, of in tested.items():
        lines += [f"For {name}:", "", *_tests(of), ""]
    lines += ["## Learned scores", "", *_learned(learned, as_right), ""]
    return "\n".join([*lines, "![Calibration](results-calibration.svg)", ""])


def _by_examples(found: Sequence[Row]) -> Iterator[str]:
    yield "Seconds. Where examples decide, no threshold takes part."
    yield ""
    heads = ["", "problems", "plan", "right", "s", "points against always large", "of its cost"]
    heads += ["points against its self-testing", "of its cost"]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in found:
        against = " | ".join(
            f"{100 * c.right.mean:+.1f} ({100 * c.right.low:+.1f} to {100 * c.right.high:+.1f}) | "
            f"{c.cost.mean:.2f} ({c.cost.low:.2f} to {c.cost.high:.2f})"
            for c in (row.greedy, row.tested)
        )
        level = row.level
        yield (
            f"| {row.part} | {row.problems} | {level.name} | {level.right:.1%} | "
            f"{level.cost:.3g} | {against} |"
        )


def _tests(found: Sequence[Tested]) -> Iterator[str]:
    heads = [
        "model",
        "prompt",
        "samples",
        "its greedy answer is right",
        "lines a problem",
        "usable",
    ]
    heads += ["right", "fail a wrong answer", "fail a right one"]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for one in found:
        shares = (one.usable, one.right, one.kills, one.false_alarms)
        yield (
            f"| {one.model} | {one.style} | {one.samples} | {one.solves:.1%} | {one.lines:.1f} | "
            f"{' | '.join(f'{x:.0%}' for x in shares)} |"
        )


def _learned(found: Sequence[Learned], as_right: Mapping[str, float]) -> Iterator[str]:
    yield (
        "Each answer is scored by a model fitted to other problems. The last column: the share of "
        "always-large's cost for which escalating the worst answers is as right."
    )
    yield ""
    yield "| logistic model on | n | Brier | skill | ECE | AUROC | as right for |"
    yield "|---|---|---|---|---|---|---|"
    for one in found:
        q = one.quality
        figures = f"{q.brier:.3f} | {q.skill:+.3f} | {q.ece:.3f} | {q.auroc:.2f}"
        yield f"| {one.name} | {q.n} | {figures} | {as_right[one.name]:.2f} |"


# -- pictures -----------------------------------------------------------------------------------


def pyplot_for_svg() -> Any:
    """Return matplotlib's pyplot, set so that the same figures make the same file."""
    try:
        import matplotlib
    except ImportError as error:
        raise UsageError("Pictures need matplotlib: pip install 'cascade-lsp[lab]'.") from error
    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.hashsalt": "cascade", "font.size": 9, "figure.dpi": 100})
    return pyplot


def save_svg(pyplot: Any, figure: Any, path: Path) -> None:
    """Write a figure as a picture without a date."""
    figure.savefig(path, metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    pyplot.close(figure)


def draw_costs(reports: Mapping[str, Report], path: Path) -> None:
    """Draw cost against accuracy, a panel a report: baselines, rivals, the in-sample front, and
    what was chosen by resplits with its interval."""
    pyplot = pyplot_for_svg()
    columns = min(len(reports), 2)
    rows = -(-len(reports) // columns)
    size = (5.2 * columns, 4.2 * rows)
    figure, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False)
    for axis in axes.flat[len(reports) :]:
        axis.axis("off")
    for axis, (name, found) in zip(axes.flat, reports.items(), strict=False):
        _costs(axis, name, found)
    axes.flat[0].legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    save_svg(pyplot, figure, path)


def _costs(axis: Any, name: str, found: Report) -> None:
    for rule in CURVES:
        curve = found.curves[rule]
        style = {"color": "0.6", "linestyle": ":"} if rule == "random" else {"linewidth": 1}
        axis.plot([c.cost for c in curve], [100 * c.right for c in curve], label=rule, **style)
    front = found.pareto
    axis.step(
        [p.cost for p in front],
        [100 * p.right for p in front],
        where="post",
        color="0.8",
        label="best plans, in sample",
    )
    for level, mark in zip(found.levels, MARKS, strict=False):
        if level.cost:
            label = level.name.split(" (")[0]
            axis.plot(level.cost, 100 * level.right, mark, color="black", ms=5, label=label)
    for goal in found.goals:
        low, high = goal.right.low, goal.right.high
        axis.errorbar(
            goal.level.cost,
            100 * goal.level.right,
            yerr=[[100 * (goal.level.right - low)], [100 * (high - goal.level.right)]],
            fmt="*",
            color="crimson",
            ms=8,
            capsize=2,
            label="chosen on other problems" if goal is found.goals[0] else None,
        )
    axis.set_title(f"{name} ({found.problems})", fontsize=9)
    axis.set(xlabel=f"cost of a problem, {UNITS[found.unit]}", ylabel="right, %")
    axis.set_xlim(left=0)
    axis.grid(alpha=0.3)


def draw_calibration(found: Sequence[Learned], path: Path) -> None:
    """Draw how often answers are right against the probability that learned scores give them."""
    pyplot = pyplot_for_svg()
    figure, axis = pyplot.subplots(figsize=(5.6, 4.8))
    axis.plot([0, 100], [0, 100], color="0.7", linestyle=":")
    for one in found:
        order = np.argsort(one.probabilities, kind="stable")
        bins = np.array_split(order, BINS // 2)
        x = [100 * one.probabilities[b].mean() for b in bins]
        y = [100 * one.labels[b].mean() for b in bins]
        axis.plot(x, y, "o-", ms=3, linewidth=1, label=one.name)
    axis.set(xlabel="probability given, %", ylabel="right, % (a fifth of the answers each)")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7, loc="lower right")
    save_svg(pyplot, figure, path)
