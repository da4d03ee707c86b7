"""The figures in docs/reliability.md are those that were measured."""

import json
from pathlib import Path

from tests.faults.soak import lost
from tests.faults.tell import tables

MEASURED = Path(__file__).with_name("measured")
DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"


def rows(name):
    return [json.loads(line) for line in (MEASURED / name).open()]


def test_the_tables_of_the_document_are_those_of_the_rows():
    days = {part: [r for r in rows("long.jsonl") if r["part"] == part] for part in ("day", "real")}
    found = tables(days, rows("kills.jsonl"))
    assert len(found) == 3
    assert all(table in DOCUMENT.read_text() for table in found)


def test_no_kill_that_was_measured_lost_anything():
    assert not [row for row in rows("kills.jsonl") if lost(row)]
