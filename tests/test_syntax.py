"""Syntax around the cursor, in every language with a grammar."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_lsp.syntax import GRAMMARS, Site, _part, adds_errors, site, sound
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
    assert GOOD_AND_BAD.keys() == GRAMMARS.keys()


WRONG = [
    ("a document that is broken elsewhere", "python", "def g(:\n\ndef f():\n    ║\n", "return (1"),
    ("a macro that no grammar knows", "c", "BEGIN(x)\nint f() {\n    ║\n}\nEND(x\n", "g(;"),
]


@pytest.mark.parametrize(("language", "marked", "written"), [r[1:] for r in WRONG])
def test_where_a_grammar_cannot_read_the_document_nothing_is_wrong(
    language: str, marked: str, written: str
) -> None:
    assert not adds_errors(place(marked, language), written)


LEFT_OPEN = [
    ("python", "print(║\n", "x", False),
    ("python", "print(║\n", "x)", False),
    ("python", "print(║\n", "len(x", True),
    ("javascript", "function f() {\n  ║", "return 1;", False),
    ("javascript", "function f() {\n  ║", "return 1;\n}", False),
    ("javascript", "function f() {\n  ║", "if (x) {\n    a();", True),
    ("javascript", "function f() {\n  ║", "return (1;", True),
]


@pytest.mark.parametrize(("language", "marked", "written", "wrong"), LEFT_OPEN)
def test_what_the_document_leaves_open_a_text_may_leave_open(
    language: str, marked: str, written: str, wrong: bool
) -> None:
    assert adds_errors(place(marked, language), written) is wrong


UNFINISHED = [
    ("python", "def f(x):\n    ║\n", "if x:", True),
    ("python", "def f(x):\n    ║\n", "try:", True),
    ("python", "def f(x):\n    ║\n", "y = g(", True),
    ("python", "def f(x):\n    ║\n", "y = {'a': 1,", True),
    ("python", "def f(x):\n    ║\n", "return x +", True),
    ("python", "def f(x):\n    ║\n", '"""Do it', True),
    ("python", "║\n", "@cache", True),
    ("python", "def f(x):\n    ║\n", "y = x)", False),
    ("python", "def f(x):\n    ║\n", "if x then", False),
    ("javascript", "function f(x) {\n  ║\n}\n", "for (const a of x) {", True),
    ("javascript", "function f(x) {\n  ║\n}\n", "x.map((a) => {\n    a();", True),
    ("javascript", "║\n", "/**\n * Do it", True),
    ("javascript", "function f(x) {\n  ║\n}\n", "x.map((a) => ];", False),
    ("c", "int f(int x) {\n  ║\n}\n", "return g(x", True),
    ("c", "int f(int x) {\n  ║\n}\n", "return g(x];", False),
    ("go", "package a\n\nfunc f() {\n\t║\n}\n", "if x {", True),
    ("shellscript", "║\n", "if true; then", True),
    ("json", '{"a": ║}\n', '[{"b": ', True),
    ("json", "{\n  ║\n}\n", '"a": 1,', True),
    ("json", '{"a": ║}\n', "[1}", False),
]


@pytest.mark.parametrize(("language", "marked", "written", "kept"), UNFINISHED)
def test_what_is_only_begun_is_not_wrong(
    language: str, marked: str, written: str, kept: bool
) -> None:
    found = sound(place(marked, language), written, unfinished=True)
    assert found == (written if kept else "")


PIECES = [
    "def f(x):\n",
    "    ",
    "return",
    " x",
    "(",
    ")",
    "[",
    "]",
    "'",
    '"""',
    "\n",
    ":",
    "é",
    "if a",
]
TEXT = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@given(before=TEXT, behind=TEXT, written=TEXT)
def test_parsing_only_what_changes_says_what_parsing_all_would(
    before: str, behind: str, written: str
) -> None:
    whole = place(f"{before}{written}{behind}║")
    part, fresh = _part(place(f"{before}║{behind}")), _part(whole)
    assert part
    assert fresh
    assert part.parses(written) is not fresh.tree.root_node.has_error


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


FUNCTIONS = {
    "python": (
        "def f{n}(x):\n    if x > {n}:\n        return [x, {n}]\n    return (x + {n}) * 2\n\n\n"
    ),
    "typescript": (
        "function f{n}(x: number) {\n  if (x > {n}) {\n    go(x);\n  }\n  return [x, {n}];\n}\n\n"
    ),
}


@pytest.mark.parametrize("language", FUNCTIONS)
def test_a_long_document_is_parsed_around_the_cursor_only(language: str) -> None:
    text = "".join(FUNCTIONS[language].replace("{n}", str(n)) for n in range(4000))
    middle = text.index("\n", text.index("f2000(")) + 1  # of some 24,000 lines
    context = place(f"{text[:middle]}║{text[middle:]}", language)
    adds_errors(context, "a\n")  # loads the grammar
    times = []
    for _ in range(5):
        began = time.perf_counter()
        assert not adds_errors(context, "    go(x)\n")
        assert adds_errors(context, "    go(x))\n")
        times.append((time.perf_counter() - began) / 2)
    assert min(times) < 0.025


def test_where_no_top_level_is_near_nothing_is_judged() -> None:
    rows = "".join(f'  {{"a": {n}}},\n' for n in range(4000))
    assert not adds_errors(place(f"[\n{rows}  ║\n{rows}  1\n]\n", "json"), "]")
