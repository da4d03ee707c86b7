"""Syntax around the cursor, in every language with a grammar."""

import time

import pytest

from cascade_lsp.languages import RUNS_AS
from cascade_lsp.syntax import GRAMMARS, Site, adds_errors, site
from tests.marked import place

GOOD_AND_BAD = {
    "python": ("def f(x):\n    ║\n", "return x", "return (x"),
    "javascript": ("function f(x) {\n  ║\n}\n", "return x;", "return (x;"),
    "javascriptreact": ("const a = ║;\n", "<b>1</b>", "<b>1"),
    "typescript": ("const a: number = ║;\n", "f(1)", "f(1"),
    "typescriptreact": ("const a = ║;\n", "<b>1</b>", "<b>1</c"),
    "go": ("package a\n\nfunc f(x int) int {\n\t║\n}\n", "return x + 1", "return (x + "),
    "rust": ("fn f(x: i32) -> i32 {\n    ║\n}\n", "x + 1", "(x + "),
    "java": ("class A {\n  int f(int x) {\n    ║\n  }\n}\n", "return x;", "return (x;"),
    "c": ("int f(int x) {\n    ║\n}\n", "return x;", "return (x;"),
    "cpp": ("int f(int x) {\n    ║\n}\n", "return x;", "return std::max(x;"),
    "shellscript": ("if true; then\n  ║\nfi\n", 'echo "$x"', 'echo "$x'),
    "json": ('{"a": ║}\n', "[1, 2]", "[1, 2"),
}


@pytest.mark.parametrize("language", GOOD_AND_BAD)
def test_a_text_that_breaks_the_document_is_told_from_one_that_does_not(language: str) -> None:
    marked, good, bad = GOOD_AND_BAD[language]
    assert not adds_errors(place(marked, language), good)
    assert adds_errors(place(marked, language), bad)


def test_every_grammar_is_tried() -> None:
    assert GOOD_AND_BAD.keys() == {*GRAMMARS, *RUNS_AS}


def test_a_language_without_a_grammar_is_never_broken() -> None:
    assert not adds_errors(place("x = ║", language="klingon"), "((")
    assert site(place("# ║", language="klingon")) == Site()


SITES = [
    ("python", "x = 1  # so║", Site(in_comment=True)),
    ("python", "x = 1  # so\n║", Site()),
    ("python", "x = 'a║b'", Site(in_string=True)),
    ("python", "x = 'ab'║", Site()),
    ("python", 'def f():\n    """Do ║\n    """\n', Site(in_string=True)),
    ("javascript", "// a║\nb", Site(in_comment=True)),
    ("javascript", "/* a║ */ b", Site(in_comment=True)),
    ("typescript", "x = `a║`", Site(in_string=True)),
    ("go", "package a\n// b║\n", Site(in_comment=True)),
    ("go", 'package a\n\nvar x = "a║b"\n', Site(in_string=True)),
    ("rust", "// b║\n", Site(in_comment=True)),
    ("shellscript", "# b║\n", Site(in_comment=True)),
    ("c", "int x; // b║\n", Site(in_comment=True)),
]


@pytest.mark.parametrize(("language", "marked", "found"), SITES)
def test_what_the_cursor_is_in(language: str, marked: str, found: Site) -> None:
    assert site(place(marked, language)) == found


def test_a_long_document_is_parsed_around_the_cursor_only() -> None:
    function = (
        "def f{n}(x):\n    if x > {n}:\n        return [x, {n}]\n    return (x + {n}) * 2\n\n\n"
    )
    text = "".join(function.replace("{n}", str(n)) for n in range(4000))  # 24,000 lines
    middle = text.index("def f2000(") + len("def f2000(x):\n    ")
    context = place(f"{text[:middle]}║{text[middle:]}")
    adds_errors(context, "pass\n    ")  # loads the grammar
    times = []
    for _ in range(5):
        began = time.perf_counter()
        assert not adds_errors(context, "pass\n    ")
        assert adds_errors(context, "pass)\n    ")
        times.append((time.perf_counter() - began) / 2)
    assert min(times) < 0.025
