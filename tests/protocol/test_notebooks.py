"""What is seen in a notebook: its cells are one text to a model, and each its own to the editor."""

import asyncio

import pytest

from cascade_lsp import testable
from cascade_lsp.sandbox import SandboxOptions, make_sandbox
from cascade_lsp.testable import Target
from tests.protocol.expert_places import Notebook, Session, cell_uri, settled
from tests.test_cascade import RIGHT, WRONG, cascade_of, model


@pytest.fixture
async def notebook(tmp_path):
    session = Session(tmp_path, " 2\n")
    session.told = await session.begin(notebookDocument={"synchronization": {}})
    yield Notebook(session)
    await session.server.close()


CELLS = [
    ("a", "python", "import numpy as np\n%matplotlib inline"),
    ("m", "markdown", "# The secret of it all"),
    ("b", "python", "x = "),
    ("c", "python", "print(x)\n"),
]


async def test_an_editor_learns_that_notebooks_are_read_with_all_their_cells(notebook):
    assert notebook.session.told["notebookDocumentSync"] == {
        "notebookSelector": [{"notebook": "*"}]
    }


async def test_a_cell_is_completed_with_the_cells_before_and_behind_it_in_view(notebook):
    notebook.open(*CELLS)
    (item,) = await notebook.ask("b", 0, 4)
    here = {"line": 0, "character": 4}
    assert (item["insertText"], item["range"]) == ("2", {"start": here, "end": here})
    assert [text for kind, text in notebook.session.asked[0] if kind == "text"] == [
        "import numpy as np\n%matplotlib inline\n\nx =",
        "\n\nprint(x)\n",
    ]


async def test_cells_that_are_moved_inserted_or_removed_are_seen_where_they_are(notebook):
    notebook.open(*CELLS)
    notebook.change(0, 1, closed=["a"])
    notebook.change(0, 0, [("d", "python")], opened=[("d", "python", "d = 1")])
    notebook.change(2, 2, [("c", "python"), ("b", "python")])
    await notebook.ask("b", 0, 4)
    assert [text for kind, text in notebook.session.asked[0] if kind == "text"] == [
        "d = 1\n\nprint(x)\n\n\nx =",
        "",
    ]


async def test_typing_through_a_suggestion_in_a_cell_asks_no_model_and_is_noted(notebook):
    session = notebook.session
    session.line = " total + 1\n"
    notebook.open(*CELLS)
    (item,) = await notebook.ask("b", 0, 4)
    (decision,) = item["command"]["arguments"]
    for version, letter in enumerate("total", start=2):
        notebook.type("b", version, 0, 2 + version, letter)
        (item,) = await notebook.ask("b", 0, 3 + version)
        assert item["insertText"] == "total + 1"[version - 1 :]
    notebook.type("b", 7, 0, 9, " + 1")
    assert len(session.asked) == 1
    await settled(lambda: "accepted" in [e.kind for e in session.ledger.events(decision)])


async def test_another_cell_is_not_shown_once_more_as_another_file(tmp_path):
    session = Session(tmp_path, " 2\n")
    options = {"context": {"neighbour_chars": 4000}}
    await session.begin(options=options, notebookDocument={"synchronization": {}})
    notebook = Notebook(session)
    notebook.open(("a", "python", "first = 1"), ("b", "python", "\n" * 40 + "second = "))
    await notebook.ask("a", 0, 9)
    await notebook.ask("b", 40, 9)
    assert sum(text.count("first = 1") for _, text in session.asked[-1]) == 1
    await session.server.close()


async def test_a_decision_in_a_cell_names_the_line_in_that_cell(notebook):
    notebook.open(*CELLS[:2], ("b", "python", "y = 1\nx = "))
    (item,) = await notebook.ask("b", 1, 4)
    (decision,) = item["command"]["arguments"]
    ledger = notebook.session.ledger
    await settled(lambda: ledger.get(decision))
    record = ledger.get(decision)
    assert (record.uri, record.line, record.column) == (cell_uri("b"), 2, 5)


async def test_a_key_in_another_cell_leaves_the_suggestion_where_it_was(notebook):
    notebook.open(*CELLS)
    notebook.session.engine.pause_s = 0.1
    asked = notebook.session.editor.ask_completion(0, 4, textDocument={"uri": cell_uri("b")})
    await asyncio.sleep(0.05)
    notebook.type("a", 2, 0, 0, "import os\n")
    (item,) = (await asked)["items"]
    assert item["range"]["start"] == {"line": 0, "character": 4}


async def test_a_function_in_a_cell_is_tested_with_what_other_cells_import(notebook):
    stub = 'def mean(values):\n    """Return the mean."""\n    return np.mean(values)\n'
    notebook.open(*CELLS[:2], ("f", "python", stub), CELLS[3])
    server = notebook.session.server
    document = server.document(cell_uri("f"))
    position = document.client_position_at_offset(document.source.index("return np"))
    assert position.line == 2
    context = server._context(document, document.source, document.offset_at_position(position))
    emptied, _ = testable.emptied(context)
    target = testable.find(emptied)
    assert isinstance(target, Target)
    assert "import numpy as np" in target.listing


async def test_a_function_in_a_cell_is_marked_and_replaced_in_that_cell(tmp_path):
    sandbox = make_sandbox(SandboxOptions())
    session = Session(tmp_path, cascade=cascade_of(model(WRONG), model(RIGHT), sandbox))
    await session.begin(notebookDocument={"synchronization": {}})
    notebook, uri = Notebook(session), cell_uri("f")
    notebook.open(*CELLS[:3], ("f", "python", f"# twice\n{WRONG}\n"))
    told = await session.editor.run("cascade.replaceFunction", uri, "2", "4")
    assert (told["function"], told["applied"]) == ("double", True)
    published = session.editor.heard("textDocument/publishDiagnostics")[-1]
    (mark,) = published["diagnostics"]
    assert (published["uri"], mark["range"]["start"]["line"]) == (uri, 1)
    (change,) = session.editor.heard("workspace/applyEdit")[0]["edit"]["documentChanges"]
    (edit,) = change["edits"]
    assert change["textDocument"] == {"uri": uri, "version": 1}
    body = {"start": {"line": 2, "character": 4}, "end": {"line": 2, "character": 16}}
    assert (edit["range"], edit["newText"]) == (body, "return n * 2")
    await session.server.close()
    await sandbox.close()


LEFT = {
    "closed": lambda notebook: notebook.close("a", "m", "b", "c"),
    "removed": lambda notebook: notebook.change(2, 1, closed=["b"]),
}


@pytest.mark.parametrize("leave", LEFT.values(), ids=LEFT)
async def test_a_cell_that_is_gone_leaves_nothing_running(notebook, leave):
    notebook.open(*CELLS)
    engine, ask = notebook.session.engine, notebook.session.editor.ask_completion
    engine.pause_s = 60
    asked = ask(0, 4, textDocument={"uri": cell_uri("b")})
    await settled(lambda: engine.asked)
    leave(notebook)
    assert await asked == {"items": []}
    await settled(lambda: engine.cancelled)
    assert await notebook.ask("b", 0, 4) == []


COMING = {
    "at once": lambda notebook: notebook.open(*CELLS),
    "later": lambda notebook: [
        notebook.open(),
        notebook.change(0, 0, [("b", "python")], opened=CELLS[2:3]),
    ],
}


@pytest.mark.parametrize("come", COMING.values(), ids=COMING)
async def test_the_model_is_loaded_for_the_folder_of_a_notebook_when_cells_come(tmp_path, come):
    session = Session(tmp_path, " 2\n")
    folders = [tmp_path / "one", tmp_path / "two"]
    await session.begin(folders=folders, notebookDocument={"synchronization": {}})
    notebook = Notebook(session, uri=(folders[1] / "a.ipynb").as_uri())
    come(notebook)
    await settled(lambda: session.roots)
    assert session.roots == [folders[1]]
    await session.server.close()
