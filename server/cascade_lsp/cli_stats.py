"""`cascade stats`: what became of suggestions, in the terminal, as JSON, or as a page."""

import html
from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cascade_lsp.terminal import Json, print_json, seconds_of

BLOCKS = " ▁▂▃▄▅▆▇█"
# Of figures: its name in the report, how it is called, and what it counts.
RATES = (
    ("acceptance", "accepted", "of all suggestions; typing one through counts"),
    ("kept", "kept, 30 s", "mean share of an accepted suggestion's lines that still stand"),
    ("kept_later", "kept, 5 min", "the same after five minutes"),
    ("verified_share", "verified", "of the tested ones: accepted because of their tests"),
    ("escalated_share", "escalated", "of all: a larger model was asked"),
)
COUNTED = {
    "acceptance": "suggestions",
    "verified_share": "tested",
    "escalated_share": "suggestions",
}
EMPTY = (
    "The ledger holds no suggestion of that time. It fills while an editor uses `cascade serve`, "
    "and stays on this machine."
)


def stats(
    since: Annotated[
        str, typer.Option(help="How far back: a number with m, h, d or w.", metavar="AGE")
    ] = "30d",
    page: Annotated[
        Path | None, typer.Option("--html", help="Write a page with pictures to this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say how many suggestions were accepted, kept, verified and escalated, and how fast."""
    from cascade_lsp.assembly import open_ledger
    from cascade_lsp.settings import Settings
    from cascade_lsp.statistics import report

    seconds = seconds_of(since)
    ledger = open_ledger(Settings())
    days = max(1, round(seconds / 86400))
    found = report(ledger.since(seconds), ledger.events_since(seconds), min(days, 366))
    if page is not None:
        page.write_text(as_page(found, since), encoding="utf-8")
        Console().print(str(page), highlight=False, soft_wrap=True)
    elif as_json:
        print_json(found)
    else:
        tell(Console(), found, since)


def interval(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of `n` cases (Wilson 1927)."""
    z2 = 1.96**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = 1.96 * sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)


# -- in the terminal ----------------------------------------------------------------------------


def tell(console: Console, found: Mapping[str, Any], since: str) -> None:
    """Print the figures, with bars and days drawn."""
    total = found["total"]
    if not total["suggestions"]:
        console.print(EMPTY, highlight=False)
        return
    console.print(f"{total['suggestions']:,} suggestions in {since}", highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, label, meaning in RATES:
        share = total[name]
        bar = "█" * round(20 * (share or 0.0))
        table.add_row(label, percent(share), f"{bar:<20}", _range(total, name), meaning)
    console.print(table, highlight=False)
    waits = f"{ms(total['latency_p50_ms'])} in the median, {ms(total['latency_p95_ms'])} at 95 %"
    console.print(f"answered in {waits}", highlight=False)
    days = [day["suggestions"] for day in found["series"]]
    console.print(f"by day  {spark(days)}  (at most {max(days)})", highlight=False)
    for groups, key in (("languages", "language"), ("tiers", "tier")):
        console.print()
        console.print(_groups(found[groups], key), highlight=False)
    console.print("\nWhy suggestions ended as they did:", highlight=False)
    for reason in found["reasons"]:
        line = f"  {reason['count']:5d}  {reason['action']}: {reason['words']}"
        console.print(line, highlight=False, markup=False)


def _groups(found: Sequence[Mapping[str, Any]], key: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(key)
    heads = ("suggestions", *(label for _, label, _ in RATES), "median", "95 %")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for one in found:
        table.add_row(*_cells(one, key))
    return table


def _cells(one: Mapping[str, Any], key: str) -> Iterator[str]:
    yield one[key] or "-"
    yield f"{one['suggestions']:,}"
    yield from (percent(one[name]) for name, _, _ in RATES)
    yield ms(one["latency_p50_ms"])
    yield ms(one["latency_p95_ms"])


def percent(share: float | None) -> str:
    """Return a share as a reader sees it, a dash where nothing counts."""
    return "-" if share is None else f"{share:.0%}"


def ms(value: float | None) -> str:
    """Return a wait with its unit."""
    if value is None:
        return "-"
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.0f} ms"


def spark(values: Sequence[float]) -> str:
    """Return values as one line of blocks, the largest the highest."""
    most = max(values, default=0) or 1
    return "".join(BLOCKS[-(-round(8000 * value / most) // 1000)] for value in values)


def _range(of: Mapping[str, Any], name: str) -> str:
    n = of.get(COUNTED.get(name, ""), 0)
    if not n or of[name] is None:
        return ""
    low, high = interval(of[name], n)
    return f"{low:.0%} to {high:.0%}"


# -- as a page ----------------------------------------------------------------------------------

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --paper: #fff; --line: #d1d9e0;
  --bar: #0969da; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --paper: #0d1117;
  --line: #3d444d; --bar: #4493f8; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.rates { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: 1rem; }
.rate { border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; }
.rate b { display: block; font-size: 1.7rem; font-weight: 600; }
.rate small, figcaption, footer { color: var(--soft); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: right; padding: .3rem .5rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1rem 0; } svg { width: 100%; height: auto; } rect { fill: var(--bar); }
rect.accepted { opacity: .45; }
"""


def as_page(found: Mapping[str, Any], since: str) -> str:
    """Return a page that needs nothing but itself, and holds no text and no file's name."""
    total = found["total"]
    body = [f"<h1>{total['suggestions']:,} suggestions in {html.escape(since)}</h1>"]
    if not total["suggestions"]:
        body.append(f"<p>{html.escape(EMPTY)}</p>")
    else:
        body += _page(found)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Cascade: suggestions</title>'
        f"<style>{STYLE}</style><body>{''.join(body)}</body></html>\n"
    )


def _page(found: Mapping[str, Any]) -> Iterator[str]:
    total = found["total"]
    yield '<div class="rates">'
    for name, label, _ in RATES:
        spread = _range(total, name)
        yield (
            f'<div class="rate"><small>{label}</small><b>{percent(total[name])}</b>'
            f"<small>{spread or '&nbsp;'}</small></div>"
        )
    waits = f"{ms(total['latency_p50_ms'])}</b><small>{ms(total['latency_p95_ms'])} at 95 %"
    yield f'<div class="rate"><small>answered in</small><b>{waits}</small></div></div>'
    yield _days(found["series"])
    for title, groups, key in (
        ("By language", found["languages"], "language"),
        ("By the tier that answered", found["tiers"], "tier"),
    ):
        yield f"<h2>{title}</h2><table><tr><th>{key}</th><th>suggestions</th>"
        yield "".join(f"<th>{label}</th>" for _, label, _ in RATES)
        yield "<th>median</th><th>95 %</th></tr>"
        for one in groups:
            cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(one, key))
            yield f"<tr>{cells}</tr>"
        yield "</table>"
    yield "<h2>Why they ended as they did</h2><table>"
    for reason in found["reasons"]:
        words = html.escape(f"{reason['action']}: {reason['words']}")
        yield f"<tr><td>{words}</td><td>{reason['count']:,}</td></tr>"
    yield "</table><footer><p>"
    yield "; ".join(f"<b>{label}</b>: {meaning}" for _, label, meaning in RATES)
    yield ". Ranges are 95 % intervals (Wilson). Everything is from this machine's ledger.</p>"
    yield "</footer>"


def _days(series: Sequence[Mapping[str, Any]]) -> str:
    """Draw suggestions a day, the accepted ones within."""
    most = max(day["suggestions"] for day in series) or 1
    step = 700 / len(series)
    bars = []
    for i, day in enumerate(series):
        title = (
            f"<title>{day['day']}: {day['suggestions']} shown, {day['accepted']} accepted</title>"
        )
        for kind, n in (("accepted", day["suggestions"]), ("", day["accepted"])):
            high = 90 * n / most
            bars.append(
                f'<rect class="{kind}" x="{i * step:.1f}" y="{100 - high:.1f}" '
                f'width="{max(step - 2, 1):.1f}" height="{high:.1f}">{title}</rect>'
            )
    caption = f"Suggestions a day (pale), accepted ones (full); at most {most}. "
    return (
        f'<figure><svg viewBox="0 0 700 102" role="img" aria-label="Suggestions a day">'
        f"{''.join(bars)}</svg><figcaption>{caption}{series[0]['day']} to {series[-1]['day']}."
        "</figcaption></figure>"
    )
