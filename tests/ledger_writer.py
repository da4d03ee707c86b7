"""A process that writes decisions until it is stopped, saying which ones are safely kept.

    python -m tests.ledger_writer LEDGER PREFIX COUNT

prints `ready`, then each id once `Ledger.record` has returned.
"""

import sys
from pathlib import Path

from cascade_lsp.engine import Usage
from cascade_lsp.ledger import Attempt, Ledger, LedgerOptions, Record, TestRun
from cascade_lsp.policy import Evidence, Policy, decide


def a_record(decision: str, created: float = 1_700_000_000.0) -> Record:
    """Return a decision of a realistic size, told from others by its id alone."""
    return Record(
        id=decision,
        created=created,
        uri="file:///home/ada/project/stats.py",
        language="python",
        line=11,
        column=4,
        trigger="automatic",
        plan="balanced",
        function="median",
        untestable="",
        attempts=(an_attempt("small", passed=2), an_attempt("large", passed=6)),
        chosen=1,
        ms=2417.5,
    )


def an_attempt(tier: str, passed: int) -> Attempt:
    """Return a tier's turn with six self-written tests, the first `passed` of which pass."""
    evidence = Evidence("ran", n_tests=6, n_s=passed, n_t=1, confidence=0.83)
    return Attempt(
        tier=tier,
        model=f"{tier}-coder-q4",
        text="    ordered = sorted(values)\n    return ordered[len(ordered) // 2]\n",
        tests=tuple(_a_test(n, tier, passes=n < passed) for n in range(6)),
        dropped={"calls another function": 2, "tautology": 1},
        features={"p_first3": 0.83, "tokens": 24.0},
        evidence=evidence,
        policy=Policy(),
        decision=decide(evidence, Policy()),
        usage=Usage(312, 280, 118, 940.0, 312.5),
    )


def _a_test(n: int, tier: str, passes: bool) -> TestRun:
    text = f"assert median([1, 2, 3, {n}]) == {n}"
    outcome, seen = ("passed", str(n)) if passes else ("assert_failed", str(n + 1))
    return TestRun(text, tier, False, True, outcome, seen, "", 0.4)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(path: str, prefix: str, count: str) -> None:
    """Write `count` decisions, each first unchecked and then completed."""
    _say("ready")
    ledger = Ledger.open(Path(path), LedgerOptions(source_text=True))
    for n in range(int(count)):
        record = a_record(f"{prefix}-{n}")
        ledger.record(record)
        ledger.event(record.id, "shown")
        ledger.record(record)
        _say(record.id)


if __name__ == "__main__":
    main(*sys.argv[1:])
