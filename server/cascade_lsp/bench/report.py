"""What a run has shown, in figures: per side, and ours over the peers'.

Waits are uncensored: one that ended without an answer counts with the time that it took.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from rich.table import Table

from cascade_lsp.bench.typist import Key, Visit


@dataclass(frozen=True, slots=True)
class Latency:
    """Waits for the answer after a burst's last key, in ms; None where there was none."""

    count: int
    p50: float | None
    p90: float | None
    p95: float | None


def latency(waits_ms: Sequence[float]) -> Latency:
    """Return the percentiles of waits, interpolated between the nearest two."""
    if not waits_ms:
        return Latency(0, None, None, None)
    p50, p90, p95 = (round(float(p), 1) for p in np.percentile(waits_ms, [50, 90, 95]))
    return Latency(len(waits_ms), p50, p90, p95)


@dataclass(frozen=True, slots=True)
class Summary:
    """One side's figures; shares are of 1, and None where nothing was counted."""

    side: str
    places: int
    keys: int
    wait: Latency
    wait_at_first_key: Latency
    wait_inferred: Latency
    wait_not_inferred: Latency
    unanswered: int
    in_burst_answered: float | None
    without_inference: float | None
    read_per_key: float | None
    written_per_key: float | None
    first_line_exact: float | None
    first_line_count: int
    accepted: int
    characters_saved: float | None
    stale: int
    cpu_s_per_key: float | None


def summary(visits: Sequence[Visit]) -> Summary:
    """Put one side's visits into figures."""
    keys = [key for visit in visits for key in visit.keys]
    ends = [key for key in keys if key.last]
    within = [key for key in keys if not key.last]
    judged = [key.first_line for key in ends if key.first_line is not None]
    requests = sum(visit.work.requests for visit in visits)
    accepted = [key.accepted for key in keys if key.accepted]
    written = sum(max((key.at for key in visit.keys), default=0) for visit in visits)
    return Summary(
        side=visits[0].side,
        places=len(visits),
        keys=len(keys),
        wait=latency(_waits(ends)),
        wait_at_first_key=latency(_waits([key for key in ends if key.opening])),
        wait_inferred=latency(_waits([key for key in ends if key.inferred])),
        wait_not_inferred=latency(_waits([key for key in ends if not key.inferred])),
        unanswered=sum(not key.answered for key in ends),
        in_burst_answered=_share(sum(key.answered for key in within), len(within)),
        without_inference=_share(sum(visit.work.cached for visit in visits), requests),
        read_per_key=_per_key([visit.work.read for visit in visits], len(keys)),
        written_per_key=_per_key([visit.work.written for visit in visits], len(keys)),
        first_line_exact=_share(sum(judged), len(judged)),
        first_line_count=len(judged),
        accepted=len(accepted),
        characters_saved=_share(sum(accepted) - len(accepted), written),
        stale=sum(key.stale for key in keys),
        cpu_s_per_key=_share(sum(visit.cpu_s for visit in visits), len(keys)),
    )


def _waits(keys: Sequence[Key]) -> list[float]:
    return [key.ms for key in keys if key.ms is not None]


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def _per_key(counts: Sequence[int | None], keys: int) -> float | None:
    known = [count for count in counts if count is not None]
    return _share(sum(known), keys) if len(known) == len(counts) else None


def summaries(visits: Sequence[Visit]) -> list[Summary]:
    """Return every side's figures, in the order in which the sides appear."""
    sides = dict.fromkeys(visit.side for visit in visits)
    return [summary([visit for visit in visits if visit.side == side]) for side in sides]


def ratios(ours: Summary, peer: Summary) -> dict[str, float | None]:
    """Return our waits over a peer's: less than 1 is faster."""
    pairs = {name: (getattr(ours.wait, name), getattr(peer.wait, name)) for name in ("p50", "p95")}
    return {name: round(a / b, 4) if a and b else None for name, (a, b) in pairs.items()}


def as_json(found: Sequence[Summary], machine: dict[str, object]) -> dict[str, Any]:
    """Return a report for a program to read."""
    ours, *peers = found
    return {
        "machine": machine,
        "sides": [asdict(one) for one in found],
        "ours_over_peer": {peer.side: ratios(ours, peer) for peer in peers},
    }


def table(found: Sequence[Summary]) -> Table:
    """Return a report to be read: a column per side, and the ratios."""
    ours, *peers = found
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column("", no_wrap=True)
    for one in found:
        shown.add_column(one.side, justify="right")
    rows = [(label, [_shown(getattr(one, name)) for one in found]) for name, label in ROWS.items()]
    for label, cells in rows:
        shown.add_row(label, *cells)
    if peers:
        for name in ("p50", "p95"):
            over = [_shown(ratios(ours, peer)[name]) for peer in peers]
            shown.add_row(f"ours over the peer, {name}", "", *over, style="bold")
    return shown


ROWS = {
    "places": "places",
    "keys": "keys",
    "wait": "wait, ms: p50 / p90 / p95",
    "wait_at_first_key": "  place's first burst",
    "wait_inferred": "  inference began",
    "wait_not_inferred": "  none had to begin",
    "unanswered": "waits given up",
    "in_burst_answered": "answered within bursts",
    "without_inference": "requests without inference",
    "read_per_key": "tokens read per key",
    "written_per_key": "tokens written per key",
    "first_line_exact": "first line exact",
    "first_line_count": "  of so many",
    "accepted": "suggestions accepted",
    "characters_saved": "characters saved",
    "stale": "stale answers",
    "cpu_s_per_key": "processor s per key",
}
assert set(ROWS) == {field.name for field in fields(Summary)} - {"side"}


def _shown(value: object) -> str:
    match value:
        case None:
            return "-"
        case Latency(count=0):
            return "-"
        case Latency():
            return f"{value.p50:,.0f} / {value.p90:,.0f} / {value.p95:,.0f}"
        case float():
            return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
