"""Keep every decision, so that each can be explained: one row per shown candidate.

The user owns this file. It is no log of the code that was written: it holds no source text
unless the user turned that on. What `Ledger.record` returned from is there after kill -9.

    decisions    id (key), created, uri, language, line, column, trigger, plan, function,
                 untestable, chosen, ms: the fields of `Record`
                 tier: of the answer; action, reason, observed, required: of `Record.decision`
                 attempts: JSON list of `Attempt` as it stands, with raw features, evidence, the
                 thresholds in force (policy), tests and their outcomes, and usage
                 remote, lost, power: of `Record`, lost as a JSON list
    events       decision, kind (key: both), at, value: what became of a suggestion, when first
    spending     day, host (key: both), tokens, money: what was asked of remote models

The tests of all decisions, for example:

    SELECT d.id, json_extract(t.value, '$.text'), json_extract(t.value, '$.outcome')
    FROM decisions d, json_each(d.attempts) a, json_each(a.value, '$.tests') t
"""

import json
import logging
import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import cattrs

from cascade_lsp.engine import Sent, Usage
from cascade_lsp.errors import LedgerError
from cascade_lsp.policy import Decision, Evidence, Policy
from cascade_lsp.sandbox import Outcome

_LOG = logging.getLogger(__name__)
_BUSY_S = 10.0

DOCUMENT = "document"  # the tier of what the user wrote and asked to verify
PROJECT = "project"  # the origin of the user's own tests


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """What the decision record keeps."""

    source_text: bool = field(
        default=False,
        metadata={
            "help": "Keep the suggested text and docstring examples in the ledger too.",
            "guarded": True,
        },
    )


@dataclass(frozen=True, slots=True)
class TestRun:
    """One test as it went for one candidate; `origin` is "docstring", PROJECT or the tier
    that wrote it, `outcome` a label of `sandbox.Outcome.kind`."""

    __test__ = False

    text: str
    origin: str
    trusted: bool
    strong: bool
    outcome: str
    seen: str = ""
    detail: str = ""
    ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One tier's turn: what it offered, how that was tested, how it was judged, what it cost.

    The tier DOCUMENT is the function as it stood; the cost is then that of its tests.

    `features` are raw figures (mean probability of the first tokens and so on); `dropped` counts
    the generated test lines that were not used, `unused` the project's tests of the function that
    were not, by reason.
    """

    tier: str
    model: str
    text: str
    tests: tuple[TestRun, ...]
    dropped: Mapping[str, int]
    features: Mapping[str, float]
    evidence: Evidence
    policy: Policy
    decision: Decision
    usage: Usage
    unused: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """One decision from request to answer; `attempts[chosen]` is what was answered.

    `created` is in seconds since the epoch, `ms` the wall time of the whole; `line` and `column`
    count from 1; `function` is the name of the function under completion, or "" with the cause
    in `untestable`. `remote` is why a remote model that is configured was not asked, or how it
    failed, `lost` what it was sent then; `power` what was spared then, by which profile and why, ""
    where nothing was.
    """

    id: str
    created: float
    uri: str
    language: str
    line: int
    column: int
    trigger: str
    plan: str
    function: str
    untestable: str
    attempts: tuple[Attempt, ...]
    chosen: int
    ms: float
    remote: str = ""
    lost: tuple[Sent, ...] = ()
    power: str = ""

    @property
    def answer(self) -> Attempt:
        """Return the attempt whose text was answered."""
        return self.attempts[self.chosen]

    @property
    def decision(self) -> Decision:
        """Return the last escalation if there was one, else the judgement of the only answer."""
        return self.attempts[max(0, len(self.attempts) - 2)].decision


@dataclass(frozen=True, slots=True)
class Event:
    """What became of a suggestion: `kind` such as shown, accepted or partially_accepted, and
    `at` in seconds since the epoch; `value` is the wait in ms of "answered", the share in [0, 1]
    of "kept"."""

    kind: str
    at: float
    value: float | None = None


class Ledger:
    """The decision record in one SQLite file, safe to share between threads and processes.

    Every call opens the file, does one short transaction and closes it: so a file that was
    moved, removed or replaced meanwhile is noticed, and no thread owns anything. Calls take
    milliseconds and block; keep them off the hot path. They raise LedgerError; completion
    needs no ledger, so a server tells the user once and goes on without (`Ledger | None`).
    """

    def __init__(self, path: Path, options: LedgerOptions, notice: str | None = None) -> None:
        self.path = path
        self.options = options
        self.notice = notice

    @classmethod
    def open(cls, path: Path, options: LedgerOptions) -> "Ledger":
        """Open the record at `path`, beginning it if there is none.

        A damaged one, or one of a newer version, is renamed and a fresh one begun; `notice`
        then says so. Raises LedgerError where the folder or file cannot be used.
        """
        with _faults("opened", path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            notice = _prepare(path)
        return cls(path, options, notice)

    def record(self, record: Record) -> None:
        """Keep a decision; a later record of the same id takes the place of the earlier one.

        So a keystroke is recorded unchecked at once and completed when its verification ends.
        The row changes whole or not at all, and its events stay.
        """
        kept = record if self.options.source_text else _without_source(record)
        with self._database("written") as db:
            db.execute(_UPSERT, _row(kept))

    def event(self, decision: str, kind: str, value: float | None = None) -> None:
        """Note what became of a suggestion; the first event of a kind counts, repeats do not."""
        insert = "INSERT INTO events VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
        with self._database("written") as db:
            db.execute(insert, (decision, kind, time.time(), value))

    def get(self, decision: str) -> Record | None:
        """Return the decision with this id, if it is kept."""
        found = self._read("WHERE id = ?", decision)
        return found[0] if found else None

    def last(self) -> Record | None:
        """Return the latest decision, if there is any."""
        found = self._read("ORDER BY created DESC, rowid DESC LIMIT 1")
        return found[0] if found else None

    def since(self, seconds: float) -> tuple[Record, ...]:
        """Return the decisions of the last `seconds`, oldest first."""
        return self._read("WHERE created >= ? ORDER BY created, rowid", time.time() - seconds)

    def events(self, decision: str) -> tuple[Event, ...]:
        """Return what became of this decision's suggestion, oldest first."""
        query = "SELECT kind, at, value FROM events WHERE decision = ? ORDER BY at, rowid"
        with self._database("read") as db:
            return tuple(Event(*row) for row in db.execute(query, (decision,)))

    def events_since(self, seconds: float) -> Mapping[str, tuple[Event, ...]]:
        """Return the events of the decisions of the last `seconds`, by decision."""
        query = (
            "SELECT e.decision, e.kind, e.at, e.value FROM events e JOIN decisions d "
            "ON d.id = e.decision WHERE d.created >= ? ORDER BY e.at, e.rowid"
        )
        found: dict[str, tuple[Event, ...]] = {}
        with self._database("read") as db:
            for decision, *event in db.execute(query, (time.time() - seconds,)):
                found[decision] = (*found.get(decision, ()), Event(*event))
        return found

    def spend(self, host: str, tokens: int, money: float) -> None:
        """Add to what was asked of a remote host today; what was reserved and not used comes back
        as a negative figure."""
        insert = (
            "INSERT INTO spending VALUES (?, ?, ?, ?) ON CONFLICT (day, host) "
            "DO UPDATE SET tokens = tokens + excluded.tokens, money = money + excluded.money"
        )
        with self._database("written") as db:
            db.execute(insert, (_today(), host, tokens, money))

    def spent_today(self) -> tuple[int, float]:
        """Return the tokens and the money that all remote models took today."""
        query = "SELECT TOTAL(tokens), TOTAL(money) FROM spending WHERE day = ?"
        with self._database("read") as db:
            tokens, money = db.execute(query, (_today(),)).fetchone()
        return int(tokens), float(money)

    def _read(self, which: str, *values: object) -> tuple[Record, ...]:
        with self._database("read") as db:
            rows = db.execute(f"SELECT * FROM decisions {which}", values).fetchall()
            return tuple(_as_record(row) for row in rows)

    @contextmanager
    def _database(self, doing: str) -> Iterator[sqlite3.Connection]:
        with _faults(doing, self.path):
            if not self.path.exists():
                _prepare(self.path)
            with closing(_connect(self.path)) as db:
                yield db


def _today() -> str:
    return f"{datetime.now():%Y-%m-%d}"


def _decisions_and_events(db: sqlite3.Connection) -> None:
    db.execute(
        """CREATE TABLE decisions (
            id TEXT PRIMARY KEY NOT NULL, created REAL NOT NULL, uri TEXT NOT NULL,
            language TEXT NOT NULL, line INTEGER NOT NULL, "column" INTEGER NOT NULL,
            "trigger" TEXT NOT NULL, "plan" TEXT NOT NULL, function TEXT NOT NULL,
            untestable TEXT NOT NULL, chosen INTEGER NOT NULL, ms REAL NOT NULL,
            tier TEXT NOT NULL, action TEXT NOT NULL, reason TEXT NOT NULL,
            observed REAL, required REAL, attempts TEXT NOT NULL)"""
    )
    db.execute("CREATE INDEX decisions_created ON decisions (created)")
    db.execute(
        """CREATE TABLE events (
            decision TEXT NOT NULL, kind TEXT NOT NULL, at REAL NOT NULL,
            PRIMARY KEY (decision, kind))"""
    )


def _values_of_events(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE events ADD COLUMN value REAL")


def _remote_models(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE decisions ADD COLUMN remote TEXT NOT NULL DEFAULT ''")
    db.execute("ALTER TABLE decisions ADD COLUMN lost TEXT NOT NULL DEFAULT '[]'")
    db.execute(
        """CREATE TABLE spending (
            day TEXT NOT NULL, host TEXT NOT NULL, tokens INTEGER NOT NULL, money REAL NOT NULL,
            PRIMARY KEY (day, host))"""
    )


def _power(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE decisions ADD COLUMN power TEXT NOT NULL DEFAULT ''")


# Number n of this list turns schema n - 1 into schema n. Only ever append.
MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _decisions_and_events,
    _values_of_events,
    _remote_models,
    _power,
)

_COLUMNS = (
    *("id", "created", "uri", "language", "line", "column", "trigger", "plan", "function"),
    *("untestable", "chosen", "ms", "tier", "action", "reason", "observed", "required"),
    *("attempts", "remote", "lost", "power"),
)
_UPSERT = (
    f"INSERT INTO decisions ({', '.join(f'[{c}]' for c in _COLUMNS)}) "
    f"VALUES ({', '.join(f':{c}' for c in _COLUMNS)}) "
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'[{c}] = excluded.[{c}]' for c in _COLUMNS)}"
)


def _prepare(path: Path) -> str | None:
    """Set aside what is unusable, begin what is missing, bring an old schema up to date."""
    with _alone(path):
        notice = _set_aside_unusable(path)
        with closing(_connect(path)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            _migrate(db)
    return notice


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    # SQLite's own lock on a file that stays empty: it works everywhere and dies with its holder.
    with closing(_connect(path.with_name(f"{path.name}.lock"))) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    db.row_factory = sqlite3.Row
    return db


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _migrate(db: sqlite3.Connection) -> None:
    done = _version(db)
    db.execute("BEGIN IMMEDIATE")
    for number, migrate in enumerate(MIGRATIONS[done:], start=done + 1):
        migrate(db)
        db.execute(f"PRAGMA user_version = {number}")
    db.execute("COMMIT")


@contextmanager
def _faults(doing: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, ValueError, cattrs.BaseValidationError) as error:
        raise LedgerError(
            f"The decision record {path} could not be {doing} ({error}). Completion works "
            "without it, but decisions cannot be explained; check that its folder can be "
            "written and that the disk is not full, or move the file away to begin a fresh one."
        ) from error


def _set_aside_unusable(path: Path) -> str | None:
    fault = _fault(path) if path.exists() else None
    if fault is None:
        return None
    aside = path.with_name(f"{path.name}.{datetime.now():%Y%m%d-%H%M%S-%f}")
    # The database last: what lay beside a fresh file would be thrown away or applied to it.
    for tail in ("-wal", "-shm", "-journal", ""):
        with suppress(FileNotFoundError):
            path.with_name(path.name + tail).rename(aside.with_name(aside.name + tail))
    what, remedy = fault
    notice = f"The decision record {path} {what}. It was kept as {aside}; {remedy}."
    _LOG.warning("%s", notice)
    return notice


def _fault(path: Path) -> tuple[str, str] | None:
    damaged = "is damaged", "a fresh one was begun, and earlier decisions cannot be explained"
    known = len(MIGRATIONS)
    try:
        # Read-only, so that what is set aside is set aside byte for byte.
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", _BUSY_S, uri=True)
        ) as db:
            if (version := _version(db)) > known:
                return (
                    f"is of a newer Cascade (schema {version}, known here: {known})",
                    "a fresh one was begun; to read the old one, update Cascade and move it back",
                )
            return None if _intact(db, version) else damaged
    except sqlite3.DatabaseError as error:
        # Any other error, such as a beginning that was cut off, is for the opening to meet.
        broken = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        return damaged if broken else None


def _intact(db: sqlite3.Connection, version: int) -> bool:
    if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        return False
    # The pragma looks at the file's structure, not into its rows.
    torn = "SELECT 1 FROM decisions WHERE NOT json_valid(attempts) LIMIT 1"
    return version == 0 or db.execute(torn).fetchone() is None


def _without_source(record: Record) -> Record:
    attempts = (
        replace(
            attempt,
            text="",
            tests=tuple(_test_without_source(t) for t in attempt.tests),
            usage=replace(attempt.usage, sent=_without_bodies(attempt.usage.sent)),
        )
        for attempt in record.attempts
    )
    return replace(record, attempts=tuple(attempts), lost=_without_bodies(record.lost))


def _without_bodies(sent: tuple[Sent, ...]) -> tuple[Sent, ...]:
    return tuple(replace(one, body="") for one in sent)


def _test_without_source(test: TestRun) -> TestRun:
    if test.origin == PROJECT:
        # Its name is kept as the document's is; what it has shown could quote the test's lines.
        seen = "" if test.outcome == "passed" else test.seen.partition(":")[0].partition(" ")[0]
        return replace(test, seen=seen, detail="")
    # A detail is needed where there is no verdict; elsewhere it could quote the answer's lines.
    if test.origin != "docstring" and not test.trusted:
        return replace(test, detail="" if Outcome(test.outcome).conclusive else test.detail)
    # What an example that passed has shown is the example's own text.
    seen = "" if test.outcome == "passed" else test.seen
    return replace(test, text="docstring example", seen=seen, detail="")


def _row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = cattrs.unstructure(record)
    for attempt in row["attempts"]:
        # JSON has no word for what is not a number.
        attempt["features"] = {k: v for k, v in attempt["features"].items() if math.isfinite(v)}
    decision = cattrs.unstructure(record.decision)
    lists = {name: json.dumps(row[name], allow_nan=False) for name in ("attempts", "lost")}
    return {**row, **decision, "tier": record.answer.tier, **lists}


def _as_record(row: sqlite3.Row) -> Record:
    lists = {name: json.loads(row[name]) for name in ("attempts", "lost")}
    return cattrs.structure({**row, **lists}, Record)
