"""What a run shows, from how it ended and what was sent, where no real run shows it surely."""

import json
import signal
from dataclasses import replace

import pytest

from cascade_lsp.sandbox import Check, Outcome
from cascade_lsp.sandbox.verdict import Expected, Report, asked_modules, expected, outcome

FIVE = Expected(Check("f()", "eq", "5"), 5)
VALUE = json.dumps({"kind": "value", "type": "int", "plain": 5}).encode() + b"\n"
ENDED = Report(0, 0, "", False, False, 1.5, 4096, VALUE, b"")


def test_a_value_is_compared_and_time_and_memory_are_told() -> None:
    assert outcome(ENDED, FIVE) == Outcome("passed", "5", ms=1.5, memory_bytes=4096)


@pytest.mark.parametrize(
    ("change", "kind", "detail"),
    [
        ({"late": True, "signal": 9}, "timeout", "stopped at its time limit"),
        ({"signal": int(signal.SIGXCPU)}, "timeout", "stopped at its time limit"),
        ({"signal": int(signal.SIGSEGV)}, "crash", "SIGSEGV"),
        ({"signal": 9}, "crash", "SIGKILL"),
        ({"signal": 64}, "crash", "SIGRTMAX"),
        ({"blocked": "socket", "signal": 9}, "blocked_syscall", "socket"),
        ({"cancelled": True, "signal": 9}, "cancelled", ""),
        ({"flooded": "output_flood", "cancelled": True}, "output_flood", "more than it may"),
        ({"answer": b""}, "exited_early", "it ended with code 0 and no value"),
        ({"code": 1}, "tampered", "an answer, and then the exit code 1"),
        ({"answer": VALUE + b"x"}, "tampered", ""),
        ({"answer": VALUE.strip()}, "tampered", "not one answer"),
    ],
)  # fmt: skip
def test_a_run_that_was_ended_or_lied_is_no_verdict_whatever_it_sent(
    change: dict[str, object], kind: str, detail: str
) -> None:
    labelled = outcome(replace(ENDED, **change), FIVE)  # type: ignore[arg-type]
    assert labelled.kind == kind
    assert not labelled.conclusive
    assert labelled.detail.startswith(detail)


@pytest.mark.parametrize(
    ("name", "message", "more", "kind"),
    [
        ("OSError", "[Errno 28] No space left", {"errno": 28}, "inconclusive"),
        ("PermissionError", "", {"errno": 13}, "blocked_access"),
        ("TclError", "no display name", {}, "inconclusive"),
        ("RuntimeError", "can't start new thread", {}, "inconclusive"),
        ("ImportError", "libX.so: cannot open shared object file", {}, "inconclusive"),
        ("NameError", "name 'g' is not defined", {"in_check": True}, "test_error"),
        ("NameError", "name 'g' is not defined", {}, "error"),
        ("ValueError", "", {"touched": "/etc/passwd"}, "blocked_access"),
        ("ValueError", "", {}, "error"),
    ],
)
def test_an_exception_speaks_against_a_candidate_only_if_it_is_its_own(
    name: str, message: str, more: dict[str, object], kind: str
) -> None:
    told = {"kind": "raised", "name": name, "message": message, "in_check": False, "depth": 1}
    answer = json.dumps(told | more).encode() + b"\n"
    assert outcome(replace(ENDED, answer=answer), FIVE).kind == kind


def test_only_one_of_the_users_own_tests_gives_a_verdict_of_itself() -> None:
    told = {"kind": "suite", "verdict": "passed", "seen": "", "detail": ""}
    report = replace(ENDED, answer=json.dumps(told).encode() + b"\n")
    assert outcome(report, "suite").kind == "passed"
    assert outcome(report, FIVE).kind == outcome(report, "script").kind == "tampered"
    assert outcome(ENDED, "suite").kind == "tampered"


def test_true_is_one_in_python_alone() -> None:
    answer = json.dumps({"kind": "value", "type": "boolean", "plain": True}).encode() + b"\n"
    report = replace(ENDED, answer=answer)
    for language, kind in (("python", "passed"), ("javascript", "assert_failed")):
        wanted = expected(Check("f()", "eq", "1"), language)  # type: ignore[arg-type]
        assert isinstance(wanted, Expected)
        labelled = outcome(replace(report, answer=answer.replace(b"boolean", b"bool")), wanted)
        assert labelled.kind == kind


def test_modules_are_loaded_ahead_only_where_they_may_be() -> None:
    source = "import numpy, json\nfrom os import path\nfrom . import x\n"
    source += "import this, unittest.__main__\n"
    assert asked_modules(f"{source}def f():\n import re", installed=False) == ["json", "os"]
    assert asked_modules(source, installed=True) == ["numpy", "json", "os"]
    assert asked_modules("def f(:", installed=True) == []
