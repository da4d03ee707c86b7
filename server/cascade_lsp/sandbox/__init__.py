"""Run generated code in an isolated, throw-away process and say what was seen.

The seam: a program and checks in, `Outcome`s out. Expected values never enter the sandbox: the
child only returns what an expression evaluated to and the comparison is made outside ("value
mode"), so a candidate cannot forge a verdict. Where isolation is missing nothing runs at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Relation = Literal["eq", "ne", "is", "truthy", "falsy"]


@dataclass(frozen=True, slots=True)
class Check:
    """One expression to evaluate inside, and what must hold of its value outside.

    `expected` is a Python literal as source text (needed by eq, ne, is). `strong` says that the
    comparison is made outside; a weak check is a whole condition evaluated inside.
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
    memory, blocked_access, output_flood, result_flood, inconclusive, cancelled, sandbox_lost.
    Only passed, assert_failed and error say something about the candidate. `seen` is the value,
    or the exception, as capped text (of a whole script: what it printed). `detail` is the reason
    for the label, or where the exception was raised. `ms` is the time the run took.
    """

    kind: str
    seen: str = ""
    detail: str = ""
    ms: float = 0.0

    @property
    def conclusive(self) -> bool:
        """Say whether this outcome is evidence about the candidate."""
        return self.kind in {"passed", "assert_failed", "error"}


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """Whether, and within which limits, generated code is run."""

    execution: Literal["auto", "portable", "off"] = field(
        default="auto",
        metadata={
            "help": "auto: the strongest sandbox this machine has; portable: the interpreter "
            "sandbox; off: nothing is ever executed and answers stay unverified.",
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
    """Which tier runs generated code here, and why; with tier "none" nothing is ever run."""

    tier: Literal["portable", "none"]
    reason: str


class Sandbox(Protocol):
    """Something that runs programs in isolation."""

    async def run(
        self, source: str, checks: Sequence[Check], limits: Limits, *, seed: int = 0
    ) -> list[Outcome]:
        """Run each check against `source` in a fresh session; one outcome per check, in order.

        `seed` starts the program's random numbers. Cancelling ends the run at once.
        """
        ...

    async def run_script(self, source: str, limits: Limits, *, seed: int = 0) -> Outcome:
        """Run one whole program: passed if it ends normally, assert_failed if its own
        top-level assert does not hold."""
        ...

    async def status(self) -> Status:
        """Start the sandbox if need be, try it, and say whether it holds."""
        ...

    async def close(self) -> None:
        """End the sandbox's processes."""
        ...


def make_sandbox(options: SandboxOptions) -> Sandbox | None:
    """Return the strongest sandbox there is, not started yet; None where execution is off."""
    # Imported here because the implementation builds on the values above.
    from cascade_lsp.sandbox.portable import PortableSandbox

    return None if options.execution == "off" else PortableSandbox()
