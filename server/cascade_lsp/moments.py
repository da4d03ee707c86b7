"""When a suggestion is wanted, how long to wait for the next key, and what a key made of it.

Pure but for the clock that the caller reads. What was asked for by name is always wanted; these
are the rules for what the editor asks by itself at each key.
"""

import re
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Literal

from cascade_lsp.context import Context

Reason = Literal[
    "",
    "just accepted",
    "against the selection",
    "inside a word",
    "in the middle of a line",
    "in a comment",
]

# How a better answer than the shown one is brought in: in its place, behind it, or when asked for.
How = Literal["replace", "extend", "offer"]
_PAIRS = ("()", "[]", "{}", '""', "''", "``")
# What an editor or a hand closes behind the cursor before the line is finished.
_CLOSERS = re.compile(r"[\s)\]}>'\"`,;:]*")
KEYS, ANSWERS = 8, 10  # how many intervals and waits are remembered
SHORTEST_S, LONGEST_S = 0.06, 0.25  # of the pause after a key in which another one is expected
PAUSED_S = 1.0  # an interval from which on someone was not typing


@dataclass(frozen=True, slots=True)
class WhenOptions:
    """Where suggestions come by themselves; asked for by name they come anywhere."""

    comments: bool = field(default=True, metadata={"help": "Suggest inside comments, too."})


def unwanted(
    context: Context,
    options: WhenOptions,
    accepted: str = "",
    *,
    selected: str = "",
    instead_of: str = "",
) -> Reason:
    """Return why nothing is suggested at a place by itself, "" where something is.

    `accepted` is the document up to the end of what was accepted last: until something is typed
    behind it nothing is wanted. `selected` is the row of the suggest widget that stands in the
    context instead of what was typed: an editor shows nothing that does not begin with that.
    """
    if accepted and context.document[: context.offset] == accepted:
        return "just accepted"
    if selected and not selected.startswith(instead_of):
        return "against the selection"
    tail = context.line_tail
    if re.match(r"\w", tail) and re.search(r"\w$", context.line_head):
        return "inside a word"
    if not _CLOSERS.fullmatch(tail):
        return "in the middle of a line"
    return "in a comment" if not options.comments and _in_comment(context) else ""


def _in_comment(context: Context) -> bool:
    from cascade_lsp import syntax  # grammars take time to load, and initialize is answered before

    return syntax.site(context).in_comment


def typed_since(began: Context, now: str) -> str | None:
    """Return what was typed at a place since a document was as it was there; None if anything else
    was changed."""
    before, behind = began.document[: began.offset], began.document[began.offset :]
    if len(now) < len(began.document) or not (now.startswith(before) and now.endswith(behind)):
        return None
    return now[began.offset : len(now) - len(behind)]


def outcome(shown: str, began: Context, now: str) -> Literal["", "accepted", "rejected"]:
    """Return what an edit made of a suggestion that was shown at a place: all of it stands there,
    or something that it does not begin with; "" while that is open."""
    if now.startswith(shown, began.offset):
        return "accepted"
    typed = typed_since(began, now)
    if typed in _PAIRS:
        typed = typed[0]  # the editor has closed what was typed
    return "rejected" if typed and not shown.startswith(typed) else ""


def must_go_on(context: Context) -> bool:
    """Say whether a document cannot stay as it is at a place: a block, or a statement, is begun
    there and empty."""
    from cascade_lsp import syntax

    opened = context.document[: context.offset].rstrip().endswith((":", "{"))
    return (opened and not context.line_head.strip()) or syntax.adds_errors(context, "")


class Pace:
    """How fast someone types, and how fast answers come: the pause before a model is asked.

    It is the usual time between two keys, less what an answer takes anyway: where answers are
    slow nothing is won by waiting longer, and the next key ends the computation.
    """

    def __init__(self) -> None:
        self._keys: deque[float] = deque(maxlen=KEYS + 1)
        self._waits: deque[float] = deque(maxlen=ANSWERS)

    def typed(self, now: float) -> None:
        """Note a key, by a clock in seconds."""
        self._keys.append(now)

    def answered(self, seconds: float) -> None:
        """Note how long a model took for the first line of an answer."""
        self._waits.append(seconds)

    def pause_s(self) -> float:
        """Return the seconds to wait for another key; none before the first answer has come."""
        if not self._waits:
            return 0.0
        intervals = [b - a for a, b in pairwise(self._keys) if b - a < PAUSED_S]
        usual = median(intervals) if intervals else SHORTEST_S
        return max(0.0, min(max(usual, SHORTEST_S), LONGEST_S) - median(self._waits))
