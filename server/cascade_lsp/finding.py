"""What verifying a function has shown, as an editor shows it: a mark on its head, and an edit.

It judges nothing and holds nothing; the server keeps a finding for as long as the document has
the version that it is about.
"""

from dataclasses import dataclass

from lsprotocol import types

from cascade_lsp import explain, testable
from cascade_lsp.context import Context
from cascade_lsp.documents import EditorDocument
from cascade_lsp.ledger import Record

REPLACE = "Replace with the verified version"


@dataclass(frozen=True, slots=True)
class Finding:
    """The record of a verified function, for one version of its document.

    `head` is the line that names the function; `edit` puts the better version in place of its
    body, None where there is none.
    """

    uri: str
    version: int
    record: Record
    head: types.Range
    edit: types.TextEdit | None

    @property
    def failed(self) -> bool:
        """Say whether the function as it stands was not accepted."""
        return self.record.attempts[0].decision.action != "accept"

    def covers(self, line: int) -> bool:
        """Say whether a line belongs to what was verified."""
        last = self.edit.range.end.line if self.edit else self.head.end.line
        return self.head.start.line <= line <= last

    def diagnostic(self) -> types.Diagnostic:
        """Return the mark."""
        verdict = explain.verdict(self.record)
        severity = types.DiagnosticSeverity.Information
        return types.Diagnostic(self.head, verdict, severity, self.record.id, source="Cascade")

    def workspace_edit(self) -> types.WorkspaceEdit | None:
        """Return the replacement, for this version of the document alone."""
        if self.edit is None:
            return None
        document = types.OptionalVersionedTextDocumentIdentifier(self.uri, self.version)
        return types.WorkspaceEdit(document_changes=[types.TextDocumentEdit(document, [self.edit])])

    def code_action(self) -> types.CodeAction | None:
        """Return the replacement as a quick fix."""
        edit = self.workspace_edit()
        if edit is None:
            return None
        kind = types.CodeActionKind.QuickFix
        return types.CodeAction(REPLACE, kind, [self.diagnostic()], edit=edit)


def found(document: EditorDocument, record: Record, stub: Context, body: str) -> Finding:
    """Return what a record says of a function: `stub` and `body` are from `testable.emptied`."""
    target = testable.find(stub)
    name = target.head if isinstance(target, testable.Target) else stub.offset
    at = document.plain().client_position_at_offset
    edit = None
    if record.chosen:
        place = types.Range(at(stub.offset), at(stub.offset + len(body)))
        edit = types.TextEdit(place, record.answer.text)
    head = types.Range(at(name), at(stub.document.find("\n", name)))
    return Finding(document.uri, stub.version, record, head, edit)
