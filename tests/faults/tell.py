"""What the rows of the soak and of the long runs say, as Markdown and as a picture.

It measures nothing. What is compared is the median of the first five rows and of the last five: one
row is too noisy to tell growth by.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

EDGE = 5  # rows of a beginning and of an end
GREY, BLUE, YELLOW = "#808890", "#2f81f7", "#d29922"


def tell(rows: Sequence[dict], kills: Sequence[dict], picture: Path) -> str:
    """Return the tables of docs/reliability.md, and save its picture."""
    days = {part: [row for row in rows if row["part"] == part] for part in ("day", "real")}
    others = [row for row in rows if row["part"] not in days]
    draw(days, picture)
    return "\n\n".join([*tables(days, kills), *map(str, others)])


def tables(days: dict[str, list[dict]], kills: Sequence[dict]) -> list[str]:
    """Return the tables of the soak and of the days that were measured."""
    return [killed(kills), *(grown(part, rows) for part, rows in days.items() if rows)]


def killed(kills: Sequence[dict]) -> str:
    """Return a table of the kills by victim."""
    struck = Counter(row["victim"] for row in kills if row["there"])
    lines = ["| killed | times | lost | the next answer, median; slowest |", "|---|---|---|---|"]
    for victim, times in struck.items():
        of = [row for row in kills if row["victim"] == victim and row["there"]]
        lost = sum(not r["text"] or bool(r["ledger"]) or r["unrecorded"] > 0 for r in of)
        waits = [row["answered_ms"] / 1000 for row in of]
        took = f"{median(waits):.1f} s; {max(waits):.1f} s" if max(waits) else "-"
        lines.append(f"| {victim} | {times} | {lost} | {took} |")
    return "\n".join(lines)


def grown(part: str, rows: Sequence[dict]) -> str:
    """Return a table of what a day's beginning and end were like."""
    lines = [
        f"| {part}, {rows[-1]['keys']:,} keys | beginning | end | change |",
        "|---|---|---|---|",
    ]
    for name in ("server_mb", "server_files", "engine_mb", "engine_files", "p50_ms", "p95_ms"):
        begun, ended = (median(r[name] for r in of) for of in (rows[:EDGE], rows[-EDGE:]))
        if begun:
            change = 100 * (ended / begun - 1)
            lines.append(f"| {name} | {begun:g} | {ended:g} | {change:+.1f} % |")
    return "\n".join(lines)


def draw(days: dict[str, list[dict]], path: Path) -> None:
    """Save memory and waits over the day as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    memory, waits = figure.subplots(2, 1, sharex=True)
    for (part, rows), colour in zip(days.items(), (BLUE, YELLOW), strict=True):
        hours = [row["hour"] for row in rows]
        label = {"day": "scripted model", "real": "real model"}[part]
        memory.plot(hours, [row["server_mb"] for row in rows], color=colour, label=label)
        waits.plot(hours, [row["p95_ms"] for row in rows], color=colour, label=label)
    memory.set_title("The server's memory, MB", color=GREY, fontsize=11, loc="left")
    waits.set_title("The slowest twentieth waits, ms", color=GREY, fontsize=11, loc="left")
    memory.set_ylim(bottom=0)
    waits.set_yscale("log")
    waits.set_xlabel("simulated hours", color=GREY)
    memory.legend(frameon=False, labelcolor=GREY, loc="lower right")
    for axes in (memory, waits):
        axes.grid(color=GREY, alpha=0.25, linewidth=0.6)
        axes.minorticks_off()
        axes.tick_params(colors=GREY, length=0)
        axes.spines[:].set_visible(False)
    figure.savefig(path, transparent=True)
