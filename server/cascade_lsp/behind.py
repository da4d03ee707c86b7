"""What follows a reply: a draft is recorded, tested or handed to a larger tier, and a better answer
brought in without moving what the user sees.

Nobody waits for any of it, and it gives way to the next keystroke within the engine. A better
answer takes the place of the shown one where nothing was typed since; it goes on silently where it
begins with that; else it is offered, and the user asks for it. What was edited or accepted
meanwhile is left alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types

from cascade_lsp.cache import Cached, CompletionCache
from cascade_lsp.context import Context, gather
from cascade_lsp.desk import Completer, Desk, Place, Ready, Told, Work
from cascade_lsp.documents import plain
from cascade_lsp.editor import EditorServer, Status, stop
from cascade_lsp.engine import Priority
from cascade_lsp.journal import Journal
from cascade_lsp.moments import How, typed_since

# The rest is imported when it is first needed: initialize is answered before, and so at once.
if TYPE_CHECKING:
    from cascade_lsp.ledger import Ledger, Record
    from cascade_lsp.power import Gauge, Spending
    from cascade_lsp.settings import Settings
    from cascade_lsp.turn import Draft, Event

IDLE_S = 0.3  # what is begun while the user types on would only be interrupted
PAUSE_S = 3.0  # after which someone has stopped typing, where work is for pauses only
UNSEEN = 50  # drafts that were written and not yet shown
OFFER = "A better suggestion is ready: ask for a suggestion to see it."


class BehindServer(EditorServer):
    """What is known of one editor's documents and suggestions, and the work behind its replies.

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
        self.journal = Journal(lambda: open_ledger(self.settings), self.tell)
        self._make_cascade = make_cascade
        self._cache = CompletionCache()
        self._desks: dict[str, Desk] = {}
        self._unseen: dict[str, Ready] = {}
        self._typed_at_s = 0.0  # by the monotonic clock
        self._second: asyncio.Task[None] | None = None  # what a larger tier is asked untested

    def _desk(self, uri: str) -> Desk:
        return self._desks.setdefault(uri, Desk())

    @cached_property
    def gauge(self) -> Gauge:
        """Return what reads the machine."""
        from cascade_lsp.power import Gauge

        return Gauge()

    def may_spend(self) -> Spending:
        """Return what may be spent by the last reading of the machine, and renew an old one."""
        if self.gauge.is_due():
            self.spawn(asyncio.to_thread(self.gauge.look))
        return self.gauge.spending(self.settings.power)

    async def _pause(self) -> None:
        """Wait until work behind a reply may begin: soon, or, where that is for pauses only, once
        nobody has typed for a while."""
        if self.may_spend().verify != "pauses":
            await asyncio.sleep(IDLE_S)
            return
        left_s = PAUSE_S
        while left_s > 0:
            await asyncio.sleep(left_s)
            left_s = self._typed_at_s + PAUSE_S - time.monotonic()

    def _hold_unseen(self, ready: Ready) -> None:
        """Keep a draft until it is shown: only then it is recorded and tested."""
        self._unseen[ready.draft.id] = ready
        if len(self._unseen) > UNSEEN:
            del self._unseen[next(iter(self._unseen))]

    def _follow_up(self, desk: Desk, ready: Ready, wait_ms: float) -> None:
        """See to a draft that was shown, or that was empty; then write ahead."""
        self.spawn(self._see_to(desk, ready, wait_ms))
        if ready.whole and ready.draft.text and self.may_spend().ahead:
            stop(desk.ahead)
            desk.ahead = self.spawn(self._write_ahead(desk, ready))

    async def _see_to(self, desk: Desk, ready: Ready, wait_ms: float) -> None:
        """Record a draft; test it if that can be done, else let a larger tier have a look."""
        cascade, context, draft = ready.cascade, ready.place.context, ready.draft
        if draft.text:
            record = await cascade.unverified(context, draft)
            self.spawn(self._keep_first(record, wait_ms))
        if not ready.whole:
            return
        tests = self.may_spend().verify != "never"
        testable = tests and await cascade.worth_verifying(context, draft)
        typed = self._typed(ready.place)
        if typed is None or not (draft.text.startswith(typed) or typed.startswith(draft.text)):
            return  # the user is elsewhere already
        if testable and draft.text:
            stop(desk.verification)
            desk.verified = context.document[: context.offset] + draft.text
            desk.verification = self.spawn(self._verify(desk, ready))
        else:  # for as long as nobody types
            stop(self._second)
            judge = self._verify if testable else self._ask_second
            self._second = self.spawn(judge(desk, ready))

    async def _keep_first(self, record: Record, wait_ms: float) -> None:
        """Keep a decision, and how long the editor has waited for its answer."""
        await self.journal.keep(record)
        await self.journal.note(record.id, "answered", wait_ms)

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
            first_line=context.first_line,
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

    # -- a second opinion ----------------------------------------------------------------------

    async def _verify(self, desk: Desk, ready: Ready) -> None:
        """Test a draft, and let a larger tier write what fails."""
        await self._pause()
        if not ready.draft.text and self._typed(ready.place) != "":
            return
        self.work.verifications += 1
        context = ready.place.context
        with self.busy("Testing the suggestion", "verifying"):
            record = await ready.cascade.verify(context, ready.draft, self._watch)
        self._take_over(desk, ready, record)
        await self._know(record, context)

    async def _ask_second(self, desk: Desk, ready: Ready) -> None:
        """Let a larger tier continue where a draft does not suffice and nothing is tested, while
        nobody types."""
        place, draft = ready.place, ready.draft
        refused, desk.refused = desk.refused, None
        rejected = bool(refused and typed_since(refused, place.context.document))
        await self._pause()
        if self._typed(place) != "":
            return
        try:
            record = await ready.cascade.second(
                place.context, draft, self._watch, rejected=rejected
            )
        finally:
            if self.light.state == "escalating":
                self.show(replace(self.resting(), busy=self._working > 0))
        if record:
            self._take_over(desk, ready, record)

    def _take_over(self, desk: Desk, ready: Ready, record: Record) -> None:
        """Take in what became of a draft that was judged."""
        self._tell_escalation(record)
        self.spawn(self.journal.keep(record))
        if record.answer.text not in ("", ready.draft.text):
            self._improve(desk, ready.place, ready.draft, Cached(record.answer.text, record.id))

    async def _know(self, record: Record, context: Context) -> None:
        """Hold what tests have said of a function, for when it stands in its document."""
        from cascade_lsp import hints

        verdicts = await asyncio.to_thread(hints.verdicts, record, context)
        if verdicts and (desk := self._desks.get(context.uri)):
            desk.verdicts = verdicts
            self.settle(context.uri)

    def _watch(self, event: Event) -> None:
        """Show that a larger tier is asked."""
        from cascade_lsp.turn import Started

        if isinstance(event, Started) and event.tier != "small":
            self.show(Status(True, "Asking the larger model", state="escalating"))

    def _stop_verifications(self) -> None:
        """End what is asked behind the replies, as when the user asks for a test by name."""
        stop(self._second)
        for desk in self._desks.values():
            stop(desk.verification)

    def _tell_escalation(self, record: Record) -> None:
        """Let the light say that the small model's answer was not enough, until the next work."""
        if record.decision.action == "escalate":
            from cascade_lsp import explain

            self.work.escalations += 1
            self.show(Status(message=explain.verdict(record), state="escalated"))

    def settle(self, uri: str) -> None:
        """Show what is known of the functions in a document; here, nowhere."""

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

    # -- a better answer -----------------------------------------------------------------------

    def _improve(self, desk: Desk, place: Place, draft: Draft, better: Cached) -> None:
        """Bring in a better answer than a draft, as far as that was not edited or accepted."""
        shown = not draft.text or (desk.shown and desk.shown[1].candidate_id == draft.id)
        typed = self._typed(place) if shown else None
        if typed is None or not draft.text.startswith(typed):
            self._cache.put(place.context, better.text, better.candidate_id)  # who comes back
        elif better.text.startswith(draft.text):
            self._announce(desk, place, better, "extend", typed)
        elif not typed:
            self._announce(desk, place, better, "replace")
        elif better.text.startswith(typed):
            self._announce(desk, place, better, "offer")

    def _tell_rest(self, desk: Desk, draft: Draft) -> None:
        """Announce the rest of a draft of which the first line was shown."""
        if desk.shown and desk.shown[1].candidate_id == draft.id:
            place, shown = desk.shown
            found = self._cache.get(place.context)
            longer = found and len(found.text) > len(shown.text) and self._typed(place) == ""
            if found and longer and found.candidate_id == draft.id:
                self._announce(desk, place, found, "extend")

    def _announce(
        self, desk: Desk, place: Place, better: Cached, how: How, typed: str = ""
    ) -> None:
        """Tell the editor of a better answer. One that is only offered is for the version in which
        it would have been shown, which is gone: editors leave it alone until they are asked."""
        uri, version, span = place.context.uri, place.context.version, place.range
        document = self.document(uri)
        if how == "offer":
            self.show(Status(message=OFFER, state="escalated"))
        else:
            self._cache.put(place.context, better.text, better.candidate_id)
            if document.version != version:
                end = place.context.offset + len(typed)
                cursor = document.plain().client_position_at_offset(end)
                version, span = document.version or 0, types.Range(cursor, cursor)
        desk.told = Told(place, better, version, how)
        told = {"uri": uri, "version": version, "range": span, "how": how}
        self.protocol.notify("cascade/improved", {**told, "decisionId": better.candidate_id})

    def _typed(self, place: Place) -> str | None:
        """Return what was typed at a place since it was asked for, None if anything else was
        changed in its document."""
        document = self.document(place.context.uri)
        if document.version == place.context.version:
            return ""
        if document.version is None or place.head:
            return None
        return typed_since(place.context, plain(document.source))
