"""Prompts for code: how a place in a document is put to a model, and which body its text holds.

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


def render(context: Context, style: str, write_per_s: float = 0.0, *, share: float = 1.0) -> Prompt:
    """Return the prompt that continues a document at the cursor.

    `style`: "prefix" (what is before the cursor alone), "psm" (prefix, suffix, middle) or "spm"
    (suffix first). With text behind the cursor on its line, one line is asked for; else as much
    of a block as a machine that writes `write_per_s` tokens a second can write in BLOCK_S; of
    either the `share` that may be spent.
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
        n_predict=max(1, round(share * (LINE_TOKENS if one_line else block))),
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
