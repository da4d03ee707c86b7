"""The language server: LSP values in, plain values through the cascade, LSP values out.

It judges nothing and runs nothing: a keystroke is gathered, looked up, drafted and answered in
one straight line, and everything slower happens behind the reply. Whatever fails, the request
is answered; nothing in front of the reply waits for the ledger, the sandbox or a test.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lsprotocol import types

from cascade_lsp.cache import Cached, CompletionCache
from cascade_lsp.context import Context, gather
from cascade_lsp.editor import EditorServer, Status, after_reply, log_to, own_channels, stop
from cascade_lsp.errors import CascadeError, LedgerError

# The rest is imported when it is first needed: initialize is answered before, and so at once.
if TYPE_CHECKING:
    from cascade_lsp.ledger import Ledger, Record
    from cascade_lsp.settings import Settings
    from cascade_lsp.turn import Draft

_LOG = logging.getLogger(__name__)

SECTION = "cascade"
IDLE_S = 0.3  # a verification begun while the user types on would only be cancelled
RETRY_S = 2.0
CLOSING_S = 1.5
RECENT = 50  # decisions of this session that can be explained with the suggested texts
ACCEPT = "cascade.acceptCompletion"
OFF = Status(kind="Inactive", message="Suggestions are turned off in the settings.")

Answer = TypeVar("Answer")


class Completer(Protocol):
    """What is asked of the cascade."""

    async def load(self) -> object: ...
    async def draft(self, context: Context) -> Draft: ...
    async def complete(self, context: Context, *, patience_s: float) -> Record: ...
    async def verify(self, context: Context, draft: Draft) -> Record: ...
    def unverified(self, context: Context, draft: Draft) -> Record: ...
    def worth_verifying(self, context: Context, draft: Draft) -> bool: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where text is wanted: the context, and the range on one line that the answer replaces.

    `head` is the row selected in the suggest widget; the context is as if it had been inserted.
    """

    context: Context
    range: types.Range
    head: str = ""


@dataclass(slots=True)
class Desk:
    """What is under way for one document: the request, the verification behind the last one, and
    the offset and text of what was shown, until it is accepted."""

    request: asyncio.Task[Any] | None = None
    verification: asyncio.Task[None] | None = None
    shown: tuple[int, Cached] | None = None


class CascadeServer(EditorServer):
    """The server of one editor; the cascade and the ledger are opened when first needed.

    `settings` are there once initialize was answered, which is before any other message.
    """

    settings: Settings

    def __init__(
        self,
        make_cascade: Callable[[Settings], Completer],
        open_ledger: Callable[[Settings], Ledger],
    ) -> None:
        super().__init__("cascade")
        self._make_cascade, self._open_ledger = make_cascade, open_ledger
        self._cache = CompletionCache()
        self._cascade: Completer | None = None
        self._loading: asyncio.Task[Completer] | None = None
        self._ledger: Ledger | None = None
        self._writing = asyncio.Lock()
        self._desks: dict[str, Desk] = {}
        self._recent: dict[str, Record] = {}  # with their texts, which the ledger may not keep
        self._register()

    # -- one keystroke -------------------------------------------------------------------------

    async def inline_completion(
        self, params: types.InlineCompletionParams
    ) -> types.InlineCompletionList:
        """Answer a request, whatever happens; the latest one of a document ends those before."""
        desk = self._desk(params.text_document.uri)
        stop(desk.request)
        desk.request = asyncio.current_task()
        try:
            return types.InlineCompletionList(await self._suggest(params, desk))
        except asyncio.CancelledError:
            if desk.request is asyncio.current_task():
                raise  # the client cancelled; a request that was overtaken is answered empty
        except Exception as error:  # noqa: BLE001 - no keystroke is answered with an error
            self.failed(error)
        return types.InlineCompletionList([])

    async def _suggest(
        self, params: types.InlineCompletionParams, desk: Desk
    ) -> list[types.InlineCompletionItem]:
        place = self._place(params)
        if place is None or not self.settings.enabled:
            return []
        invoked = params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
        found = self._cache.get(place.context)
        if found is None or (invoked and not self._is_tested(found.candidate_id)):
            self._stop_verifications()
            cascade = await self._ready()
            thought = await self._think(cascade, place) if invoked else None
            found = thought or found or await self._draft(cascade, place, desk)
        if not found.text:
            return []
        _LOG.info("answered with %d characters of %s", len(found.text), found.candidate_id)
        desk.shown = place.context.offset, found
        return [_item(place, found)]

    def _stop_verifications(self) -> None:
        """Make room: a test of any document gives way to a keystroke in this one."""
        for desk in self._desks.values():
            stop(desk.verification)

    async def _draft(self, cascade: Completer, place: Place, desk: Desk) -> Cached:
        """Ask the small tier; after the reply the answer is recorded, and tested if it can be."""
        with self.busy("Writing"):
            draft = await cascade.draft(place.context)
        if draft.text:
            self._cache.put(place.context, draft.text, draft.id)
        after_reply(partial(self._follow_up, cascade, place, desk, draft))
        return Cached(draft.text, draft.id)

    async def _think(self, cascade: Completer, place: Place) -> Cached | None:
        """Ask the whole cascade, within the patience of someone who asked for it."""
        patience_s = self.settings.completion.patience_s
        with self.busy("Writing and testing"):
            record = await cascade.complete(place.context, patience_s=patience_s)
        after_reply(lambda: self.spawn(self._keep(record)))
        return self._remember(place, record)

    def _place(self, params: types.InlineCompletionParams) -> Place | None:
        """Return where text is wanted; None if that is not a place in an open document."""
        document = self.document(params.text_document.uri)
        asked = getattr(params.text_document, "version", None)
        if document.version is None or asked not in (None, document.version):
            return None
        text, offset = document.source, document.offset_at_position(params.position)
        if len(text) > self.settings.max_file_kb * 1000:
            return None
        cursor = document.client_position_at_offset(offset)
        span, head = types.Range(cursor, cursor), ""
        if selected := params.context.selected_completion_info:
            span, head = selected.range, selected.text
            if not span.start.line == span.end.line == cursor.line:
                return None
            start, end = map(document.offset_at_position, (span.start, span.end))
            text, offset = text[:start] + head + text[end:], start + len(head)
        context = gather(
            text,
            offset,
            uri=document.uri,
            version=document.version,
            language=document.language_id or "",
            options=self.settings.context,
        )
        return Place(context, span, head)

    # -- behind the reply ----------------------------------------------------------------------

    def _follow_up(self, cascade: Completer, place: Place, desk: Desk, draft: Draft) -> None:
        if draft.text:
            self.spawn(self._keep(cascade.unverified(place.context, draft)))
        if cascade.worth_verifying(place.context, draft):
            desk.verification = self.spawn(self._verify(cascade, place, draft))

    async def _verify(self, cascade: Completer, place: Place, draft: Draft) -> None:
        await asyncio.sleep(IDLE_S)
        with self.busy("Testing the suggestion"):
            record = await cascade.verify(place.context, draft)
        await self._keep(record)
        better = self._remember(place, record)
        if better and better.text != draft.text:
            self._announce(place, better)

    def _remember(self, place: Place, record: Record) -> Cached | None:
        """Put a judged answer in the place of whatever was suggested there."""
        if not record.answer.text:
            return None
        self._cache.put(place.context, record.answer.text, record.id)
        return Cached(record.answer.text, record.id)

    def _is_tested(self, decision_id: str) -> bool:
        """Say whether this session's decision had its turn with tests already."""
        record = self._recent.get(decision_id)
        return record is not None and record.answer.evidence.execution != "not_asked"

    def _announce(self, place: Place, better: Cached) -> None:
        """Tell the editor of a better answer, unless the user has edited meanwhile."""
        uri, seen = place.context.uri, place.context.version
        if self.document(uri).version == seen:
            told = {"uri": uri, "version": seen, "range": place.range}
            self.protocol.notify("cascade/improved", {**told, "decisionId": better.candidate_id})

    async def _keep(self, record: Record) -> None:
        self._recent.pop(record.id, None)
        self._recent[record.id] = record
        if len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]
        await self._with_ledger(lambda ledger: ledger.record(record))

    async def _with_ledger(self, use: Callable[[Ledger], Answer]) -> Answer | None:
        """Use the ledger in a thread, one use after another; without it the user is told once."""
        try:
            async with self._writing:
                if self._ledger is None:
                    self._ledger = await asyncio.to_thread(self._open_ledger, self.settings)
                    self.tell(self._ledger.notice)
                return await asyncio.to_thread(use, self._ledger)
        except LedgerError as error:
            self.tell(str(error))
            return None

    # -- the cascade's life --------------------------------------------------------------------

    async def _ready(self) -> Completer:
        """Return the cascade with a model loaded; a cancelled keystroke never stops the loading."""
        if self._loading is None:
            self._loading = self.spawn(self._load())
        return await asyncio.shield(self._loading)

    async def _load(self) -> Completer:
        cascade = None
        try:
            with self.busy("Loading the model"):
                cascade = self._make_cascade(self.settings)
                async with self.progress_bar("Loading the model"):
                    await cascade.load()
        except BaseException:
            self.spawn(self._try_again(self._loading))
            if cascade:
                await cascade.close()
            raise
        self._cascade = cascade
        return cascade

    async def _try_again(self, failed: asyncio.Task[Completer] | None) -> None:
        """After a pause let the next keystroke load: a model may have been fetched meanwhile."""
        await asyncio.sleep(RETRY_S)
        if self._loading is failed:
            self._loading = None

    def _configure(self, raw: object) -> None:
        """Take new settings; what was made with the old ones is closed."""
        from cascade_lsp.settings import parse

        settings, faults = parse(raw)
        if faults:
            self.tell(" ".join(["Some settings of Cascade are wrong.", *faults]))
        if settings == getattr(self, "settings", None):
            return
        self.settings, self._ledger = settings, None
        self._cache.clear()
        self.show(Status() if settings.enabled else OFF)
        for task in (self._loading, *(desk.verification for desk in self._desks.values())):
            stop(task)
        cascade, self._cascade, self._loading = self._cascade, None, None
        if cascade:
            self.spawn(cascade.close())

    async def close(self) -> None:
        """End everything under way, and the cascade."""
        for desk in self._desks.values():
            stop(desk.request)
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

    async def did_open(self, _params: types.DidOpenTextDocumentParams) -> None:
        """Load the model before the first keystroke needs it."""
        if self.settings.enabled:
            with suppress(CascadeError):  # the user is told when the loading ends
                await self._ready()

    async def did_change(self, params: types.DidChangeTextDocumentParams) -> None:
        """Notice an accepted suggestion, whichever way it got into the text."""
        desk = self._desk(params.text_document.uri)
        offset, shown = desk.shown or (0, None)
        if shown and self.document(params.text_document.uri).source.startswith(shown.text, offset):
            desk.shown = None
            await self.accept(shown.candidate_id)

    def did_close(self, params: types.DidCloseTextDocumentParams) -> None:
        """Forget what was under way for a document."""
        desk = self._desks.pop(params.text_document.uri, Desk())
        stop(desk.request)
        stop(desk.verification)

    async def did_show(self, params: Any) -> None:
        """Note that a suggestion was seen."""
        await self._event(params, "shown")

    async def did_partially_accept(self, params: Any) -> None:
        """Note that a part of a suggestion was taken."""
        await self._event(params, "partially_accepted")

    async def _event(self, params: Any, kind: str) -> None:
        command = getattr(getattr(params, "item", None), "command", None)
        match getattr(command, "arguments", None):
            case [str(decision_id)]:
                await self._with_ledger(lambda ledger: ledger.event(decision_id, kind))

    async def accept(self, decision_id: str) -> None:
        """Note that a suggestion was accepted."""
        await self._with_ledger(lambda ledger: ledger.event(decision_id, "accepted"))

    async def explain_escalation(self, decision_id: str = "") -> dict[str, str | None]:
        """Explain a decision, or the last one."""
        last = next(reversed(self._recent), "")
        record = self._recent.get(decision_id or last) or await self._with_ledger(
            lambda ledger: ledger.get(decision_id) if decision_id else ledger.last()
        )
        if record is None:
            return {"id": None, "markdown": "No such decision is on record."}
        from cascade_lsp import explain

        return {"id": record.id, "markdown": explain.decision(record)}

    async def status(self) -> dict[str, object]:
        """Return what the status light shows."""
        return asdict(self.light)

    # -- small things --------------------------------------------------------------------------

    def _desk(self, uri: str) -> Desk:
        return self._desks.setdefault(uri, Desk())

    def _register(self) -> None:
        inline = types.TEXT_DOCUMENT_INLINE_COMPLETION
        # Without an options object pygls would not announce it.
        self.feature(inline, types.InlineCompletionOptions())(partial(self.inline_completion))
        features: dict[str, Callable[..., Any]] = {
            types.INITIALIZE: self.initialize,
            types.INITIALIZED: self.initialized,
            types.SHUTDOWN: self.shut_down,
            types.WORKSPACE_DID_CHANGE_CONFIGURATION: self.did_change_configuration,
            types.TEXT_DOCUMENT_DID_OPEN: self.did_open,
            types.TEXT_DOCUMENT_DID_CHANGE: self.did_change,
            types.TEXT_DOCUMENT_DID_CLOSE: self.did_close,
            "textDocument/didShowCompletion": self.did_show,
            "textDocument/didPartiallyAcceptCompletion": self.did_partially_accept,
        }
        # partial: pygls marks its handlers with attributes, which a bound method does not take.
        for method, handler in features.items():
            self.feature(method)(partial(handler))
        self.command("cascade.explainEscalation")(partial(self.explain_escalation))
        self.command(ACCEPT)(partial(self.accept))
        self.command("cascade.status")(partial(self.status))


def _item(place: Place, found: Cached) -> types.InlineCompletionItem:
    accept = types.Command("Accept the suggestion", ACCEPT, arguments=[found.candidate_id])
    return types.InlineCompletionItem(place.head + found.text, range=place.range, command=accept)


# -- the process -----------------------------------------------------------------------------------


def serve(log_file: Path | None = None) -> None:
    """Serve the client at stdin and stdout; raise SystemExit with LSP's exit code when told to."""
    log_to(log_file)
    asyncio.run(CascadeServer(_make_cascade, _open_ledger).session(*own_channels()))


def _make_cascade(settings: Settings) -> Completer:
    from cascade_lsp import assembly

    return assembly.make_cascade(settings)


def _open_ledger(settings: Settings) -> Ledger:
    from cascade_lsp import assembly

    return assembly.open_ledger(settings)
