"""What a model sees of other files: heads of what a document imports, and places visited lately.

It comes first in the prompt, and whatever changes there must be read again with all that follows.
So it stays as it is, letter for letter, while someone types: it is put together anew where the
prompt begins elsewhere anyway, that is in another document, far from where the cursor was, or
when the imports have changed. Files are read in a thread, and what they say counts the next time.
What is excluded from suggestions is never shown here, either.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from cascade_lsp.context import BLOCK_LINES, Context
from cascade_lsp.heads import family
from cascade_lsp.imported import Head, Import, Reader, Workspace, imports
from cascade_lsp.suites import path_of

MOST_CHUNKS = 8
CHUNK_LINES = 12
ALIKE = 0.5  # of all words of two chunks are in both: a model would copy
IMPORTS_CHARS = 8000  # at the head of a document, in which its imports are looked for

# How a comment begins on one line, and in which languages by their identifiers in LSP. A document
# in another one is shown alone.
COMMENTS = {
    "# ": "python ruby perl r shellscript powershell yaml toml dockerfile makefile cmake elixir "
    "julia coffeescript properties nim tcl",
    "// ": "javascript javascriptreact typescript typescriptreact c cpp csharp go java kotlin rust "
    "swift dart scala php groovy objective-c objective-cpp cuda-cpp zig fsharp jsonc scss less",
    "-- ": "lua sql haskell elm ada vhdl",
    "% ": "latex tex erlang matlab prolog",
    "; ": "clojure lisp scheme racket ini",
}


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some lines around a place in a document, as they were when it was left."""

    uri: str
    language: str
    text: str
    words: frozenset[str]


@dataclass(frozen=True, slots=True)
class View:
    """What is shown to a model in one document, of which files, and for which state
    of things it was chosen: the line of the cursor, where the window begins, the imports, and the
    heads behind them."""

    line: int
    start: int
    imports: tuple[Import, ...]
    heads: tuple[Head, ...]
    limit: int
    text: str
    files: tuple[tuple[str, str], ...]


class Neighbours:
    """The other files of one editor, as far as a model sees them.

    `workspace` says where may be read and what is open, `spawn` runs what may take long.
    """

    def __init__(
        self,
        workspace: Callable[[], Workspace],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._workspace = workspace
        self._spawn = spawn
        self._reader = Reader()
        self._chunks: list[Chunk] = []
        self._heads: dict[str, tuple[Head, ...]] = {}
        self._views: dict[str, View] = {}
        self._last: Context | None = None
        self._reading = asyncio.Lock()  # in order: what was asked last counts

    def extra(self, context: Context, limit: int) -> Context:
        """Return a context with what a model is shown before the document's own text, at most
        `limit` characters; the same as last time, unless this is another place."""
        last, self._last = self._last, context
        entered = last is None or last.uri != context.uri
        view, wanted = self._views.get(context.uri), _imports(context)
        line = context.document.count("\n", 0, context.offset)
        if last and (entered or abs(_line(last) - line) > BLOCK_LINES):
            self._keep(last)
        if entered or view is None or view.imports != wanted:
            self._spawn(self.read(context))
        start = context.offset - len(context.prefix)
        heads = self._heads.get(context.uri, ())
        if (
            entered
            or view is None
            or (view.start, view.imports, view.heads, view.limit) != (start, wanted, heads, limit)
            or abs(view.line - line) > BLOCK_LINES
        ):
            text, files = self._chosen(context, heads, limit)
            view = View(line, start, wanted, heads, limit, text, files)
            self._views[context.uri] = view
        return replace(context, extra=view.text, extra_files=view.files)

    async def read(self, context: Context) -> None:
        """Read what a document imports, in a thread."""
        wanted, path, workspace = _imports(context), path_of(context.uri), self._workspace()
        if path is None:
            return
        async with self._reading:
            read = self._reader.heads
            found = await asyncio.to_thread(read, path, context.language, wanted, workspace)
        self._heads[context.uri] = found

    def forget(self, uri: str) -> None:
        """Forget what was read for a document that is closed."""
        self._heads.pop(uri, None)
        self._views.pop(uri, None)

    def _keep(self, context: Context) -> None:
        """Keep the place that is left, instead of older ones that are like it."""
        text = _around(context)
        chunk = Chunk(context.uri, family(context.language), text, _words(text))
        apart = [one for one in self._chunks if not _alike(one.words, chunk.words)]
        self._chunks = [*apart, chunk][-MOST_CHUNKS:] if text.strip() else apart

    def _chosen(
        self, context: Context, heads: Iterable[Head], limit: int
    ) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Choose what fits: heads of what is named near the cursor, other heads, then the places
        visited last that are not like the one at hand."""
        workspace, sign = self._workspace(), _comment(context.language)
        if not sign:
            return "", ()

        def shown(uri: str) -> tuple[str, str]:
            return workspace.shown(path_of(uri) or Path(uri))

        near = set(re.findall(r"\w+", _without_imports(context.prefix) + context.suffix))
        room = limit - len(title := _titled(sign, shown(context.uri)[1], ""))
        kept = list[Head]()
        for head in sorted(heads, key=lambda one: one.bound.split(".")[-1] not in near):
            if (size := len(_titled(sign, head.file[1], head.text))) <= room:
                kept.append(head)
                room -= size
        chunks = dict[str, tuple[str, str]]()
        here = _words(_around(context))
        for chunk in reversed(self._chunks):
            if self._is_useful(chunk, context, workspace) and not _alike(chunk.words, here):
                file = shown(chunk.uri)
                block = _titled(sign, file[1], chunk.text)
                if len(block) <= room:
                    chunks[block] = file
                    room -= len(block)
        ordered = [head for head in heads if head in kept]
        blocks = [
            _titled(sign, file[1], "\n".join(dict.fromkeys(head.text for head in some)))
            for file, some in groupby(ordered, key=lambda one: one.file)
        ]
        if not blocks and not chunks:
            return "", ()
        files = dict.fromkeys([*(head.file for head in ordered), *chunks.values()])
        return "".join([*blocks, *reversed(chunks), title]), tuple(files)

    def _is_useful(self, chunk: Chunk, context: Context, workspace: Workspace) -> bool:
        """Say whether a chunk is of another document, in its language, and may still be seen."""
        apart = chunk.uri.split("#")[0] != context.uri.split("#")[0]  # not two cells of a notebook
        other = apart and chunk.language == family(context.language)
        return other and workspace.may_be_seen(path_of(chunk.uri) or Path(chunk.uri))


def _imports(context: Context) -> tuple[Import, ...]:
    """Return the imports at the head of a document."""
    return imports(context.document[:IMPORTS_CHARS], context.language)


def _without_imports(text: str) -> str:
    return re.sub(r"^[ \t]*(?:from|import|export)\b[^\n]*", "", text, flags=re.MULTILINE)


def _line(context: Context) -> int:
    return context.document.count("\n", 0, context.offset)


def _around(context: Context) -> str:
    """Return the lines around the cursor."""
    half = CHUNK_LINES // 2
    before = context.document[: context.offset].rsplit("\n", half)[-half:]
    behind = context.document[context.offset :].split("\n", half)[:half]
    return "\n".join([*before[:-1], before[-1] + behind[0], *behind[1:]]).strip("\n")


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text))


def _alike(some: frozenset[str], others: frozenset[str]) -> bool:
    """Say whether two sets of words are so much the same that a model would copy one."""
    return len(some & others) > ALIKE * len(some | others)


def _comment(language: str) -> str:
    """Return how a comment begins, "" where that is not known."""
    return next((sign for sign, names in COMMENTS.items() if language in names.split()), "")


def _titled(sign: str, path: str, text: str) -> str:
    """Return a text under its path; without a text, the path alone as a head for what follows."""
    return f"{sign}{path}\n" + (f"{text}\n\n" if text else "")
