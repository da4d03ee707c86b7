"""What is under way for an editor: drafts while they are written, and what follows a reply.

It reads no request: `keystroke` asks for an answer at a place. A draft is written by a task of
its own, so that a keystroke which agrees with it only waits; tests and what is written ahead run
behind the reply, and give way to the next keystroke within the engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lsprotocol import types

from cascade_lsp.cache import Cached, CompletionCache
from cascade_lsp.context import CHARS_PER_TOKEN, Context, density_after, gather
from cascade_lsp.editor import EditorServer, Status, stop
from cascade_lsp.engine import Priority
from cascade_lsp.journal import Journal
from cascade_lsp.moments import Pace

# The rest is imported when it is first needed: initialize is answered before, and so at once.
if TYPE_CHECKING:
    from cascade_lsp.ledger import Ledger, Record
    from cascade_lsp.sandbox import Status as SandboxStatus
    from cascade_lsp.settings import Settings
    from cascade_lsp.testable import Untestable
    from cascade_lsp.turn import Draft, Event, Watch
    from cascade_lsp.writing import Writing

IDLE_S = 0.3  # a verification begun while the user types on would only be interrupted
SETTLED_S = 0.1  # a cursor that stays so long may be where someone will type
GRACE_S = 0.03  # an editor cancels a request just before it asks again: the draft may still agree
UNSEEN = 50  # drafts that were written and not yet shown
RETRY_S = 2.0
CLOSING_S = 1.5
OFF = Status(False, "Suggestions are turned off in the settings.", "Inactive", "off")
PAUSED = Status(False, "Suggestions are paused for a while.", "Inactive", "paused")


class Completer(Protocol):
    """What is asked of the cascade."""

    async def load(self) -> object: ...
    def drafts(self, context: Context, *, priority: Priority) -> AsyncGenerator[Draft, None]: ...
    async def warm(self, context: Context) -> None: ...
    async def complete(self, context: Context, *, patience_s: float) -> Record: ...
    async def verify(self, context: Context, draft: Draft, watch: Watch) -> Record: ...
    async def check(self, context: Context, watch: Watch) -> Record | Untestable: ...
    def unverified(self, context: Context, draft: Draft) -> Record: ...
    def worth_verifying(self, context: Context, draft: Draft) -> bool: ...
    async def sandbox_status(self) -> SandboxStatus: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where text is wanted: the context, and the range on one line that the answer replaces.

    `head` is the row selected in the suggest widget; the context is as if it had been inserted.
    `asked` is when, on the clock of `time.perf_counter`.
    """

    context: Context
    range: types.Range
    head: str = ""
    asked: float = field(default_factory=time.perf_counter)

    def waited_ms(self) -> float:
        """Return how long ago it was asked."""
        return (time.perf_counter() - self.asked) * 1000


@dataclass(slots=True)
class Desk:
    """What is under way for one document: the request, what is being written and by which task,
    the verification behind it and the text up to the end of what it verifies, what is read or
    written ahead, the place and text of what was shown last, until it is accepted, the text up to
    the end of what was accepted last, the decision that the editor was told of and will fetch, and
    the text's characters per token."""

    request: asyncio.Task[Any] | None = None
    writing: Writing | None = None
    pen: asyncio.Task[None] | None = None
    verification: asyncio.Task[None] | None = None
    verified: str = ""
    ahead: asyncio.Task[None] | None = None
    shown: tuple[Place, Cached] | None = None
    accepted: str = ""
    announced: str = ""
    density: float = CHARS_PER_TOKEN


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


class DraftingServer(EditorServer):
    """The cascade of one editor, opened when first needed, and a desk for each document.

    `settings` are there once initialize was answered, which is before any other message.
    """

    settings: Settings

    def __init__(
        self,
        make_cascade: Callable[[Settings, Path | None], Completer],
        open_ledger: Callable[[Settings], Ledger],
    ) -> None:
        super().__init__("cascade")
        self.work = Work()
        self._pace = Pace()
        self._snooze: asyncio.TimerHandle | None = None
        self._excluded = ""  # why no model may see the document that is looked at
        self._make_cascade = make_cascade
        self.journal = Journal(lambda: open_ledger(self.settings), self.tell)
        self._cache = CompletionCache()
        self._cascade: Completer | None = None
        self._loading: asyncio.Task[Completer] | None = None
        self._desks: dict[str, Desk] = {}
        self._unseen: dict[str, Ready] = {}

    # -- writing -------------------------------------------------------------------------------

    async def _draft(self, cascade: Completer, place: Place, desk: Desk) -> Cached:
        """Answer with what is being written, if it agrees with what was typed, or write anew."""
        joined = True
        with self.busy("Writing", "thinking"):
            while True:
                writing = desk.writing
                if writing is None or writing.over or not writing.agrees(place.context):
                    writing, joined = self._write(cascade, place, desk), False
                if found := await writing.answer(place.context):
                    writing.wait_ms = writing.wait_ms or place.waited_ms()
                    self.work.cached += joined
                    return found

    def _write(self, cascade: Completer, place: Place, desk: Desk) -> Writing:
        """Begin to write at a place; what was written at another one of the document is over."""
        from cascade_lsp.writing import Writing

        self.work.drafts += 1
        stop(desk.pen)
        stop(desk.ahead)
        if not place.context.document.startswith(desk.verified):
            stop(desk.verification)
        drafts = cascade.drafts(place.context, priority=Priority.KEYSTROKE)
        desk.writing = Writing(place.context, drafts)
        desk.pen = self.spawn(self._written(cascade, place, desk, desk.writing))
        return desk.writing

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
        if draft.text or writing.whole:
            self._cache.put(place.context, draft.text, draft.id)
        ready = Ready(cascade, place, draft, writing.whole)
        if writing.shown:
            self._follow_up(desk, ready, writing.wait_ms)
            self._tell_rest(desk, draft)
        elif draft.text:
            self._hold_unseen(ready)

    def _hold_unseen(self, ready: Ready) -> None:
        """Keep a draft until it is shown: only then it is recorded and tested."""
        self._unseen[ready.draft.id] = ready
        if len(self._unseen) > UNSEEN:
            del self._unseen[next(iter(self._unseen))]

    def _tell_rest(self, desk: Desk, draft: Draft) -> None:
        """Announce the rest of a draft of which the first line was shown."""
        if desk.shown and desk.shown[1].candidate_id == draft.id:
            place, shown = desk.shown
            found = self._cache.get(place.context)
            if found and found.candidate_id == draft.id and len(found.text) > len(shown.text):
                self._announce(place, found)

    # -- behind the reply ----------------------------------------------------------------------

    async def _warm(self, cascade: Completer, context: Context) -> None:
        await asyncio.sleep(SETTLED_S)
        await cascade.warm(context)

    def _follow_up(self, desk: Desk, ready: Ready, wait_ms: float) -> None:
        """Record a draft that was shown; test it if that can be done, then write ahead."""
        place, draft = ready.place, ready.draft
        if draft.text:
            record = ready.cascade.unverified(place.context, draft)
            self.spawn(self._keep_first(record, wait_ms))
        if not ready.whole:
            return
        if ready.cascade.worth_verifying(place.context, draft):
            stop(desk.verification)
            before = place.context.document[: place.context.offset]
            desk.verified = before + draft.text
            desk.verification = self.spawn(self._verify(ready.cascade, place, draft))
        if draft.text:
            stop(desk.ahead)
            desk.ahead = self.spawn(self._write_ahead(desk, ready))

    async def _write_ahead(self, desk: Desk, ready: Ready) -> None:
        """Write what follows if a draft is accepted, while nothing else is to do."""
        from cascade_lsp.writing import Writing

        await asyncio.sleep(IDLE_S)
        context, text = ready.place.context, ready.draft.text
        accepted = gather(
            context.completed(text),
            context.offset + len(text),
            uri=context.uri,
            version=context.version,
            language=context.language,
            options=self.settings.context,
            extra=context.extra,
            density=desk.density,
        )
        if self._cache.get(accepted):
            return
        drafts = ready.cascade.drafts(accepted, priority=Priority.AHEAD)
        writing = Writing(accepted, drafts)
        await writing.run()
        if writing.whole and writing.draft and writing.draft.logprobs:
            self._cache.put(accepted, writing.draft.text, writing.draft.id)
            place = Place(accepted, ready.place.range)
            if writing.draft.text:
                self._hold_unseen(Ready(ready.cascade, place, writing.draft, whole=True))

    async def _verify(self, cascade: Completer, place: Place, draft: Draft) -> None:
        await asyncio.sleep(IDLE_S)
        self.work.verifications += 1
        with self.busy("Testing the suggestion", "verifying"):
            record = await cascade.verify(place.context, draft, self._watch)
        self._tell_escalation(record)
        better = self._remember(place, record)
        if better and better.text != draft.text:
            self._announce(place, better)
        await self.journal.keep(record)

    def _watch(self, event: Event) -> None:
        """Show that a larger tier is asked."""
        from cascade_lsp.turn import Started

        if isinstance(event, Started) and event.tier != "small":
            self.show(Status(True, "Asking the larger model", state="escalating"))

    def _stop_verifications(self) -> None:
        """End what is tested behind the replies, as when the user asks for a test by name."""
        for desk in self._desks.values():
            stop(desk.verification)

    def _tell_escalation(self, record: Record) -> None:
        """Let the light say that the small model's answer was not enough, until the next work."""
        if record.decision.action == "escalate":
            from cascade_lsp import explain

            self.work.escalations += 1
            self.show(Status(message=explain.verdict(record), state="escalated"))

    def _remember(self, place: Place, record: Record) -> Cached | None:
        """Put a judged answer in the place of whatever was suggested there."""
        self.journal.hold(record)
        if not record.answer.text:
            return None
        self._cache.put(place.context, record.answer.text, record.id)
        return Cached(record.answer.text, record.id)

    def _is_tested(self, decision_id: str) -> bool:
        """Say whether this session's decision had its turn with tests already."""
        record = self.journal.held(decision_id)
        return record is not None and record.answer.evidence.execution != "not_asked"

    def _announce(self, place: Place, better: Cached) -> None:
        """Tell the editor of a better answer, unless the user has edited meanwhile."""
        uri, seen = place.context.uri, place.context.version
        if self.document(uri).version == seen:
            self._desk(uri).announced = better.candidate_id
            told = {"uri": uri, "version": seen, "range": place.range}
            self.protocol.notify("cascade/improved", {**told, "decisionId": better.candidate_id})

    async def _keep_first(self, record: Record, wait_ms: float) -> None:
        """Keep a decision, and how long the editor has waited for its answer."""
        await self.journal.keep(record)
        await self.journal.note(record.id, "answered", wait_ms)

    # -- the cascade's life --------------------------------------------------------------------

    async def _ready(self) -> Completer:
        """Return the cascade with a model loaded; a cancelled keystroke never stops the loading."""
        return await asyncio.shield(self._begin_loading())

    def _begin_loading(self) -> asyncio.Task[Completer]:
        if self._loading is None:
            self._loading = self.spawn(self._load())
        return self._loading

    async def _load(self) -> Completer:
        cascade = None
        try:
            with self.busy("Loading the model", "loading"):
                cascade = self._make_cascade(self.settings, self.root)
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
        return PAUSED if self._snooze else Status()

    def _let_go(self) -> None:
        """Close the cascade; the next keystroke makes another."""
        self._cache.clear()
        self._unseen.clear()
        stop(self._loading)
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
        await super().close()
        cascade, self._cascade = self._cascade, None
        if cascade:
            with suppress(TimeoutError):
                await asyncio.wait_for(cascade.close(), CLOSING_S)

    # -- small things --------------------------------------------------------------------------

    def _desk(self, uri: str) -> Desk:
        return self._desks.setdefault(uri, Desk())
