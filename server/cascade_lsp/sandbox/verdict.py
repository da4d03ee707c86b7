"""Say what a run in the native tier shows: from how its process ended and what it sent.

Pure. What the process sent is believed as the value of an expression and as nothing else; how it
ended is told by the fork server and the kernel. Only passed, assert_failed and error speak about
the candidate, and in doubt the label is one that does not.
"""

import ast
import errno
import json
import signal
import sys
from dataclasses import dataclass, replace
from typing import Any, Literal

from cascade_lsp.sandbox import Check, Language, Outcome, codec, dialect, values

_REFUSALS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT}
_TOO_LARGE = "the value is too large or too deep to compare"
_HEAP_FULL = b"heap out of memory"  # said by V8 as it ends itself
_VERDICTS = {"passed", "assert_failed", "error", "test_error", "inconclusive"}


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended, told by the fork server, and what came from the candidate's process.

    `answer` is what it sent, `printed` what it printed, both cut a little above their limits.
    """

    code: int
    signal: int
    blocked: str
    late: bool
    cancelled: bool
    ms: float
    memory_bytes: int
    answer: bytes
    printed: bytes
    flooded: str = ""


@dataclass(frozen=True, slots=True)
class Expected:
    """A check that can be run, its literal read; the language of the program, and whether it makes
    sets, whose order is not the same in every process."""

    check: Check
    value: object
    language: Language = "python"
    sets: bool = False


# What a run is judged by: a check, or what a script or one of the user's own tests says of itself.
Wanted = Expected | Literal["script", "suite"]


def expected(
    check: Check, language: Language = "python", *, sets: bool = False
) -> Expected | Outcome:
    """Read a check before anything is run; a check that cannot be run is a test's error."""
    try:
        if language == "python":
            ast.parse(f"(\n{check.expression}\n)", mode="eval")
        value = values.literal(check.expected) if check.expected is not None else None
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        return Outcome("test_error", detail=values.cap(str(error)))
    return Expected(check, value, language, sets)


def outcome(report: Report, wanted: Wanted) -> Outcome:
    """Label a run."""
    labelled = _stopped(report) or _answered(report, wanted)
    if wanted == "script":
        shown = report.printed.decode(errors="replace")
        detail = "; ".join(part for part in (labelled.seen, labelled.detail) if part)
        labelled = replace(labelled, seen=shown, detail=detail)
    return replace(labelled, ms=report.ms, memory_bytes=report.memory_bytes)


def _stopped(report: Report) -> Outcome | None:
    """Return the label of a run that was ended from outside, or ended itself early."""
    if report.cancelled and not report.flooded:
        return Outcome("cancelled")
    if report.blocked:
        return Outcome("blocked_syscall", detail=report.blocked)
    if report.flooded:
        return Outcome(report.flooded, detail="more than it may")
    if report.late or report.signal == signal.SIGXCPU:
        return Outcome("timeout", detail="stopped at its time limit")
    if report.signal == signal.SIGABRT and _HEAP_FULL in report.printed:
        return Outcome("memory")
    if report.signal:
        return Outcome("crash", detail=_signal_name(report.signal))
    if not report.answer:
        return Outcome("exited_early", detail=f"it ended with code {report.code} and no value")
    return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _answered(report: Report, wanted: Wanted) -> Outcome:
    """Label what was sent."""
    try:
        answer = json.loads(report.answer)
        if not isinstance(answer, dict) or report.answer.count(b"\n") != 1:
            raise ValueError("not one answer")
        if report.code:
            raise ValueError(f"an answer, and then the exit code {report.code}")
        labelled, touched = _said(answer, wanted), str(answer.get("touched") or "")
        # The user's own tests may look for what they like, and do without.
        return labelled if wanted == "suite" else _unless_touched(labelled, touched)
    except codec.Flood:
        return Outcome("result_flood", detail=_TOO_LARGE)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return Outcome("tampered", detail=values.cap(str(error)))


def _unless_touched(labelled: Outcome, touched: str) -> Outcome:
    """Take no verdict from a program that asked for what the sandbox has not, and went on."""
    if touched and labelled.conclusive:
        return replace(labelled, kind="blocked_access", detail=values.cap(touched))
    return labelled


def _said(answer: dict[str, Any], wanted: Wanted) -> Outcome:
    match answer["kind"]:
        case "value" if wanted == "script":
            return Outcome("passed")
        case "value" if isinstance(wanted, Expected):
            value = values.Value(codec.decode(answer["plain"]), str(answer["type"])[:100])
            return _judged(value, wanted)
        case "raised" if wanted != "suite":
            return _raised(answer, wanted)
        case "flood":
            return Outcome("result_flood", detail=_TOO_LARGE)
        case "suite" if wanted == "suite" and answer["verdict"] in _VERDICTS:
            seen, detail = str(answer["seen"]), str(answer["detail"])
            return Outcome(answer["verdict"], values.cap(seen), values.cap(detail))
    raise ValueError("an answer of no known kind")


def _judged(value: values.Value, wanted: Expected) -> Outcome:
    if value.form == "flood":
        return Outcome("result_flood", detail=_TOO_LARGE)
    seen = values.show(value)
    held = _held(value, wanted)
    reason = ""
    if held is None:
        reason = f"a value of type {value.type_name} cannot be compared outside the sandbox"
    elif not held and wanted.sets and values.reordered(value.plain, wanted.value):
        reason = "the order may be that of a set, which is not always the same"
    if reason:
        return Outcome("inconclusive", seen, reason)
    return Outcome("passed" if held else "assert_failed", seen)


def _held(value: values.Value, wanted: Expected) -> bool | None:
    """Compare; only Python takes true for one and false for zero."""
    held = values.holds(value, wanted.check.relation, wanted.value)
    relation = wanted.check.relation
    if wanted.language == "python" or held is None or relation not in ("eq", "ne"):
        return held
    same = _without_booleans(value.plain) == _without_booleans(wanted.value)
    return same if relation == "eq" else not same


def _without_booleans(value: object) -> object:
    """Return a plain value in which booleans are no numbers."""
    if isinstance(value, bool):
        return f"{value} and no number"
    if isinstance(value, (list, tuple)):
        return [_without_booleans(part) for part in value]
    if isinstance(value, dict):
        return {key: _without_booleans(part) for key, part in value.items()}
    return value


def _raised(answer: dict[str, Any], wanted: Wanted) -> Outcome:
    name, message = str(answer["name"]), str(answer["message"])
    seen = values.cap(f"{name}: {message}" if message else name)
    where = f"line {answer['line']}" if answer.get("line") else ""
    if where and str(answer.get("function") or "<").isidentifier():
        where += f", in {answer['function']}"
    kind, detail = _blame(name, message, answer, wanted)
    return Outcome(kind, seen, values.cap(detail or where))


def _blame(name: str, message: str, answer: dict[str, Any], wanted: Wanted) -> tuple[str, str]:
    """Return the label of an exception, and the reason where it is not the place."""
    if name == "MemoryError":
        return "memory", ""
    if answer.get("touched") or answer.get("errno") in _REFUSALS:
        return "blocked_access", str(answer.get("touched") or "")
    if answer.get("errno") is not None:
        return "inconclusive", "a limit of the sandbox, or something it lacks"
    if name == "ModuleNotFoundError":
        return "inconclusive", f"the sandbox has no module {answer.get('module')}"
    if name == "TclError":
        return "inconclusive", "the sandbox has no screen"
    if name == "ImportError" and "shared object" in message:
        return "inconclusive", "the sandbox has no such library"
    if name == "RuntimeError" and "start new thread" in message:
        return "inconclusive", "more threads than it may have"
    if wanted == "script" and name == "AssertionError" and answer["depth"] == 1:
        return "assert_failed", ""  # its own, not one further in
    unknown = name in ("NameError", "ReferenceError", "SyntaxError") and answer["in_check"]
    return ("test_error" if unknown else "error"), ""


def makes_sets(source: str) -> bool:
    """Say whether a Python program makes sets."""
    try:
        return dialect.uses_sets(ast.parse(source))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False


def asked_modules(source: str, *, installed: bool) -> list[str]:
    """Return the modules that a program imports when it is loaded.

    They are loaded ahead of it by a process that outlives the program, so what does more than
    define things is left out, and what is not the interpreter's own too, unless what is
    `installed` is trusted.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return []
    names = list[str]()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return [name for name in dict.fromkeys(names) if _may_be_loaded(name, installed)]


def _may_be_loaded(name: str, installed: bool) -> bool:
    parts = name.split(".")
    return not _DOING.intersection(parts) and (installed or parts[0] in sys.stdlib_module_names)


# Modules that do something when they are imported, or are programs.
_DOING = frozenset({"antigravity", "this", "idlelib", "turtle", "turtledemo", "__main__"})
