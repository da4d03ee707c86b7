"""A place in a document, written as text with the cursor marked."""

from cascade_lsp.context import Context, gather

CURSOR = "║"


def place(marked: str, language: str = "python", uri: str = "file:///a.py") -> Context:
    """Return the context of a text in which `║` marks the cursor."""
    before, after = marked.split(CURSOR)
    return gather(before + after, len(before), uri=uri, language=language)
