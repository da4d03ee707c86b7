"""Run generated code in an isolated, throw-away process and say what was seen.

The seam: a program and checks in, `Outcome`s out. Expected values never enter the sandbox: the
child only returns what an expression evaluated to and the comparison is made outside ("value
mode"), so a candidate cannot forge a verdict. Where isolation is missing nothing runs at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

Relation = Literal["eq", "ne", "is", "truthy", "falsy"]
Language = Literal["python", "javascript", "typescript"]
Tier = Literal["native", "native_without_namespaces", "portable", "none"]


@dataclass(frozen=True, slots=True)
class Check:
    """One expression to evaluate inside, and what must hold of its value outside.

    `expected` is a Python literal as source text, whatever the program's language (needed by eq,
    ne, is). `strong` says that the comparison is made outside; a weak check is a whole condition
    evaluated inside.
    """

    expression: str
    relation: Relation = "truthy"
    expected: str | None = None
    strong: bool = True


@dataclass(frozen=True, slots=True)
class Limits:
    """What one check may use: seconds of execution, bytes of heap, seconds of sleep, printed bytes.

    `time_s` bounds loading the program and evaluating the expression, each by itself.
    """

    time_s: float = 1.0
    memory_bytes: int = 256 * 1024 * 1024
    sleep_s: float = 0.05
    output_bytes: int = 64 * 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run showed.

    `kind` is a label of docs/sandbox.md: passed, assert_failed, error, test_error, timeout,
    memory, blocked_syscall, blocked_access, crash, exited_early, output_flood, result_flood,
    tampered, inconclusive, cancelled, sandbox_lost. Only passed, assert_failed and error say
    something about the candidate. `seen` is the value, or the exception, as capped text (of a
    whole script: what it printed). `detail` is the reason for the label: where the exception was
    raised, the name of the blocked call or of the signal. `ms` is the time the run took,
    `memory_bytes` the most memory the process held, 0 where that is not known.
    """

    kind: str
    seen: str = ""
    detail: str = ""
    ms: float = 0.0
    memory_bytes: int = 0

    @property
    def conclusive(self) -> bool:
        """Say whether this outcome is evidence about the candidate."""
        return self.kind in {"passed", "assert_failed", "error"}


@dataclass(frozen=True, slots=True)
class Suite:
    """The user's own tests to run against a candidate.

    `module` is the dotted name by which the tests import the document, `source` the whole
    document with the candidate in it: it stands in for the file on disk. `tests` are
    (path relative to the project's root, name) pairs; a name is `test_f` or `TestCase.test_f`.
    """

    module: str
    source: str
    tests: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Project:
    """What of a trusted project the sandbox may read, always read-only.

    `python` is the interpreter of its environment, None for our own. With `sources` its files
    are readable, but for secrets and version control, and its own tests can be run.
    """

    root: Path
    python: Path | None = None
    sources: bool = False


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """Whether, and within which limits, generated code is run."""

    execution: Literal["auto", "native", "portable", "off"] = field(
        default="auto",
        metadata={
            "help": "auto: the strongest sandbox this machine has; native: the kernel's isolation "
            "(Linux), or nothing; portable: the interpreter sandbox; off: nothing is ever executed "
            "and answers stay unverified.",
            "guarded": True,
        },
    )
    project: Literal["none", "packages", "sources"] = field(
        default="none",
        metadata={
            "help": "What of the project tests may read in the native sandbox: nothing; the "
            "packages installed in its environment, run by its own interpreter; or its sources as "
            "well, so that its own tests count as evidence. For projects that you trust.",
            "guarded": True,
        },
    )
    time_s: float = field(
        default=1.0, metadata={"help": "Seconds one test may run.", "least": 0.1, "guarded": True}
    )
    memory_mb: int = field(
        default=256,
        metadata={"help": "Megabytes of heap one test may use.", "least": 16, "guarded": True},
    )


@dataclass(frozen=True, slots=True)
class Status:
    """Which tier runs generated code here, in which languages, and why; with tier "none" nothing
    is ever run."""

    tier: Tier
    reason: str
    languages: tuple[Language, ...] = ("python",)


class Sandbox(Protocol):
    """Something that runs programs in isolation."""

    async def run(
        self,
        source: str,
        checks: Sequence[Check],
        limits: Limits,
        *,
        seed: int = 0,
        language: Language = "python",
    ) -> list[Outcome]:
        """Run each check against `source` in a fresh session; one outcome per check, in order.

        `seed` starts the program's random numbers. Cancelling ends the run at once. A language
        that is not of `Status.languages` is inconclusive.
        """
        ...

    async def run_script(
        self, source: str, limits: Limits, *, seed: int = 0, language: Language = "python"
    ) -> Outcome:
        """Run one whole program: passed if it ends normally, assert_failed if its own
        top-level assert does not hold."""
        ...

    async def run_suite(self, suite: Suite, limits: Limits) -> list[Outcome]:
        """Run the user's own tests; one outcome per test, in order, each in a fresh process.

        Inconclusive where the tier cannot read the project's sources.
        """
        ...

    async def status(self) -> Status:
        """Start the sandbox if need be, try it, and say whether it holds."""
        ...

    async def close(self) -> None:
        """End the sandbox's processes."""
        ...


def make_sandbox(options: SandboxOptions, project: Project | None = None) -> Sandbox | None:
    """Return the strongest sandbox there is, not started yet; None where execution is off.

    `project` is what of a trusted project may be read; tiers that cannot read it do without.
    """
    # Imported here because the implementations build on the values above.
    from cascade_lsp.sandbox.tiers import TieredSandbox

    return None if options.execution == "off" else TieredSandbox(options.execution, project)
