import copy

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lsprotocol import types
from pygls.workspace.position_codec import PositionCodec

from cascade_lsp.documents import EditorDocument, EditorWorkspace

PIECES = ["a", "é", "語", "😀", "\n", "\r\n", "\r", "\f", "\v", "\x85", "\u2028", "\u2029", " "]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
PLACES = st.tuples(st.integers(0, 12), st.integers(0, 40))
ENCODINGS = st.sampled_from(["utf-8", "utf-16", "utf-32"])
UNITS = {
    "utf-8": lambda char: len(char.encode()),
    "utf-16": lambda char: len(char.encode("utf-16-le")) // 2,
    "utf-32": lambda char: 1,
}


def document(text, encoding="utf-16"):
    return EditorDocument("file:///a.py", text, 1, "python", position_codec=PositionCodec(encoding))


def walk(text, place, encoding):
    """Find the offset of a place by walking one character at a time, as an editor does."""
    row, column, offset = *place, 0
    while row and offset < len(text):
        if text[offset] == "\n" or (text[offset] == "\r" and text[offset + 1 : offset + 2] != "\n"):
            row -= 1
        offset += 1
    if row:
        return len(text)
    while offset < len(text) and text[offset] not in "\r\n":
        column -= UNITS[encoding](text[offset])
        if column < 0:
            break
        offset += 1
    return offset


def edit(start, end, text):
    span = types.Range(types.Position(*start), types.Position(*end))
    return types.TextDocumentContentChangePartial(range=span, text=text)


@given(TEXTS, PLACES, ENCODINGS)
@example("a\u2028b\nc", (1, 1), "utf-16")
@example("x\fy", (0, 3), "utf-8")
@example("😀b", (0, 1), "utf-16")
@example("abc", (0, 99), "utf-16")
@example("a\r\nb", (0, 99), "utf-16")
def test_a_position_is_found_where_an_editor_finds_it(text, place, encoding):
    offset = document(text, encoding).offset_at_position(types.Position(*place))
    assert offset == walk(text, place, encoding)


@given(TEXTS, st.lists(st.tuples(PLACES, PLACES, TEXTS), max_size=5), ENCODINGS)
def test_incremental_edits_give_the_text_that_the_editor_has(text, edits, encoding):
    edited = document(text, encoding)
    for start, end, new in edits:
        start, end = sorted((start, end))
        a, b = walk(text, start, encoding), walk(text, end, encoding)
        text = text[:a] + new + text[b:]
        edited.apply_change(edit(start, end, new))
        assert edited.source == text


@given(TEXTS, st.integers(0, 30), ENCODINGS)
def test_an_offset_survives_the_way_to_the_client_and_back(text, offset, encoding):
    offset = min(offset, len(text))
    there = document(text, encoding)
    back = there.offset_at_position(there.client_position_at_offset(offset))
    inside_crlf = text[offset - 1 : offset + 1] == "\r\n" and offset > 0
    assert back == offset - inside_crlf


@given(TEXTS)
def test_the_lines_make_up_the_text_and_none_holds_two_line_ends(text):
    lines = document(text).lines
    assert "".join(lines) == text
    assert len(lines) == text.replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1


@given(TEXTS, PLACES, PLACES)
def test_what_the_client_sent_is_not_changed(text, start, end):
    change = edit(start, end, "x")
    sent = copy.deepcopy(change)
    document(text).apply_change(change)
    assert change == sent


def test_an_edit_of_the_whole_text_replaces_it():
    edited = document("old")
    edited.apply_change(types.TextDocumentContentChangeWholeDocument(text="new\n"))
    assert edited.lines == ("new\n", "")


def test_an_edit_that_ends_before_it_begins_only_inserts():
    edited = document("abcdef")
    edited.apply_change(edit((0, 4), (0, 2), "X"))
    assert edited.source == "abcdXef"


@pytest.mark.parametrize(("encoding", "column"), [("utf-8", 4), ("utf-16", 2), ("utf-32", 1)])
def test_a_workspace_hands_its_encoding_to_its_documents(encoding, column):
    workspace = EditorWorkspace(None, position_encoding=encoding)
    workspace.put_text_document(types.TextDocumentItem("file:///a.py", "python", 3, "😀b"))
    found = workspace.get_text_document("file:///a.py")
    assert (found.version, found.language_id) == (3, "python")
    assert found.offset_at_position(types.Position(0, column)) == 1


def notebook(*cells, encoding="utf-16"):
    """Return a workspace with a notebook; each cell is its name and its text, "m" is markdown."""
    workspace = EditorWorkspace(None, position_encoding=encoding)
    kinds = types.NotebookCellKind
    documents = [
        types.TextDocumentItem(name, "markdown" if name == "m" else "python", 1, text)
        for name, text in cells
    ]
    listed = [types.NotebookCell(kinds.Code, name) for name, _ in cells]
    opened = types.NotebookDocument("file:///a.ipynb", "jupyter-notebook", 1, listed)
    workspace.put_notebook_document(types.DidOpenNotebookDocumentParams(opened, documents))
    return workspace


def test_a_cell_is_read_with_the_cells_in_its_language_around_it():
    workspace = notebook(("a", "x = 1"), ("m", "# Title"), ("b", "y = "), ("c", "z\n"))
    cell = workspace.get_text_document("b")
    assert cell.source == "x = 1\n\ny = \n\nz\n"
    assert (cell.version, cell.language_id) == (1, "python")
    assert cell.source[: cell.offset_at_position(types.Position(0, 99))] == "x = 1\n\ny = "
    assert workspace.get_text_document("m").source == "# Title"


@given(TEXTS, TEXTS, TEXTS, PLACES, ENCODINGS)
def test_a_position_in_a_cell_is_the_one_in_its_own_text(before, own, after, place, encoding):
    workspace = notebook(("a", before), ("b", own), ("c", after), encoding=encoding)
    cell, alone = workspace.get_text_document("b"), document(own, encoding)
    position = types.Position(*place)
    offset = cell.offset_at_position(position)
    assert cell.source[:offset].endswith(own[: alone.offset_at_position(position)])
    at = alone.client_position_at_offset(alone.offset_at_position(position))
    assert cell.client_position_at_offset(offset) == at
    assert cell.plain().offset_at_position(at) <= offset
    assert cell.plain().client_position_at_offset(cell.plain().offset_at_position(at)) == at


@given(TEXTS, TEXTS, TEXTS, st.integers(0, 100))
def test_an_offset_outside_a_cell_is_the_nearest_position_in_it(before, own, after, offset):
    workspace = notebook(("a", before), ("b", own), ("c", after))
    cell, alone = workspace.get_text_document("b"), document(own)
    found = cell.client_position_at_offset(min(offset, len(cell.source)))
    assert alone.client_position_at_offset(alone.offset_at_position(found)) == found
    if offset < len(before):
        assert found == types.Position(0, 0)
