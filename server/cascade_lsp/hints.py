"""What tests have said of a function, shown where it stands: a faint mark, the ways out of it, and
a line above it.

It judges nothing. A verdict is about a text: it holds for as long as exactly this function stands
in the document, wherever edits elsewhere have moved it, and is over with any edit inside.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from lsprotocol import types

from cascade_lsp import explain, testable
from cascade_lsp.cascade import FAILED
from cascade_lsp.context import Context
from cascade_lsp.documents import EditorDocument, plain
from cascade_lsp.finding import REPLACE
from cascade_lsp.ledger import Attempt, Record
from cascade_lsp.sandbox import Outcome

EXPLAIN = "cascade.explainEscalation"
_MARGIN = re.compile(r"\n(?=\S)")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A function as it was tested: with the text of one attempt of a decision.

    `source` has plain line ends; `head`, the line that names the function, and `inserted`, what
    the attempt has given to it, are spans of characters in it.
    """

    record: Record
    attempt: Attempt
    source: str
    head: tuple[int, int]
    inserted: tuple[int, int]

    @property
    def failed(self) -> bool:
        """Say whether tests speak against the function."""
        return self.attempt.decision.reason in FAILED

    @property
    def better(self) -> str | None:
        """Return what to insert instead; None where nothing else has passed its tests."""
        answer = self.record.answer
        verified = answer.decision.action == "accept" and "passed" in _tests(answer)
        return answer.text if verified and answer.text != self.attempt.text else None

    def stands_at(self, text: str) -> int | None:
        """Return where in a text with plain line ends exactly this function stands; None where it
        does not, or not once."""
        at = text.find(self.source)
        if at < 0 or text.find(self.source, at + 1) >= 0 or text[at - 1 : at].strip("\n"):
            return None
        rest = text[at + len(self.source) :]
        written = rest.lstrip()
        goes_on = written and not rest[: len(rest) - len(written)].endswith("\n")
        return None if goes_on else at


def verdicts(record: Record, context: Context) -> tuple[Verdict, ...]:
    """Return what a decision at a place says of the function there, for each text that was tested:
    whichever the user takes. Reads the whole document; keep it off the event loop."""
    tested = {a.text: a for a in record.attempts if a.text and any(map(_conclusive, _tests(a)))}
    found = (_verdict(record, attempt, context) for attempt in tested.values())
    return tuple(verdict for verdict in found if verdict)


def _verdict(record: Record, attempt: Attempt, context: Context) -> Verdict | None:
    document, begin = context.completed(attempt.text), context.offset
    emptied = testable.emptied(replace(context, document=document))
    if isinstance(emptied, testable.Untestable):
        return None
    stub, body = emptied
    target = testable.find(stub)
    if isinstance(target, testable.Untestable) or target.name != record.function:
        return None
    margin = _MARGIN.search(document, stub.offset + len(body))
    source = document[target.start : margin.start() if margin else len(document)].rstrip()
    head = target.head - target.start
    inserted = begin - target.start
    return Verdict(
        record,
        attempt,
        source,
        (head, source.find("\n", head) if "\n" in source[head:] else len(source)),
        (inserted, inserted + len(attempt.text)),
    )


def diagnostic(verdict: Verdict, document: EditorDocument) -> types.Diagnostic | None:
    """Return the mark on the head of a function that failed; None where it stands no more."""
    head = _range(verdict, document, verdict.head)
    if head is None or not verdict.failed:
        return None
    message = " ".join(explain.verdict(verdict.record).split())
    severity = types.DiagnosticSeverity.Hint
    return types.Diagnostic(head, message, severity, verdict.record.id, source="cascade")


def actions(
    verdict: Verdict, document: EditorDocument, asked: types.Range
) -> Iterator[types.CodeAction]:
    """Yield what can be done about a function that failed, where a range touches it: put the
    verified version in its place, if there is one, and read why."""
    whole = _range(verdict, document, (0, len(verdict.source)))
    mark = diagnostic(verdict, document)
    if whole is None or mark is None or not _touch(whole, asked):
        return
    kind = types.CodeActionKind.QuickFix
    inserted = _range(verdict, document, verdict.inserted)
    if verdict.better is not None and inserted:
        named = types.OptionalVersionedTextDocumentIdentifier(document.uri, document.version)
        changes = [types.TextDocumentEdit(named, [types.TextEdit(inserted, verdict.better)])]
        edit = types.WorkspaceEdit(document_changes=changes)
        yield types.CodeAction(REPLACE, kind, [mark], is_preferred=True, edit=edit)
    why = types.Command("Explain", EXPLAIN, arguments=[verdict.record.id])
    yield types.CodeAction(why.title, kind, [mark], command=why)


def lens(verdict: Verdict, document: EditorDocument) -> types.CodeLens | None:
    """Return the line above a function: how many of its tests passed, and the way to the why."""
    head = _range(verdict, document, verdict.head)
    if head is None:
        return None
    tests = list(filter(_conclusive, _tests(verdict.attempt)))
    plural = "" if len(tests) == 1 else "s"
    title = f"{tests.count('passed')} of {len(tests)} test{plural} passed"
    return types.CodeLens(head, types.Command(title, EXPLAIN, arguments=[verdict.record.id]))


def _range(verdict: Verdict, document: EditorDocument, span: tuple[int, int]) -> types.Range | None:
    begin = verdict.stands_at(plain(document.source))
    if begin is None:
        return None
    at = document.plain().client_position_at_offset
    return types.Range(at(begin + span[0]), at(begin + span[1]))


def _touch(one: types.Range, other: types.Range) -> bool:
    return one.start.line <= other.end.line and other.start.line <= one.end.line


def _tests(attempt: Attempt) -> list[str]:
    return [test.outcome for test in attempt.tests]


def _conclusive(outcome: str) -> bool:
    return Outcome(outcome).conclusive
