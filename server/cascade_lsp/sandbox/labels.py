"""Say what an exception that ended a run means: a limit, a refusal, a difference, or a failure.

Pure. Only `error` and `assert_failed` speak against a candidate; in doubt the label is one that
does not. A candidate can raise exceptions that look like the sandbox's own and so escape
judgement, but no exception at all leads to `passed`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cascade_lsp.sandbox import Outcome, dialect, values

# Each session is fed three times, and monty names what it is fed by number.
SOURCE_FILE, CHECK_FILE = "<python-input-1>", "<python-input-2>"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an exception passed: in what was fed, on which line, in which function."""

    file: str
    line: int
    function: str
    statement: str


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception that ended a run, the innermost place last."""

    name: str
    message: str
    places: Sequence[Place]

    @property
    def by_program(self) -> bool:
        """Say whether a raise or assert statement of the program raised it, not monty."""
        return bool(self.places) and self.places[-1].statement.lstrip().startswith(
            ("raise", "assert")
        )

    def __str__(self) -> str:
        return values.cap(f"{self.name}: {self.message}" if self.message else self.name)


def label(raised: Raised, source: dialect.Code, check: dialect.Code | None) -> Outcome:
    """Label a run that `raised` ended; `check` is None for a script."""
    if not raised.by_program and (kind := _refused(raised)):
        return Outcome(kind, str(raised))
    if reason := _no_evidence(raised, source, check):
        return Outcome("inconclusive", str(raised), values.cap(reason))
    return Outcome(_blame(raised, source, check), str(raised), _where(raised.places))


def _refused(raised: Raised) -> str:
    """Return the label of a limit or a refusal; "" if it is neither."""
    match raised.name:
        case "TimeoutError" if "limit exceeded" in raised.message:
            return "timeout"
        case "MemoryError":
            return "memory"
        case "PermissionError":
            return "blocked_access"
        case "RuntimeError" if "not supported in this environment" in raised.message:
            return "blocked_access"
    return ""


def _no_evidence(raised: Raised, source: dialect.Code, check: dialect.Code | None) -> str:
    """Say why an exception tells nothing of the candidate; "" if it does."""
    if not raised.places:
        return raised.message or raised.name
    if not raised.by_program:
        statement = raised.places[-1].statement
        if lack := dialect.difference(raised.name, raised.message, statement, source.names):
            return lack
    delayed = {SOURCE_FILE: source.delayed, CHECK_FILE: check.delayed if check else frozenset()}
    if any(place.line in delayed.get(place.file, ()) for place in raised.places):
        return "raised in an expression that CPython evaluates later, or never"
    return ""


def _blame(raised: Raised, source: dialect.Code, check: dialect.Code | None) -> str:
    """Tell a fault of the check, or of a script's own assert, from one of the candidate."""
    innermost = raised.places[-1]
    if check is None:
        own_assert = raised.name == "AssertionError" and len(raised.places) == 1
        return "assert_failed" if own_assert else "error"
    return "test_error" if innermost.file == CHECK_FILE and raised.name == "NameError" else "error"


def _where(places: Sequence[Place]) -> str:
    """Name the innermost place in the program itself."""
    for place in reversed(places):
        if place.file == SOURCE_FILE:
            inside = f", in {place.function}" if place.function.isidentifier() else ""
            return f"line {place.line}{inside}"
    return ""
