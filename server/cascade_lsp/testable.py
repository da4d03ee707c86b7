"""What here can be tested: the function being written, and what of its module it needs.

Reads text, never runs it. Only module-level functions that take arguments and give something back
are testable; everything else comes with the reason why not. How that is read in a language is in
`languages`.
"""

from cascade_lsp.context import Context
from cascade_lsp.languages import Functions, Target, Untestable, functions_of

__all__ = [
    "Target",
    "Untestable",
    "body_from",
    "emptied",
    "find",
    "program",
    "stub_program",
]

_OTHER = Untestable("only Python, JavaScript and TypeScript functions can be tested so far")


def find(context: Context) -> Target | Untestable:
    """Return the function at the cursor, or why nothing can be tested there."""
    functions = functions_of(context.language)
    return functions.find(context) if functions else _OTHER


def emptied(context: Context) -> tuple[Context, str] | Untestable:
    """Return the function at the cursor as a stub, with the cursor where its body was, and that
    body; or why it cannot be tested as it stands."""
    functions = functions_of(context.language)
    return functions.emptied(context) if functions else _OTHER


def program(document: str, target: Target, *, whole: bool) -> str | None:
    """Return a program that defines the target as it stands in `document`, with what it needs.

    None when the function cannot be read there or, if asked to be `whole`, when it does not give
    a value on every path: half a function says nothing about the finished one.
    """
    return _functions(target).program(document, target, whole=whole)


def stub_program(document: str, target: Target) -> str:
    """Return a program in which the target returns nothing: what a useful test must reject."""
    return _functions(target).stub_program(document, target)


def body_from(answer: str, target: Target) -> str:
    """Return the body that a model's answer gives the target, ready to insert at the cursor.

    The answer is a whole function somewhere in a text. Imports and helper functions that it
    brings along move into the body. "" when there is no such function.
    """
    return _functions(target).body_from(answer, target)


def _functions(target: Target) -> Functions:
    functions = functions_of(target.language)
    assert functions is not None, target.language
    return functions
