"""From settings to the running parts: which models are installed, which sandbox there is.

The one place where the product's parts are put together; it decides nothing.
"""

import asyncio

from cascade_lsp import catalogue, paths
from cascade_lsp.cascade import Cascade
from cascade_lsp.engine.local import LocalEngine
from cascade_lsp.ledger import Ledger
from cascade_lsp.sandbox import Limits, make_sandbox
from cascade_lsp.settings import Settings
from cascade_lsp.turn import Tier

MEGABYTE = 1024 * 1024


def make_cascade(settings: Settings) -> Cascade:
    """Return a cascade of the installed tiers; a tier whose model is missing is left out."""
    lease = asyncio.Lock()  # one tier computes at a time: two on one CPU fall to a tenth
    tiers = [
        tier
        for role in ("small", "large")
        if (tier := _tier(role, getattr(settings.models, role), settings, lease))
    ]
    limits = Limits(
        time_s=settings.sandbox.time_s, memory_bytes=settings.sandbox.memory_mb * MEGABYTE
    )
    return Cascade(tiers, make_sandbox(settings.sandbox), settings.completion, limits)


def _tier(role: str, name: str, settings: Settings, lease: asyncio.Lock) -> Tier | None:
    model = catalogue.load().find(name)
    path = catalogue.installed(model)
    if path is None:
        return None
    style = model.style
    engine = LocalEngine(path, settings.engine, lease)
    return Tier(role, model.name, engine, line=style.line, body=style.body, tests=style.tests)


def open_ledger(settings: Settings) -> Ledger:
    """Open the user's ledger; raise LedgerError where it cannot be used."""
    return Ledger.open(paths.ledger_path(), settings.ledger)
