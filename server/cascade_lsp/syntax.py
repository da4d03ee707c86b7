"""The syntax of a document around the cursor: whether an answer adds errors, and what it is in.

Reads text by tree-sitter, a window of it where a document is long. Languages without a grammar
here are never broken, and nothing is known of their places.
"""

from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module

from tree_sitter import Language, Node, Parser

from cascade_lsp.context import Context
from cascade_lsp.languages import functions_of

# Of a long document that are parsed, and how far from there a line at top level is looked for.
BEFORE_CHARS, BEHIND_CHARS, FAR_CHARS = 6000, 3000, 18000
# Grammars of the languages of which no functions are read, by identifier in LSP.
GRAMMARS = {
    "c": "tree_sitter_c",
    "cpp": "tree_sitter_cpp",
    "go": "tree_sitter_go",
    "java": "tree_sitter_java",
    "json": "tree_sitter_json",
    "rust": "tree_sitter_rust",
    "shellscript": "tree_sitter_bash",
}


@dataclass(frozen=True, slots=True)
class Site:
    """What the cursor is in; neither where that is not known."""

    in_comment: bool = False
    in_string: bool = False


def adds_errors(context: Context, text: str) -> bool:
    """Say whether `text` leaves more syntax errors than the document needs to have there.

    Compared with the document as it is and with a placeholder at the cursor, whichever has fewer.
    """
    narrow = _window(context)
    if functions := functions_of(context.language):
        return functions.breaks_syntax(narrow, text)
    if context.language not in GRAMMARS:
        return False
    placeholder = "0" if context.language == "json" else "_"
    wholes = (narrow.document, narrow.completed(placeholder))
    best = min(errors(_parse(whole, context.language)) for whole in wholes)
    return errors(_parse(narrow.completed(text), context.language)) > best


def errors(node: Node) -> int:
    """Return how many nodes of a tree are errors, or missing."""
    if not node.has_error:
        return 0
    return int(node.is_error or node.is_missing) + sum(map(errors, node.children))


def site(context: Context) -> Site:
    """Return what the cursor is in."""
    root = _root(narrow := _window(context))
    if root is None:
        return Site()
    at = len(narrow.document[: narrow.offset].encode())
    node: Node | None = root.descendant_for_byte_range(max(at - 1, 0), at)
    while node is not None:
        # At the end of a line comment the cursor is still in it; behind a string it is not.
        if "comment" in node.type and node.start_byte < at <= node.end_byte:
            return Site(in_comment=not node.type.startswith("block") or at < node.end_byte)
        if "string" in node.type and node.start_byte < at < node.end_byte:
            return Site(in_string=True)
        node = node.parent
    return Site()


def _root(context: Context) -> Node | None:
    match context.language:
        case "python":
            from cascade_lsp.surroundings import parse

            return parse(context.document)
        case "javascript" | "javascriptreact" | "typescript" | "typescriptreact":
            from cascade_lsp.languages.javascript_module import parse as parse_script

            return parse_script(context.document, context.language)
    known = context.language in GRAMMARS
    return _parse(context.document, context.language) if known else None


@cache
def _parser(language: str) -> Parser:
    return Parser(Language(import_module(GRAMMARS[language]).language()))


def _parse(text: str, language: str) -> Node:
    return _parser(language).parse(text.encode()).root_node


def _window(context: Context) -> Context:
    """Return the place in a part of its document that begins and ends at top level."""
    document, offset = context.document, context.offset
    start = _top(document, offset - BEFORE_CHARS, -1) if offset > BEFORE_CHARS else 0
    behind = offset + BEHIND_CHARS
    end = _top(document, behind, +1) if behind < len(document) else len(document)
    return replace(context, document=document[start:end], offset=offset - start)


def _top(document: str, near: int, way: int) -> int:
    """Return where a line begins at top level, the next one from a place on either way; within
    FAR_CHARS, else where any line does."""
    far = max(0, near - FAR_CHARS) if way < 0 else min(len(document), near + FAR_CHARS)
    at = near
    while far < at <= near if way < 0 else near <= at < far:
        at = document.rfind("\n", far, at) if way < 0 else document.find("\n", at + 1, far)
        if at < 0:
            break
        if document[at + 1 : at + 2] not in " \t\r\n})]":
            return at + 1
    return document.rfind("\n", 0, near) + 1
