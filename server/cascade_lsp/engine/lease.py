"""Which engine computes: on a CPU one at a time, the one with the most urgent request.

Two processes that compute at the same time on two cores fall to a tenth of their speed, because
ggml's threads spin at their barriers. An engine that has to make room is paused, and goes on
where it was once it is its turn again.
"""

from dataclasses import dataclass
from typing import Protocol

from cascade_lsp.engine import Priority


class Pausable(Protocol):
    """Something that computes only while it is told to."""

    def set_computing(self, computing: bool) -> None: ...


@dataclass(frozen=True, eq=False, slots=True)
class Claim:
    """One request that is not answered yet."""

    engine: Pausable
    priority: Priority


class Lease:
    """The claims of all engines of one machine, oldest first."""

    def __init__(self) -> None:
        self._claims: list[Claim] = []
        self._computing: Pausable | None = None

    def claim(self, engine: Pausable, priority: Priority) -> Claim:
        """Let an engine compute as soon as nothing more urgent, and nothing older, wants to."""
        claim = Claim(engine, priority)
        self._claims.append(claim)
        self._arrange()
        return claim

    def release(self, claim: Claim) -> None:
        """End a claim: its request was answered, or its engine died."""
        self._claims.remove(claim)
        self._arrange()

    def _arrange(self) -> None:
        first = min(self._claims, key=lambda claim: claim.priority, default=None)
        engine = first.engine if first else None
        if engine is self._computing:
            return
        if self._computing is not None:
            self._computing.set_computing(False)
        if engine is not None:
            engine.set_computing(True)
        self._computing = engine
