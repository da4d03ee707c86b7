"""Documents as editors count them: what a line is, and where a position lies.

pygls splits lines as Python does, at form feeds and U+2028 too, and clamps a position past the
end of a line one short. LSP knows three line ends and nothing else. A position outside the text
means the nearest place inside it, and what the client sent is never changed.

A cell of a notebook is read with the other cells in its language around it, as one text; its
positions are its own.
"""

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

from lsprotocol import types
from pygls.workspace import TextDocument, Workspace

# All notebooks with all their cells, in order; an editor that knows no notebooks sends texts.
NOTEBOOKS = types.NotebookDocumentSyncOptions(
    [types.NotebookDocumentFilterWithNotebook(notebook="*")]
)
BETWEEN_CELLS = "\n\n"


def plain(text: str) -> str:
    """Return a text whose lines end with \\n alone; its lines and columns are the same."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


class EditorDocument(TextDocument):
    """A text document whose lines end with \\r\\n, \\n or \\r, and nothing else."""

    first_line = 0  # of the text where the editor's own begins
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


class Cell(EditorDocument):
    """A notebook's cell, whose text is that of the cells `before`, its own, and those `after`."""

    def __init__(self, own: EditorDocument, before: str, after: str) -> None:
        super().__init__(
            own.uri,
            before + own.source + after,
            own.version,
            own.language_id,
            position_codec=own.position_codec,
        )
        self._own, self._before, self._after = own, before, after
        self.first_line = plain(before).count("\n")

    def plain(self) -> "Cell":
        """Return the cell with plain line ends, in which each position is the same."""
        return Cell(self._own.plain(), plain(self._before), plain(self._after))

    def offset_at_position(self, client_position: types.Position) -> int:
        """Return the offset in the whole text of a position in the cell."""
        return len(self._before) + self._own.offset_at_position(client_position)

    def client_position_at_offset(self, offset: int) -> types.Position:
        """Return the position in the cell of an offset in the whole text: of one outside the cell,
        the nearest."""
        within = max(0, min(offset - len(self._before), len(self._own.source)))
        return self._own.client_position_at_offset(within)


class EditorWorkspace(Workspace):
    """A workspace of such documents."""

    def get_text_document(self, doc_uri: str) -> TextDocument:
        """Return a document, from the disk if it is not open; of a notebook, a cell."""
        document = super().get_text_document(doc_uri)
        notebook = self.get_notebook_document(cell_uri=doc_uri)
        if notebook is None:
            return document
        cells = map(super().get_text_document, [cell.document for cell in notebook.cells])
        alike = [cell for cell in cells if cell.language_id == document.language_id]
        return _among(alike, document)

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


def _among(cells: list[TextDocument], own: TextDocument) -> Cell:
    """Return one of a notebook's cells with the others around it."""
    assert isinstance(own, EditorDocument)
    at = cells.index(own) if own in cells else len(cells)
    before = "".join(cell.source + BETWEEN_CELLS for cell in cells[:at])
    after = "".join(BETWEEN_CELLS + cell.source for cell in cells[at + 1 :])
    return Cell(own, before, after)


def of_cells(
    opened: Callable[[types.DidOpenTextDocumentParams], None],
    changed: Callable[[types.DidChangeTextDocumentParams], None],
    closed: Callable[[types.DidCloseTextDocumentParams], None],
) -> dict[str, Callable[[Any], None]]:
    """Return what to do at a notebook's events, by name, from what is done at a document's: its
    cells come, change and go as documents do."""

    def notebook_opened(params: types.DidOpenNotebookDocumentParams) -> None:
        for cell in params.cell_text_documents:
            opened(types.DidOpenTextDocumentParams(cell))

    def notebook_changed(params: types.DidChangeNotebookDocumentParams) -> None:
        cells = params.change.cells or types.NotebookDocumentCellChanges()
        if cells.structure:
            for cell in cells.structure.did_open or ():
                opened(types.DidOpenTextDocumentParams(cell))
            for gone in cells.structure.did_close or ():
                closed(types.DidCloseTextDocumentParams(gone))
        for text in cells.text_content or ():
            changed(types.DidChangeTextDocumentParams(text.document, text.changes))

    def notebook_closed(params: types.DidCloseNotebookDocumentParams) -> None:
        for cell in params.cell_text_documents:
            closed(types.DidCloseTextDocumentParams(cell))

    return {
        types.NOTEBOOK_DOCUMENT_DID_OPEN: notebook_opened,
        types.NOTEBOOK_DOCUMENT_DID_CHANGE: notebook_changed,
        types.NOTEBOOK_DOCUMENT_DID_CLOSE: notebook_closed,
    }
