"""The ledger keeps what it acknowledged, whole, through kills, damage and newer versions."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_lsp import ledger as module
from cascade_lsp.engine import Sent, Usage
from cascade_lsp.errors import LedgerError
from cascade_lsp.ledger import Attempt, Ledger, LedgerOptions, Record, TestRun
from cascade_lsp.policy import Decision, Evidence, Policy, Reason
from tests.ledger_writer import a_record, an_attempt

ROOT = Path(__file__).parents[1]
KEEP_ALL = LedgerOptions(source_text=True)

texts = st.text(max_size=30)
counts = st.integers(0, 2**40)
figures = st.floats(allow_nan=False, allow_infinity=False)
optional_figures = st.none() | figures
decisions = st.builds(
    Decision,
    st.sampled_from(["accept", "escalate", "best_effort"]),
    st.sampled_from(Reason),
    optional_figures,
    optional_figures,
)
evidences = st.builds(
    Evidence,
    st.sampled_from(["ran", "not_testable", "off", "not_asked"]),
    st.booleans(),
    st.booleans(),
    *[counts] * 7,
    optional_figures,
    counts,
    counts,
)
policies = st.builds(
    Policy, figures, figures, st.sampled_from(["on_failure", "on_doubt"]), figures, figures
)
test_runs = st.builds(
    TestRun, texts, texts, st.booleans(), st.booleans(), texts, texts, texts, figures
)
attempts = st.builds(
    Attempt,
    texts,
    texts,
    texts,
    st.lists(test_runs, max_size=3).map(tuple),
    st.dictionaries(texts, counts, max_size=3),
    st.dictionaries(texts, figures, max_size=3),
    evidences,
    policies,
    decisions,
    st.builds(Usage, counts, counts, counts, figures, figures),
    st.dictionaries(texts, counts, max_size=3),
)
records = st.lists(attempts, min_size=1, max_size=3).flatmap(
    lambda tried: st.builds(
        Record,
        texts,
        figures,
        *[texts] * 2,
        *[counts] * 2,
        *[texts] * 4,
        st.just(tuple(tried)),
        st.integers(0, len(tried) - 1),
        figures,
    )
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.sqlite3"


@pytest.fixture
def ledger(path: Path) -> Ledger:
    return Ledger.open(path, KEEP_ALL)


@pytest.fixture(scope="module")
def shared_ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return Ledger.open(tmp_path_factory.mktemp("shared") / "ledger.sqlite3", KEEP_ALL)


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


@given(record=records)
@settings(max_examples=150, deadline=None)
def test_what_was_recorded_is_what_is_read(shared_ledger: Ledger, record: Record) -> None:
    shared_ledger.record(record)
    assert shared_ledger.get(record.id) == record


def test_an_unknown_decision_is_none_and_an_empty_ledger_has_no_last(ledger: Ledger) -> None:
    assert ledger.get("nowhere") is None
    assert ledger.last() is None
    assert ledger.since(3600) == ()
    assert ledger.events("nowhere") == ()


def test_the_last_decision_is_the_latest_made_and_since_is_in_order_of_time(
    ledger: Ledger,
) -> None:
    now = time.time()
    for name, age in (("new", 10), ("old", 7200), ("newest", 5)):
        ledger.record(a_record(name, created=now - age))
    assert ledger.last() == a_record("newest", created=now - 5)
    assert [record.id for record in ledger.since(3600)] == ["new", "newest"]


def test_a_later_record_of_the_same_decision_completes_it_and_keeps_its_events(
    ledger: Ledger,
) -> None:
    checked = a_record("one")
    unchecked = replace(checked, attempts=checked.attempts[:1], chosen=0)
    ledger.record(unchecked)
    ledger.event("one", "shown")
    ledger.record(checked)
    assert ledger.get("one") == checked
    assert query(ledger.path, "SELECT count(*), max(tier) FROM decisions") == [(1, "large")]
    assert [event.kind for event in ledger.events("one")] == ["shown"]


def test_an_event_of_one_kind_happens_once_and_the_first_counts(ledger: Ledger) -> None:
    before = time.time()
    for kind in ("shown", "partially_accepted", "partially_accepted", "accepted", "shown"):
        ledger.event("one", kind)
    events = ledger.events("one")
    assert [event.kind for event in events] == ["shown", "partially_accepted", "accepted"]
    assert before <= events[0].at <= events[-1].at <= time.time()


def test_each_field_that_statistics_ask_for_is_a_column(ledger: Ledger) -> None:
    ledger.record(a_record("one"))
    asked = "uri, language, trigger, plan, tier, action, reason, observed, required, ms"
    figures = (1 / 3, 0.5, 2417.5)
    names = ("python", "automatic", "balanced", "large", "escalate", "self_tests_failed")
    assert query(ledger.path, f"SELECT {asked} FROM decisions") == [
        ("file:///home/ada/project/stats.py", *names, *figures)
    ]


def test_the_query_over_all_tests_in_the_documentation_works(ledger: Ledger) -> None:
    ledger.record(a_record("one"))
    assert module.__doc__
    rows = query(ledger.path, module.__doc__[module.__doc__.index("SELECT") :])
    assert len(rows) == 12
    assert rows[0] == ("one", "assert median([1, 2, 3, 0]) == 0", "passed")


def test_a_feature_that_is_no_number_is_left_out_and_leaves_the_row_readable(
    ledger: Ledger,
) -> None:
    attempt = replace(an_attempt("small", 2), features={"good": 0.5, "bad": float("nan")})
    ledger.record(replace(a_record("one"), attempts=(attempt,), chosen=0))
    kept = ledger.get("one")
    assert kept is not None
    assert kept.answer.features == {"good": 0.5}


def test_a_decision_of_before_the_projects_own_tests_is_still_read(ledger: Ledger) -> None:
    ledger.record(a_record("one"))
    with closing(sqlite3.connect(ledger.path)) as db:
        (text,) = db.execute("SELECT attempts FROM decisions").fetchone()
        attempts = json.loads(text)
        for attempt in attempts:
            del attempt["unused"], attempt["policy"]["theta_own"]
            del attempt["evidence"]["own_passed"], attempt["evidence"]["own_failed"]
        db.execute("UPDATE decisions SET attempts = ?", (json.dumps(attempts),))
        db.commit()
    assert ledger.get("one") == a_record("one")


MARKER = "canary_9c1f"


def with_source() -> Record:
    """Return a decision that has the marker wherever source text may be."""
    example = TestRun(f"median({MARKER}) == 2", "docstring", True, True, "passed", MARKER, MARKER)
    written = TestRun("assert median([1]) == 1", "small", False, True, "error", "no", MARKER)
    silent = TestRun("assert median([2]) == 2", "small", False, True, "timeout", "", "killed")
    own = TestRun(
        "tests/test_a.py::test_b",
        "project",
        True,
        False,
        "assert_failed",
        f"assert {MARKER}",
        MARKER,
    )
    attempt = replace(an_attempt("small", 2), text=MARKER, tests=(example, written, silent, own))
    return replace(a_record("one"), attempts=(attempt,), chosen=0)


def bytes_on_disk(ledger: Ledger) -> bytes:
    """Record the marked decision and read every file while the WAL is held in place."""
    with closing(sqlite3.connect(ledger.path)) as reader:
        reader.execute("SELECT * FROM decisions").fetchall()
        ledger.record(with_source())
        assert ledger.path.with_name(ledger.path.name + "-wal").stat().st_size
        return b"".join(file.read_bytes() for file in ledger.path.parent.iterdir())


def test_no_source_text_reaches_the_disk_unless_it_is_turned_on(path: Path) -> None:
    private = Ledger.open(path, LedgerOptions())
    found = bytes_on_disk(private)
    assert b"assert median([1]) == 1" in found
    assert MARKER.encode() not in found
    kept = private.get("one")
    assert kept is not None
    assert (kept.answer.text, kept.answer.tests[0].text) == ("", "docstring example")
    assert kept.answer.tests[2] == with_source().answer.tests[2]
    own = kept.answer.tests[3]
    assert (own.text, own.seen, own.detail) == ("tests/test_a.py::test_b", "assert", "")


def test_source_text_is_kept_when_it_is_turned_on(ledger: Ledger) -> None:
    assert MARKER.encode() in bytes_on_disk(ledger)
    assert ledger.get("one") == with_source()


def start_writer(path: Path, prefix: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.ledger_writer", str(path), prefix, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def kill_at_random(path: Path, prefix: str) -> list[str]:
    """Start a writer, kill it at a random moment, and return the ids that it acknowledged."""
    with start_writer(path, prefix, 10**6) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        early = [writer.stdout.readline() for _ in range(random.randrange(5))]
        time.sleep(random.uniform(0, 0.01))
        writer.send_signal(signal.SIGKILL)
        return [line.strip() for line in (*early, *writer.stdout) if line.endswith("\n")]


def test_every_acknowledged_decision_survives_a_kill_at_any_moment(path: Path) -> None:
    acknowledged: list[str] = []
    for n in range(25):
        acknowledged += kill_at_random(path, str(n))
        reopened = Ledger.open(path, KEEP_ALL)
        assert reopened.notice is None
        assert query(path, "PRAGMA integrity_check") == [("ok",)]
        kept = {record.id: record for record in reopened.since(time.time())}
        assert all(kept[decision] == a_record(decision) for decision in acknowledged)
        assert all(record == a_record(decision) for decision, record in kept.items())
    assert len(acknowledged) > 25


def test_processes_that_begin_and_write_one_ledger_together_lose_nothing(path: Path) -> None:
    writers = [start_writer(path, str(n), 30) for n in range(5)]
    outputs = [writer.communicate()[0].split() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 5
    acknowledged = {decision for output in outputs for decision in output[1:]}
    assert len(acknowledged) == 150
    kept = Ledger.open(path, KEEP_ALL).since(time.time())
    assert {record.id for record in kept} == acknowledged


def test_threads_may_share_one_ledger(ledger: Ledger) -> None:
    def write(prefix: int) -> None:
        for n in range(20):
            ledger.record(a_record(f"{prefix}-{n}"))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.since(time.time())) == 80


GARBAGE = random.Random(1).randbytes(4096)


def full_ledger(path: Path) -> bytes:
    ledger = Ledger.open(path, KEEP_ALL)
    for n in range(30):
        ledger.record(a_record(str(n)))
    return path.read_bytes()


def overwritten(good: bytes, start: int, length: int) -> bytes:
    return good[:start] + GARBAGE[:length] + good[start + length :]


DAMAGES = {
    "all of it garbage": lambda good: GARBAGE,
    "header overwritten": lambda good: overwritten(good, 0, 100),
    "first page overwritten": lambda good: overwritten(good, 16, 4080),
    "a page in the middle overwritten": lambda good: overwritten(good, 3 * 4096, 4096),
    "cut in half": lambda good: good[: len(good) // 2],
    "cut within the header": lambda good: good[:50],
    "cut within a page": lambda good: good[:-4000],
    "a text file": lambda good: b"not a database\n" * 100,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_ledger_is_set_aside_untouched_and_a_fresh_one_begun(
    path: Path, damage: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(damage)
    damaged = damage(full_ledger(path))
    path.write_bytes(damaged)
    reopened = Ledger.open(path, KEEP_ALL)
    (aside,) = path.parent.glob(f"{path.name}.*[0-9]")
    assert aside.read_bytes() == damaged
    assert reopened.notice is not None
    assert all(part in reopened.notice for part in (str(path), "damaged", str(aside)))
    assert caplog.messages == [reopened.notice]
    reopened.record(a_record("new"))
    assert [record.id for record in reopened.since(time.time())] == ["new"]
    assert Ledger.open(path, KEEP_ALL).notice is None


def test_a_ledger_of_a_newer_version_is_set_aside_with_its_wal(ledger: Ledger, path: Path) -> None:
    elsewhere = path.parent.parent / "copy"
    with closing(sqlite3.connect(path, isolation_level=None)) as newer:
        newer.execute("CREATE TABLE something_new (x)")
        ledger.record(a_record("one"))
        newer.execute("PRAGMA user_version = 99")
        shutil.copytree(path.parent, elsewhere)
    old = {tail: (elsewhere / (path.name + tail)).read_bytes() for tail in ("", "-wal")}
    reopened = Ledger.open(elsewhere / path.name, KEEP_ALL)
    assert reopened.notice is not None
    assert "newer" in reopened.notice
    assert reopened.last() is None
    (aside,) = elsewhere.glob(f"{path.name}.*[0-9]")
    assert {tail: aside.with_name(aside.name + tail).read_bytes() for tail in old} == old
    assert query(aside, "SELECT id FROM decisions") == [("one",)]


def test_processes_that_find_the_same_damage_set_it_aside_once(path: Path) -> None:
    path.parent.mkdir()
    for n in range(5):
        path.write_bytes(GARBAGE)
        writers = [start_writer(path, f"{n}-{w}", 5) for w in range(4)]
        acknowledged = {line for w in writers for line in w.communicate()[0].split()[1:]}
        kept = {record.id for record in Ledger.open(path, KEEP_ALL).since(time.time())}
        assert acknowledged == kept
        assert len(kept) == 20
    asides = list(path.parent.glob(f"{path.name}.*[0-9]"))
    assert [aside.read_bytes() for aside in asides] == [GARBAGE] * 5


def test_every_schema_is_reached_by_its_numbered_migration(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    Ledger.open(path, KEEP_ALL)
    assert query(path, "PRAGMA user_version") == [(len(module.MIGRATIONS),)]
    assert query(path, "PRAGMA journal_mode") == [("wal",)]


def test_a_ledger_removed_while_it_is_in_use_is_begun_again(ledger: Ledger) -> None:
    ledger.record(a_record("one"))
    ledger.path.unlink()
    ledger.record(a_record("two"))
    assert [record.id for record in ledger.since(time.time())] == ["two"]


@contextmanager
def unprivileged() -> Iterator[None]:
    """Give up root's right to write anywhere, where the tests are run with it."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_folder_that_cannot_be_written_is_one_sentence_with_a_remedy() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ledger = Ledger.open(folder / "ledger.sqlite3", KEEP_ALL)
        folder.chmod(0o555)
        ledger.path.chmod(0o444)
        with unprivileged():
            for path in (folder / "fresh.sqlite3", folder / "below" / "it.sqlite3"):
                with pytest.raises(LedgerError, match=r"could not be opened.*check that"):
                    Ledger.open(path, KEEP_ALL)
            with pytest.raises(LedgerError, match="could not be written"):
                ledger.record(a_record("one"))
        folder.chmod(0o755)


def test_a_file_where_the_folder_should_be_is_a_ledger_error(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(LedgerError, match="could not be opened"):
        Ledger.open(tmp_path / "state" / "ledger.sqlite3", KEEP_ALL)


def test_a_row_that_cannot_be_read_is_a_ledger_error(ledger: Ledger) -> None:
    ledger.record(a_record("one"))
    with closing(sqlite3.connect(ledger.path)) as db, db:
        db.execute("UPDATE decisions SET attempts = '[{}]'")
    with pytest.raises(LedgerError, match="could not be read"):
        ledger.get("one")


def test_a_locked_ledger_is_waited_for(ledger: Ledger) -> None:
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writer = threading.Thread(target=ledger.record, args=(a_record("one"),))
        writer.start()
        time.sleep(0.2)
        assert ledger.get("one") is None
        other.execute("COMMIT")
        writer.join()
    assert ledger.get("one") == a_record("one")


def test_what_was_spared_is_kept(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger", LedgerOptions())
    ledger.record(replace(a_record("spared"), power="on battery (battery): tested only in pauses"))
    assert (found := ledger.get(a_record("spared").id))
    assert found.power == "on battery (battery): tested only in pauses"


# -- a remote model ------------------------------------------------------------------------------


def test_what_was_sent_is_kept_without_its_text(tmp_path: Path) -> None:
    sent = (Sent("models.example", "chat", 34, {"GitHub Token": 1}, "def secret_plan():"),)
    asked = replace(a_record("asked").attempts[0], usage=Usage(money=0.5, sent=sent))
    kept = replace(a_record("asked"), attempts=(asked,), chosen=0, remote="it failed", lost=sent)
    ledger = Ledger.open(tmp_path / "ledger", LedgerOptions())
    ledger.record(kept)
    assert (found := ledger.get(kept.id))
    without = (replace(sent[0], body=""),)
    assert found.lost == found.attempts[0].usage.sent == without
    assert found.remote == "it failed" and found.attempts[0].usage.money == 0.5
    everything = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"secret_plan" not in everything and b"models.example" in everything


def test_spending_adds_up_over_hosts_and_processes_and_begins_anew_each_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.open(tmp_path / "ledger", LedgerOptions())
    assert ledger.spent_today() == (0, 0.0)
    ledger.spend("a.example", 1000, 0.5)
    Ledger.open(tmp_path / "ledger", LedgerOptions()).spend("b.example", 10, 0.25)
    ledger.spend("a.example", -400, -0.25)
    assert ledger.spent_today() == (610, 0.5)
    monkeypatch.setattr("cascade_lsp.ledger._today", lambda: "2100-01-01")
    assert ledger.spent_today() == (0, 0.0)
