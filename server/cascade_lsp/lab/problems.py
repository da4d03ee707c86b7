"""Problems: a place in a file to complete, and hidden tests that say whether an answer is right.

One JSON object a line: `{id, prompt, suffix, test, entry_point, language, source}`, and, where it
is known, `solution`. The document is prompt + suffix with the cursor between them; `test` is source
that follows the completed document and fails where the answer is wrong.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

from cascade_lsp.context import Context, gather
from cascade_lsp.errors import UsageError
from cascade_lsp.lab import rows

LEVEL = "    "
_LEAVES = re.compile(r"\s*(return|raise|break|continue|pass)\b")  # its block ends with it

REQUIRED = ("id", "prompt", "suffix", "test", "entry_point", "language", "source")


@dataclass(frozen=True, slots=True)
class Problem:
    """A place to complete; `source` names the set it is from. Problems of one `group` are holes of
    the same function and are drawn together where chance is measured.

    Benchmarks often cut at a line's end. An editor would stand on a line of its own there, indented
    like its block: `lead` and `trail` are the blanks and the line end that it adds, and belong to
    the completion. `extra` is what a model is shown of other files.
    """

    id: str
    prompt: str
    suffix: str
    test: str
    entry_point: str
    language: str
    source: str
    solution: str = ""
    extra: str = ""

    @property
    def group(self) -> str:
        return self.id.split("#", 1)[0]

    @property
    def lead(self) -> str:
        if not self.prompt.endswith("\n"):
            return ""
        last = self.prompt.rstrip().rsplit("\n", 1)[-1]
        blanks = last[: len(last) - len(last.lstrip())]
        if last.endswith((":", "{", "(", "[")):
            return blanks + LEVEL
        return blanks.removesuffix(LEVEL) if _LEAVES.match(last) else blanks

    @property
    def trail(self) -> str:
        inside = self.suffix and not self.suffix.startswith("\n")
        return "\n" if self.prompt.endswith("\n") and inside else ""

    @property
    def context(self) -> Context:
        """Return what the cascade sees of it: never the test, never the solution."""
        before = self.prompt + self.lead
        return gather(
            before + self.trail + self.suffix,
            len(before),
            uri=f"lab:{self.id}",
            language=self.language,
            extra=self.extra,
        )

    def completion(self, answer: str) -> str:
        """Return an answer at the cursor as what belongs between prompt and suffix."""
        return self.lead + answer + self.trail

    def program(self, completion: str) -> str:
        """Return the document with a completion in it, and the hidden tests behind it; a
        `check(candidate)` that they only define is called."""
        test = self.test
        if re.search(r"^def check\(", test, re.M) and not re.search(r"^check\(", test, re.M):
            test = f"{test}\ncheck({self.entry_point})"
        return f"{self.prompt}{completion}{self.suffix}\n{test}\n"


def load(paths: Sequence[Path]) -> list[Problem]:
    """Read problem files; raise UsageError where a row is not a problem or an id comes twice."""
    found = dict[str, Problem]()
    for path in paths:
        for row in rows.read(path):
            problem = _problem(row, path)
            if problem.id in found:
                raise UsageError(f"{path}: the problem {problem.id!r} is there twice. Rename one.")
            found[problem.id] = problem
    return list(found.values())


def _problem(row: rows.Row, path: Path) -> Problem:
    texts = {name: row.get(name) for name in REQUIRED}
    if missing := [name for name, text in texts.items() if not isinstance(text, str)]:
        raise UsageError(
            f"{path}: the problem {row.get('id', '?')!r} lacks {', '.join(missing)}. "
            f"A problem has {', '.join(REQUIRED)}, all of them texts."
        )
    return Problem(**texts, solution=str(row.get("solution", "")))  # type: ignore[arg-type]


def shipped(name: str) -> list[Problem]:
    """Return the project's own problems: "functions" or "holes"."""
    file = resources.files("cascade_lsp.models").joinpath("problems", f"{name}.jsonl")
    with resources.as_file(file) as path:
        return load([path])


def save(problems: Iterator[Problem], path: Path) -> int:
    """Write problems as JSON Lines, and return how many there were."""
    path.unlink(missing_ok=True)
    n = 0
    with rows.Rows(path) as out:
        for problem in problems:
            out.add(asdict(problem))
            n += 1
    return n
