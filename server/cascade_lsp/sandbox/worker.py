"""The process between the server and the interpreter that runs generated code.

Run as `python -m cascade_lsp.sandbox.worker`: one job per line in, one outcome per line out.
Monty runs the code in a process of its own, the child of this one; here its answers are decoded,
compared and labelled, because what generated code returns can be large enough to end the process
that decodes it. This process may die at any moment: the server starts another. It keeps nothing
from one job to the next.
"""

import os
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, TextIO

import pydantic_monty as monty

from cascade_lsp.sandbox import Check, Limits, Outcome, dialect, labels, values
from cascade_lsp.sandbox.wire import READY, Job, decode_job, encode

JOBS_PER_PROCESS = 500
GRACE_S = 0.25  # beyond a time limit monty gets this before its process is killed
ADDRESS_SPACE_BYTES = 4 * 1024**3


@dataclass(slots=True)
class Printed:
    """Collect what a program prints, and end it when it prints more than the limit."""

    limit: int
    text: str = ""
    flooded: bool = False

    def __call__(self, stream: str, text: str) -> None:
        room = self.limit - len(self.text)
        self.text += text[:room]
        if len(text) > room:
            self.flooded = True
            raise BufferError("the program printed more than it may")


def main() -> None:
    """Answer jobs until standard input ends."""
    answers = _answers()
    _confine()
    with monty.Monty(
        max_processes=1,
        max_checkouts_per_worker=JOBS_PER_PROCESS,
        feed_duration_limit_grace=GRACE_S,
    ) as pool:
        print(READY, file=answers, flush=True)
        for line in sys.stdin:
            print(encode(run(pool, decode_job(line))), file=answers, flush=True)


def run(pool: monty.Monty, job: Job) -> Outcome:
    """Run one job in a fresh session and label what was seen."""
    began = time.perf_counter()
    try:
        source = dialect.read(job.source)
        outcome = _check(pool, job, source, job.check) if job.check else _script(pool, job, source)
    except dialect.NotPython as error:
        outcome = Outcome("error", values.cap(str(error)))
    return replace(outcome, ms=(time.perf_counter() - began) * 1000)


def _check(pool: monty.Monty, job: Job, source: dialect.Code, check: Check) -> Outcome:
    try:
        expression = dialect.read(check.expression, "eval")
        expected = values.literal(check.expected) if check.expected is not None else None
    except (dialect.NotPython, ValueError) as error:
        return Outcome("test_error", detail=values.cap(str(error)))
    call = f"{dialect.TYPED}(({expression.text}\n))"
    printed = Printed(job.limits.output_bytes)
    try:
        answer = _feed(pool, job, printed, source.text, call)
    except monty.MontyError as error:
        return _ended(error, printed, source, expression)
    return _judge(answer, check, expected, source.sets)


def _script(pool: monty.Monty, job: Job, source: dialect.Code) -> Outcome:
    printed = Printed(job.limits.output_bytes)
    try:
        _feed(pool, job, printed, source.text)
    except monty.MontyError as error:
        outcome = _ended(error, printed, source, None)
        detail = "; ".join(part for part in (outcome.seen, outcome.detail) if part)
        return replace(outcome, seen=printed.text, detail=detail)
    return Outcome("passed", printed.text)


def _feed(pool: monty.Monty, job: Job, printed: Printed, *texts: str) -> Any:
    """Feed a fresh session and return the value of the last text."""
    value = None
    with _session(pool, job.limits, job.seed) as session:
        for text in (dialect.PRELUDE, *texts):
            value = session.feed_run(text, print_callback=printed)
    return value


def _session(
    pool: monty.Monty, limits: Limits, seed: int
) -> AbstractContextManager[monty.MontySession]:
    return pool.checkout(
        limits={
            "max_feed_duration_secs": limits.time_s,
            "max_memory": limits.memory_bytes,
            "max_total_sleep_secs": limits.sleep_s,
        },
        os_policy={"random_start": {"seed": seed}},
        assert_message_annotations=False,
    )


def _judge(answer: object, check: Check, expected: object, sets: bool) -> Outcome:
    """Compare, outside, the value that came back with its type."""
    match answer:
        case [plain, kind]:
            value = values.Value(plain, _type_name(kind))
        case _:
            return Outcome("inconclusive", detail="the program replaced the sandbox's own names")
    if value.form == "flood":
        return Outcome("result_flood", detail="the value is too large or too deep to compare")
    seen, reason = values.show(value), ""
    held = values.holds(value, check.relation, expected)
    if held is None:
        reason = f"a value of type {value.type_name} cannot be compared outside the sandbox"
    elif not held and sets and values.reordered(plain, expected):
        reason = "the order may be that of a set, which differs from CPython's"
    if reason:
        return Outcome("inconclusive", seen, reason)
    return Outcome("passed" if held else "assert_failed", seen)


def _type_name(kind: object) -> str:
    match kind:
        case type():
            return kind.__name__
        case monty.MontyStdTypeProxy() | monty.MontyClassTypeProxy():
            return kind.name
    return ""


def _ended(
    error: monty.MontyError, printed: Printed, source: dialect.Code, check: dialect.Code | None
) -> Outcome:
    """Label a run that did not come to its end."""
    match error:
        case monty.MontyCrashedError(timed_out=True):
            return Outcome("timeout", detail="killed: it did not stop at its time limit")
        case monty.MontyCrashedError():
            return Outcome("sandbox_lost", detail=values.cap(str(error)))
        case _ if printed.flooded:
            return Outcome("output_flood", detail=f"more than {printed.limit} characters printed")
        case monty.MontySyntaxError():
            return Outcome("inconclusive", detail=values.cap(f"monty cannot parse it: {error}"))
        case monty.MontyRuntimeError():
            return labels.label(_raised(error), source, check)
    return Outcome("inconclusive", detail=values.cap(str(error)))


def _raised(error: monty.MontyRuntimeError) -> labels.Raised:
    exception = error.exception()
    places = [
        labels.Place(frame.filename, frame.line, frame.function_name or "", frame.source_line or "")
        for frame in error.traceback()
    ]
    return labels.Raised(type(exception).__name__, str(exception), places)


def _answers() -> TextIO:
    """Keep standard output for answers alone: nothing that prints by itself may reach it."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.close(silence)
    return answers


def _confine() -> None:
    """Bound this process and, by inheritance, the interpreter's."""
    if sys.platform == "win32":
        return
    import resource

    bounds = {
        resource.RLIMIT_AS: ADDRESS_SPACE_BYTES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    for kind, bound in bounds.items():
        _, hard = resource.getrlimit(kind)
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(kind, (bound, bound))


if __name__ == "__main__":
    main()
