"""Completions that survive typing through them: no inference for text already suggested.

Pure and in memory. An entry is found at the place it was made for, at every place that typing
along it leads to, and there again after going back; it is not found once anything else around
the cursor has changed.
"""

from collections import OrderedDict
from dataclasses import dataclass

from cascade_lsp.context import Context

TAIL_CHARS = 1000  # how much before the cursor must be the same
HEAD_CHARS = 200  # and how much behind it


@dataclass(frozen=True, slots=True)
class Cached:
    """What remains to be typed of a suggestion at this place, and whose suggestion it is."""

    text: str
    candidate_id: str


Key = tuple[str, str, str]


class CompletionCache:
    """The last `size` completions, least recently used first out."""

    def __init__(self, size: int = 250) -> None:
        self._size = size
        self._entries: OrderedDict[Key, Cached] = OrderedDict()
        self._longest = 0

    def put(self, context: Context, text: str, candidate_id: str) -> None:
        """Keep a completion for this place, in the place of an older one."""
        key = _key(context, 0)
        self._entries[key] = Cached(text, candidate_id)
        self._entries.move_to_end(key)
        self._longest = max(self._longest, len(text))
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def get(self, context: Context) -> Cached | None:
        """Return the rest of the suggestion that led here, if there is one; empty text where a
        model had nothing to say."""
        for typed in range(min(self._longest, context.offset) + 1):
            entry = self._entries.get(key := _key(context, typed))
            if entry is None:
                continue
            begun = context.document[context.offset - typed : context.offset]
            if entry.text.startswith(begun) and (len(entry.text) > typed or not typed):
                self._entries.move_to_end(key)
                return Cached(entry.text[typed:], entry.candidate_id)
        return None

    def clear(self) -> None:
        """Forget everything, as when a model or a setting changed."""
        self._entries.clear()
        self._longest = 0


def _key(context: Context, back: int) -> Key:
    """Name the place `back` characters before the cursor, as it was before they were typed."""
    at = context.offset - back
    return (
        context.uri,
        context.document[max(0, at - TAIL_CHARS) : at],
        context.document[context.offset : context.offset + HEAD_CHARS],
    )
