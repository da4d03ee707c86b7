"""The messages between a client and its worker: one JSON object a line, on the worker's pipes.

To the worker:    {"op": "generate", "id", "prompts", "priority"}   {"op": "cancel", "id"}
                  {"op": "compute", "on"}: nothing is computed before the first one with "on"
From the worker:  {"ev": "ready", ...ModelFacts}   {"ev": "fatal", "message"}
                  {"ev": "read", "id", "usage"}: the prompts are read
                  {"ev": "token", "id", "seq", "text", "logprob"}
                  {"ev": "end", "id", "usage", "reason"}
`reason` is "done", "cancelled", "context_full" or "refused: WHY". Closing stdin ends the worker.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cascade_lsp.engine import Piece, Priority, Prompt, Usage


def encode(message: dict[str, Any]) -> bytes:
    """Return one line of UTF-8 JSON; line ends inside strings are escaped by JSON itself."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Return the message of one line; raise ValueError on anything that is not an object."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError(f"expected a JSON object, got {line[:80]!r}")
    return message


def generate(request_id: int, prompts: Sequence[Prompt], priority: Priority) -> dict[str, Any]:
    """Return the message that asks for one batch."""
    return {
        "op": "generate",
        "id": request_id,
        "prompts": [asdict(prompt) for prompt in prompts],
        "priority": int(priority),
    }


def usage_from(raw: dict[str, Any]) -> Usage:
    """Rebuild a Usage from its decoded JSON; what a worker evaluates was sent nowhere."""
    return Usage(**{**raw, "sent": ()})


def prompt_from(raw: dict[str, Any]) -> Prompt:
    """Rebuild a Prompt from its decoded JSON."""
    pieces = tuple(Piece(**piece) for piece in raw["pieces"])
    return Prompt(**{**raw, "pieces": pieces, "stop": tuple(raw["stop"])})
