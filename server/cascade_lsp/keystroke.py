"""One keystroke and what follows it: LSP values in, plain values through the cascade, LSP out.

It judges nothing and runs nothing: a keystroke is gathered, looked up, drafted and answered in
one straight line, and everything slower happens behind the reply. Whatever fails, the request
is answered; nothing in front of the reply waits for the ledger, the sandbox or a test. What the
user asks for by name is in `server`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lsprotocol import types

from cascade_lsp.cache import Cached, CompletionCache
from cascade_lsp.context import Context, gather
from cascade_lsp.documents import EditorDocument, plain
from cascade_lsp.editor import EditorServer, Status, after_reply, stop
from cascade_lsp.engine import Priority
from cascade_lsp.journal import Journal

# The rest is imported when it is first needed: initialize is answered before, and so at once.
if TYPE_CHECKING:
    from cascade_lsp.ledger import Ledger, Record
    from cascade_lsp.sandbox import Status as SandboxStatus
    from cascade_lsp.settings import Settings
    from cascade_lsp.testable import Untestable
    from cascade_lsp.turn import Draft, Event, Watch
    from cascade_lsp.writing import Writing

_LOG = logging.getLogger(__name__)

SECTION = "cascade"
IDLE_S = 0.3  # a verification begun while the user types on would only be interrupted
SETTLED_S = 0.1  # a cursor that stays so long may be where someone will type
GRACE_S = 0.03  # an editor cancels a request just before it asks again: the draft may still agree
UNSEEN = 50  # drafts that were written and not yet shown
RETRY_S = 2.0
CLOSING_S = 1.5
KEPT_S = 30.0  # after which it is seen how much of an accepted suggestion still stands
ACCEPT = "cascade.acceptCompletion"
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


@dataclass(slots=True)
class Desk:
    """What is under way for one document: the request, what is being written and by which task,
    the verification behind it and the text up to the end of what it verifies, what is read or
    written ahead, and the place and text of what was shown last, until it is accepted."""

    request: asyncio.Task[Any] | None = None
    writing: Writing | None = None
    pen: asyncio.Task[None] | None = None
    verification: asyncio.Task[None] | None = None
    verified: str = ""
    ahead: asyncio.Task[None] | None = None
    shown: tuple[Place, Cached] | None = None


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


class KeystrokeServer(EditorServer):
    """Completion for one editor; the cascade and the ledger are opened when first needed.

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
        self._snooze: asyncio.TimerHandle | None = None
        self._make_cascade = make_cascade
        self.journal = Journal(lambda: open_ledger(self.settings), self.tell)
        self._cache = CompletionCache()
        self._cascade: Completer | None = None
        self._loading: asyncio.Task[Completer] | None = None
        self._desks: dict[str, Desk] = {}
        self._unseen: dict[str, Ready] = {}

    # -- one keystroke -------------------------------------------------------------------------

    async def inline_completion(
        self, params: types.InlineCompletionParams
    ) -> types.InlineCompletionList:
        """Answer a request, whatever happens; the latest one of a document ends those before."""
        self.work.requests += 1
        desk = self._desk(params.text_document.uri)
        stop(desk.request)
        desk.request = asyncio.current_task()
        try:
            return types.InlineCompletionList(await self._suggest(params, desk))
        except asyncio.CancelledError:
            if desk.request is asyncio.current_task():
                self._cancelled(desk)
                raise  # the client cancelled; a request that was overtaken is answered empty
        except Exception as error:  # noqa: BLE001 - no keystroke is answered with an error
            self.failed(error)
        return types.InlineCompletionList([])

    async def _suggest(
        self, params: types.InlineCompletionParams, desk: Desk
    ) -> list[types.InlineCompletionItem]:
        place = self._place(params)
        if place is None or not self._offers(place.context.language):
            return []
        invoked = params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
        found = self._cache.get(place.context)
        if found is None or (invoked and not self._is_tested(found.candidate_id)):
            cascade = await self._ready()
            thought = await self._think(cascade, place) if invoked else None
            found = thought or found or await self._draft(cascade, place, desk)
        else:
            self.work.cached += 1
        if not found.text:
            return []
        _LOG.info("answered with %d characters of %s", len(found.text), found.candidate_id)
        desk.shown = place, found
        if ready := self._unseen.pop(found.candidate_id, None):
            after_reply(partial(self._follow_up, desk, ready, place.asked))
        others = self._others(found) if invoked else []
        return [_item(place, one) for one in (found, *others)]

    def _is_huge(self, text: str) -> bool:
        return len(text) > self.settings.max_file_kb * 1000

    def _offers(self, language: str) -> bool:
        """Say whether there are suggestions at all, now and in this language."""
        settings = self.settings
        awake = settings.enabled and self._snooze is None
        return awake and language not in settings.disabled_languages

    def _others(self, found: Cached) -> list[Cached]:
        """Return the other tiers' answers of the same decision, to cycle through."""
        record = self.journal.held(found.candidate_id)
        if record is None or not record.answer.text.endswith(found.text):
            return []
        typed = record.answer.text.removesuffix(found.text)
        usable = [a.text for a in record.attempts if a.evidence.syntax_ok]
        texts = dict.fromkeys(t.removeprefix(typed) for t in usable if t.startswith(typed))
        return [Cached(text, record.id) for text in texts if text not in ("", found.text)]

    async def _draft(self, cascade: Completer, place: Place, desk: Desk) -> Cached:
        """Answer with what is being written, if it agrees with what was typed, or write anew."""
        joined = True
        with self.busy("Writing", "thinking"):
            while True:
                writing = desk.writing
                if writing is None or writing.over or not writing.agrees(place.context):
                    writing, joined = self._write(cascade, place, desk), False
                if found := await writing.answer(place.context):
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

    async def _think(self, cascade: Completer, place: Place) -> Cached | None:
        """Ask the whole cascade, within the patience of someone who asked for it."""
        patience_s = self.settings.completion.patience_s
        self.work.drafts += 1
        with self.busy("Writing and testing", "thinking"):
            record = await cascade.complete(place.context, patience_s=patience_s)
        after_reply(lambda: self.spawn(self._keep_first(record, place.asked)))
        self._tell_escalation(record)
        return self._remember(place, record)

    def _place(self, params: types.InlineCompletionParams) -> Place | None:
        """Return where text is wanted; None if that is not a place in an open document."""
        document = self.document(params.text_document.uri)
        asked = getattr(params.text_document, "version", None)
        if document.version is None or asked not in (None, document.version):
            return None
        text, offset = document.source, document.offset_at_position(params.position)
        if self._is_huge(text):
            return None
        cursor = document.client_position_at_offset(offset)
        span, head = types.Range(cursor, cursor), ""
        if selected := params.context.selected_completion_info:
            span, head = selected.range, selected.text
            if not span.start.line == span.end.line == cursor.line:
                return None
            start, end = map(document.offset_at_position, (span.start, span.end))
            text, offset = text[:start] + head + text[end:], start + len(head)
        return Place(self._context(document, text, offset), span, head)

    def _context(self, document: EditorDocument, text: str, offset: int) -> Context:
        """Return the context of an offset; models, cache and tests see one kind of line end."""
        before, after = plain(text[:offset]), plain(text[offset:])
        return gather(
            before + after,
            len(before),
            uri=document.uri,
            version=document.version or 0,
            language=document.language_id or "",
            options=self.settings.context,
        )

    # -- behind the reply ----------------------------------------------------------------------

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
        self.work.written_tokens += draft.usage.new_tokens or len(draft.logprobs)
        if draft.text or writing.whole:
            self._cache.put(place.context, draft.text, draft.id)
        ready = Ready(cascade, place, draft, writing.whole)
        if writing.shown:
            self._follow_up(desk, ready, place.asked)
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

    def cursor_moved(self, uri: str, position: types.Position) -> None:
        """Let the model read what is before the cursor, before someone types there."""
        document, desk = self.document(uri), self._desk(uri)
        busy = desk.pen and not desk.pen.done()
        if self._cascade is None or document.version is None or busy:
            return
        if not self._offers(document.language_id or "") or self._is_huge(document.source):
            return
        offset = document.offset_at_position(position)
        context = self._context(document, document.source, offset)
        if self._cache.get(context):
            return  # what would be asked there is known
        stop(desk.ahead)
        desk.ahead = self.spawn(self._warm(self._cascade, context))

    async def _warm(self, cascade: Completer, context: Context) -> None:
        await asyncio.sleep(SETTLED_S)
        await cascade.warm(context)

    def _follow_up(self, desk: Desk, ready: Ready, asked: float) -> None:
        """Record a draft that was shown; test it if that can be done, then write ahead."""
        place, draft = ready.place, ready.draft
        if draft.text:
            record = ready.cascade.unverified(place.context, draft)
            self.spawn(self._keep_first(record, asked))
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
            told = {"uri": uri, "version": seen, "range": place.range}
            self.protocol.notify("cascade/improved", {**told, "decisionId": better.candidate_id})

    async def _keep_first(self, record: Record, asked: float) -> None:
        """Keep a decision, and how long the editor has waited for its answer."""
        wait_ms = (time.perf_counter() - asked) * 1000
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
        return PAUSED if self._snooze else Status()

    def _configure(self, raw: object) -> None:
        """Take new settings; what was made with the old ones is closed."""
        from cascade_lsp.settings import parse

        settings, faults = parse(raw)
        if faults:
            self.tell(" ".join(["Some settings of Cascade are wrong.", *faults]))
        if settings == getattr(self, "settings", None):
            return
        self.settings = settings
        self.journal.reopen()
        self.show(self.resting())
        self._let_go()

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

    # -- what the editor says ------------------------------------------------------------------

    def initialize(self, params: types.InitializeParams) -> None:
        """Begin the workspace, and take the first settings once this is answered."""
        self.open_workspace(params)
        first = params.initialization_options
        asyncio.get_running_loop().call_soon(self._configure, first)

    async def initialized(self, _params: types.InitializedParams) -> None:
        """Ask for the settings, and to be told when they change."""
        self.watch_settings(SECTION)
        if raw := await self.pull_settings(SECTION):
            self._configure(raw)

    async def did_change_configuration(self, params: types.DidChangeConfigurationParams) -> None:
        """Take the settings that were sent, or ask for them."""
        if raw := params.settings or await self.pull_settings(SECTION):
            self._configure(raw)

    async def shut_down(self, _params: None) -> None:
        """End everything; the editor will say when to exit."""
        await self.close()

    def did_open(self, params: types.DidOpenTextDocumentParams) -> None:
        """Load the model before the first keystroke needs it."""
        if self._offers(params.text_document.language_id):
            self._begin_loading()

    async def did_change(self, params: types.DidChangeTextDocumentParams) -> None:
        """Notice an accepted suggestion, whichever way it got into the text."""
        desk = self._desk(params.text_document.uri)
        document = self.document(params.text_document.uri)
        if not desk.shown or document.version is None:
            return
        place, shown = desk.shown
        text, offset = plain(document.source), place.context.offset
        if text.startswith(shown.text, offset):
            desk.shown = None
            line_head = text[text.rfind("\n", 0, offset) + 1 : offset]
            self.spawn(self._watch_kept(params.text_document.uri, shown, line_head))
            await self.accept(shown.candidate_id)

    async def _watch_kept(self, uri: str, accepted: Cached, line_head: str) -> None:
        """See after a while how much of an accepted suggestion still stands."""
        from cascade_lsp.statistics import kept_share

        await asyncio.sleep(KEPT_S)
        document = self.document(uri)
        if document.version is not None:
            share = kept_share(line_head + accepted.text, document.source)
            await self.journal.note(accepted.candidate_id, "kept", share)

    def did_close(self, params: types.DidCloseTextDocumentParams) -> None:
        """Forget what was under way for a document."""
        desk = self._desks.pop(params.text_document.uri, Desk())
        for task in (desk.request, desk.pen, desk.verification, desk.ahead):
            stop(task)

    async def did_show(self, params: Any) -> None:
        """Note that a suggestion was seen."""
        await self._event(params, "shown")

    async def did_partially_accept(self, params: Any) -> None:
        """Note that a part of a suggestion was taken."""
        await self._event(params, "partially_accepted")

    async def did_reject(self, params: Any) -> None:
        """Note that a suggestion was refused."""
        await self._event(params, "rejected")

    async def _event(self, params: Any, kind: str) -> None:
        command = getattr(getattr(params, "item", None), "command", None)
        match getattr(command, "arguments", None):
            case [str(decision_id)]:
                await self.journal.note(decision_id, kind)

    async def accept(self, decision_id: str) -> None:
        """Note that a suggestion was accepted."""
        await self.journal.note(decision_id, "accepted")

    # -- small things --------------------------------------------------------------------------

    def _desk(self, uri: str) -> Desk:
        return self._desks.setdefault(uri, Desk())


def _item(place: Place, found: Cached) -> types.InlineCompletionItem:
    accept = types.Command("Accept the suggestion", ACCEPT, arguments=[found.candidate_id])
    return types.InlineCompletionItem(place.head + found.text, range=place.range, command=accept)
