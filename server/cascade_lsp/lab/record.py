"""Record what models write: for each model and problem once, at the largest k and l, row by row.

Everything else in the laboratory is computed from these rows. The prompts are the shipped ones,
asked as the cascade asks them: solutions and tests in one batch that shares the listing's KV cache.
Rows hold raw text and log-probabilities, so that what reads them may change.
"""

import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cascade_lsp import __version__, catalogue, fim, testable, testgen
from cascade_lsp.engine import Engine, EngineOptions, Generated, Priority, Prompt, collect
from cascade_lsp.engine.lease import Lease
from cascade_lsp.engine.local import LocalEngine
from cascade_lsp.lab import rows
from cascade_lsp.lab.problems import Problem
from cascade_lsp.testable import Target

Kind = Literal["body", "line"]
STYLES: Mapping[Kind, Sequence[str]] = {"body": ("chat", "prefix"), "line": ("prefix", "psm")}
FIGURES = 4  # of a log-probability


@dataclass(frozen=True, slots=True)
class Recipe:
    """How much is recorded of a model's own style for bodies: `k` solutions, of which the first is
    greedy, and `tests` samples of five assertions; and how many of each of the other style."""

    k: int = 4
    tests: int = 3
    others: int = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """One batch as it was asked: the solutions' style, and how many of its prompts they are."""

    kind: Kind
    style: str
    solutions: Sequence[Prompt]
    tests: Sequence[Prompt]


def questions(problem: Problem, style: catalogue.Style, recipe: Recipe) -> list[Asked]:
    """Return the batches to ask a model for a problem.

    A model's own style is first. Where a body is missing, solutions and tests by the styles
    "chat" and "prefix"; elsewhere a continuation by the styles "prefix" and "psm", with tests where
    something can be tested.
    """
    context = problem.context
    target = testable.find(context)
    found = target if isinstance(target, Target) else None
    if found is None or not found.stub:
        names = sorted(STYLES["line"], key=lambda name: name != style.line)
        names = names if recipe.others else names[:1]
        lines = [Asked("line", name, [fim.render(context, name)], ()) for name in names]
        if found is None:
            return lines
        return [*lines, Asked("line", "", (), testgen.prompts(found, style.tests, recipe.tests))]
    batches = []
    for name in sorted(STYLES["body"], key=lambda name: name != style.body):
        own = name == style.body
        k, tests = (recipe.k, recipe.tests) if own else (recipe.others, recipe.others)
        if k == 0:
            continue
        batches.append(
            Asked("body", name, fim.solutions(found, name, k), testgen.prompts(found, name, tests))
        )
    return batches


async def record(engine: Engine, model: str, problem: Problem, recipe: Recipe) -> rows.Row:
    """Ask a model everything about a problem; return its row.

    {problem, model, version, machine, batches: [{kind, style, read, cached, ms, reading_ms,
    solutions: [{text, logprobs}], tests: [{text, tokens}]}]}: `read` is the number of prompt
    tokens of the first solution alone, and of the whole batch; times are in milliseconds.
    """
    style = catalogue.load().find(model).style
    batches = [await _ask(engine, asked) for asked in questions(problem, style, recipe)]
    return {
        "problem": problem.id,
        "source": problem.source,
        "model": model,
        "recipe": asdict(recipe),
        "version": __version__,
        "machine": platform.processor() or platform.machine(),
        "batches": batches,
    }


async def _ask(engine: Engine, asked: Asked) -> dict[str, Any]:
    prompts = [*asked.solutions, *asked.tests]
    if not prompts:
        return {"kind": asked.kind, "style": asked.style, "solutions": [], "tests": []}
    # What the first solution's prompt costs alone; the batch then finds it in the cache.
    began = time.perf_counter()
    first = replace(prompts[0], n_predict=1)
    _, alone = await collect(engine.generate([first], priority=Priority.KEYSTROKE), 1)
    read = time.perf_counter()
    stream = engine.generate(prompts, priority=Priority.KEYSTROKE)
    answers, usage = await collect(stream, len(prompts))
    ended = time.perf_counter()
    k = len(asked.solutions)
    return {
        "kind": asked.kind,
        "style": asked.style,
        "read": [alone.prompt_tokens if k else 0, usage.prompt_tokens],
        "cached": alone.cached_tokens,
        "reading_ms": round((read - began) * 1000),
        "ms": round((ended - began) * 1000),
        "solutions": [_solution(answer) for answer in answers[:k]],
        "tests": [{"text": a.text, "tokens": len(a.logprobs)} for a in answers[k:]],
    }


def _solution(answer: Generated) -> dict[str, Any]:
    return {"text": answer.text, "logprobs": [round(x, FIGURES) for x in answer.logprobs]}


# -- many of them -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Task:
    """One row to record."""

    problem: Problem
    model: str


def todo(problems: Iterable[Problem], models: Sequence[str], had: Sequence[rows.Row]) -> list[Task]:
    """Return the rows that are missing, problem by problem, so that any beginning of them can be
    compared by pairs."""
    done = {(row["problem"], row["model"]) for row in had}
    return [
        Task(problem, model)
        for problem in problems
        for model in models
        if (problem.id, model) not in done
    ]


class Engines:
    """The models of one machine, loaded when they are first asked, one computing at a time."""

    def __init__(self, threads: int = 0) -> None:
        self._options = EngineOptions(threads=threads)
        self._lease = Lease()
        self._engines = dict[str, Engine]()

    def of(self, model: str) -> Engine:
        """Return the engine of an installed model; raise ModelError if it is not here."""
        if model not in self._engines:
            path: Path = catalogue.require(catalogue.load().find(model))
            self._engines[model] = LocalEngine(path, self._options, self._lease, keep=True)
        return self._engines[model]

    async def close(self) -> None:
        for engine in self._engines.values():
            await engine.close()
