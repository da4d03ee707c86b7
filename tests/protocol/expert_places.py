"""Places an expert tries a suggestion at: an editor's text in the units that it counts, notebooks,
and a server in this process whose cascade is the real one over a scripted engine.
"""

import asyncio
import re

from cascade_lsp.cascade import Cascade
from cascade_lsp.engine import Priority
from cascade_lsp.ledger import Ledger, LedgerOptions
from cascade_lsp.server import CascadeServer
from cascade_lsp.turn import Tier
from tests.marked import CURSOR
from tests.protocol.editors import AUTOMATIC, URI, NearEditor
from tests.scripted import ScriptedEngine

UNITS = {
    "utf-8": lambda text: len(text.encode()),
    "utf-16": lambda text: len(text.encode("utf-16-le")) // 2,
    "utf-32": len,
}


def cell_uri(name):
    return f"vscode-notebook-cell:/project/a.ipynb#{name}"


async def settled(check):
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110 - what is waited for has no event to wait on
            await asyncio.sleep(0.01)


class Session:
    """A server, the engine at its other end, and an editor whose text is kept as it would keep it.

    `line` is what the model writes at each keystroke; `cascade` answers instead where it is given.
    """

    def __init__(self, tmp_path, line="pass\n", cascade=None):
        self.line = line
        self.cascade = cascade
        self.engine = ScriptedEngine(lambda _prompt: self.line)
        self.ledger = Ledger.open(tmp_path / "ledger.sqlite3", LedgerOptions())
        self.server = CascadeServer(self._make, lambda _settings: self.ledger)
        self.editor = NearEditor(self.server)
        self.roots = []
        self.text = ""

    def _make(self, settings, root):
        self.roots.append(root)
        tier = Tier("small", "scripted", self.engine, line="psm")
        return self.cascade or Cascade([tier], None, settings.completion)

    async def begin(self, encoding="utf-16", options=None, folders=(), **capabilities):
        self.encoding = encoding
        return await self.editor.begin(options, encoding, folders, **capabilities)

    def open(self, marked, language="python", uri=URI):
        """Open a text in which `║` marks the cursor; return the cursor's offset."""
        self.uri, self.version = uri, 1
        self.text, offset = marked.replace(CURSOR, ""), marked.index(CURSOR)
        self.editor.open(self.text, uri, language)
        return offset

    def edit(self, start, end, new):
        """Replace what stands between two offsets; return the offset behind what is new."""
        span = {"start": self.position(start), "end": self.position(end)}
        self.text = self.text[:start] + new + self.text[end:]
        self.version += 1
        document = {"uri": self.uri, "version": self.version}
        changes = [{"range": span, "text": new}]
        params = {"textDocument": document, "contentChanges": changes}
        self.editor.notify("textDocument/didChange", params)
        return start + len(new)

    async def ask(self, offset, kind=AUTOMATIC):
        """Return the items that come at an offset."""
        place = self.position(offset)
        identified = {"textDocument": {"uri": self.uri}}
        return await self.editor.complete(place["line"], place["character"], kind, **identified)

    def take(self, item):
        """Take an item as Tab does; return the offset behind it."""
        start, end = (self.offset(item["range"][name]) for name in ("start", "end"))
        return self.edit(start, end, item["insertText"])

    def position(self, offset):
        """Count a position as an editor does: three kinds of line ends, columns in its units."""
        lines = re.split(r"\r\n|\n|\r", self.text[:offset])
        return {"line": len(lines) - 1, "character": UNITS[self.encoding](lines[-1])}

    def offset(self, position):
        """Find an offset by trying each one, as nothing else does."""
        (found,) = [
            offset
            for offset in range(len(self.text) + 1)
            if self.position(offset) == position and self.text[offset - 1 : offset + 1] != "\r\n"
        ]
        return found

    @property
    def asked(self):
        """Return the prompts of the keystrokes, as lists of (kind, text)."""
        asked = zip(self.engine.asked, self.engine.urgency, strict=True)
        prompts = [some[0] for some, urgency in asked if urgency == Priority.KEYSTROKE]
        return [[(piece.kind, piece.text) for piece in prompt.pieces] for prompt in prompts]


class Notebook:
    """A notebook in an editor that tells of its cells: by name, with their languages and texts."""

    def __init__(self, session, uri="file:///project/a.ipynb"):
        self.session = session
        self.uri = uri
        self.version = 1

    def open(self, *cells):
        """Open a notebook; each cell is (name, language, text)."""
        notebook = {"uri": self.uri, "notebookType": "jupyter-notebook", "version": 1}
        self._notify(
            "didOpen",
            {
                "notebookDocument": {
                    **notebook,
                    "cells": [_cell(name, language) for name, language, _ in cells],
                },
                "cellTextDocuments": [_item(*cell) for cell in cells],
            },
        )

    def change(self, start=0, delete=0, insert=(), opened=(), closed=()):
        """Change which cells there are, and in which order."""
        structure = {
            "array": {
                "start": start,
                "deleteCount": delete,
                "cells": [_cell(*one) for one in insert],
            },
            "didOpen": [_item(*cell) for cell in opened],
            "didClose": [{"uri": cell_uri(name)} for name in closed],
        }
        self._change({"structure": structure})

    def type(self, name, version, line, character, text):
        """Type into a cell."""
        place = {"line": line, "character": character}
        change = {"range": {"start": place, "end": place}, "text": text}
        document = {"uri": cell_uri(name), "version": version}
        self._change({"textContent": [{"document": document, "changes": [change]}]})

    def close(self, *names):
        cells = [{"uri": cell_uri(name)} for name in names]
        self._notify(
            "didClose", {"notebookDocument": {"uri": self.uri}, "cellTextDocuments": cells}
        )

    async def ask(self, name, line, character, kind=AUTOMATIC):
        identified = {"textDocument": {"uri": cell_uri(name)}}
        return await self.session.editor.complete(line, character, kind, **identified)

    def _change(self, cells):
        self.version += 1
        identified = {"uri": self.uri, "version": self.version}
        self._notify("didChange", {"notebookDocument": identified, "change": {"cells": cells}})

    def _notify(self, event, params):
        self.session.editor.notify(f"notebookDocument/{event}", params)


def _cell(name, language):
    return {"kind": 1 if language == "markdown" else 2, "document": cell_uri(name)}


def _item(name, language, text):
    return {"uri": cell_uri(name), "languageId": language, "version": 1, "text": text}
