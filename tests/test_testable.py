"""The function at the cursor, what it needs, and bodies taken from a model's answer."""

import ast

import pytest

from cascade_lsp.syntax import adds_errors
from cascade_lsp.testable import (
    Target,
    Untestable,
    body_from,
    emptied,
    find,
    program,
    stub_program,
)
from tests.marked import place

MODULE = '''\
import math
import numpy as np
from os import *

SCALE = 3


def scaled(x):
    return x * SCALE


def unrelated():
    return np.zeros(3)


def area(radius: float, *, digits=2) -> float:
    """Return the scaled area.

    >>> area(1.0)
    9.42
    """
    ║


if __name__ == "__main__":
    print(area(2))
'''


def target_of(marked: str) -> Target:
    found = find(place(marked))
    assert isinstance(found, Target), found
    return found


def test_the_function_at_the_cursor_is_found_with_its_parts() -> None:
    target = target_of(MODULE)
    assert (target.name, target.parameters) == ("area", ("radius", "digits"))
    assert target.header == "def area(radius: float, *, digits=2) -> float:"
    assert target.doc.startswith("Return the scaled area.")
    assert target.stub


UNTESTABLE = [
    ("x = ║\n", "not in a function"),
    ("def f(a):\n    return a\n\n║\n", "not in a function"),
    ("class A:\n    def f(self, a):\n        ║\n", "method"),
    ("def f(a):\n    def g(b):\n        ║\n", "nested"),
    ("async def f(a):\n    ║\n", "asynchronous"),
    ("def f(a) -> None:\n    ║\n", "returns nothing"),
    ("def f(a):\n    yield 1\n    ║\n", "generator"),
    ("def f():\n    ║\n", "no arguments"),
]


@pytest.mark.parametrize(("marked", "reason"), UNTESTABLE, ids=[r[1] for r in UNTESTABLE])
def test_what_cannot_be_tested_says_why(marked: str, reason: str) -> None:
    found = find(place(marked))
    assert isinstance(found, Untestable)
    assert reason in found.reason


def test_a_language_without_a_reader_is_not_testable() -> None:
    found = find(place("fn f(a) {\n  ║\n}", language="rust"))
    assert isinstance(found, Untestable)
    assert found.reason == "only Python, JavaScript and TypeScript functions can be tested so far"


STUBS = [
    "def f(a):\n    ║",
    "def f(a):\n║",
    "def f(a):║",
    "def f(a): ║",
    'def f(a):\n    """Doc."""║\n',
    'def f(a):\n    """Doc."""\n║\n\n\nx = 1\n',
    'def f(a):\n    """Doc.\n\n    More.\n    """\n    ║\n',
    "def f(a):\n    ...║\n",
    "def f(a):\n    pass║\n",
    "@staticmethod\ndef f(a: int,\n      b: int = 2):\n    ║\n",
    "def f(a):\n\t║\n",
    "def f(a):\r\n    ║\r\n",
]


@pytest.mark.parametrize("marked", STUBS)
def test_a_body_put_into_a_stub_gives_a_function_that_parses(marked: str) -> None:
    target = target_of(marked)
    body = body_from("def f(a):\n    b = a\n    return b\n", target)
    completed = place(marked).completed(body)
    function = next(n for n in ast.parse(completed).body if isinstance(n, ast.FunctionDef))
    assert isinstance(function.body[-1], ast.Return)
    assert program(completed, target, whole=True)


def test_a_program_holds_what_the_function_needs_and_nothing_else() -> None:
    target = target_of(MODULE)
    body = body_from("def area(radius):\n    return scaled(math.pi * radius)\n", target)
    source = program(place(MODULE).completed(body), target, whole=True)
    assert source is not None
    assert "SCALE = 3" in source and "def scaled" in source and "import math" in source
    assert "numpy" not in source and "__main__" not in source and "unrelated" not in source


def test_a_wildcard_import_is_narrowed_to_the_names_in_use() -> None:
    marked = "from typing import *\n\ndef f(a: List[int]) -> Optional[int]:\n    ║"
    target = target_of(marked)
    source = program(place(marked).completed("return a[0]"), target, whole=True)
    assert source is not None
    assert "from typing import List, Optional" in source


HALF = ["return", "x = a", "if a:\n        return 1", "while a:\n        a -= 1"]
WHOLE = [
    "return a",
    "raise ValueError(a)",
    "if a:\n        return 1\n    else:\n        return 2",
    "for x in a:\n        return x",
    "while True:\n        return a",
    "try:\n        return a\n    except ValueError:\n        return 0",
    "with a:\n        return 1",
    "match a:\n        case _:\n            return 1",
]


@pytest.mark.parametrize("body", HALF)
def test_half_a_function_is_no_program(body: str) -> None:
    marked = "def f(a):\n    ║"
    assert program(place(marked).completed(body), target_of(marked), whole=True) is None


@pytest.mark.parametrize("body", WHOLE)
def test_a_function_that_gives_a_value_on_every_path_is_whole(body: str) -> None:
    marked = "def f(a):\n    ║"
    assert program(place(marked).completed(body), target_of(marked), whole=True)


def test_the_stub_program_returns_nothing() -> None:
    source = stub_program(place(MODULE).document, target_of(MODULE))
    assert source.rstrip().endswith("return None")
    ast.parse(source)


def test_the_listing_is_valid_python_with_the_docstring_unchanged() -> None:
    target = target_of(MODULE)
    source = target.listing.removeprefix("```python\n").removesuffix("```\n")
    function = ast.parse(source).body[-1]
    assert isinstance(function, ast.FunctionDef)
    assert ast.get_docstring(function) == "Return the scaled area.\n\n>>> area(1.0)\n9.42"


ANSWERS = [
    (
        "prose and fences around it",
        "Sure:\n\ndef f(a):\n    return a\n\nThis returns a.",
        "return a",
    ),
    ("its own docstring is dropped", 'def f(a):\n    """X."""\n    return a', "return a"),
    ("fillers are dropped", "def f(a):\n    pass\n    ...\n    return a", "return a"),
    ("comments are kept", "def f(a):\n    # why\n    return a", "# why\n    return a"),
    ("a function on one line", "def f(a): return a", "return a"),
    (
        "its import moves inside",
        "import re\ndef f(a):\n    return re.escape(a)",
        "import re\n    return re.escape(a)",
    ),
    (
        "its helper moves inside",
        "def g(b):\n    return b\n\ndef f(a):\n    return g(a)",
        "def g(b):\n        return b\n    return g(a)",
    ),
    (
        "what only the head needs stays out",
        "from typing import List\ndef f(a: List[int]):\n    return a",
        "return a",
    ),
    ("another function is not taken", "def g(a):\n    return a", ""),
    ("a cut-off function is not taken", "def f(a):\n    return (a +", ""),
    ("a body of nothing is nothing", 'def f(a):\n    """X."""\n    pass', ""),
]


@pytest.mark.parametrize(("answer", "body"), [a[1:] for a in ANSWERS], ids=[a[0] for a in ANSWERS])
def test_body_from(answer: str, body: str) -> None:
    assert body_from(answer, target_of("def f(a):\n    ║")) == body


def test_a_body_takes_the_documents_indentation() -> None:
    target = target_of("def f(a):\n\t║")
    assert body_from("def f(a):\n    if a:\n        b = 1\n    return b", target).splitlines() == [
        "if a:",
        "\t\tb = 1",
        "\treturn b",
    ]


def test_an_import_the_file_has_is_not_repeated() -> None:
    target = target_of("import re\n\ndef f(a):\n    ║")
    answer = "import re\ndef f(a):\n    return re.escape(a)"
    assert body_from(answer, target) == "return re.escape(a)"


BREAKS = [
    ("x = ║\n", "3", False),
    ("x = ║\n", "(3", True),
    ("def f(a):\n    ║\n", "return a", False),
    ("def f(a):\n    ║\n", "return (a", True),
    ("x = (\n║\ny = 2\n", "3", False),
]


@pytest.mark.parametrize(("marked", "text", "breaks"), BREAKS)
def test_a_text_is_held_to_what_the_place_allows(marked: str, text: str, breaks: bool) -> None:
    assert adds_errors(place(marked), text) is breaks


def test_a_language_without_a_grammar_is_never_broken() -> None:
    assert not adds_errors(place("x = ║", language="klingon"), "((")


# -- a function that has a body --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "body"),
    [
        ("def f(x):\n    retu║rn x\n", "return x"),
        (
            'def f(x):\n    """Doc."""\n    # why\n    y = x  # é\n    return y║\n\nz = 1\n',
            "# why\n    y = x  # é\n    return y",
        ),
        ("@cache\ndef f(x):║\n    return x\n", "return x"),
        ("é = 1\ndef f(x): return x║\n", "return x"),
    ],
)
def test_a_function_is_emptied_to_a_stub_and_its_body_makes_it_whole_again(document, body):
    context = place(document)
    stub, found = emptied(context)
    assert found == body
    assert stub.completed(found) == context.document
    assert find(stub).stub
