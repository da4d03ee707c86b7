import ast

import pytest

from cascade_lsp.sandbox.dialect import (
    NotPython,
    bound_names,
    delayed_lines,
    difference,
    read,
    single_pass,
)

NONE: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("source", "rewritten"),
    [
        ("sum(x for x in y)", "sum(_cascade_iter([x for x in y]))"),
        ("g = (x for x in y)", "g = (_cascade_iter([x for x in y]))"),
        (
            "f(1, (z for z in (x for x in y)))",
            "f(1, (_cascade_iter([z for z in (_cascade_iter([x for x in y]))])))",
        ),
        ("'ä', any(x\n  for x in y\n)", "'ä', any(_cascade_iter([x\n  for x in y\n]))"),
        ("[x for x in y]", "[x for x in y]"),
    ],
)
def test_generator_expressions_become_iterators_on_the_same_lines(
    source: str, rewritten: str
) -> None:
    assert single_pass(source, ast.parse(source)) == rewritten
    assert rewritten.count("\n") == source.count("\n")
    ast.parse(rewritten)


def test_lines_are_delayed_only_where_not_everything_is_consumed() -> None:
    source = "a = sum(1 / x for x in y)\nb = any(\n 1 / x for x in y)\nc = ','.join(x for x in y)\n"
    assert delayed_lines(ast.parse(source)) == {2, 3}


def test_a_raise_is_found_by_line_and_by_column_in_characters_of_what_is_fed() -> None:
    code = read("x = 1\nif 'é' or any(y for y in z): raise ValueError\nassert x, 'no'\n")
    line = code.text.splitlines()[1]
    assert code.raises == {(2, line.index("ValueError") + 1), (3, 8)}


def test_names_are_those_bound_by_assignment_definition_and_import() -> None:
    source = (
        "import os.path, re as r\nfrom a import b\nx = y\ndef f(p):\n    q = 1\nclass C: pass\n"
    )
    assert bound_names(ast.parse(source)) == {"os", "r", "b", "x", "f", "q", "C"}


@pytest.mark.parametrize(
    "text", ["def f(:", "return 1", "x = \0", "(" * 500 + ")" * 500, "f() = 1"]
)
def test_what_cpython_rejects_is_not_python(text: str) -> None:
    with pytest.raises(NotPython):
        read(text)


def test_two_expressions_in_one_are_no_expression() -> None:
    with pytest.raises(NotPython):
        read("1), (2", "eval")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("ModuleNotFoundError", "No module named 'heapq'"),
        ("ModuleNotFoundError", "No module named 'numpy'"),
        ("ImportError", "cannot import name 'OrderedDict' from 'collections' (unknown location)"),
        ("NameError", "name 'super' is not defined"),
        ("NameError", "name '__import__' is not defined"),
        ("AttributeError", "module 'sys' has no attribute 'exit'"),
        ("AttributeError", "'str' object has no attribute 'format_map'"),
        ("AttributeError", "'tuple' object has no attribute '__class__'"),
        ("AttributeError", "type object 'dict' has no attribute 'fromkeys'"),
        ("AttributeError", "'collections.deque' object has no attribute 'rotate'"),
        ("NotImplementedError", "The monty syntax parser does not yet support yield expressions"),
        ("TypeError", "'typing._SpecialForm' object is not subscriptable"),
        ("TypeError", "cannot create 'object' instances"),
        ("RuntimeError", "suspension limit 1000 exceeded"),
    ],
)
def test_what_cpython_has_and_monty_lacks_is_a_difference(error: str, message: str) -> None:
    assert difference(error, message, "", NONE)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("ImportError", "cannot import name 'root' from 'math' (unknown location)"),
        ("NameError", "name 'helper' is not defined"),
        ("AttributeError", "module 'math' has no attribute 'root'"),
        ("AttributeError", "'str' object has no attribute 'push'"),
        ("AttributeError", "'NoneType' object has no attribute 'append'"),
        ("AttributeError", "'Point' object has no attribute 'z'"),
        ("TypeError", "unsupported operand type(s) for +: 'int' and 'str'"),
        ("ValueError", "substring not found"),
        ("RuntimeError", "dictionary changed size during iteration"),
    ],
)
def test_what_cpython_lacks_too_is_no_difference(error: str, message: str) -> None:
    assert difference(error, message, "", frozenset({"Point"})) == ""


def test_extending_a_list_in_place_is_a_difference_and_adding_to_it_is_none() -> None:
    message = 'can only concatenate list (not "tuple") to list'
    assert difference("TypeError", message, "xs += ys", NONE)
    assert not difference("TypeError", message, "xs + ys", NONE)
