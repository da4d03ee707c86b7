"""Whether there is memory for a model: what it needs, and what this machine has left."""

from pathlib import Path

import psutil

ALLOWANCE_BYTES = 500_000_000  # a worker's memory beyond its weights, at 4,096 tokens of context
# What must stay free for everything else. Below it a model that is not in use is unloaded; it is
# a part of what a model needs, or it would be unloaded as soon as it is loaded.
MARGIN_BYTES = 500_000_000


def available() -> int:
    """Return the bytes that programs can still get without swapping."""
    return int(psutil.virtual_memory().available)


def lack(model: Path, available_bytes: int) -> str:
    """Return why a model is better not loaded: its weights and its allowance would leave no margin;
    empty where there is room."""
    weights = model.stat().st_size if model.exists() else 0
    needed = weights + ALLOWANCE_BYTES + MARGIN_BYTES
    if available_bytes >= needed:
        return ""
    return (
        f"The model {model.name} was not loaded: it needs {needed / 1e9:.1f} GB of memory, and "
        f"{available_bytes / 1e9:.1f} GB are available. The cascade goes on without it. Close "
        "some programs, or choose a smaller model in the setting cascade.models.large."
    )
