"""What of a model's text may be suggested: one filter a function, in one straight line.

Pure. Each takes a text and the place and returns the text, or less of it. `clean` is for a text
that is still growing, too; `whole` is for one that is finished; `again` is for what was suggested
before and is about to be shown once more, in a document that may have changed behind the cursor.
"""

import re
from collections.abc import Sequence

from cascade_lsp.context import Context

REPEATS = 3  # of a line or a group of lines, from which on a model is going round
GROUP_LINES = 6  # of a group that comes again
_FENCE = re.compile(r"^\s*```[\w+-]*\n")
_PROSE = re.compile(
    r"^(Here(?:'s| is| are)\b|Sure\b|Certainly\b|Explanation\b|Note:|This (?:code|function)\b).*$"
)
_PAIRS = {")": "(", "]": "[", "}": "{"}


def clean(text: str, context: Context) -> str:
    """Return what of a model's text may be suggested at the cursor.

    Text beyond the block the cursor is in, lines that the document has before or next, what comes
    again and again, prose and fences, and what repeats the rest of the cursor's line are cut; so
    is white space at the end. Indentation is the document's.
    """
    text = fences(text.replace("\r\n", "\n"))
    text = blanks(indentation(prose(text, context), context), context)
    if context.line_tail.strip():
        return overlap(text.split("\n", 1)[0], context.line_tail)
    text = following(block(text, context), context)
    return previous(repetition(text), context).rstrip()


def whole(text: str, context: Context, *, cut: bool) -> str:
    """Return what of a cleaned text stays when no more of it comes: the longest beginning of whole
    lines that adds no syntax errors; `cut` says that it was ended by its limit."""
    if cut:
        text = last_line(text, context)
    return veto(text, context)


def again(text: str, context: Context) -> str:
    """Return what of an earlier suggestion still fits the text behind the cursor."""
    if context.line_tail.strip():
        return overlap(text, context.line_tail)
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


def fences(text: str) -> str:
    """Take off a code block's fence before the text, and all from the next one on."""
    return _FENCE.sub("", text).split("\n```", 1)[0]


def prose(text: str, context: Context) -> str:
    """Cut where the model begins to talk about the code, at the margin; in prose it may."""
    if context.language in ("markdown", "plaintext", "restructuredtext", "latex"):
        return text
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if _PROSE.match(line) and (i or not context.line_head):
            return "\n".join(lines[:i])
    return text


def indentation(text: str, context: Context) -> str:
    """Indent lines as the document does, where it uses tabs or blanks alone and the text the
    other."""
    before = context.document[: context.offset]
    indented = re.findall(r"^[ \t]+(?=\S)", before, re.MULTILINE)[-50:] or [context.line_head]
    tabs = sum("\t" in one for one in indented)
    if tabs == len(indented) and re.search(r"^ {2,}", text, re.MULTILINE):
        level = _level(re.findall(r"^ +(?=\S)", text, re.MULTILINE))
        return re.sub(r"^ +", lambda m: "\t" * (len(m[0]) // level), text, flags=re.MULTILINE)
    if not tabs and re.search(r"^\t", text, re.MULTILINE):
        level = _level(indented)
        return re.sub(r"^\t+", lambda m: " " * (level * len(m[0])), text, flags=re.MULTILINE)
    return text


def _level(indented: Sequence[str]) -> int:
    """Return how many blanks are one level of indentation where lines begin with such ones."""
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

    A short one, like a bracket, may be needed again: it counts where it closes what the text left
    balanced, or where the document's line after it comes next, too.
    """
    behind = [line.rstrip() for line in context.document[context.offset :].split("\n")[1:]]
    written = [line for line in behind if line.strip()][:2]
    if not written:
        return text
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if line.strip() != written[0].strip():
            continue
        closes = context.language != "python" and line.rstrip() == written[0]
        rest = [one.strip() for one in lines[i + 1 :] if one.strip()]
        goes_on = line.rstrip() == written[0] and rest[:1] == [one.strip() for one in written[1:]]
        balanced = closes and is_balanced("\n".join(lines[:i]))
        if len(written[0].strip()) > 2 or balanced or (goes_on and rest):
            return "\n".join(lines[:i])
    return text


def previous(text: str, context: Context) -> str:
    """Drop a text that only writes the lines before the cursor once more."""
    before = [line.strip() for line in context.document[: context.offset].split("\n")]
    if context.line_head.strip():
        return text
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    written = [line for line in before if line]
    again = lines == written[-len(lines) :] and sum(map(len, lines)) > 2
    return "" if lines and again else text


def repetition(text: str) -> str:
    """Cut after the first time of what a model writes again and again: lines, groups of lines, or
    within one line."""
    lines = text.split("\n")
    for size in range(1, GROUP_LINES + 1):
        for i in range(len(lines) - REPEATS * size + 1):
            group = [line.strip() for line in lines[i : i + size]]
            if not any(len(line) > 1 for line in group):
                continue
            times = 1
            while [x.strip() for x in lines[i + times * size : i + (times + 1) * size]] == group:
                times += 1
            if times >= REPEATS:
                return "\n".join(lines[: i + size])
    return re.sub(r"(\S[^\n]{7,}?)\1{3,}[^\n]*$", r"\1", text)


def overlap(text: str, tail: str) -> str:
    """Cut the longest end of the text with which the rest of the line begins.

    A bracket is left that the text itself has opened: the one in the line closes another.
    """
    for n in range(min(len(text), len(tail)), 0, -1):
        if text.endswith(tail[:n]) and not _takes(text, n):
            return text[:-n]
    return text


def _takes(text: str, n: int) -> bool:
    """Say whether without its last `n` characters a text would leave open what it opens."""
    return _open(text[:-n]) > _open(text)


def _open(text: str) -> int:
    """Return how many brackets a text opens and does not close."""
    open_ = list[str]()
    for letter in text:
        if letter in "([{":
            open_.append(letter)
        elif letter in _PAIRS and open_ and open_[-1] == _PAIRS[letter]:
            open_.pop()
    return len(open_)


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


def veto(text: str, context: Context) -> str:
    """Cut a text back to the longest beginning of whole lines that adds no syntax errors."""
    from cascade_lsp import syntax  # grammars take time to load, and initialize is answered before

    while text and syntax.adds_errors(context, text):
        text = text.rpartition("\n")[0].rstrip()
    return text


def is_balanced(text: str) -> bool:
    """Say whether as many brackets are closed as are opened."""
    return sum(map(text.count, "([{")) == sum(map(text.count, ")]}"))
