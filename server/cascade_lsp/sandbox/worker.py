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
class Watch:
    """What a program does besides computing: what it prints, what it asks of the system.

    More text than the limit ends it; every call to the system is refused and remembered.
    """

    limit: int
    text: str = ""
    flooded: bool = False
    refused: str = ""

    def printed(self, stream: str, text: str) -> None:
        """Keep printed text up to the limit."""
        room = self.limit - len(self.text)
        self.text += text[:room]
        if len(text) > room:
            self.flooded = True
            raise BufferError("the program printed more than it may")

    def called(self, *, name: str, **_arguments: object) -> object:
        """Refuse a call to the system by leaving it to monty, which has none."""
        self.refused = name
        return monty.NOT_HANDLED


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
    watch = Watch(job.limits.output_bytes)
    try:
        # Monty numbers what it is fed, but for empty texts; labels go by these numbers.
        answer = _feed(pool, job, watch, f"{source.text}\npass", call)
    except monty.MontyError as error:
        return _unless_refused(_ended(error, watch, source, expression), watch)
    return _unless_refused(_judge(answer, check, expected, source.sets), watch)


def _script(pool: monty.Monty, job: Job, source: dialect.Code) -> Outcome:
    watch = Watch(job.limits.output_bytes)
    try:
        _feed(pool, job, watch, source.text)
    except monty.MontyError as error:
        outcome = _unless_refused(_ended(error, watch, source, None), watch)
        detail = "; ".join(part for part in (outcome.seen, outcome.detail) if part)
        return replace(outcome, seen=watch.text, detail=detail)
    return _unless_refused(Outcome("passed", watch.text), watch)


def _feed(pool: monty.Monty, job: Job, watch: Watch, *texts: str) -> Any:
    """Feed a fresh session and return the value of the last text."""
    value = None
    with _session(pool, job.limits, job.seed) as session:
        for text in (dialect.PRELUDE, *texts):
            value = session.feed_run(text, print_callback=watch.printed, os=watch.called)
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


def _unless_refused(outcome: Outcome, watch: Watch) -> Outcome:
    """Take no verdict from a program that was refused something, even if it went on."""
    if not (watch.refused and outcome.conclusive):
        return outcome
    return replace(outcome, kind="blocked_access", detail=f"{watch.refused} was refused")


def _ended(
    error: monty.MontyError, watch: Watch, source: dialect.Code, check: dialect.Code | None
) -> Outcome:
    """Label a run that did not come to its end."""
    match error:
        case monty.MontyCrashedError(timed_out=True):
            return Outcome("timeout", detail="killed: it did not stop at its time limit")
        case monty.MontyCrashedError():
            return Outcome("sandbox_lost", detail=values.cap(str(error)))
        case _ if watch.flooded:
            return Outcome("output_flood", detail=f"more than {watch.limit} characters printed")
        case monty.MontySyntaxError():
            return Outcome("inconclusive", detail=values.cap(f"monty cannot parse it: {error}"))
        case monty.MontyRuntimeError():
            return labels.label(_raised(error), source, check)
    return Outcome("inconclusive", detail=values.cap(str(error)))


def _raised(error: monty.MontyRuntimeError) -> labels.Raised:
    exception = error.exception()
    places = [
        labels.Place(
            frame.filename,
            frame.line,
            frame.column,
            frame.function_name or "",
            frame.source_line or "",
        )
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
