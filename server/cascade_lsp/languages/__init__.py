"""What is known of each language whose functions can be tested: the seam between them.

A language is two modules: one reads functions in a document, one reads tests in a model's answer.
Everything else asks `functions_of` and `tests_of` and works on `Target`s alike. Nothing here runs
code; a language without a reader is simply not testable.
"""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from cascade_lsp.context import Context
from cascade_lsp.sandbox import Check, Language

# The languages of documents, by their identifiers in LSP, and what their functions run as.
RUNS_AS: Mapping[str, Language] = {
    "python": "python",
    "javascript": "javascript",
    "javascriptreact": "javascript",
    "typescript": "typescript",
    "typescriptreact": "typescript",
}


@dataclass(frozen=True, slots=True)
class Notation:
    """How a language writes what prompts need: the sign of a comment, a body that is still to be
    written, and the texts that show that a body, or a list of tests, is over."""

    comment: str
    filler: str
    body_stop: tuple[str, ...]
    tests_stop: tuple[str, ...]


_PYTHON = Notation(
    comment="#",
    filler="...",
    body_stop=("\ndef ", "\nclass ", "\n@", "\nif __name__", "\n#"),
    tests_stop=("```", "\ndef ", "\nclass ", "\n\n\n"),
)
_JAVASCRIPT = Notation(
    comment="//",
    filler="// ...",
    body_stop=("\n}",),
    tests_stop=("```", "\nfunction ", "\nclass ", "\n\n\n"),
)


@dataclass(frozen=True, slots=True)
class Untestable:
    """Nothing can be tested at this place; `reason` completes the sentence "not testable: ..."."""

    reason: str


@dataclass(frozen=True, slots=True)
class Target:
    """The function under completion.

    `language` is the document's. `start` is the offset of the function's first character
    (decorators included) and lies before the cursor, `head` that of the line that names it.
    `header` is its head; `opening` and `closing` are all that stands before and behind its body,
    as source; `doc` is what its documentation says. `setup` holds imports and helpers as source.
    `lead` and `trail` are what must come before the first and behind the last line of a body
    inserted at the cursor, `indent` is its indentation. `stub` says that the function has no body
    yet but documentation and fillers.
    """

    language: str
    name: str
    start: int
    head: int
    header: str
    opening: str
    closing: str
    doc: str
    parameters: tuple[str, ...]
    setup: str
    indent: str
    lead: str
    trail: str
    stub: bool

    @property
    def runs_as(self) -> Language:
        """Return the language in which a sandbox runs the function."""
        return RUNS_AS[self.language]

    @property
    def notation(self) -> Notation:
        """Return how the function's language writes things."""
        return _PYTHON if self.runs_as == "python" else _JAVASCRIPT

    def with_body(self, body: str) -> str:
        """Return the function's source with `body` (dedented source) after its documentation."""
        return "\n".join([self.opening, textwrap.indent(body, self.indent), self.closing])

    @property
    def stub_source(self) -> str:
        """Return what the function needs and its stub, as source."""
        return f"{self.setup}\n\n{self.with_body(self.notation.filler)}".lstrip()

    @property
    def begun(self) -> str:
        """Return what the function needs and itself up to the line on which its body begins, as
        source; a model that is given that line's blanks writes one more."""
        return f"{self.setup}\n\n{self.opening}\n".lstrip()

    @property
    def listing(self) -> str:
        """Return the stub as a code block, with which every question about it begins."""
        return f"```{self.runs_as}\n{self.stub_source}```\n"


class Functions(Protocol):
    """How functions are read in documents of one language; what each means is in `testable`."""

    def find(self, context: Context) -> Target | Untestable: ...

    def emptied(self, context: Context) -> tuple[Context, str] | Untestable: ...

    def program(self, document: str, target: Target, *, whole: bool) -> str | None: ...

    def stub_program(self, document: str, target: Target) -> str: ...

    def body_from(self, answer: str, target: Target) -> str: ...


Assertion = tuple[str, Check]


class Tests(Protocol):
    """How tests are read in one language; an assertion is its normalised text and its check."""

    def opening(self, target: Target) -> str:
        """Return how a test of the target begins, up to its first argument."""
        ...

    def assertions(self, answer: str, target: Target) -> Iterator[Assertion | str]:
        """Read each statement of an answer: an assertion, or the reason why it is not usable."""
        ...

    def examples(self, target: Target) -> Iterator[Assertion]:
        """Read the examples that the target's documentation states."""
        ...


def functions_of(language: str) -> Functions | None:
    """Return how functions of a document's language are read, None where they are not."""
    # Imported when needed: the readers build on the values above, and grammars take time to load.
    match RUNS_AS.get(language):
        case None:
            return None
        case "python":
            from cascade_lsp.languages import python

            return python
    from cascade_lsp.languages import javascript

    return javascript


def tests_of(target: Target) -> Tests:
    """Return how tests of a function are read."""
    if target.runs_as == "python":
        from cascade_lsp.languages import python_tests

        return python_tests
    from cascade_lsp.languages import javascript_tests

    return javascript_tests
