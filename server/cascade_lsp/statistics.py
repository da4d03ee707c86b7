"""What the ledger says of a stretch of time: acceptance, kept rate, verified rate, escalations.

Pure sums over decisions and their events; it reads no file and judges nothing. Every figure
counts suggestions, that is decisions that an editor asked for while someone was writing.
"""

import datetime
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, quantiles
from typing import Any

from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from cascade_lsp.ledger import Event, Record
from cascade_lsp.policy import Reason

VERIFIED = (Reason.TESTS_PASSED, Reason.TRUSTED_PASSED, Reason.OWN_PASSED)
ASKED_BY_EDITORS = ("automatic", "invoked")

Events = Mapping[str, Sequence[Event]]

LIKE = 0.5  # from which on a line counts as an edited one, and not as another


@dataclass(frozen=True, slots=True)
class Figures:
    """The suggestions of a stretch of time; shares are in [0, 1], None where nothing counts.

    `tested` had at least one test with a verdict; `verified` were then accepted because of their
    tests. `acceptance` is the accepted share of all suggestions, `typed_through` counts the
    accepted ones that were typed by hand, `rejected` those behind which something else was typed
    or that were dismissed. `kept` is the mean share of the accepted ones that still stood
    after 30 seconds, by edit distance, `kept_later` after five minutes, or when the document was
    closed before; `verified_share` is of the tested ones, `escalated_share` of all. Latencies are
    what the editor waited for, in ms.
    """

    suggestions: int
    accepted: int
    typed_through: int
    rejected: int
    tested: int
    verified: int
    escalated: int
    acceptance: float | None
    kept: float | None
    kept_later: float | None
    verified_share: float | None
    escalated_share: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None


def report(records: Iterable[Record], events: Events, days: int) -> dict[str, Any]:
    """Return the figures of all decisions, of each of the last `days` local days, of each language
    and of each tier that answered, as JSON values: {days, total, series: [{day, ...}],
    languages: [{language, ...}], tiers: [{tier, ...}], reasons: [{action, reason, words, count}]}.
    """
    suggestions = [r for r in records if r.trigger in ASKED_BY_EDITORS]
    today = datetime.date.today()
    past = [today - datetime.timedelta(back) for back in reversed(range(days))]
    by_day: dict[datetime.date, list[Record]] = {day: [] for day in past}
    for record in suggestions:
        by_day.setdefault(datetime.date.fromtimestamp(record.created), []).append(record)
    reasons = Counter((r.decision.action, r.decision.reason) for r in suggestions)
    return {
        "days": days,
        "total": asdict(figures(suggestions, events)),
        "series": [
            {"day": day.isoformat(), **asdict(figures(by_day[day], events))}
            for day in sorted(by_day)
        ],
        "languages": _by("language", lambda record: record.language, suggestions, events),
        "tiers": _by("tier", lambda record: record.answer.tier, suggestions, events),
        "reasons": [
            {"action": action, "reason": reason, "words": reason.replace("_", " "), "count": count}
            for (action, reason), count in reasons.most_common()
        ],
    }


def _by(
    name: str, key: Callable[[Record], str], records: Sequence[Record], events: Events
) -> list[dict[str, Any]]:
    """Return the figures of each group of suggestions, the largest first."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return [
        {name: group, **asdict(figures(of, events))}
        for group, of in sorted(groups.items(), key=lambda one: -len(one[1]))
    ]


def figures(records: Sequence[Record], events: Events) -> Figures:
    """Count suggestions and what became of them."""
    values = [(e.kind, e.value) for r in records for e in events.get(r.id, ())]
    counts = Counter(kind for kind, _ in values)
    accepted = counts["accepted"]

    def of(wanted: str) -> list[float]:
        return [value for kind, value in values if kind == wanted and value is not None]

    kept, later, waits = of("kept"), of("kept_later"), of("answered")
    tested = [r for r in records if _tested(r)]
    verified = sum(r.answer.decision.reason in VERIFIED for r in tested)
    escalated = sum(r.decision.action == "escalate" for r in records)
    return Figures(
        suggestions=len(records),
        accepted=accepted,
        typed_through=counts["typed_through"],
        rejected=counts["rejected"],
        tested=len(tested),
        verified=verified,
        escalated=escalated,
        acceptance=_share(accepted, len(records)),
        kept=fmean(kept) if kept else None,
        kept_later=fmean(later) if later else None,
        verified_share=_share(verified, len(tested)),
        escalated_share=_share(escalated, len(records)),
        latency_p50_ms=_twentieths(waits, 10),
        latency_p95_ms=_twentieths(waits, 19),
    )


def kept_share(accepted: str, document: str) -> float:
    """Return how much of an accepted text stands in a document, in [0, 1].

    Each of its lines stands as far as the document has one like it: 1 - edit distance / length of
    the longer, and not at all below LIKE. Lines are compared without the blanks around them, each
    with another; blank ones do not count.
    """
    wanted, there = _lines(accepted), _lines(document)
    stands = float((wanted & there).total())
    left = list((there - wanted).elements())
    for line in (wanted - there).elements():
        like = process.extractOne(
            line, left, scorer=Levenshtein.normalized_similarity, score_cutoff=LIKE
        )
        if like:
            stands += like[1]
            del left[like[2]]
    return stands / wanted.total() if wanted else 1.0


def _lines(text: str) -> Counter[str]:
    return Counter(line.strip() for line in text.split("\n") if line.strip())


def _tested(record: Record) -> bool:
    evidence = record.answer.evidence
    trusted = evidence.trusted_passed or evidence.trusted_failed
    return bool(evidence.n_tests or trusted or evidence.own_passed or evidence.own_failed)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _twentieths(values: Sequence[float], n: int) -> float | None:
    """Return the quantile at n twentieths, interpolated between the values around it."""
    if not values:
        return None
    cuts = quantiles([*values, values[0]] if len(values) == 1 else values, n=20, method="inclusive")
    return round(cuts[n - 1], 1)
