"""What of a model's text may be suggested: one filter a function, in one straight line.

Pure. Each takes a text and the place and returns the text, or less of it. `clean` is for a text
that is still growing, too; `whole` is for one that is finished; `again` is for what was suggested
before and is about to be shown once more, in a document that may have changed behind the cursor.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from cascade_lsp.brackets import CLOSERS, brackets
from cascade_lsp.context import Context

REPEATS = 3  # of a line or a group of lines, from which on a model is going round
GROUP_LINES = 6  # of a group that comes again
RECENT_LINES = 50  # before the cursor, that show how the document is indented
QUOTES = ("'", '"', "`")
TEXTS = ("git-commit", "html", "latex", "markdown", "plaintext", "restructuredtext", "yaml")
_FENCE = re.compile(r"^(?:\s*```[\w+-]*\n)+")
_SAYING = re.compile(r"(?=.*\w)\S.+\S")  # what is no bracket, no ornament, and longer than "fi"
_LOOP = re.compile(r"(\S[^\n]{7,}?)\1{3,}[^\n]*\Z")
_PROSE = re.compile(
    r"^(Here(?:'s| is| are)\b|Sure\b|Certainly\b|Explanation\b|Note:|This (?:code|function)\b).*$"
)


def clean(text: str, context: Context) -> str:
    """Return what of a model's text may be suggested at the cursor.

    Text beyond the block the cursor is in, lines that the document has before or next, what comes
    again and again, prose and fences, and what repeats the rest of the cursor's line are cut; so
    is white space at the end. Indentation is the document's.
    """
    text = prose(fences(text.replace("\r\n", "\n"), context), context)
    text = blanks(indentation(text, context), context)
    if context.line_tail.strip():
        return overlap(text.split("\n", 1)[0], context)
    text = following(block(text, context), context)
    return previous(repetition(text), context).rstrip()


def whole(text: str, context: Context, *, cut: bool) -> str:
    """Return what of a cleaned text stays when no more of it comes: the longest beginning of whole
    lines that adds no syntax errors; `cut` says that it was ended by its limit."""
    if cut:
        text = last_line(text, context)
    return veto(text, context, cut)


def again(text: str, context: Context) -> str:
    """Return what of an earlier suggestion still fits the text behind the cursor."""
    if context.line_tail.strip():
        return overlap(text, context)
    return following(text, context)


def whole_lines(text: str) -> str:
    """Return the beginning of a text that ends with a line's end, if a line with text does."""
    lines = text[: text.rfind("\n") + 1]
    return lines if lines.strip() else ""


def is_cut(text: str, settled: str) -> bool:
    """Say whether the last whole line of a model's text was cut from what may be suggested of it,
    `settled`: then nothing that follows may be suggested, either."""
    last = whole_lines(text).rstrip().rsplit("\n", 1)[-1].strip()
    return bool(last) and not settled.endswith(last)


# -- one filter each ----------------------------------------------------------------------------


def fences(text: str, context: Context) -> str:
    """Take off a code block's fence before the code, and all from the next one on."""
    if context.language in TEXTS:
        return text
    return _FENCE.sub("", text).split("\n```", 1)[0]


def prose(text: str, context: Context) -> str:
    """Cut where the model begins to talk about the code, at the margin."""
    if context.language in TEXTS:
        return text
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if _PROSE.match(line) and (i or not context.line_head):
            return "\n".join(lines[:i])
    return text


def indentation(text: str, context: Context) -> str:
    """Indent lines as the document does: by tabs, or by as many blanks a level."""
    there = _blanks(context.line_head)
    before = [line for line in context.prefix.split("\n")[:-1] if line.strip()][-RECENT_LINES:]
    ours = [one for one in map(_blanks, before) if one] or [there]
    first, *rest = text.split("\n")
    own = rest if context.line_head.strip() else [first, *rest]
    theirs = [_blanks(line) for line in own if line.strip() and _blanks(line)]
    begun = first if first.startswith(context.line_head) else context.line_head + first
    level, written = _step([*before, context.line_head + "_"]), _step([begun, *rest])
    if all("\t" in one for one in ours):
        if all("\t" in one for one in theirs):
            return text
        written = written or _guess(theirs)
        return _indented(text, context, "", " " * written, "\t")
    if any("\t" in one or not one for one in ours):
        return text  # it mixes them, or shows none
    if any("\t" in one for one in theirs):
        return _indented(text, context, "", "\t", " " * (level or _guess(ours)))
    if level and written:
        return _indented(text, context, there, " " * written, " " * level)
    return text


def _indented(text: str, context: Context, there: str, theirs: str, ours: str) -> str:
    """Return a text with its levels, behind what is `there` in any line, written as `ours`."""
    levels = re.compile(rf"^({there})((?:{theirs})+)", re.MULTILINE)
    kept = len(text.split("\n")[0]) if context.line_head.strip() or there else 0
    return text[:kept] + levels.sub(lambda m: m[1] + ours * (len(m[2]) // len(theirs)), text[kept:])


def _blanks(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _step(lines: Sequence[str]) -> int:
    """Return by how much lines are indented deeper behind one that opens a block; 0 if none is."""
    written = [line for line in lines if line.strip()]
    steps = Counter(
        len(_blanks(line)) - len(_blanks(head))
        for head, line in pairwise(written)
        if head.rstrip().endswith(("{", ":")) and _is_deeper(_blanks(line), _blanks(head))
    )
    return steps.most_common(1)[0][0] if steps else 0


def _is_deeper(blanks: str, others: str) -> bool:
    return blanks.startswith(others) and len(blanks) > len(others)


def _guess(indented: Sequence[str]) -> int:
    """Return how many blanks are one level where lines begin with such ones."""
    return 2 if any(len(one) % 4 for one in indented) else 4


def blanks(text: str, context: Context) -> str:
    """Take off the blanks that stand before the cursor already, which the model wrote again.

    A first line that is indented less than the cursor's blank line belongs to another block.
    """
    there = context.prefix[len(context.prefix.rstrip(" \t")) :]
    if text.startswith(there):
        return text[len(there) :]
    if text.startswith("\n") or context.line_head.strip():
        return text.lstrip(" \t")
    return ""


def block(text: str, context: Context) -> str:
    """Cut at the first line that is indented less than the cursor's line."""
    least = _width(context.line_head)
    lines = text.split("\n")
    for i, line in enumerate(lines[1:], start=1):
        if line.strip() and _width(line) < least:
            return "\n".join(lines[:i])
    return text


def _width(line: str) -> int:
    return len(line[: len(line) - len(line.lstrip())].expandtabs(4))


def following(text: str, context: Context) -> str:
    """Cut where the text begins to repeat the next written line of the document.

    One that says little, like a bracket, may be needed again: it counts where it closes what the
    text left balanced, or where the document's line after it comes next, too.
    """
    behind = [line.rstrip() for line in context.suffix.split("\n")[1:]]
    written = [line for line in behind if line][:2]
    if not written:
        return text
    lines = text.split("\n")
    whole = [line.rstrip() for line in (context.line_head + text).split("\n")]
    for i, line in enumerate(whole):
        if line != written[0]:
            continue
        goes_on = [one for one in whole[i + 1 :] if one][:1] == written[1:2] != []
        closes = line.strip()[0] in CLOSERS.values() and not brackets("\n".join(lines[:i])).wanted
        if _SAYING.search(line) or closes or goes_on:
            return "\n".join(lines[:i])
    return text


def previous(text: str, context: Context) -> str:
    """Drop a text that only writes the lines before the cursor once more."""
    if context.line_head.strip():
        return text
    before = [line.strip() for line in context.prefix.split("\n")]
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    written = [line for line in before if line]
    again = lines == written[-len(lines) :] and any(map(_SAYING.search, lines))
    return "" if lines and again else text


def repetition(text: str) -> str:
    """Cut after the first time of what a model writes again and again: lines, groups of lines, or
    within one line."""
    lines = [line.strip() for line in text.split("\n")]
    for end in range(1, len(lines) + 1):
        for size in range(1, min(GROUP_LINES, end // REPEATS) + 1):
            groups = [lines[end - n * size : end - (n - 1) * size] for n in range(1, REPEATS + 1)]
            if all(group == groups[0] for group in groups) and len("".join(groups[0])) > 1:
                return "\n".join(text.split("\n")[: end - (REPEATS - 1) * size])
    loop = _LOOP.search(text)
    return text[: loop.end(1)] if loop and _SAYING.search(loop[1]) else text


def overlap(text: str, context: Context) -> str:
    """Cut what the rest of the cursor's line has already: the longest end with which it begins,
    or all from the bracket or quote on that closes what is closed there.

    What the line needs to stay balanced is left.
    """
    line = _Line(context.line_head, context.line_tail)
    for n in range(min(len(text), len(line.tail)), 0, -1):
        if text.endswith(line.tail[:n]) and line.needs_no_more(text[:-n], text):
            return overlap(text[:-n], context)
    cut = line.end_of(text)
    return text if cut is None else overlap(text[:cut], context)


@dataclass(frozen=True, slots=True)
class _Line:
    """The cursor's line, before the cursor and behind it."""

    head: str
    tail: str

    @property
    def quote(self) -> str:
        """Return the quote that is open at the cursor and closed right behind it."""
        quote = self.tail[:1]
        return quote if quote in QUOTES and self.head.count(quote) % 2 else ""

    @property
    def closers(self) -> str:
        """Return the brackets behind the cursor that close what is open there."""
        return "".join(self.tail[at] for at in brackets(self.tail).unopened)

    def fits(self, text: str) -> bool:
        """Say whether the line's rest closes what is open behind a text."""
        whole = re.sub(r"\\.", "", self.head + text + self.tail)
        if any(whole.count(quote) % 2 for quote in QUOTES if quote in self.tail):
            return False
        if self.quote or not self.closers:
            return True
        begun, line = brackets(self.head).wanted, brackets(self.head + text)
        return line.wanted.startswith(self.closers[: len(begun)]) and not line.unopened

    def needs_no_more(self, less: str, text: str) -> bool:
        """Say whether the beginning of a text does for the line what all of it does."""
        if not self.fits(less):
            return False
        if self.quote:
            return True
        head = self.head if brackets(self.head).wanted else ""
        open_ = len(brackets(head + text).wanted)
        may_be = max(open_, len(self.closers)) if head else open_
        return len(brackets(head + less).wanted) <= may_be

    def end_of(self, text: str) -> int | None:
        """Return where a text closes what the line's rest closes; None where it does not."""
        if self.fits(text):
            return None
        if self.quote:
            return text.rfind(self.quote) if self.quote in text else None
        own = max(0, len(brackets(self.head).wanted) - len(self.closers))
        return next(iter(brackets(text).unopened[own:]), None) if self.closers else None


def last_line(text: str, context: Context) -> str:
    """Drop a last line that was being written when the limit came, and what only led to it; an
    only line stays."""
    lines = text.split("\n")
    leads = ":" if context.language == "python" else ""
    while len(lines) > 1:
        lines.pop()
        if not leads or not lines[-1].rstrip().endswith(leads):
            break
    return "\n".join(lines).rstrip()


def veto(text: str, context: Context, unfinished: bool = False) -> str:
    """Cut a text back to the longest beginning of whole lines that adds no syntax errors; one that
    is `unfinished` need not close what it opens."""
    from cascade_lsp import syntax  # grammars take time to load, and initialize is answered before

    return syntax.sound(context, text, unfinished=unfinished)
