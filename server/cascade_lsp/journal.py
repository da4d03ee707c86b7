"""The decisions of one session: the latest in memory with their texts, all of them in the ledger.

The ledger may keep no texts; who asks within the session is told them all the same. Nothing waits
for a disk but who asks: the ledger is used in a thread, one use after another, and completion
goes on without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from cascade_lsp.errors import LedgerError

# Imported when first needed: the server answers before it has loaded SQLite.
if TYPE_CHECKING:
    from cascade_lsp.ledger import Ledger, Record

RECENT = 50  # decisions that are held in memory

Answer = TypeVar("Answer")


class Journal:
    """What was decided; `tell` shows the user a fault of the ledger, once."""

    def __init__(
        self, open_ledger: Callable[[], Ledger], tell: Callable[[str | None], None]
    ) -> None:
        self._open, self._tell = open_ledger, tell
        self._ledger: Ledger | None = None
        self._using = asyncio.Lock()
        self._recent: dict[str, Record] = {}

    def hold(self, record: Record) -> None:
        """Hold a decision in memory as the latest of this session."""
        self._recent.pop(record.id, None)
        self._recent[record.id] = record
        if len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]

    def held(self, decision_id: str) -> Record | None:
        """Return a decision that is in memory."""
        return self._recent.get(decision_id)

    async def keep(self, record: Record) -> None:
        """Hold a decision, and write it into the ledger."""
        self.hold(record)
        await self.use(lambda ledger: ledger.record(record))

    async def note(self, decision_id: str, kind: str, value: float | None = None) -> None:
        """Note what became of a suggestion; see `Ledger.event`."""
        await self.use(lambda ledger: ledger.event(decision_id, kind, value))

    async def find(self, decision_id: str = "") -> Record | None:
        """Return a decision, or the last one, with its texts if it is of this session."""
        last = next(reversed(self._recent), "")
        return self.held(decision_id or last) or await self.use(
            lambda ledger: ledger.get(decision_id) if decision_id else ledger.last()
        )

    async def use(self, use: Callable[[Ledger], Answer]) -> Answer | None:
        """Use the ledger; None where it cannot be used."""
        try:
            async with self._using:
                if self._ledger is None:
                    self._ledger = await asyncio.to_thread(self._open)
                    self._tell(self._ledger.notice)
                return await asyncio.to_thread(use, self._ledger)
        except LedgerError as error:
            self._tell(str(error))
            return None

    def reopen(self) -> None:
        """Open the ledger anew at the next use, as when its settings have changed."""
        self._ledger = None
