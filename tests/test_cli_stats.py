"""`cascade stats`: rates worked out by hand, in the terminal, as JSON and as a page."""

import io
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from cascade_lsp import cli_stats
from cascade_lsp.ledger import Event, Ledger, LedgerOptions
from cascade_lsp.statistics import report
from tests.test_statistics import FAILED, PASSED, UNTESTED, decision

RECORDS = [
    decision(0, PASSED),
    replace(decision(1, FAILED), language="go"),
    decision(2, UNTESTED, age_days=1),
    decision(3, UNTESTED, age_days=1),
]
EVENTS = {
    "d0": [
        Event("answered", 0, 200.0),
        Event("accepted", 1),
        Event("typed_through", 1),
        Event("kept", 2, 1.0),
        Event("kept_later", 3, 0.5),
    ],
    "d1": [Event("answered", 0, 1400.0), Event("rejected", 1)],
    "d2": [Event("answered", 0, 300.0)],
}


@pytest.fixture
def found() -> dict:
    return report(RECORDS, EVENTS, 2)


def test_the_figures_are_those_worked_out_by_hand(found: dict) -> None:
    total = found["total"]
    assert (total["suggestions"], total["accepted"], total["acceptance"]) == (4, 1, 0.25)
    assert (total["typed_through"], total["rejected"]) == (1, 1)
    assert (total["kept"], total["kept_later"]) == (1.0, 0.5)
    assert [(one["language"], one["suggestions"]) for one in found["languages"]] == [
        ("python", 3),
        ("go", 1),
    ]
    (tier,) = found["tiers"]
    assert (tier["tier"], tier["latency_p50_ms"]) == ("small", 300.0)
    assert json.loads(json.dumps(found)) == found


def told(found: dict, width: int) -> str:
    out = io.StringIO()
    cli_stats.tell(Console(file=out, width=width, no_color=True), found, "7d")
    return out.getvalue()


def test_the_terminal_shows_rates_with_intervals_days_and_groups(found: dict) -> None:
    text = told(found, 120)
    assert "4 suggestions in 7d" in text
    assert re.search(r"accepted +25% +█████ +5% to 70%", text)
    assert "300 ms in the median" in text
    assert re.search(r"by day +██ ", text)
    assert re.search(r"go +1 ", text) and "self tests failed" in text


def test_a_narrow_terminal_breaks_no_line(found: dict) -> None:
    assert all(len(line) <= 80 for line in told(found, 80).splitlines())


def test_an_empty_ledger_says_how_it_fills() -> None:
    assert "It fills while an editor uses `cascade serve`" in " ".join(
        told(report([], {}, 7), 80).split()
    )
    assert "It fills while" in cli_stats.as_page(report([], {}, 7), "7d")


def test_the_page_needs_nothing_but_itself_and_names_no_file(found: dict) -> None:
    page = cli_stats.as_page(found, "7d")
    assert "25%" in page and "<svg" in page and page.count("<rect") == 4
    assert not re.search(r"https?://|src=|href=|@import|url\(", page)
    for record in RECORDS:
        assert record.uri not in page and record.answer.text not in page


@pytest.mark.parametrize(
    ("share", "n", "low", "high"),
    [(0.5, 10, 0.237, 0.763), (0.0, 5, 0.0, 0.434), (1.0, 1, 0.207, 1)],
)
def test_intervals_are_wilsons(share: float, n: int, low: float, high: float) -> None:
    assert cli_stats.interval(share, n) == pytest.approx((low, high), abs=1e-3)


def test_days_are_drawn_by_height() -> None:
    assert cli_stats.spark([0, 1, 4, 8]) == " ▁▄█"


def test_the_command_reads_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", LedgerOptions())
    for record in RECORDS:
        ledger.record(replace(record, created=time.time()))
    ledger.event("d0", "accepted")
    monkeypatch.setattr("cascade_lsp.assembly.open_ledger", lambda _: ledger)
    cli_stats.stats("1d", None, as_json=True)
    assert json.loads(capsys.readouterr().out)["total"]["accepted"] == 1
    cli_stats.stats("1d", tmp_path / "page.html", as_json=False)
    assert "4 suggestions" in (tmp_path / "page.html").read_text("utf-8")
