"""Prompts for code: how a place in a document is put to a model, and how its text is trimmed.

Pure. Which style a model gets for which use is measured and stands in the catalogue; nothing
here guesses from a model's name. Markers inside the user's text stay text.
"""

from cascade_lsp import testable
from cascade_lsp.context import Context
from cascade_lsp.engine import Piece, Prompt
from cascade_lsp.languages import Target

LINE_TOKENS, BODY_TOKENS = 32, 384
BLOCK_S = 3.0  # what may be written behind a first line while that is read
FEWEST, USUAL, MOST = 32, 96, 160  # tokens of a block: where slow, where not known, where fast


def render(context: Context, style: str, write_per_s: float = 0.0) -> Prompt:
    """Return the prompt that continues a document at the cursor.

    `style`: "prefix" (what is before the cursor alone), "psm" (prefix, suffix, middle) or "spm"
    (suffix first). With text behind the cursor on its line, one line is asked for; else as much
    of a block as a machine that writes `write_per_s` tokens a second can write in BLOCK_S.
    """
    tail = context.line_tail.strip()
    one_line = bool(tail)
    block = max(FEWEST, min(MOST, round(BLOCK_S * write_per_s) or USUAL))
    prefix = Piece("text", context.extra + _healed(context.prefix))
    suffix = Piece("text", context.suffix)
    before, behind, middle = Piece("fim_pre"), Piece("fim_suf"), Piece("fim_mid")
    pieces: tuple[Piece, ...] = (prefix,)
    if style == "psm":
        pieces = (before, prefix, behind, suffix, middle)
    elif style == "spm":
        pieces = (behind, suffix, before, prefix, middle)
    return Prompt(
        pieces,
        n_predict=LINE_TOKENS if one_line else block,
        stop=("\n",) if one_line else ("\n\n\n", *_next_line(context)),
        indent=0 if one_line else _indent(context),
        closer=tail[0] if tail[:1] in tuple(")]}") else "",
    )


def _next_line(context: Context) -> tuple[str, ...]:
    """Return the next written line behind the cursor, with the line end before it, as a stop:
    what would follow stands there already. Short ones, like a bracket, may be needed again."""
    behind = context.suffix.split("\n")[1:]
    line = next((line.rstrip() for line in behind if line.strip()), "")
    return (f"\n{line}\n",) if len(line.strip()) > 2 else ()


def whole_lines(text: str) -> str:
    """Return the beginning of a text that ends with a line's end, if a line with text does."""
    lines = text[: text.rfind("\n") + 1]
    return lines if lines.strip() else ""


def _healed(prefix: str) -> str:
    """Leave blanks at the end of a prompt to the model: it knows them as part of its next token."""
    return prefix.rstrip(" \t")


def _indent(context: Context) -> int:
    return len(context.line_head) - len(context.line_head.lstrip())


def solutions(target: Target, style: str, k: int) -> list[Prompt]:
    """Return `max(k, 1)` prompts for the body; the first is greedy, the rest sampled.

    In a chat the answer is begun up to the body: a model would write head and documentation again,
    which cost more than the body does, and end a long one before it.
    """
    stop = target.notation.body_stop
    if style == "chat":
        question = (
            f"{target.listing}\nComplete the function `{target.name}`. Reply with the whole "
            "function in one code block."
        )
        answer = f"```{target.runs_as}\n{target.begun}"
        pieces, stop = [Piece("user", question), Piece("assistant", answer)], ("```", *stop)
    else:
        pieces = [Piece("text", target.begun)]
    return [
        Prompt(tuple(pieces), BODY_TOKENS, stop, temperature=0.8 if seed else 0.0, seed=seed)
        for seed in range(max(k, 1))
    ]


def body(text: str, target: Target) -> str:
    """Return the body that a solution's text gives the target, ready to insert at the cursor.

    The text ends the function that its prompt began; one that begins it anew counts, too. "" where
    it is neither.
    """
    source = target.begun + text + (f"\n{target.closing}" if target.closing else "")
    return testable.body_from(source, target) or testable.body_from(text, target)


def is_cut(text: str, settled: str) -> bool:
    """Say whether the last whole line of a model's text was cut from what may be suggested of it,
    `settled`: then nothing that follows may be suggested, either."""
    last = whole_lines(text).rstrip().rsplit("\n", 1)[-1].strip()
    return bool(last) and not settled.endswith(last)


def trim(text: str, context: Context) -> str:
    """Return what of a model's text may be suggested at the cursor.

    Text beyond the block the cursor is in, lines that the document already has next, and what
    repeats the rest of the cursor's line are cut; so is white space at the end.
    """
    text = _without_blanks(_without_fence(text.replace("\r\n", "\n")), context)
    if context.line_tail.strip():
        return _without_overlap(text.split("\n", 1)[0], context.line_tail)
    return _without_following(_own_block(text, context), context).rstrip()


def _without_blanks(text: str, context: Context) -> str:
    """Take off the blanks that stand before the cursor already, which the model wrote again.

    A first line that is indented less than the cursor's blank line belongs to another block.
    """
    blanks = context.prefix[len(_healed(context.prefix)) :]
    if text.startswith(blanks):
        return text[len(blanks) :]
    if text.startswith("\n") or context.line_head.strip():
        return text.lstrip(" \t")
    return ""


def _without_fence(text: str) -> str:
    return text.split("\n```", 1)[0]


def _own_block(text: str, context: Context) -> str:
    """Cut at the first line that is indented less than the cursor's line."""
    lines = text.split("\n")
    for i, line in enumerate(lines[1:], start=1):
        if line.strip() and len(line) - len(line.lstrip()) < _indent(context):
            return "\n".join(lines[:i])
    return text


def _without_following(text: str, context: Context) -> str:
    """Cut where the text begins to repeat the next written line of the document."""
    behind = context.document[context.offset :].split("\n")[1:]
    following = next((line.rstrip() for line in behind if line.strip()), "")
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if following and line.strip() == following.strip():
            closes = context.language != "python" and line.rstrip() == following
            if len(following.strip()) > 2 or (closes and _is_balanced("\n".join(lines[:i]))):
                return "\n".join(lines[:i])
    return text


def _is_balanced(text: str) -> bool:
    """Say whether as many brackets are closed as are opened."""
    return sum(map(text.count, "([{")) == sum(map(text.count, ")]}"))


def _without_overlap(text: str, tail: str) -> str:
    """Cut the longest end of the text with which the rest of the line begins."""
    for n in range(min(len(text), len(tail)), 0, -1):
        if text.endswith(tail[:n]):
            return text[:-n]
    return text
