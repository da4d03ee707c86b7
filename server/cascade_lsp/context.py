"""What a model may see around the cursor: pure values cut from one document.

The windows snap to whole lines, and the head moves in blocks, so that typing does not shift the
beginning of the prompt and a model's KV cache survives it.
"""

from dataclasses import dataclass, field

BLOCK_LINES = 32
CHARS_PER_TOKEN = 4.0  # of code, until a model has said how many tokens it read
FEWEST_TOKENS = 100  # of a prompt, for its density to say something
SLACK = 1.3  # how far off a density may be: one that is followed moves the window


@dataclass(frozen=True, slots=True)
class ContextOptions:
    """How much of a document goes into a prompt."""

    prefix_tokens: int = field(
        default=800,
        metadata={
            "help": "Tokens before the cursor that a model sees, about: how many characters that "
            "are follows from what it has read of the document."
        },
    )
    suffix_tokens: int = field(
        default=375, metadata={"help": "Tokens after the cursor that a model sees, about."}
    )
    neighbour_chars: int = field(
        default=0,
        metadata={
            "help": "Characters of other files that a model sees at most: heads of what the "
            "document imports from the workspace, and places visited lately. 0: none."
        },
    )


@dataclass(frozen=True, slots=True)
class Context:
    """A place in a document: the whole text, the cursor as an offset in characters, and the
    windows before and after it that go into prompts.

    `extra` is what a model sees of other files, before the prefix. It makes no other place: what
    was suggested stays good when it changes, so no cache asks for it; and it may be left out where
    less may be shown than the document; `extra_files` are those files, each as its workspace's
    folder ("" if it is in none) and its path below that. `first_line` is where the editor's own
    text begins in the document, which is longer where that is a notebook's cell.
    """

    document: str
    offset: int
    prefix: str
    suffix: str
    language: str
    uri: str
    version: int
    extra: str = ""
    first_line: int = 0
    extra_files: tuple[tuple[str, str], ...] = ()

    @property
    def line_head(self) -> str:
        """Return the text of the cursor's line before the cursor."""
        return self.document[self.document.rfind("\n", 0, self.offset) + 1 : self.offset]

    @property
    def line_tail(self) -> str:
        """Return the text of the cursor's line after the cursor."""
        end = self.document.find("\n", self.offset)
        return self.document[self.offset : end if end >= 0 else len(self.document)].rstrip("\r")

    def completed(self, text: str) -> str:
        """Return the document as it would be with `text` at the cursor."""
        return self.document[: self.offset] + text + self.document[self.offset :]


def gather(
    text: str,
    offset: int,
    *,
    uri: str = "",
    version: int = 0,
    language: str = "python",
    options: ContextOptions | None = None,
    extra: str = "",
    density: float = CHARS_PER_TOKEN,
    first_line: int = 0,
) -> Context:
    """Cut the context of the character offset `offset`, clamped into `text`, whose density is in
    characters per token."""
    options = options or ContextOptions()
    offset = max(0, min(offset, len(text)))
    return Context(
        document=text,
        offset=offset,
        prefix=text[_head(text, offset, round(options.prefix_tokens * density)) : offset],
        suffix=text[offset : _tail(text, offset, round(options.suffix_tokens * density))],
        language=language,
        uri=uri,
        version=version,
        extra=extra,
        first_line=first_line,
    )


def density_after(known: float, chars: int, tokens: int) -> float:
    """Return the characters per token of a document after a prompt of so many of both: as they
    were known to be, unless that is far off."""
    if tokens < FEWEST_TOKENS:
        return known
    seen = chars / tokens
    return known if known / SLACK <= seen <= known * SLACK else seen


def _head(text: str, offset: int, limit: int) -> int:
    """Return where the window begins: the first block of lines that keeps it within `limit`."""
    if offset <= limit:
        return 0
    start = 0
    while offset - start > limit:
        for _ in range(BLOCK_LINES):
            at = text.find("\n", start, offset)
            if at < 0:
                return max(start, offset - limit)
            start = at + 1
    return start


def _tail(text: str, offset: int, limit: int) -> int:
    """Return where the window ends: after the last whole line within `limit`."""
    if len(text) - offset <= limit:
        return len(text)
    end = text.rfind("\n", offset, offset + limit)
    return end + 1 if end >= 0 else offset + limit
