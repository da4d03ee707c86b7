"""Documents as editors count them: what a line is, and where a position lies.

pygls splits lines as Python does, at form feeds and U+2028 too, and clamps a position past the
end of a line one short. LSP knows three line ends and nothing else. A position outside the text
means the nearest place inside it, and what the client sent is never changed.
"""

from bisect import bisect_right
from itertools import accumulate, pairwise

from lsprotocol import types
from pygls.workspace import TextDocument, Workspace


def plain(text: str) -> str:
    """Return a text whose lines end with \\n alone; its lines and columns are the same."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


class EditorDocument(TextDocument):
    """A text document whose lines end with \\r\\n, \\n or \\r, and nothing else."""

    _known: tuple[str, tuple[int, ...]] = ("", (0,))

    @property
    def lines(self) -> tuple[str, ...]:
        """Return all lines with their ends; after a last line end comes one empty line."""
        source, starts = self.source, self._starts()
        return tuple(source[a:b] for a, b in pairwise((*starts, len(source))))

    def plain(self) -> "EditorDocument":
        """Return the document with plain line ends, in which each position is the same."""
        return EditorDocument(self.uri, plain(self.source), position_codec=self.position_codec)

    def offset_at_position(self, client_position: types.Position) -> int:
        """Return the offset in characters of a position in the client's units."""
        source, starts = self.source, (*self._starts(), len(self.source))
        row = client_position.line
        if row >= len(starts) - 1:
            return len(source)
        line = source[starts[row] : starts[row + 1]].rstrip("\r\n")
        return starts[row] + self._column(line, client_position.character)

    def client_position_at_offset(self, offset: int) -> types.Position:
        """Return the position in the client's units of an offset in characters."""
        row = bisect_right(self._starts(), offset) - 1
        head = self.source[self._starts()[row] : offset].rstrip("\r\n")
        return types.Position(row, self.position_codec.client_num_units(head))

    def apply_change(self, change: types.TextDocumentContentChangeEvent) -> None:
        """Apply an edit of the client: of a range, or of the whole text."""
        if isinstance(change, types.TextDocumentContentChangePartial):
            start = self.offset_at_position(change.range.start)
            end = max(start, self.offset_at_position(change.range.end))
            self._source = self.source[:start] + change.text + self.source[end:]
        else:
            self._source = change.text

    def _column(self, line: str, units: int) -> int:
        """Return how many whole characters of a line lie within `units` of the client."""
        if line.isascii():
            return min(units, len(line))
        ends = accumulate(map(self.position_codec.client_num_units, line))
        return bisect_right(list(ends), units)

    def _starts(self) -> tuple[int, ...]:
        """Return the offset of every line's first character."""
        source = self.source
        if self._known[0] is not source:
            as_long = source.replace("\r\n", " \n").replace("\r", "\n")
            lengths = (len(line) + 1 for line in as_long.split("\n")[:-1])
            self._known = source, tuple(accumulate(lengths, initial=0))
        return self._known[1]


class EditorWorkspace(Workspace):
    """A workspace of such documents."""

    def _create_text_document(
        self,
        doc_uri: str,
        source: str | None = None,
        version: int | None = None,
        language_id: str | None = None,
    ) -> EditorDocument:
        return EditorDocument(
            doc_uri,
            source=source,
            version=version,
            language_id=language_id,
            position_codec=self.position_codec,
        )

    def update_text_document(
        self,
        text_doc: types.VersionedTextDocumentIdentifier,
        change: types.TextDocumentContentChangeEvent,
    ) -> None:
        """Change a document; one that the editor has closed meanwhile is left alone."""
        if self.get_text_document(text_doc.uri).version is not None:
            super().update_text_document(text_doc, change)
