"""Brackets of a text that need be no whole: which it leaves open, and which it closes for others.

Pure, and of no language: what stands in quotes on one line does not count.
"""

import re
from dataclasses import dataclass

CLOSERS = {"(": ")", "[": "]", "{": "}"}
_TOKEN = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|[()\[\]{}]')


@dataclass(frozen=True, slots=True)
class Brackets:
    """`wanted` is what closes a text, the innermost first; `unopened` is where in it brackets
    stand that close nothing which it has opened."""

    wanted: str
    unopened: tuple[int, ...]


def brackets(text: str, wanted: str = "") -> Brackets:
    """Read the brackets of a text behind another one that left some `wanted`; a closing one that
    does not fit the innermost is passed over."""
    open_, unopened = list(reversed(wanted)), list[int]()
    for token in _TOKEN.finditer(text):
        bracket = token[0]
        if bracket in CLOSERS:
            open_.append(CLOSERS[bracket])
        elif open_ and bracket == open_[-1]:
            open_.pop()
        elif not open_ and bracket in CLOSERS.values():
            unopened.append(token.start())
    return Brackets("".join(reversed(open_)), tuple(unopened))
