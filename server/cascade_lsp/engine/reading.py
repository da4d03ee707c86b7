"""How a remote model's answer is read, as its text comes in pieces: pure.

From a conversation comes a sentence, a code block, and another sentence, and the block often
repeats what it should have gone on from. From the other interfaces comes the text itself. Few of
them know more than four stops, so all are looked for here.
"""

import re
from dataclasses import dataclass, field

from cascade_lsp.engine.payload import Request, is_hole
from cascade_lsp.engine.stops import StopFilter

SENTENCE_CHARS = 1500  # that may come before a code block
FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n`]*\n", re.MULTILINE)


class Answer:
    """The answer to a request, read piece by piece."""

    def __init__(self, request: Request) -> None:
        self._block = Block() if request.api == "chat" else None
        self._repeated = Repeated(request.opened if request.api == "chat" else "")
        prompt = request.prompt
        # The stops of a conversation are for an answer that goes on; one that begins anew ends
        # with its block.
        bare = request.api != "chat" or is_hole(prompt)
        self._stops = (
            StopFilter(prompt.stop, prompt.indent, prompt.closer) if bare else StopFilter(())
        )

    def feed(self, text: str) -> tuple[str, bool]:
        """Return what is the answer's own of the next text, and whether the answer is over."""
        ended = False
        if self._block:
            text, ended = self._block.feed(text)
        text, stopped = self._stops.feed(self._repeated.feed(text))
        if ended and not stopped:
            return text + self._rest(), True
        return text, stopped

    def end(self) -> str:
        """Return what was held back, once no more comes."""
        text = self._repeated.feed(self._block.end()) if self._block else ""
        text, stopped = self._stops.feed(text)
        return text if stopped else text + self._rest()

    def _rest(self) -> str:
        text, stopped = self._stops.feed(self._repeated.end())
        return text if stopped else text + self._stops.held


@dataclass(slots=True)
class Block:
    """The first code block of a text; the text itself where it has none."""

    held: str = ""
    fence: str = ""
    plain: bool = False

    def feed(self, text: str) -> tuple[str, bool]:
        """Return what is inside the block of the next text, and whether the block is over."""
        if self.plain:
            return text, False
        self.held += text
        if not self.fence:
            if found := FENCE.search(self.held):
                self.fence, self.held = found[1], self.held[found.end() :]
            elif len(self.held) > SENTENCE_CHARS:
                self.plain = True
                return self.end(), False
            else:
                return "", False
        at = 0 if self.held.startswith(self.fence) else self.held.find("\n" + self.fence)
        if at >= 0:
            inside, self.held = self.held[:at], ""
            return inside, True
        keep = len(self.fence) + 1  # what may become the end
        inside = self.held[:-keep]
        self.held = self.held[len(inside) :]
        return inside, False

    def end(self) -> str:
        """Return what was held back."""
        rest, self.held = self.held, ""
        return rest


@dataclass(slots=True)
class Repeated:
    """A text without its beginning, if that repeats what it was to go on from; blanks before it
    do not count."""

    opened: str
    held: str = ""
    known: bool = field(init=False)

    def __post_init__(self) -> None:
        self.opened = self.opened.lstrip()
        self.known = not self.opened

    def feed(self, text: str) -> str:
        """Return what is new of the next text."""
        if self.known:
            return text
        self.held += text
        begun = self.held.lstrip()
        if begun.startswith(self.opened):
            self.known, self.held = True, ""
            return begun[len(self.opened) :]
        return "" if self.opened.startswith(begun) else self.end()

    def end(self) -> str:
        """Return what was held back: it was no repetition."""
        self.known = True
        rest, self.held = self.held, ""
        return rest
