"""A picture of how long answers are waited for: one line per side, on an axis of powers of ten.

Only this module loads matplotlib, which is not installed with the product.
"""

from collections.abc import Sequence
from pathlib import Path

from cascade_lsp.bench.typist import Visit
from cascade_lsp.errors import UsageError

GREY = "#808890"  # legible on white and on black
COLOURS = ("#2f81f7", "#d29922", "#bf5af2")
TICKS_MS = (1, 10, 100, 1000, 10_000)


def draw(visits: Sequence[Visit], path: Path) -> None:
    """Save the distribution of the waits as a picture; raise UsageError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(
            "A picture needs matplotlib: pip install 'cascade-lsp[lab]'. The rows are kept "
            "with --out, so that nothing has to be measured again."
        ) from error
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    sides = dict.fromkeys(visit.side for visit in visits)
    for side, colour in zip(sides, COLOURS, strict=False):
        keys = [key for visit in visits if visit.side == side for key in visit.keys if key.last]
        waits = sorted(max(key.ms or 0, TICKS_MS[0]) for key in keys if key.answered)
        # Of all waits: one that was given up never comes.
        shares = [100 * (i + 1) / len(keys) for i in range(len(waits))]
        axes.step(
            [TICKS_MS[0], *waits], [0, *shares], where="post", color=colour, linewidth=2, label=side
        )
    axes.set_xscale("log")
    axes.set_xlim(TICKS_MS[0], TICKS_MS[-1])
    axes.set_ylim(0, 100)
    axes.set_xticks(TICKS_MS, ["1 ms", "10 ms", "100 ms", "1 s", "10 s"])
    axes.set_yticks([0, 25, 50, 75, 100], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.set_title(
        "Suggestions that have come, by the time since the key", color=GREY, fontsize=11, loc="left"
    )
    axes.grid(color=GREY, alpha=0.25, linewidth=0.6)
    axes.minorticks_off()
    axes.tick_params(colors=GREY, length=0)
    axes.spines[:].set_visible(False)
    axes.legend(frameon=False, labelcolor=GREY, loc="best")
    figure.savefig(path, transparent=True)
