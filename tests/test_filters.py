"""What of a model's text is suggested, filter by filter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_lsp import filters
from tests.marked import place

CLEANED = [
    (
        "the rest of the block is kept",
        "def f():\n    ║\n",
        "    a = 1\n    return a\n",
        "a = 1\n    return a",
    ),
    ("a line that belongs to the block outside ends it", "def f():\n    ║\n", "    a\nb = 2", "a"),
    ("blanks that stand there already are not doubled", "    x = ║\n", " 3\n", "3"),
    ("a missing blank is not invented", "    x = ║\n", "3\n", "3"),
    ("a first line of an outer block is no completion", "    ║\n", "x = 1", ""),
    ("a fence ends the code", "x = ║\n", "3\n```\nThis sets x.", "3"),
    ("one line where text follows on it", "f(║)\n", "a, b\nc", "a, b"),
    ("a bracket that is there already is not doubled", "f(║)\n", "a, b)", "a, b"),
    ("a longer overlap is cut whole", "print(║'))\n", "'a'))", "'a"),
    (
        "the document's next line ends it",
        "    a = 1\n    ║\n    return a\n",
        "    b = 2\n    return a",
        "b = 2",
    ),
    (
        "carriage returns become the newlines of the wire",
        "    ║\n",
        "    a\r\n    b\r\n",
        "a\n    b",
    ),
    ("nothing but blanks is nothing", "    ║\n", "    \n\n", ""),
]


@pytest.mark.parametrize(
    ("marked", "written", "kept"), [r[1:] for r in CLEANED], ids=[r[0] for r in CLEANED]
)
def test_what_of_a_text_is_suggested(marked: str, written: str, kept: str) -> None:
    assert filters.clean(written, place(marked)) == kept


def table(rows):
    return pytest.mark.parametrize(
        ("marked", "written", "kept"), [r[1:] for r in rows], ids=[r[0] for r in rows]
    )


@table(
    [
        ("before the code", "x = ║", "```python\n3\n```\nIt is 3.", "3"),
        ("two of them", "x = ║", "```\n```python\n3", "3"),
        ("inside a line it is text", "x = ║", "'```'", "'```'"),
    ]
)
def test_fences_are_taken_off(marked: str, written: str, kept: str) -> None:
    assert filters.fences(written, place(marked)) == kept


def test_in_a_text_fences_and_talk_are_text() -> None:
    context = place("Here is how:\n\n║", language="markdown")
    written = "```sh\nmake\n```\nNote: it takes a while."
    assert filters.clean(written, context) == written


@table(
    [
        ("before the code", "║", "Here is the code:\nx = 1", ""),
        ("behind the code", "def f():\n    ║", "return 1\nThis code returns 1.", "return 1"),
        ("in a comment it is text", "# ║", "Here is why:", "Here is why:"),
        ("a name may begin like it", "║", "Sure_thing = 1", "Sure_thing = 1"),
    ]
)
def test_talk_about_the_code_is_cut(marked: str, written: str, kept: str) -> None:
    assert filters.prose(written, place(marked)) == kept


@table(
    [
        ("blanks become tabs", "def f():\n\t║", "a:\n        b", "a:\n\t\tb"),
        ("two blanks a level", "if (a) {\n\t║", "b {\n    c\n  }", "b {\n\t\tc\n\t}"),
        ("tabs become four blanks", "def f():\n    ║", "a:\n\t\tb", "a:\n        b"),
        ("tabs become two blanks", "if (a) {\n  x\n  ║", "b {\n\t\tc", "b {\n    c"),
        ("a document that mixes them stays", "a\n\tb\n    c\n\t║", "d\n    e", "d\n    e"),
        ("its own style stays", "def f():\n    ║", "a\n    b", "a\n    b"),
        ("four blanks become two", "f() {\n  ║", "if {\n      a\n  }", "if {\n    a\n  }"),
        ("two blanks become four", "f:\n    ║", "if a:\n      b\n    c", "if a:\n        b\n    c"),
        (
            "also where the text repeats them",
            "f() {\n  ║",
            "  if {\n      a\n  }",
            "  if {\n    a\n  }",
        ),
        ("a blank before the rest", "if a:\n\tx =║]", " y[0", " y[0"),
        ("what hangs by a blank", "if a:\n\t║", "f(\n\t b)\n c", "f(\n\t b)\n c"),
        ("where none is shown any will do", "func f() {║", "\n\ta()\n}", "\n\ta()\n}"),
        ("a line that hangs stays", "f() {\n  ║", "g(a,\n      b)", "g(a,\n      b)"),
        (
            "what hangs in the document is no level",
            "def f(a,\n      b):\n    ║",
            "if a:\n        b",
            "if a:\n        b",
        ),
    ]
)
def test_lines_are_indented_as_the_document_is(marked: str, written: str, kept: str) -> None:
    assert filters.indentation(written, place(marked)) == kept


@table(
    [
        ("one line of it", "    ║\n    return a\n", "b\n    return a\n    c", "b"),
        ("short ones that go on alike", "    ║\n    x\n    yy = 1\n", "a\n    x\n    yy = 1", "a"),
        ("a short one alone may be needed", "    ║\n    x\n    y = 1\n", "a\n    x", "a\n    x"),
        ("nothing behind", "    ║\n", "a\n    b", "a\n    b"),
        ("the rest of a line that stands there", "    ret║\n    return a\n", "urn a", ""),
        (
            "what says little may be needed again",
            "  ║\n  /**\n   * B\n",
            "a;\n  /**\n   * C",
            "a;\n  /**\n   * C",
        ),
        ("a bracket that closes the block", "x = [\n║\n]\n", "1,\n2\n]\ny = 3", "1,\n2"),
        (
            "the same deeper inside is another",
            "    ║\n    return a\n",
            "if b:\n        return a\n    c",
            "if b:\n        return a\n    c",
        ),
    ]
)
def test_lines_that_the_document_has_next_are_not_written_again(
    marked: str, written: str, kept: str
) -> None:
    assert filters.following(written, place(marked)) == kept


@table(
    [
        ("the line before", "x = 1\n║", "x = 1", ""),
        ("two lines before", "a = 1\nb = 2\n║", "a = 1\nb = 2", ""),
        ("something else", "x = 1\n║", "y = 1", "y = 1"),
        ("more than that", "x = 1\n║", "x = 1\ny = 2", "x = 1\ny = 2"),
        ("the rest of a line", "print(x)\nprint(║", "x)", "x)"),
    ]
)
def test_the_lines_before_are_not_written_again(marked: str, written: str, kept: str) -> None:
    assert filters.previous(written, place(marked)) == kept


REPEATED = [
    ("a line", "a = 1\n" * 30, "a = 1"),
    ("a group", "a = 1\nb = 2\n" * 5, "a = 1\nb = 2"),
    ("within a line", "x = " + "[None, None], " * 9, "x = [None, None], "),
    ("after other lines", "start\n" + "go()\n" * 3, "start\ngo()"),
    ("twice is no repetition", "a = 1\na = 1\nb = 2", "a = 1\na = 1\nb = 2"),
    ("brackets may close often", "}\n}\n}\n}", "}\n}\n}\n}"),
    ("a ruler is no repetition", "# " + "-" * 70, "# " + "-" * 70),
    ("a group before a line", "a()\nb()\n" * 3 + "c()\n" * 3, "a()\nb()"),
]


@pytest.mark.parametrize(
    ("written", "kept"), [r[1:] for r in REPEATED], ids=[r[0] for r in REPEATED]
)
def test_what_comes_again_and_again_is_written_once(written: str, kept: str) -> None:
    assert filters.repetition(written) == kept


@table(
    [
        ("a bracket that closes the line's", "f(║)", "a, b)", "a, b"),
        ("a bracket that closes its own", "print(║)", "len(x)", "len(x)"),
        ("both", "print(║)", "len(x))", "len(x)"),
        ("all behind the line's", "print(║)", "x)  # shown", "x"),
        ("one that the line needs, too", "print(len(║)", "x)", "x)"),
        ("one of two", "print(len(║)", "x))", "x)"),
        ("a bracket in quotes", "print(║)", "':)')", "':)'"),
        ("an index", "b[║]", "c[0]", "c[0]"),
        ("a call behind an operator", "f(║)", '"a" + str(b)', '"a" + str(b)'),
        ("a bracket of the line before", "║)", "a, b)", "a, b"),
        ("a quote", "f('║')", "abc'", "abc"),
        ("all behind a quote", "print('║')", "abc', file=f)", "abc"),
        ("a longer quote", '"""║"""', 'Say "no".""', 'Say "no".'),
        ("quotes where none is open", "f(║'a')", "'b' + ", "'b' + "),
        ("quotes in pairs", '{"na║"', 'me": "x", "b": "y', 'me": "x", "b": "y'),
        ("quotes in pairs and that", '{"na║"', 'me": "x"', 'me": "x'),
        ("a quote of its own", "f(║',", "g('", "g('"),
        ("another bracket first", "f((║})", "a)(), {b: ", "a)(), {b: "),
        ("another bracket, and that", "const { a, ║);", "b } = f(x);", "b } = f(x"),
        ("a call over lines", "s║)", "um(a(), b())", "um(a(), b())"),
        ("a bracket inside a string", "f('║')", "b) c", "b) c"),
        ("a bracket of a line before, alone", "}, a║;", "b): c", "b): c"),
        ("words", "d = (║key)", "value, key", "value, "),
        ("nothing", "f(║)", "a, b", "a, b"),
    ]
)
def test_what_the_line_has_already_is_not_doubled(marked: str, written: str, kept: str) -> None:
    assert filters.overlap(written, place(marked)) == kept


@table(
    [
        ("the line that was being written goes", "def f(x):\n    ║", "y = x\n    return", "y = x"),
        ("an only line stays", "x = ║", "compute(a", "compute(a"),
        ("an only line that is whole", "x = ║", "compute(a)", "compute(a)"),
        (
            "a head without its block goes, too",
            "def f(x):\n    ║",
            "y = x\n    if y:\n        r",
            "y = x",
        ),
    ]
)
def test_a_text_that_its_limit_ended_ends_with_a_whole_line(
    marked: str, written: str, kept: str
) -> None:
    assert filters.whole(written, place(marked), cut=True) == kept


@table(
    [
        ("python", "def f(x):\n    ║\n", "y = (x\n    return", ""),
        ("its good beginning stays", "def f(x):\n    ║\n", "y = x\n    return y))", "y = x"),
        (
            "a document that is broken elsewhere",
            "def g(:\n\ndef f(x):\n    ║\n",
            "return x",
            "return x",
        ),
    ]
)
def test_what_adds_syntax_errors_is_not_suggested(marked: str, written: str, kept: str) -> None:
    assert filters.whole(written, place(marked), cut=False) == kept


def test_what_was_suggested_is_looked_at_again_where_the_document_has_changed() -> None:
    before, after = place("    ║\n"), place("    ║\n    return total\n")
    text = filters.clean("    total = 1\n    return total\n", before)
    assert filters.again(text, before) == text == "total = 1\n    return total"
    assert filters.again(text, after) == "total = 1"


LINES = st.lists(
    st.sampled_from(
        ["x = 1", "    y = (2", "\tz]", ")", "return x", "", "  a", "def f():", "}", "'q'", "```"]
    ),
    max_size=6,
).map("\n".join)


@given(before=LINES, behind=LINES, written=st.one_of(LINES, st.text(max_size=40)))
def test_what_is_applied_takes_nothing_from_the_document(
    before: str, behind: str, written: str
) -> None:
    context = place(f"{before}║{behind}")
    completed = context.completed(filters.whole(filters.clean(written, context), context, cut=True))
    assert completed.startswith(context.document[: context.offset])
    assert completed.endswith(context.document[context.offset :])


@given(before=LINES, behind=LINES, written=st.one_of(LINES, st.text(max_size=40)))
def test_filtering_once_is_enough(before: str, behind: str, written: str) -> None:
    context = place(f"{before}║{behind}")
    once = filters.clean(written, context)
    assert filters.again(once, context) == once
    for one in (
        filters.fences, filters.prose, filters.indentation, filters.block, filters.following,
        filters.previous, filters.overlap, filters.veto,
    ):  # fmt: skip
        once = one(written, context)
        assert one(once, context) == once, one.__name__
    once = filters.repetition(written)
    assert filters.repetition(once) == once


def test_a_text_whose_last_line_was_cut_is_over() -> None:
    before_return = place("def f(x):\n    ║\n    return x\n")
    for text, over in (
        ("    x += 1\n", False),
        ("    x += 1\n\n", False),
        ("    x += 1\n    return x", False),  # a line that is not whole may become another
        ("    x += 1\n    return x\n", True),
        ("    x += 1\ndef g():\n", True),
        ("", False),
    ):
        settled = filters.clean(filters.whole_lines(text), before_return)
        assert filters.is_cut(text, settled) is over, text
