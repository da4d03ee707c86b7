"""What is known of the functions in a document, shown where they stand: marks, what can be done
about them, and lines above.

A finding is about a function that the user had verified, and holds for one version of its document.
A verdict is about one that a suggestion has written, and holds until that function is edited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams

from cascade_lsp.desk import Completer
from cascade_lsp.documents import plain
from cascade_lsp.keystroke import KeystrokeServer

# The rest is imported when it is first needed: initialize is answered before, and so at once.
if TYPE_CHECKING:
    from cascade_lsp.finding import Finding
    from cascade_lsp.hints import Verdict
    from cascade_lsp.ledger import Ledger
    from cascade_lsp.settings import Settings


class MarkingServer(KeystrokeServer):
    """Completion for one editor, and what tests say of its functions."""

    def __init__(
        self,
        make_cascade: Callable[[Settings, Path | None], Completer],
        open_ledger: Callable[[Settings], Ledger],
    ) -> None:
        super().__init__(make_cascade, open_ledger)
        self._findings: dict[str, Finding] = {}

    # -- the function under the cursor ---------------------------------------------------------

    async def verify_function(self, uri: str, line: str, character: str) -> dict[str, Any]:
        """Test the function at a place as it stands; a fault becomes a diagnostic on its head.

        Returns {id, function, verdict, action, replaceable}; `action` is accept, escalate,
        best_effort or untestable.
        """
        from cascade_lsp import explain, testable
        from cascade_lsp.finding import found

        if self._is_excluded(uri):
            return {**_untestable(""), "verdict": self._excluded}
        document = self.document(uri)
        position = types.Position(whole_number(line), whole_number(character))
        context = self._context(document, document.source, document.offset_at_position(position))
        emptied = await asyncio.to_thread(testable.emptied, context)
        if isinstance(emptied, testable.Untestable):
            return _untestable(emptied.reason)
        cascade = await self._ready(uri)
        self._stop_verifications()
        with self.busy("Testing the function", "verifying"):
            async with self.progress_bar("Testing the function"):
                record = await cascade.check(context, self._watch)
        if isinstance(record, testable.Untestable):
            return _untestable(record.reason)
        await self.journal.keep(record)
        finding = found(document, record, *emptied)
        self._show_finding(finding)
        if not finding.failed:
            self.spawn(self._know(record, emptied[0]))
        return {
            "id": record.id,
            "function": record.function,
            "verdict": explain.verdict(record),
            "action": record.attempts[0].decision.action,
            "replaceable": finding.edit is not None,
        }

    async def replace_function(self, uri: str, line: str, character: str) -> dict[str, Any]:
        """Put the verified version in the place of the function there, verifying it if need be.

        Returns what `verify_function` does, and whether the text was `applied`.
        """
        from cascade_lsp import explain

        finding = self._finding_at(uri, whole_number(line))
        if finding:
            told = {"id": finding.record.id, "verdict": explain.verdict(finding.record)}
        else:
            told = await self.verify_function(uri, line, character)
            finding = self._finding_at(uri, whole_number(line))
        edit = finding.workspace_edit() if finding else None
        if finding is None or edit is None:
            return {**told, "applied": False}
        answer = await self.workspace_apply_edit_async(types.ApplyWorkspaceEditParams(edit))
        if answer.applied:
            await self.accept(finding.record.id)
        return {**told, "applied": answer.applied}

    def _finding_at(self, uri: str, line: int) -> Finding | None:
        """Return what is known of the function at a line of the document as it stands now."""
        finding = self._findings.get(uri)
        current = finding and finding.version == self.document(uri).version
        return finding if current and finding and finding.covers(line) else None

    def _show_finding(self, finding: Finding) -> None:
        if self.document(finding.uri).version != finding.version:
            return  # edited meanwhile: it says nothing of what stands there now
        self._findings[finding.uri] = finding
        self._publish(finding.uri)

    # -- what stands in a document -------------------------------------------------------------

    def settle(self, uri: str) -> None:
        """See which verdicts are about functions that stand in a document, and show those."""
        desk = self._desks.get(uri)
        if desk is None or not (desk.verdicts or desk.standing):
            return
        text = plain(self.document(uri).source)
        known = (*desk.standing.values(), *desk.verdicts)
        here = [verdict for verdict in known if verdict.stands_at(text) is not None]
        standing = {verdict.record.function: verdict for verdict in here}
        if standing != desk.standing:
            desk.standing = standing
            self._publish(uri)
            self._refresh_lenses()

    def _standing(self, uri: str) -> list[Verdict]:
        """Return the verdicts on a document's functions, but for one that has a finding's mark."""
        desk, finding = self._desks.get(uri), self._findings.get(uri)
        verified = finding.record.function if finding and finding.failed else None
        known = desk.standing.items() if desk else ()
        return [verdict for name, verdict in known if name != verified]

    def _publish(self, uri: str) -> None:
        from cascade_lsp import hints

        document, finding = self.document(uri), self._findings.get(uri)
        marks = [hints.diagnostic(verdict, document) for verdict in self._standing(uri)]
        if finding and finding.failed:
            marks.append(finding.diagnostic())
        told = types.PublishDiagnosticsParams(uri, [mark for mark in marks if mark])
        self.text_document_publish_diagnostics(told)

    def _refresh_lenses(self) -> None:
        workspace = self.client_capabilities.workspace
        lenses = workspace and workspace.code_lens
        if self.settings.lens and lenses and lenses.refresh_support:
            self.spawn(self.workspace_code_lens_refresh_async(None))

    def code_actions(self, params: types.CodeActionParams) -> list[types.CodeAction]:
        """Offer the verified version where a function was found wanting, and to explain why.

        Editors ask at every move of the cursor, so it also says where typing may go on.
        """
        uri = params.text_document.uri
        self.cursor_moved(uri, params.range.end)
        finding = self._finding_at(uri, params.range.start.line)
        action = finding.code_action() if finding else None
        offered = [action] if action else []
        if standing := self._standing(uri):
            from cascade_lsp import hints

            document = self.document(uri)
            for verdict in standing:
                offered += hints.actions(verdict, document, params.range)
        return offered

    def code_lenses(self, params: types.CodeLensParams) -> list[types.CodeLens]:
        """Say above functions what tests said of them, where the user wants that."""
        standing = self._standing(params.text_document.uri) if self.settings.lens else []
        if not standing:
            return []
        from cascade_lsp import hints

        document = self.document(params.text_document.uri)
        return [lens for verdict in standing if (lens := hints.lens(verdict, document))]

    def did_change(self, params: types.DidChangeTextDocumentParams) -> None:
        """Take back what was found in a version that is gone, and go on."""
        uri = params.text_document.uri
        if self._findings.pop(uri, None):
            self._publish(uri)
        self.settle(uri)
        super().did_change(params)

    def did_close(self, params: types.DidCloseTextDocumentParams) -> None:
        """Take back all that was shown of a document, and forget it."""
        uri = params.text_document.uri
        shown = self._findings.pop(uri, None) or self._standing(uri)
        super().did_close(params)
        if shown:
            self._publish(uri)


def whole_number(text: str) -> int:
    """Read a command's argument; one that is no number is refused."""
    if not text.isdecimal() or len(text) > 9:
        raise JsonRpcInvalidParams
    return int(text)


def _untestable(reason: str) -> dict[str, Any]:
    verdict = f"Not testable: {reason}."
    return {
        "id": None,
        "function": "",
        "verdict": verdict,
        "action": "untestable",
        "replaceable": False,
    }
