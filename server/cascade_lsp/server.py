"""The language server: every feature and command by its name in LSP, and the process.

A keystroke is answered in `keystroke`; here is what the user asks for in words: explain a
decision, verify a function, fetch a model, pause. Commands take texts, which any editor can
send, and answer with plain JSON values.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from cascade_lsp import __version__
from cascade_lsp.desk import Completer
from cascade_lsp.documents import of_cells
from cascade_lsp.editor import log_to, own_channels
from cascade_lsp.errors import CascadeError, ModelError
from cascade_lsp.keystroke import ACCEPT
from cascade_lsp.marking import MarkingServer, whole_number

# The rest is imported when it is first needed: initialize is answered before, and so at once.
if TYPE_CHECKING:
    from cascade_lsp.catalogue import Model
    from cascade_lsp.ledger import Ledger
    from cascade_lsp.settings import Settings

MINUTE_S = 60.0
DAY_S = 86400.0
LISTED = 500  # decisions at most in a list
API_KEY = "CASCADE_API_KEY"  # how an editor hands over the key that its own store keeps
NOTHING = "nothing leaves this machine."


class CascadeServer(MarkingServer):
    """The server of one editor, with all that it can be asked for."""

    def __init__(
        self,
        make_cascade: Callable[[Settings, Path | None], Completer],
        open_ledger: Callable[[Settings], Ledger],
    ) -> None:
        super().__init__(make_cascade, open_ledger)
        self._register()

    # -- decisions -----------------------------------------------------------------------------

    async def explain_escalation(self, decision_id: str = "") -> dict[str, Any]:
        """Explain a decision, or the last one: as Markdown, and as `explain.as_json`."""
        record = await self.journal.find(decision_id)
        if record is None:
            return {"id": None, "markdown": "No such decision is on record.", "record": None}
        from cascade_lsp import explain

        events = await self.journal.use(lambda ledger: ledger.events(record.id))
        told = explain.as_json(record, events or ())
        return {"id": record.id, "markdown": explain.decision(record), "record": told}

    async def decisions(self, days: str = "30") -> dict[str, Any]:
        """Return the latest decisions in brief, newest first, and where the ledger lies."""
        from cascade_lsp import explain, paths

        seconds = whole_number(days) * DAY_S
        records = await self.journal.use(lambda ledger: ledger.since(seconds)) or ()
        events = await self.journal.use(lambda ledger: ledger.events_since(seconds)) or {}
        latest = records[: -LISTED - 1 : -1]
        rows = [explain.as_row(record, events.get(record.id, ())) for record in latest]
        return {"path": str(paths.ledger_path()), "rows": rows}

    async def statistics(self, days: str = "30") -> dict[str, Any]:
        """Return what `statistics.report` says of the last days."""
        from cascade_lsp import statistics

        count = whole_number(days)
        records = await self.journal.use(lambda ledger: ledger.since(count * DAY_S)) or ()
        events = await self.journal.use(lambda ledger: ledger.events_since(count * DAY_S)) or {}
        return statistics.report(records, events, count)

    # -- models, pauses, the machine -----------------------------------------------------------

    def failed(self, error: BaseException) -> None:
        """Offer to fetch a model that is missing; tell of any other fault."""
        if isinstance(error, ModelError) and (missing := self._missing_models()):
            self.spawn(self._offer(missing))
        else:
            super().failed(error)

    def _missing_models(self) -> list[Model]:
        """Return the chosen models that are not here; empty as long as the small one is."""
        from cascade_lsp import catalogue

        options, known = self.settings.models, catalogue.load()
        try:
            chosen = [known.find(name) for name in (options.small, options.large)]
        except CascadeError:
            return []
        missing = [model for model in chosen if catalogue.installed(model) is None]
        return missing if chosen[0] in missing else []

    async def _offer(self, missing: list[Model]) -> None:
        megabytes = [model.size_bytes / 1e6 for model in missing]
        offers = {f"Download the small model ({megabytes[0]:,.0f} MB)": missing[:1]}
        if len(missing) > 1:
            offers[f"Download both ({sum(megabytes):,.0f} MB)"] = missing
        question = (
            f"Nothing can be suggested: the model {missing[0].name} is not on this machine. "
            "`Cascade: Download Model` or `cascade models fetch` gets it later, too."
        )
        choice = await self.choose(question, *reversed(offers))
        for model in offers.get(choice or "", []):
            await self.fetch_model(model.name)

    async def models(self) -> list[dict[str, Any]]:
        """Return the catalogue: what there is, what is here, and what is chosen."""
        from cascade_lsp import catalogue

        roles = {name: role for role, name in asdict(self.settings.models).items()}
        statuses = await asyncio.to_thread(lambda: catalogue.load().status())
        return [{**one.as_json(), "chosen": roles.get(one.model.name)} for one in statuses]

    async def fetch_model(self, name: str) -> str:
        """Download a model with a progress bar that can end it; return where it lies."""
        from cascade_lsp import catalogue, download

        model, ended = catalogue.load().find(name), Event()
        loop = asyncio.get_running_loop()
        async with self.progress_bar(f"Getting {name}", can_be_ended=True) as bar:

            def tell(what: str, done_bytes: int, total_bytes: int) -> None:
                if ended.is_set() or bar.ended:
                    raise KeyboardInterrupt  # as Ctrl+C would: what has arrived is kept
                message = f"{what}: {done_bytes / 1e6:,.0f} of {total_bytes / 1e6:,.0f} MB"
                loop.call_soon_threadsafe(bar.report, message, 100 * done_bytes // total_bytes)

            try:
                path = await asyncio.to_thread(download.fetch, model, (), tell)
            except CascadeError as error:
                self.tell(str(error))
                return ""
            finally:
                ended.set()
        self._let_go()
        self.show(self.resting())
        return str(path)

    async def snooze(self, minutes: str = "30") -> dict[str, Any]:
        """Make no suggestion for so many minutes; with 0, make them again."""
        if self._snooze:
            self._snooze.cancel()
        seconds = whole_number(minutes) * MINUTE_S
        self._snooze = None
        if seconds:
            self._snooze = asyncio.get_running_loop().call_later(seconds, self._wake)
            self._let_go()
        self.show(self.resting())
        return await self.status()

    def _wake(self) -> None:
        self._snooze = None
        self.show(self.resting())

    async def doctor(self) -> list[dict[str, Any]]:
        """Run the checks of `cascade doctor` with the editor's settings."""
        from cascade_lsp import doctor

        findings = []
        async with self.progress_bar("Checking") as bar:
            async for finding in doctor.examine(self.settings):
                findings.append(finding.as_json())
                bar.report(f"{finding.name}: {finding.found}")
        return findings

    async def status(self) -> dict[str, Any]:
        """Return what the status light shows, and the facts behind it."""
        from datetime import datetime, timedelta

        until = None
        if self._snooze:
            left_s = self._snooze.when() - asyncio.get_running_loop().time()
            until = (datetime.now() + timedelta(seconds=left_s)).timestamp()
        return {
            **asdict(self.light),
            "version": __version__,
            "models": await asyncio.to_thread(self._chosen_models),
            "sandbox": await self._sandbox(),
            "power": await self._power(),
            "network": self._network(),
            "snoozed_until": until,
            "work": asdict(self.work),
        }

    def _network(self) -> str:
        """Say to whom something may be sent, as a sentence."""
        remote = self.settings.remote
        if not remote.url:
            return f"No remote model is configured: {NOTHING}"
        called = f"the remote model at {remote.host}"
        if self.settings.network == "off":
            return f"cascade.network is off, so {called} is not asked: {NOTHING}"
        if fault := remote.fault():
            return f"{fault[0].upper()}{fault[1:]}. So {called} is not asked: {NOTHING}"
        return f"What the privacy policy lets out may be sent to {called}, and nowhere else."

    async def preview_remote(self, uri: str, line: str, character: str) -> dict[str, Any]:
        """Tell what the remote model would be sent at a place of a document, as Markdown."""
        from cascade_lsp import explain

        if self._is_excluded(uri):
            return {"markdown": f"**Nothing would be sent.** {self._excluded}\n"}
        document = self.document(uri)
        position = types.Position(whole_number(line), whole_number(character))
        context = self._context(document, document.source, document.offset_at_position(position))
        found = await (await self._ready(uri)).preview(context)
        if found is None:
            return {"markdown": f"**Nothing would be sent.** {self._network()}\n"}
        return {"markdown": explain.sending(found.model, found.refused, found.requests)}

    def _chosen_models(self) -> list[dict[str, Any]]:
        from cascade_lsp import catalogue

        here = {one.model.name for one in catalogue.load().status() if one.path}
        chosen = asdict(self.settings.models).items()
        return [{"role": role, "name": name, "installed": name in here} for role, name in chosen]

    async def _power(self) -> dict[str, Any]:
        """Tell what may be spent and why, as the machine is just now."""
        await asyncio.to_thread(self.gauge.look)
        reading, spending = self.gauge.reading, self.gauge.spending(self.settings.power)
        return {
            "profile": spending.profile,
            "why": spending.why,
            "spared": spending.told,
            "on_battery": reading.on_battery,
            "percent": None if reading.percent is None else round(reading.percent),
        }

    async def _sandbox(self) -> dict[str, str]:
        if self.settings.sandbox.execution == "off":
            return {"tier": "none", "reason": "running code is turned off"}
        if self._cascade is None:
            return {"tier": "unknown", "reason": "it is tried when the model is loaded"}
        return asdict(await self._cascade.sandbox_status())

    # -- all by name ---------------------------------------------------------------------------

    def _register(self) -> None:
        inline = types.TEXT_DOCUMENT_INLINE_COMPLETION
        # Without an options object pygls would not announce it.
        self.feature(inline, types.InlineCompletionOptions())(partial(self.inline_completion))
        kinds = types.CodeActionOptions([types.CodeActionKind.QuickFix])
        self.feature(types.TEXT_DOCUMENT_CODE_ACTION, kinds)(partial(self.code_actions))
        lenses = types.CodeLensOptions(resolve_provider=False)
        self.feature(types.TEXT_DOCUMENT_CODE_LENS, lenses)(partial(self.code_lenses))
        features: dict[str, Callable[..., Any]] = {
            types.INITIALIZE: self.initialize,
            types.INITIALIZED: self.initialized,
            types.SHUTDOWN: self.shut_down,
            types.WORKSPACE_DID_CHANGE_CONFIGURATION: self.did_change_configuration,
            types.TEXT_DOCUMENT_DID_OPEN: self.did_open,
            types.TEXT_DOCUMENT_DID_CHANGE: self.did_change,
            types.TEXT_DOCUMENT_DID_CLOSE: self.did_close,
            **of_cells(self.did_open, self.did_change, self.did_close),
            "textDocument/didShowCompletion": self.did_show,
            "textDocument/didPartiallyAcceptCompletion": self.did_partially_accept,
            "cascade/didRejectCompletion": self.did_reject,
        }
        commands: dict[str, Callable[..., Any]] = {
            ACCEPT: self.accept,
            "cascade.explainEscalation": self.explain_escalation,
            "cascade.decisions": self.decisions,
            "cascade.statistics": self.statistics,
            "cascade.verifyFunction": self.verify_function,
            "cascade.replaceFunction": self.replace_function,
            "cascade.models": self.models,
            "cascade.fetchModel": self.fetch_model,
            "cascade.previewRemote": self.preview_remote,
            "cascade.snooze": self.snooze,
            "cascade.doctor": self.doctor,
            "cascade.status": self.status,
        }
        # partial: pygls marks its handlers with attributes, which a bound method does not take.
        for method, handler in features.items():
            self.feature(method)(partial(handler))
        for name, handler in commands.items():
            self.command(name)(partial(handler))


# -- the process -----------------------------------------------------------------------------------


def serve(log_file: Path | None = None) -> None:
    """Serve the client at stdin and stdout; raise SystemExit with LSP's exit code when told to."""
    log_to(log_file)
    # Taken out of the environment, so that no worker and no sandbox inherits it.
    make = partial(_make_cascade, os.environ.pop(API_KEY, ""))
    asyncio.run(CascadeServer(make, _open_ledger).session(*own_channels()))


def _make_cascade(key: str, settings: Settings, root: Path | None) -> Completer:
    from cascade_lsp import assembly

    return assembly.make_cascade(settings, root, key)


def _open_ledger(settings: Settings) -> Ledger:
    from cascade_lsp import assembly

    return assembly.open_ledger(settings)
