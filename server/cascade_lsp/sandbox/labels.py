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
    """Where an exception passed: in what was fed, on which line, from which column (1 is the
    first), in which function; `statement` is the text of the line."""

    file: str
    line: int
    column: int
    function: str
    statement: str


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception that ended a run, the innermost place last."""

    name: str
    message: str
    places: Sequence[Place]

    def __str__(self) -> str:
        return values.cap(f"{self.name}: {self.message}" if self.message else self.name)

    def by_program(self, source: dialect.Code) -> bool:
        """Say whether a statement of the program raised it, not monty of its own accord."""
        innermost = self.places[-1] if self.places else None
        return (
            innermost is not None
            and innermost.file == SOURCE_FILE
            and (innermost.line, innermost.column) in source.raises
        )


def label(raised: Raised, source: dialect.Code, check: dialect.Code | None) -> Outcome:
    """Label a run that `raised` ended; `check` is None for a script."""
    own = raised.by_program(source)
    if not own and (kind := _refused(raised)):
        return Outcome(kind, str(raised))
    if not own and (reason := _lacking(raised, source)):
        return Outcome("inconclusive", str(raised), values.cap(reason))
    if _delayed(raised, source, check):
        reason = "raised in an expression that CPython evaluates later, or never"
        return Outcome("inconclusive", str(raised), reason)
    return Outcome(_blame(raised, check), str(raised), _where(raised.places))


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


def _lacking(raised: Raised, source: dialect.Code) -> str:
    """Say what monty lacks, if that is what the exception shows; else ""."""
    if not raised.places:
        return raised.message or raised.name
    statement = raised.places[-1].statement
    return dialect.difference(raised.name, raised.message, statement, source.names)


def _delayed(raised: Raised, source: dialect.Code, check: dialect.Code | None) -> bool:
    delayed = {SOURCE_FILE: source.delayed, CHECK_FILE: check.delayed if check else frozenset()}
    return any(place.line in delayed.get(place.file, ()) for place in raised.places)


def _blame(raised: Raised, check: dialect.Code | None) -> str:
    """Tell a fault of the check, or of a script's own assert, from one of the candidate."""
    if check is None:
        own_assert = raised.name == "AssertionError" and len(raised.places) == 1
        return "assert_failed" if own_assert else "error"
    in_check = raised.places[-1].file == CHECK_FILE
    return "test_error" if in_check and raised.name == "NameError" else "error"


def _where(places: Sequence[Place]) -> str:
    """Name the innermost place in the program itself."""
    for place in reversed(places):
        if place.file == SOURCE_FILE:
            inside = f", in {place.function}" if place.function.isidentifier() else ""
            return f"line {place.line}{inside}"
    return ""
