"""Where an answer ends, as its text comes in pieces: pure, the same for every engine."""

import re
from dataclasses import dataclass


@dataclass(slots=True)
class StopFilter:
    """Pass text through up to the first stop; hold back what may become one."""

    stops: tuple[str, ...]
    indent: int = 0
    closer: str = ""
    held: str = ""
    depth: int = 0
    quote: str = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """Return the text that is safe to show and whether a stop ended it."""
        unopened = self._unopened(text)
        self.held += text
        cuts = [at for stop in self.stops if (at := self.held.find(stop)) >= 0]
        if (margin := self._margin()) is not None:
            cuts.append(margin)
        if unopened is not None:
            cuts.append(len(self.held) - len(text) + unopened)
        if cuts:
            shown, self.held = self.held[: min(cuts)], ""
            return shown, True
        keep = max((_overlap(self.held, stop) for stop in self.stops), default=0)
        if self.indent and (line := re.search(r"\n[ \t\n]*$", self.held)):
            keep = max(keep, len(self.held) - line.start())
        shown = self.held[: len(self.held) - keep]
        self.held = self.held[len(shown) :]
        return shown, False

    def _unopened(self, text: str) -> int | None:
        """Return where in `text`, which follows all that came, `closer` closes nothing that the
        answer has opened; brackets inside quotes do not count."""
        if not self.closer:
            return None
        for at, letter in enumerate(text):
            if self.quote:
                self.quote = "" if letter == self.quote else self.quote
            elif letter in "\"'":
                self.quote = letter
            elif letter in "([{":
                self.depth += 1
            elif letter in ")]}":
                if self.depth == 0 and letter == self.closer:
                    return at
                self.depth -= 1
        return None

    def _margin(self) -> int | None:
        """Return where a line begins that is indented too little, the blank ones before it too."""
        lines = re.finditer(r"(?:\n[ \t]*)*\n([ \t]*)(?=\S)", self.held)
        return next((m.start() for m in lines if len(m[1]) < self.indent), None)


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that begins `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
