"""Keep every decision, so that each can be explained: one row per shown candidate.

The user owns this file. It holds no source text unless the user turned that on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cascade_lsp.engine import Usage
from cascade_lsp.policy import Decision, Evidence, Policy


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """What the decision record keeps."""

    source_text: bool = field(
        default=False,
        metadata={"help": "Keep the suggested text and docstring examples in the ledger too."},
    )


@dataclass(frozen=True, slots=True)
class TestRun:
    """One test as it went for one candidate; `origin` is "docstring" or the tier that wrote it,
    `outcome` a label of `sandbox.Outcome.kind`."""

    __test__ = False

    text: str
    origin: str
    trusted: bool
    strong: bool
    outcome: str
    seen: str = ""
    detail: str = ""
    ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One tier's turn: what it offered, how that was tested, how it was judged, what it cost.

    `features` are raw figures (mean probability of the first tokens and so on); `dropped` counts
    the generated test lines that were not used, by reason.
    """

    tier: str
    model: str
    text: str
    tests: tuple[TestRun, ...]
    dropped: Mapping[str, int]
    features: Mapping[str, float]
    evidence: Evidence
    policy: Policy
    decision: Decision
    usage: Usage


@dataclass(frozen=True, slots=True)
class Record:
    """One decision from request to answer; `attempts[chosen]` is what was answered.

    `created` is in seconds since the epoch, `ms` the wall time of the whole; `function` is the
    name of the function under completion, or "" with the cause in `untestable`.
    """

    id: str
    created: float
    uri: str
    language: str
    line: int
    column: int
    trigger: str
    plan: str
    function: str
    untestable: str
    attempts: tuple[Attempt, ...]
    chosen: int
    ms: float

    @property
    def answer(self) -> Attempt:
        """Return the attempt whose text was answered."""
        return self.attempts[self.chosen]

    @property
    def decision(self) -> Decision:
        """Return the last escalation if there was one, else the judgement of the only answer."""
        return self.attempts[max(0, len(self.attempts) - 2)].decision
