"""The keystroke on real holes: what one tier continues there, against what was written there.

Files hold rows `{prefix, middle, suffix}` (edits of repositories) or those of the infilling
benchmarks, whose hidden tests are run in the sandbox. A row asks for the draft that an editor would
get: the shipped prompt, stops and filters. Rows hold figures and no text.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from cascade_lsp import confidence, filters, fim
from cascade_lsp.engine import Usage, collect
from cascade_lsp.errors import UsageError
from cascade_lsp.lab import adapters, execute, rows
from cascade_lsp.lab.problems import Problem
from cascade_lsp.languages import RUNS_AS
from cascade_lsp.sandbox import Sandbox
from cascade_lsp.turn import Tier

LANGUAGES = {".py": "python", ".js": "javascript", ".ts": "typescript", ".go": "go", ".rs": "rust"}
OTHERS = " with other files"
# The filters whose own contribution is measured, each by leaving it out.
ABLATED = (
    "fences",
    "prose",
    "indentation",
    "block",
    "following",
    "previous",
    "repetition",
    "overlap",
    "last_line",
    "veto",
)


def holes(path: Path, *, everything: bool = False, others: bool = False) -> Iterator[Problem]:
    """Yield the places of a file; of edits only those of code, not of tests or documentation,
    unless `everything` is asked for. With `others` what a row has of other files is shown to the
    model, as a set of its own. Raise UsageError where a row is of no known form."""
    for number, row in enumerate(rows.read(path), start=1):
        if "middle" in row:
            code = row.get("kind", "code") == "code"
            if everything or (code and not row.get("is_test") and not row.get("is_docs")):
                yield _edit(row, f"{path.name}:{number}", path)
        elif "groundtruth" in row:
            yield _line(row, f"{path.name}:{number}", path, others=others)
        elif "canonical_solution" in row:
            form = adapters.santacoder if "tests" in row else adapters.infilling
            if problem := form(row):
                yield problem
        else:
            raise UsageError(
                f"{path}:{number} is no hole: it has neither prefix, middle and suffix nor the "
                "fields of an infilling benchmark."
            )


def _edit(row: rows.Row, name: str, path: Path) -> Problem:
    """Return an edit as a place: the cursor stands where its first line is indented to."""
    middle = row["middle"]
    blanks = middle[: len(middle) - len(middle.lstrip(" \t"))]
    language = LANGUAGES.get(Path(row.get("path", "a.py")).suffix, "plaintext")
    return Problem(
        id=f"{row.get('commit', name)}#{row.get('id', name)}",
        prompt=row["prefix"] + blanks,
        suffix=row["suffix"],
        test="",
        entry_point="",
        language=language,
        source=path.name.split(".")[0],
        solution=middle[len(blanks) :],
    )


def _line(row: rows.Row, name: str, path: Path, *, others: bool) -> Problem:
    """Return a place that wants what other files of its repository define."""
    known = row.get("metadata", {})
    shown = row["crossfile_context"]["text"] if others else ""
    mark = OTHERS if others else ""
    return Problem(
        id=f"{known.get('repository', name)}#{name}{mark}",
        prompt=row["prompt"],
        suffix=row["right_context"],
        test="",
        entry_point="",
        language="python",
        source=path.name.split(".")[0] + mark,
        solution=row["groundtruth"],
        extra=shown,
    )


@dataclass(frozen=True, slots=True)
class Match:
    """How near an answer is to what was written: the whole of it, its first line, the similarity of
    both texts in [0, 1], and the characters at its beginning that are the same."""

    exact: bool
    first_line: bool
    similarity: float
    saved: int


def match(answer: str, truth: str) -> Match:
    """Compare an answer with the truth, blanks at line ends aside."""
    ours, theirs = _plain(answer), _plain(truth)
    same = next(
        (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
        min(len(ours), len(theirs)),
    )
    return Match(
        exact=ours == theirs,
        first_line=bool(ours) and ours.split("\n")[0] == theirs.split("\n")[0],
        similarity=round(SequenceMatcher(None, ours, theirs, autojunk=False).ratio(), 4),
        saved=same,
    )


def _plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().split("\n"))


async def ask(tier: Tier, problem: Problem, sandbox: Sandbox | None) -> rows.Row:
    """Ask a tier to continue at a place; return its row.

    {hole, group, source, language, tier, model, chars, exact, first_line, similarity, saved, empty,
    vetoed, right, features, read, cached, written, ms, without}: `right` is what the hidden tests
    say, None where there are none; `without` how it matches with each filter left out, where that
    changes the text.
    """
    context = problem.context
    facts = await tier.engine.start()
    prompt = fim.render(context, tier.line, facts.write_per_s)
    began = time.perf_counter()
    (written,), usage = await collect(tier.engine.generate([prompt]), 1)
    ms = (time.perf_counter() - began) * 1000
    at_limit = len(written.logprobs) >= prompt.n_predict

    def filtered() -> tuple[str, str]:
        text = filters.clean(written.text, context)
        return text, filters.whole(text, context, cut=at_limit)

    cleaned, answer = filtered()
    truth = problem.solution[len(problem.lead) :] if problem.lead else problem.solution
    found = match(answer, truth)
    without = dict[str, Any]()
    for name in ABLATED:
        with _left_out(name):
            other = filtered()[1]
        if other != answer:
            without[name] = {
                "exact": match(other, truth).exact,
                "first_line": match(other, truth).first_line,
                "right": await _is_right(problem, other, sandbox),
            }
    return {
        "hole": problem.id,
        "group": problem.group,
        "source": problem.source,
        "language": problem.language,
        "tier": tier.name,
        "model": tier.model,
        "chars": len(_plain(truth)),
        "exact": found.exact,
        "first_line": found.first_line,
        "similarity": found.similarity,
        "saved": found.saved,
        "empty": not answer.strip(),
        "vetoed": answer != cleaned,
        "right": await _is_right(problem, answer, sandbox),
        "features": {k: round(v, 4) for k, v in confidence.features(written.logprobs).items()},
        **_cost(usage, ms),
        "without": without,
    }


def _cost(usage: Usage, ms: float) -> rows.Row:
    return {
        "read": usage.prompt_tokens,
        "cached": usage.cached_tokens,
        "written": usage.new_tokens,
        "ms": round(ms),
    }


async def _is_right(problem: Problem, answer: str, sandbox: Sandbox | None) -> bool | None:
    if not problem.test or sandbox is None:
        return None
    program = problem.program(problem.completion(answer))
    language = RUNS_AS.get(problem.language, "python")
    outcome = await sandbox.run_script(program, execute.HIDDEN, language=language)
    return outcome.kind == "passed"


@contextmanager
def _left_out(name: str) -> Iterator[None]:
    """Let one filter pass everything for a while."""
    kept: Callable[..., str] = getattr(filters, name)
    setattr(filters, name, lambda text, *_: text)
    try:
        yield
    finally:
        setattr(filters, name, kept)


async def record(
    tier: Tier, problems: Sequence[Problem], had: Sequence[Mapping[str, Any]]
) -> AsyncIterator[rows.Row]:
    """Yield the rows of places that are not among those one has."""
    done = {(row["hole"], row["model"]) for row in had}
    async with execute.opened() as sandbox:
        for problem in problems:
            if (problem.id, tier.model) not in done:
                yield await ask(tier, problem, sandbox)
