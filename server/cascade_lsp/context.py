"""What a model may see around the cursor: pure values cut from one document.

The windows snap to whole lines, and the head moves in blocks, so that typing does not shift the
beginning of the prompt and a model's KV cache survives it.
"""

from dataclasses import dataclass, field

BLOCK_LINES = 32


@dataclass(frozen=True, slots=True)
class ContextOptions:
    """How much of a document goes into a prompt."""

    prefix_chars: int = field(
        default=3200, metadata={"help": "Characters before the cursor that a model sees at most."}
    )
    suffix_chars: int = field(
        default=1500, metadata={"help": "Characters after the cursor that a model sees at most."}
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
    less may be shown than the document.
    """

    document: str
    offset: int
    prefix: str
    suffix: str
    language: str
    uri: str
    version: int
    extra: str = ""

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
) -> Context:
    """Cut the context of the character offset `offset`, clamped into `text`."""
    options = options or ContextOptions()
    offset = max(0, min(offset, len(text)))
    return Context(
        document=text,
        offset=offset,
        prefix=text[_head(text, offset, options.prefix_chars) : offset],
        suffix=text[offset : _tail(text, offset, options.suffix_chars)],
        language=language,
        uri=uri,
        version=version,
        extra=extra,
    )


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
