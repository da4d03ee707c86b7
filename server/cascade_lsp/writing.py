"""A draft while it is being written: keystrokes that agree with it wait for it, and end nothing.

It asks no model itself and knows no editor. The first answer is a whole line, as soon as there is
one; what follows is written while that is read.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from cascade_lsp.cache import Cached
from cascade_lsp.context import Context
from cascade_lsp.turn import Draft

LINE_S = 2.0  # how long the first line may take before what there is of it is shown


class Writing:
    """One draft at one place, as far as it goes."""

    def __init__(self, context: Context, drafts: AsyncGenerator[Draft, None]) -> None:
        self.context = context
        self.draft: Draft | None = None
        self.shown = ""
        self.wait_ms = 0.0  # until something was shown
        self.over = False
        self.whole = False
        self._error: Exception | None = None
        self._drafts = drafts
        self._grown = asyncio.Event()

    async def run(self) -> None:
        """Write to the end; a failure is raised where an answer is waited for."""
        try:
            async with aclosing(self._drafts) as drafts:
                async for draft in drafts:
                    self.draft = draft
                    self._tell()
            self.whole = True
        except Exception as error:  # noqa: BLE001 - raised by `answer`
            self._error = error
        finally:
            self.over = True
            self._tell()

    def _tell(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    def agrees(self, context: Context) -> bool:
        """Say whether what was typed since it began is what it says, as far as it goes."""
        typed, text = self._typed(context), self._text
        if typed is None:
            return False
        return text.startswith(typed) or (typed.startswith(text) and not self.over)

    async def answer(self, context: Context) -> Cached | None:
        """Wait for what can be shown at a place: a whole line or more, or after LINE_S what there
        is; None if it turns out to say something else than was typed."""
        loop = asyncio.get_running_loop()
        late = loop.time() + LINE_S
        while self.agrees(context):
            typed = len(self._typed(context) or "")
            settled = self.draft.settled[typed:] if self.draft else ""
            text = self._text[typed:]
            if self._error:
                raise self._error
            if self.over or loop.time() >= late:
                settled = text
            if self.over or settled.strip():
                self.shown = self._text[: typed + len(settled)]
                return Cached(settled, self.draft.id if self.draft else "")
            with suppress(TimeoutError):
                async with asyncio.timeout_at(late if loop.time() < late else None):
                    await self._grown.wait()
        return None

    @property
    def _text(self) -> str:
        return self.draft.text if self.draft else ""

    def _typed(self, context: Context) -> str | None:
        """Return what was typed at the place where it began; None if something else changed."""
        began, now = self.context, context
        if now.uri != began.uri or now.offset < began.offset:
            return None
        same_before = now.document[: began.offset] == began.document[: began.offset]
        same_behind = now.document[now.offset :] == began.document[began.offset :]
        typed = now.document[began.offset : now.offset]
        return typed if same_before and same_behind else None
