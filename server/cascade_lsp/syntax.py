"""The syntax of a document around the cursor: whether an answer breaks it, and what it is in.

Reads text by tree-sitter, a part of it where a document is long. A grammar judges an answer only
where it can read the document without it: about languages that have none here, and about places
that it takes for broken anyway, nothing is said. So hardly a right answer is called wrong, while a
wrong one may pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module

from tree_sitter import Language, Node, Parser, Tree

from cascade_lsp.brackets import brackets
from cascade_lsp.context import Context

# Of a long document that are parsed, and how far from there a line at top level is looked for.
BEFORE_CHARS, BEHIND_CHARS, FAR_CHARS = 4000, 2000, 16000
# Where a grammar is found, by identifier in LSP.
GRAMMARS = {
    "c": "tree_sitter_c:language",
    "cpp": "tree_sitter_cpp:language",
    "go": "tree_sitter_go:language",
    "java": "tree_sitter_java:language",
    "javascript": "tree_sitter_javascript:language",
    "javascriptreact": "tree_sitter_javascript:language",
    "json": "tree_sitter_json:language",
    "python": "tree_sitter_python:language",
    "rust": "tree_sitter_rust:language",
    "shellscript": "tree_sitter_bash:language",
    "typescript": "tree_sitter_typescript:language_typescript",
    "typescriptreact": "tree_sitter_typescript:language_tsx",
}
# What may finish that which is begun, tried in turn: `close` stands for the brackets that are
# open, `end` for those with statements ended before them, `body` for a line indented deeper.
_USUAL = ("_", "{close}", "_{close}")
_BRACED = (*_USUAL, "{end}", "_{end}", "_{close}{{}}", "*/")
_ENDINGS = {
    "json": ("{close}", "0{close}", '"_": 0{close}', ": 0{close}", "0,", '"_": 0,'),
    "python": (
        *_USUAL,
        "{close}{body}pass",
        "_{close}:{body}pass",
        "{body}pass\n{indent}except _:{body}pass",
        "{close}\n{indent}def _(): pass",
        '_"""',
    ),
    "shellscript": (*_USUAL, "\nfi", "\ndone", "\nthen _\nfi", "\ndo _\ndone", "\nesac"),
}


@dataclass(frozen=True, slots=True)
class Site:
    """What the cursor is in; neither where that is not known."""

    in_comment: bool = False
    in_string: bool = False


def adds_errors(context: Context, text: str) -> bool:
    """Say whether the document could be whole, but is not with `text` at the cursor."""
    part = _part(context)
    return part is not None and not part.bears(text) and part.is_readable()


def sound(context: Context, text: str, *, unfinished: bool = False) -> str:
    """Return the longest beginning of whole lines of `text` that adds no errors.

    What the document leaves open it may leave open, too; an `unfinished` one may also end in the
    middle of what it has begun itself.
    """
    part = _part(context)
    if part is None or part.bears(text, unfinished) or not part.is_readable():
        return text
    while text and not part.bears(text, unfinished):
        text = text.rpartition("\n")[0].rstrip()
    return text


def site(context: Context) -> Site:
    """Return what the cursor is in."""
    part = _part(context)
    if part is None:
        return Site()
    at = len(part.before.encode())
    node: Node | None = part.tree.root_node.descendant_for_byte_range(max(at - 1, 0), at)
    while node is not None:
        # At the end of a line comment the cursor is still in it; behind a string it is not.
        if "comment" in node.type and node.start_byte < at <= node.end_byte:
            return Site(in_comment=not node.type.startswith("block") or at < node.end_byte)
        if "string" in node.type and node.start_byte < at < node.end_byte:
            return Site(in_string=True)
        node = node.parent
    return Site()


@dataclass(frozen=True)
class _Part:
    """What is parsed of a document, before the cursor and behind it."""

    before: str
    behind: str
    language: str

    @cached_property
    def tree(self) -> Tree:
        return _parser(self.language).parse((self.before + self.behind).encode())

    def parses(self, text: str) -> bool:
        """Say whether there are no errors with a text at the cursor; only what that changes is
        parsed anew."""
        tree, raw = self.tree.copy(), text.encode()
        at, lines = len(self._raw_before), raw.count(b"\n")
        row, column = self._cursor
        ends = (row + lines, len(raw) - raw.rfind(b"\n") - 1 + (0 if lines else column))
        tree.edit(at, at, at + len(raw), self._cursor, self._cursor, ends)
        whole = self._raw_before + raw + self.behind.encode()
        return not _parser(self.language).parse(whole, tree).root_node.has_error

    def is_readable(self) -> bool:
        """Say whether there is something that could stand at the cursor."""
        return self.parses("") or any(map(self.parses, self._endings("")))

    def bears(self, text: str, unfinished: bool = False) -> bool:
        """Say whether a text can stand at the cursor, or begin what can."""
        if self.parses(text):
            return True
        if unfinished:
            return any(self.parses(text + ending) for ending in self._endings(text))
        open_ = self._open(text)
        if not open_ or len(open_) > len(self._open("")):
            return False
        return self.parses(text + open_) or self.parses(text + _ended(open_))

    @cached_property
    def _raw_before(self) -> bytes:
        return self.before.encode()

    @cached_property
    def _cursor(self) -> tuple[int, int]:
        raw = self._raw_before
        return raw.count(b"\n"), len(raw) - raw.rfind(b"\n") - 1

    @cached_property
    def _around(self) -> tuple[str, int]:
        """Return the brackets that are open at the cursor, and how many are closed behind it."""
        return brackets(self.before).wanted, len(brackets(self.behind).unopened)

    def _open(self, text: str) -> str:
        """Return what closes the brackets that are open behind a text, the innermost first; the
        outermost ones are closed behind the cursor."""
        wanted, closed = self._around
        wanted = brackets(text, wanted).wanted
        return wanted[: max(0, len(wanted) - closed)]

    def _endings(self, text: str) -> Iterator[str]:
        """Return the ways in which what is begun with a text might be finished."""
        close, line = self._open(text), (self.before + text).rpartition("\n")[2]
        indent = line[: len(line) - len(line.lstrip())]
        for ending in _ENDINGS.get(self.language, _BRACED):
            yield ending.format(
                close=close, end=_ended(close), indent=indent, body=f"\n{indent}    "
            )


def _ended(close: str) -> str:
    """Return closing brackets with a semicolon before each block's end, or at the end of all."""
    return close.replace("}", ";}") if "}" in close else close + ";"


@cache
def _parser(language: str) -> Parser:
    package, _, function = GRAMMARS[language].partition(":")
    return Parser(Language(getattr(import_module(package), function)()))


def _part(context: Context) -> _Part | None:
    """Return the part of a document around the cursor that begins and ends at top level; None
    where it has none of moderate size, or no grammar."""
    if context.language not in GRAMMARS:
        return None
    document, offset = context.document, context.offset
    start = _top_before(document, offset - BEFORE_CHARS)
    end = _top_behind(document, offset + BEHIND_CHARS)
    if start is None or end is None:
        return None
    return _Part(document[start:offset], document[offset:end], context.language)


def _top_before(document: str, at: int) -> int | None:
    far = max(0, at - FAR_CHARS)
    while at > far:
        at = document.rfind("\n", far, at)
        if at >= 0 and _is_top(document, at + 1):
            return at + 1
    return None if far else 0


def _top_behind(document: str, at: int) -> int | None:
    far = at + FAR_CHARS
    while (at := document.find("\n", at + 1, far)) >= 0:
        if _is_top(document, at + 1):
            return at + 1
    return None if far < len(document) else len(document)


def _is_top(document: str, at: int) -> bool:
    """Say whether a line that begins there can begin something at top level."""
    return document[at : at + 1] not in ("", *" \t\r\n})]")
