"""Drafts for an editor: written each by a task of its own, by a cascade that is loaded when needed.

It reads no request: `keystroke` asks for an answer at a place. A keystroke that agrees with what is
being written only waits; what follows a reply is in `behind`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cascade_lsp.behind import BehindServer
from cascade_lsp.cache import Cached
from cascade_lsp.context import Context, density_after
from cascade_lsp.desk import Completer, Desk, Place, Ready
from cascade_lsp.editor import Status, stop
from cascade_lsp.engine import Priority
from cascade_lsp.moments import Pace

# The rest is imported when it is first needed: initialize is answered before, and so at once.
if TYPE_CHECKING:
    from cascade_lsp.ledger import Ledger
    from cascade_lsp.settings import Settings
    from cascade_lsp.writing import Writing

SETTLED_S = 0.1  # a cursor that stays so long may be where someone will type
GRACE_S = 0.03  # an editor cancels a request just before it asks again: the draft may still agree
RETRY_S = 2.0
CLOSING_S = 1.5
OFF = Status(False, "Suggestions are turned off in the settings.", "Inactive", "off")
MANUAL = "Suggestions come only when you ask for them: {}."
PAUSED = Status(False, "Suggestions are paused for a while.", "Inactive", "paused")


class DraftingServer(BehindServer):
    """The cascade of one editor, opened when first needed, and what it writes for each document."""

    def __init__(
        self,
        make_cascade: Callable[[Settings, Path | None], Completer],
        open_ledger: Callable[[Settings], Ledger],
    ) -> None:
        super().__init__(make_cascade, open_ledger)
        self._pace = Pace()
        self._snooze: asyncio.TimerHandle | None = None
        self._excluded = ""  # why no model may see the document that is looked at
        self._cascade: Completer | None = None
        self._loading: asyncio.Task[Completer] | None = None
        self._unloading: asyncio.TimerHandle | None = None

    # -- writing -------------------------------------------------------------------------------

    async def _draft(self, cascade: Completer, place: Place, desk: Desk, *, pause: bool) -> Cached:
        """Answer with what is being written, if it agrees with what was typed, or write anew, with
        a `pause` before: another key may follow, whose request ends this one."""
        joined, began = True, time.perf_counter()
        while True:
            writing = self._being_written(place, desk)
            if writing is None:
                self._give_way(place, desk)
                await asyncio.sleep(self._pace.pause_s() if pause else 0)
                began = time.perf_counter()
                writing, joined = self._write(cascade, place, desk), False
            with self.busy("Writing", "thinking"):
                found = await writing.answer(place.context)
            if found:
                writing.wait_ms = writing.wait_ms or place.waited_ms()
                self._pace.answered(time.perf_counter() - began)
                self.work.cached += joined
                return found

    def _being_written(self, place: Place, desk: Desk) -> Writing | None:
        """Return what is being written, if it agrees with what was typed."""
        writing = desk.writing
        return writing if writing and not writing.over and writing.agrees(place.context) else None

    def _write(self, cascade: Completer, place: Place, desk: Desk) -> Writing:
        """Begin to write at a place."""
        from cascade_lsp.writing import Writing

        self.work.drafts += 1
        drafts = cascade.drafts(place.context, priority=Priority.KEYSTROKE)
        desk.writing = Writing(place.context, drafts)
        desk.pen = self.spawn(self._written(cascade, place, desk, desk.writing))
        return desk.writing

    def _give_way(self, place: Place, desk: Desk) -> None:
        """End what is under way for other places than one where someone writes now."""
        stop(desk.pen)
        stop(desk.ahead)
        stop(self._second)
        if not place.context.document.startswith(desk.verified):
            stop(desk.verification)

    def _cancelled(self, desk: Desk) -> None:
        """Stop writing unless the next request, which is about to come, agrees with it."""
        request = desk.request

        def let_go() -> None:
            if desk.request is request:
                stop(desk.pen)

        asyncio.get_running_loop().call_later(GRACE_S, let_go)

    async def _written(
        self, cascade: Completer, place: Place, desk: Desk, writing: Writing
    ) -> None:
        """Write, and see to what was written: also one that was cut short fills the cache."""
        try:
            await writing.run()
        finally:
            self._take_in(cascade, place, desk, writing)

    def _take_in(self, cascade: Completer, place: Place, desk: Desk, writing: Writing) -> None:
        draft = writing.draft
        if draft is None:
            return
        if not writing.whole:
            cut = max(writing.shown, draft.settled, key=len)
            draft = replace(draft, text=cut)
        self.work.read_tokens += draft.usage.prompt_tokens - draft.usage.cached_tokens
        self.work.written_tokens += len(draft.logprobs)
        tokens = draft.usage.prompt_tokens
        desk.density = density_after(desk.density, draft.asked_chars, tokens)
        # A model that was lost has read nothing: that it was silent is no answer to keep.
        if draft.text or (writing.whole and tokens):
            self._cache.put(place.context, draft.text, draft.id)
        ready = Ready(cascade, place, draft, writing.whole)
        if writing.shown or (writing.whole and not draft.text):
            self._follow_up(desk, ready, writing.wait_ms)
            self._tell_rest(desk, draft)
        elif draft.text:
            self._hold_unseen(ready)

    async def _warm(self, cascade: Completer, context: Context) -> None:
        await asyncio.sleep(SETTLED_S)
        await cascade.warm(context)

    # -- the cascade's life --------------------------------------------------------------------

    async def _ready(self, uri: str) -> Completer:
        """Return the cascade with a model loaded, for the project of a document; a cancelled
        keystroke never stops the loading."""
        loaded = await asyncio.shield(self._begin_loading(uri))
        cascade = loaded.within(self.root_of(uri))
        cascade.spending = self.may_spend()
        self._unload_later(manual=not cascade.spending.automatic)
        return cascade

    def _begin_loading(self, uri: str) -> asyncio.Task[Completer]:
        """Load the cascade, for the project of the first document that needs it."""
        if self._loading is None:
            self._loading = self.spawn(self._load(uri))
        return self._loading

    async def _load(self, uri: str) -> Completer:
        cascade = None
        try:
            with self.busy("Loading the model", "loading"):
                cascade = self._make_cascade(self.settings, self.root_of(uri))
                async with self.progress_bar("Loading the model"):
                    await cascade.load()
        except BaseException:
            self.spawn(self._try_again(self._loading))
            if cascade:
                await cascade.close()
            raise
        self._cascade = cascade
        self.spawn(self._tell_tier(cascade))
        return cascade

    async def _tell_tier(self, cascade: Completer) -> None:
        """Start the sandbox, and tell of its tier where it is another one than last time."""
        if self.settings.sandbox.execution != "off":
            from cascade_lsp.sandbox import tiers

            self.tell(await asyncio.to_thread(tiers.news, await cascade.sandbox_status()))

    async def _try_again(self, failed: asyncio.Task[Completer] | None) -> None:
        """After a pause let the next keystroke load: a model may have been fetched meanwhile."""
        await asyncio.sleep(RETRY_S)
        if self._loading is failed:
            self._loading = None

    def resting(self) -> Status:
        """Return what the light shows when nothing is under way."""
        if not self.settings.enabled:
            return OFF
        if self._excluded:
            return Status(False, self._excluded, "Inactive", "excluded")
        if self._snooze:
            return PAUSED
        spending = self.gauge.spending(self.settings.power)
        return Status() if spending.automatic else Status(message=MANUAL.format(spending.why))

    def _let_go(self) -> None:
        """Close the cascade and forget its answers; the next keystroke makes another."""
        self._cache.clear()
        self._unseen.clear()
        self._unload()

    def _unload_later(self, *, manual: bool) -> None:
        """Where suggestions come only when asked for, let the models go once nobody has asked for
        long: the next one may be far."""
        if self._unloading:
            self._unloading.cancel()
        self._unloading = None
        if manual:
            later, seconds = asyncio.get_running_loop().call_later, self.settings.engine.unload_s
            self._unloading = later(seconds, self._unload_idle)

    def _unload_idle(self) -> None:
        if self._working:
            self._unload_later(manual=True)
        else:
            self._unload()

    def _unload(self) -> None:
        """Close the cascade, and keep what it has answered."""
        self._unload_later(manual=False)
        stop(self._loading)
        stop(self._second)
        for desk in self._desks.values():
            for task in (desk.pen, desk.verification, desk.ahead):
                stop(task)
        cascade, self._cascade, self._loading = self._cascade, None, None
        if cascade:
            self.spawn(cascade.close())

    async def close(self) -> None:
        """End everything under way, and the cascade."""
        for desk in self._desks.values():
            stop(desk.request)
            stop(desk.pen)
        self._unload_later(manual=False)
        await super().close()
        cascade, self._cascade = self._cascade, None
        if cascade:
            with suppress(TimeoutError):
                await asyncio.wait_for(cascade.close(), CLOSING_S)
