"""The messages between the server and the sandbox's worker: one line of JSON each."""

import json
from dataclasses import asdict, dataclass

from cascade_lsp.sandbox import Check, Limits, Outcome

READY = "ready"


@dataclass(frozen=True, slots=True)
class Job:
    """One program to run in a fresh session; without a check it is a script of its own."""

    source: str
    check: Check | None
    limits: Limits
    seed: int = 0


def encode(message: Job | Outcome) -> str:
    """Write a message as one line."""
    return json.dumps(asdict(message))


def decode_job(line: str) -> Job:
    """Read a job back from its line."""
    fields = json.loads(line)
    check = Check(**fields["check"]) if fields["check"] else None
    return Job(fields["source"], check, Limits(**fields["limits"]), fields["seed"])


def decode_outcome(line: str) -> Outcome:
    """Read an outcome back from its line."""
    return Outcome(**json.loads(line))
