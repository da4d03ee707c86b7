"""What is under way for an editor, as values: a place where text is wanted, a document's desk, a
draft that is ready, and what is asked of the cascade."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lsprotocol import types

from cascade_lsp.cache import Cached
from cascade_lsp.context import CHARS_PER_TOKEN, Context
from cascade_lsp.engine import Priority
from cascade_lsp.moments import How

# Imported when first needed: initialize is answered before, and so at once.
if TYPE_CHECKING:
    from cascade_lsp.cascade import Preview
    from cascade_lsp.hints import Verdict
    from cascade_lsp.ledger import Record
    from cascade_lsp.power import Spending
    from cascade_lsp.sandbox import Status as SandboxStatus
    from cascade_lsp.testable import Untestable
    from cascade_lsp.turn import Draft, Watch
    from cascade_lsp.writing import Writing


class Completer(Protocol):
    """What is asked of the cascade, and what it may spend on it."""

    spending: Spending

    def within(self, root: Path | None) -> Completer: ...
    async def load(self) -> object: ...
    def drafts(self, context: Context, *, priority: Priority) -> AsyncGenerator[Draft, None]: ...
    async def warm(self, context: Context) -> None: ...
    async def complete(self, context: Context, *, patience_s: float) -> Record: ...
    async def verify(self, context: Context, draft: Draft, watch: Watch) -> Record: ...
    async def check(self, context: Context, watch: Watch) -> Record | Untestable: ...
    async def second(
        self, context: Context, draft: Draft, watch: Watch, *, rejected: bool
    ) -> Record | None: ...
    async def unverified(self, context: Context, draft: Draft) -> Record: ...
    async def worth_verifying(self, context: Context, draft: Draft) -> bool: ...
    async def alternatives(self, context: Context) -> Sequence[str]: ...
    async def preview(self, context: Context) -> Preview | None: ...
    async def sandbox_status(self) -> SandboxStatus: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where text is wanted: the context, and the range on one line that the answer replaces.

    `head` is the row selected in the suggest widget, `instead_of` what it would replace before the
    cursor; the context is as if it had been inserted.
    `asked` is when, on the clock of `time.perf_counter`.
    """

    context: Context
    range: types.Range
    head: str = ""
    instead_of: str = ""
    asked: float = field(default_factory=time.perf_counter)

    def waited_ms(self) -> float:
        """Return how long ago it was asked."""
        return (time.perf_counter() - self.asked) * 1000


@dataclass(frozen=True, slots=True)
class Told:
    """A better answer that the editor was told of: for which version, and whether it will fetch it
    or the user has to ask."""

    place: Place
    better: Cached
    version: int
    how: How


@dataclass(slots=True)
class Desk:
    """What is under way for one document: the request, what is being written and by which task,
    the verification behind it and the text up to the end of what it verifies, what is read or
    written ahead; what was shown last and where, until it is accepted or refused; where something
    else was typed than was shown, until the next draft; the text up to the end of what was
    accepted last; the better answer that the editor was told of; the verdicts on the function that
    was tested last, those that stand in the document, by function; its characters per token; what
    was accepted lately, by decision, and the text as it was last: closing it settles that."""

    request: asyncio.Task[Any] | None = None
    writing: Writing | None = None
    pen: asyncio.Task[None] | None = None
    verification: asyncio.Task[None] | None = None
    verified: str = ""
    ahead: asyncio.Task[None] | None = None
    shown: tuple[Place, Cached] | None = None
    refused: Context | None = None
    accepted: str = ""
    told: Told | None = None
    verdicts: tuple[Verdict, ...] = ()
    standing: dict[str, Verdict] = field(default_factory=dict)
    density: float = CHARS_PER_TOKEN
    kept: dict[str, str] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True, slots=True)
class Ready:
    """A draft that is written, whole or cut short, and where and by which cascade it was."""

    cascade: Completer
    place: Place
    draft: Draft
    whole: bool


@dataclass(slots=True)
class Work:
    """What was done since the start: requests that came, drafts that a model wrote, answers that
    took no new one, verifications that began, escalations, and the tokens read and written for
    drafts."""

    requests: int = 0
    drafts: int = 0
    cached: int = 0
    verifications: int = 0
    escalations: int = 0
    read_tokens: int = 0
    written_tokens: int = 0
