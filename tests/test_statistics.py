"""The sums over the ledger: what each figure counts, and what it leaves out."""

import json
import time
from dataclasses import replace

import pytest

from cascade_lsp.ledger import Event, Record
from cascade_lsp.policy import Evidence, Policy, decide
from cascade_lsp.statistics import figures, kept_share, report
from tests.ledger_writer import a_record, an_attempt

DAY_S = 86400


def decision(
    number: int, evidence: Evidence, *, trigger: str = "automatic", age_days: int = 0
) -> Record:
    attempt = replace(
        an_attempt("small", 0), evidence=evidence, decision=decide(evidence, Policy())
    )
    created = time.time() - age_days * DAY_S
    made = replace(a_record(f"d{number}", created), attempts=(attempt,), chosen=0)
    return replace(made, trigger=trigger)


PASSED = Evidence("ran", n_tests=4, n_s=4, n_t=1)
FAILED = Evidence("ran", n_tests=4, n_s=0, n_t=0)
UNTESTED = Evidence("not_asked")
OWN = Evidence("ran", own_passed=2)


def test_tested_verified_and_escalated_are_counted_by_their_evidence() -> None:
    records = [decision(1, PASSED), decision(2, FAILED), decision(3, UNTESTED)]
    found = figures(records, {})
    assert (found.suggestions, found.tested, found.verified, found.escalated) == (3, 2, 1, 1)
    assert found.verified_share == 1 / 2
    assert found.escalated_share == 1 / 3


def test_an_answer_that_the_projects_own_tests_confirm_is_verified() -> None:
    found = figures([decision(1, OWN), decision(2, replace(OWN, own_failed=1))], {})
    assert (found.tested, found.verified) == (2, 1)


def test_acceptance_kept_and_latency_come_from_the_events() -> None:
    records = [decision(n, UNTESTED) for n in range(4)]
    events = {
        "d0": [Event("answered", 0, 100.0), Event("accepted", 1), Event("kept", 2, 1.0)],
        "d1": [Event("answered", 0, 300.0), Event("accepted", 1), Event("kept", 2, 0.5)],
        "d2": [Event("answered", 0, 200.0), Event("shown", 1)],
    }
    found = figures(records, events)
    assert (found.accepted, found.acceptance, found.kept) == (2, 0.5, 0.75)
    assert found.latency_p50_ms == 200.0
    assert found.latency_p95_ms == pytest.approx(290.0)


def test_one_latency_is_every_quantile() -> None:
    found = figures([decision(1, UNTESTED)], {"d1": [Event("answered", 0, 120.0)]})
    assert found.latency_p50_ms == found.latency_p95_ms == 120.0


def test_where_nothing_counts_a_share_is_none_and_not_zero() -> None:
    found = figures([], {})
    assert found.acceptance is found.kept is found.verified_share is found.latency_p50_ms is None


def test_a_report_has_every_day_and_only_what_an_editor_asked_for() -> None:
    asked = [decision(1, PASSED), decision(2, FAILED, trigger="invoked", age_days=2)]
    told = report([*asked, decision(3, FAILED, trigger="verify")], {}, 7)
    assert json.loads(json.dumps(told)) == told
    assert [day["suggestions"] for day in told["series"]] == [0, 0, 0, 0, 1, 0, 1]
    assert told["total"]["suggestions"] == 2
    assert {reason["words"] for reason in told["reasons"]} == {
        "self tests passed",
        "self tests failed",
    }


@pytest.mark.parametrize(
    ("document", "share"),
    [
        ("def f(x):\n    y = x\n    return y\n", 1.0),
        ("class A:\n    def f(x):\n        y = x\n\n        return y\n", 1.0),
        ("def f(x):\n    z = x\n    return y\n", (2 + 4 / 5) / 3),  # one letter of five
        ("def f(x):\n    return y\n", 2 / 3),
        ("def f(x):\n    import os  # and no more\n    return y\n", 2 / 3),
        ("", 0.0),
    ],
)
def test_kept_is_how_much_of_the_accepted_lines_still_stands(document: str, share: float) -> None:
    assert kept_share("def f(x):\n    y = x\n    return y", document) == pytest.approx(share)


def test_a_line_that_was_accepted_twice_has_to_stand_twice() -> None:
    assert kept_share("x += 1\nx += 1", "x += 1\n") == 0.5
