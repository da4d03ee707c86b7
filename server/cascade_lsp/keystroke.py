"""One keystroke and what follows it: LSP values in, plain values through the cascade, LSP out.

It judges nothing and runs nothing: a keystroke is gathered, looked up, drafted and answered in
one straight line, and everything slower happens behind the reply, in `drafting`. Whatever fails,
the request is answered; nothing in front of the reply waits for the ledger, the sandbox or a
test. What the user asks for by name is in `server`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from cascade_lsp import filters
from cascade_lsp.cache import Cached
from cascade_lsp.context import Context, gather
from cascade_lsp.desk import Completer, Desk, Place
from cascade_lsp.documents import EditorDocument, plain
from cascade_lsp.drafting import DraftingServer
from cascade_lsp.editor import after_reply, stop
from cascade_lsp.errors import CascadeError
from cascade_lsp.moments import outcome, typed_since, unwanted

if TYPE_CHECKING:
    from cascade_lsp.exclusions import Exclusions
    from cascade_lsp.imported import Workspace
    from cascade_lsp.neighbours import Neighbours

_LOG = logging.getLogger(__name__)

SECTION = "cascade"
# After which it is seen how much of an accepted suggestion still stands.
KEPT_S, KEPT_LATER_S = 30.0, 300.0
SEEN_MS = 500  # what was shown for less was not refused
OTHERS_S = 3.0  # that who asked waits longer, to have something to choose from
NEVER = ("just accepted", "against the selection")  # reasons that hold for what is known, too
ACCEPT = "cascade.acceptCompletion"


class KeystrokeServer(DraftingServer):
    """Completion for one editor."""

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
        why = unwanted(
            place.context,
            self.settings.when,
            desk.accepted,
            selected=place.head,
            instead_of=place.instead_of,
        )
        ready = self._offered(place, desk) if invoked else None
        found = ready or self._cache.get(place.context)
        if not invoked and why and (found is None or why in NEVER):
            return []  # what is known already is shown at other places, too
        if not invoked and found is None and not self._comes_unasked(place, desk):
            return []
        if ready or (found and found.text and why == "just accepted"):
            invoked = False  # it lies ready: nobody asked for more
        if found is None or (invoked and not self._is_tested(found.candidate_id)):
            found = await self._ask(place, desk, found, invoked=invoked)
        else:
            self.work.cached += 1
            found = replace(found, text=filters.again(found.text, place.context))
        others = await self._others(place, found) if invoked else []
        if (here := self._at_present(place, found)) is None:
            return []
        typed = found.text.removesuffix(here[1].text)
        place, found = here
        _LOG.info("answered with %d characters of %s", len(found.text), found.candidate_id)
        desk.shown, desk.accepted = (place, found), ""
        if unseen := self._unseen.pop(found.candidate_id, None):
            after_reply(lambda: self._follow_up(desk, unseen, place.waited_ms()))
        texts = [text.removeprefix(typed) for text in others if text.startswith(typed)]
        distinct = dict.fromkeys([found.text, *(text for text in texts if text)])
        return [_item(place, replace(found, text=text)) for text in distinct]

    async def _ask(
        self, place: Place, desk: Desk, known: Cached | None, *, invoked: bool
    ) -> Cached:
        """Ask the whole cascade where the user wants that, else the small model."""
        cascade = await self._ready(place.context.uri)
        thorough = invoked and cascade.spending.verify != "never"
        found = await self._think(cascade, place) if thorough else None
        return found or known or await self._draft(cascade, place, desk, pause=not invoked)

    def _comes_unasked(self, place: Place, desk: Desk) -> bool:
        """Say whether a model answers what the editor asks by itself; the light says why not."""
        if self.may_spend().automatic or self._being_written(place, desk):
            return True
        self.show(replace(self.resting(), busy=self._working > 0))
        return False

    def _offered(self, place: Place, desk: Desk) -> Cached | None:
        """Return the better answer that the editor was told of, once, as far as it is left here."""
        told, desk.told = desk.told, None
        if told is None or (told.how != "offer" and told.version != place.context.version):
            return None
        typed = typed_since(told.place.context, place.context.document)
        if typed is None or not told.better.text.startswith(typed):
            return None
        left = Cached(told.better.text[len(typed) :], told.better.candidate_id)
        self._cache.put(place.context, left.text, left.candidate_id)
        return left

    def _at_present(self, place: Place, found: Cached) -> tuple[Place, Cached] | None:
        """Return where an answer belongs in the document as it stands now, and what is left of it;
        None if something else was typed meanwhile, or nothing is left."""
        typed = self._typed(place)
        if typed is None or not found.text.startswith(typed) or found.text == typed:
            return None
        if not typed:
            return place, found
        document = self.document(place.context.uri)
        end = place.context.offset + len(typed)
        cursor = document.plain().client_position_at_offset(end)
        offset = document.offset_at_position(cursor)
        context = self._context(document, document.source, offset)
        left = Cached(found.text[len(typed) :], found.candidate_id)
        return replace(place, context=context, range=types.Range(cursor, cursor)), left

    @cached_property
    def _exclusions(self) -> Exclusions:
        from cascade_lsp.exclusions import Exclusions

        return Exclusions()

    @cached_property
    def _neighbours(self) -> Neighbours:
        from cascade_lsp.neighbours import Neighbours

        return Neighbours(self._readable, self.spawn)

    def _readable(self) -> Workspace:
        """Return where models may be shown other files, and what is open."""
        from cascade_lsp.imported import Workspace
        from cascade_lsp.suites import path_of

        opened, folders = self.workspace.text_documents, self.folders
        texts = {path: one.source for uri, one in opened.items() if (path := path_of(uri))}
        reason = self._exclusions.reason_of
        return Workspace(folders, texts, lambda file: not reason(file, folders))

    def _is_excluded(self, uri: str) -> bool:
        """Say whether no model may see a document; the light says why while it is looked at."""
        self._tell_excluded(self._exclusions.reason(uri, self.folders))
        return bool(self._excluded)

    def _tell_excluded(self, why: str) -> None:
        if why != self._excluded:
            self._excluded = why
            self.show(replace(self.resting(), busy=self._working > 0))

    def _is_huge(self, text: str) -> bool:
        return len(text) > self.settings.max_file_kb * 1000

    def _offers(self, language: str) -> bool:
        """Say whether there are suggestions at all, now and in this language."""
        settings = self.settings
        awake = settings.enabled and self._snooze is None
        return awake and language not in settings.disabled_languages

    async def _others(self, place: Place, found: Cached) -> list[str]:
        """Return what else there is to cycle through: the other tiers' answers of the same
        decision, then what the small model might have written, as far as its time goes."""
        record, tiers = self.journal.held(found.candidate_id), list[str]()
        if record and record.answer.text.endswith(found.text):
            typed = record.answer.text.removesuffix(found.text)
            usable = [a.text for a in record.attempts if a.evidence.syntax_ok]
            tiers = [text.removeprefix(typed) for text in usable if text.startswith(typed)]
        if not self.may_spend().ahead:
            return tiers
        cascade = await self._ready(place.context.uri)
        with suppress(TimeoutError, CascadeError):
            async with asyncio.timeout(OTHERS_S):
                return [*tiers, *await cascade.alternatives(place.context)]
        return tiers

    async def _think(self, cascade: Completer, place: Place) -> Cached | None:
        """Ask the whole cascade, within the patience of someone who asked for it."""
        patience_s = self.settings.completion.patience_s
        self.work.drafts += 1
        with self.busy("Writing and testing", "thinking"):
            record = await cascade.complete(place.context, patience_s=patience_s)
        after_reply(lambda: self.spawn(self._keep_first(record, place.waited_ms())))
        after_reply(lambda: self.spawn(self._know(record, place.context)))
        self._tell_escalation(record)
        return self._remember(place, record)

    def _place(self, params: types.InlineCompletionParams) -> Place | None:
        """Return where text is wanted; None if that is not a place in an open document."""
        document = self.document(params.text_document.uri)
        asked = getattr(params.text_document, "version", None)
        if document.version is None or asked not in (None, document.version):
            return None
        text, offset = document.source, document.offset_at_position(params.position)
        if self._is_excluded(document.uri) or self._is_huge(text):
            return None
        cursor = document.client_position_at_offset(offset)
        span, head, instead_of = types.Range(cursor, cursor), "", ""
        if selected := params.context.selected_completion_info:
            span, head = selected.range, selected.text
            if not span.start.line == span.end.line == cursor.line:
                return None
            start, end = map(document.offset_at_position, (span.start, span.end))
            instead_of = text[start : max(start, min(offset, end))]
            text, offset = text[:start] + head + text[end:], start + len(head)
        return Place(self._context(document, text, offset), span, head, instead_of)

    def _context(self, document: EditorDocument, text: str, offset: int) -> Context:
        """Return the context of an offset; models, cache and tests see one kind of line end."""
        before, after = plain(text[:offset]), plain(text[offset:])
        context = gather(
            before + after,
            len(before),
            uri=document.uri,
            version=document.version or 0,
            language=document.language_id or "",
            options=self.settings.context,
            density=self._desk(document.uri).density,
            first_line=document.first_line,
        )
        limit = self.settings.context.neighbour_chars
        return self._neighbours.extra(context, limit) if limit else context

    def cursor_moved(self, uri: str, position: types.Position) -> None:
        """Let the model read what is before the cursor, before someone types there."""
        document, desk = self.document(uri), self._desk(uri)
        busy = desk.pen and not desk.pen.done()
        if self._is_excluded(uri) or self._cascade is None or document.version is None or busy:
            return
        if not self._offers(document.language_id or "") or self._is_huge(document.source):
            return
        offset = document.offset_at_position(position)
        context = self._context(document, document.source, offset)
        if self._cache.get(context) or not self.may_spend().ahead:
            return  # what would be asked there is known, or not worth its cost
        stop(desk.ahead)
        desk.ahead = self.spawn(self._warm(self._cascade, context))

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
        document = params.text_document
        if not self._is_excluded(document.uri) and self._offers(document.language_id):
            if self.may_spend().automatic:
                self._begin_loading(document.uri)
            if self.settings.context.neighbour_chars:
                context = gather(document.text, 0, uri=document.uri, language=document.language_id)
                self.spawn(self._neighbours.read(context))

    def did_change(self, params: types.DidChangeTextDocumentParams) -> None:
        """Notice an accepted suggestion, whichever way it got into the text."""
        document = self.document(params.text_document.uri)
        self._pace.typed(time.perf_counter())
        self._typed_at_s = time.monotonic()
        stop(self._second)
        if document.version is None:
            return  # it was closed meanwhile
        desk = self._desk(params.text_document.uri)
        desk.text = document.source
        if not desk.shown:
            return
        place, shown = desk.shown
        text, offset = plain(document.source), place.context.offset
        made = outcome(shown.text, place.context, text)
        if made == "accepted":
            desk.shown = None
            line_head = text[text.rfind("\n", 0, offset) + 1 : offset]
            desk.kept[shown.candidate_id] = line_head + shown.text
            self.spawn(self._watch_kept(params.text_document.uri, shown.candidate_id))
            if all(len(change.text) <= 1 for change in params.content_changes):
                self.spawn(self.journal.note(shown.candidate_id, "typed_through"))
            else:
                desk.accepted = text[: offset + len(shown.text)]
            self.spawn(self.accept(shown.candidate_id))
        elif made == "rejected":
            desk.shown, desk.refused = None, place.context
            if place.waited_ms() >= SEEN_MS:
                self.spawn(self.journal.note(shown.candidate_id, "rejected"))

    async def _watch_kept(self, uri: str, decision_id: str) -> None:
        """See after a while, and after a longer one, how much of what was accepted still stands."""
        for pause, kind in ((KEPT_S, "kept"), (KEPT_LATER_S - KEPT_S, "kept_later")):
            await asyncio.sleep(pause)
            desk, document = self._desks.get(uri), self.document(uri)
            if desk is None or decision_id not in desk.kept or document.version is None:
                return
            await self._note_kept(decision_id, kind, desk.kept[decision_id], document.source)
        self._desk(uri).kept.pop(decision_id, None)

    async def _note_kept(self, decision_id: str, kind: str, accepted: str, now: str) -> None:
        from cascade_lsp.statistics import kept_share

        share = await asyncio.to_thread(kept_share, accepted, now)
        await self.journal.note(decision_id, kind, share)

    def did_close(self, params: types.DidCloseTextDocumentParams) -> None:
        """Forget what was under way for a document; what it was closed with is what was kept."""
        uri = params.text_document.uri
        if self._excluded == self._exclusions.reason(uri, self.folders):
            self._tell_excluded("")
        if self.settings.context.neighbour_chars:
            self._neighbours.forget(uri)
        desk = self._desks.pop(uri, Desk())
        for decision_id, accepted in desk.kept.items():
            for kind in ("kept", "kept_later"):  # where one was noted already, that one stays
                self.spawn(self._note_kept(decision_id, kind, accepted, desk.text))
        request, desk.request = desk.request, None  # nobody cancelled it: it is answered, empty
        for task in (request, desk.pen, desk.verification, desk.ahead):
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


def _item(place: Place, found: Cached) -> types.InlineCompletionItem:
    accept = types.Command("Accept the suggestion", ACCEPT, arguments=[found.candidate_id])
    return types.InlineCompletionItem(place.head + found.text, range=place.range, command=accept)
