"""The shipped cascade, live, over a problem file; and what the hidden tests say of its answers.

A row a problem: `{problem, plan, completion, record}`, the record being the ledger's. The problem's
test is never shown to the cascade; `judge` runs it afterwards.
"""

import dataclasses
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from statistics import median
from typing import Any

from cascade_lsp.assembly import make_cascade
from cascade_lsp.cascade import Cascade
from cascade_lsp.lab import execute, rows
from cascade_lsp.lab.problems import Problem
from cascade_lsp.languages import RUNS_AS
from cascade_lsp.ledger import Record
from cascade_lsp.settings import Settings


async def run(problems: Sequence[Problem], plan: str | None) -> AsyncIterator[rows.Row]:
    """Yield the cascade's answer to each problem, with its decision and usage."""
    cascade = make_cascade(Settings())
    try:
        await cascade.load()
        for problem in problems:
            yield await answer(cascade, problem, plan)
    finally:
        await cascade.close()


async def answer(cascade: Cascade, problem: Problem, plan: str | None) -> rows.Row:
    """Return one problem's row."""
    began = time.perf_counter()
    record = await cascade.complete(problem.context, trigger="lab", plan=plan)
    return {
        "problem": problem.id,
        "source": problem.source,
        "group": problem.group,
        "plan": record.plan,
        "completion": problem.completion(record.answer.text),
        "seconds": round(time.perf_counter() - began, 2),
        "escalated": len(record.attempts) > 1,
        "chosen": record.chosen,
        "untestable": record.untestable,
        "attempts": [_attempt(record, i) for i in range(len(record.attempts))],
    }


def _attempt(record: Record, i: int) -> dict[str, Any]:
    attempt = record.attempts[i]
    return {
        "tier": attempt.tier,
        "model": attempt.model,
        "text": attempt.text,
        "evidence": dataclasses.asdict(attempt.evidence),
        "decision": dataclasses.asdict(attempt.decision),
        "usage": dataclasses.asdict(attempt.usage),
        "tests": [
            {"text": t.text, "origin": t.origin, "outcome": t.outcome} for t in attempt.tests
        ],
    }


async def judge(
    answers: Sequence[rows.Row], problems: Mapping[str, Problem]
) -> AsyncIterator[rows.Row]:
    """Yield what the hidden tests say of each answer: `{problem, plan, kind, right}`."""
    async with execute.opened() as sandbox:
        for row in answers:
            problem = problems[row["problem"]]
            outcome = await sandbox.run_script(
                problem.program(row["completion"]),
                execute.HIDDEN,
                language=RUNS_AS.get(problem.language, "python"),
            )
            yield {
                "problem": problem.id,
                "plan": row["plan"],
                "kind": outcome.kind,
                "right": outcome.kind == "passed",
            }


def summary(answers: Sequence[rows.Row], verdicts: Sequence[rows.Row]) -> list[dict[str, Any]]:
    """Return by set, and of all, how many answers are right, escalated, and how long they took."""
    right = {row["problem"]: row["right"] for row in verdicts}
    sets: dict[str, list[rows.Row]] = {}
    for row in answers:
        sets.setdefault(row["source"], []).append(row)
    parts = [*sets.items(), *([("all", list(answers))] if len(sets) > 1 else [])]
    return [
        {
            "set": name,
            "problems": len(part),
            "right": (n := sum(right[row["problem"]] for row in part)),
            "share": n / len(part),
            "escalated": sum(row["escalated"] for row in part) / len(part),
            "median_s": median(row["seconds"] for row in part),
        }
        for name, part in parts
    ]
