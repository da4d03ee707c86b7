"""Whether a call fits the head of a function."""

import ast

import pytest

from cascade_lsp.signature import call_fits, head, value_fits

CALLS = [
    ("def f(a):", "f(1)", True),
    ("def f(a):", "f()", False),
    ("def f(a):", "f(1, 2)", False),
    ("def f(a, b=1):", "f(1)", True),
    ("def f(a, *, b):", "f(1, b=2)", True),
    ("def f(a, *, b):", "f(1, 2)", False),
    ("def f(a, /):", "f(a=1)", False),
    ("def f(*a, **k):", "f(1, 2, x=3)", True),
    ("def f(a: int):", "f('x')", False),
    ("def f(a: int):", "f(True)", False),
    ("def f(a: float):", "f(1)", True),
    ("def f(a: list[int]):", "f([1, 2])", True),
    ("def f(a: list[int]):", "f([1, 'x'])", False),
    ("def f(a: List[List[int]]):", "f([[1], [2]])", True),
    ("def f(a: typing.List[str]):", "f('abc')", False),
    ("def f(a: int | None):", "f(None)", True),
    ("def f(a: Optional[str] = None):", "f(3)", False),
    ("def f(a: 'list[int]'):", "f(3)", False),
    ("def f(a: dict[str, int]):", "f({'a': 1})", True),
    ("def f(a: dict[str, int]):", "f({1: 1})", False),
    ("def f(a: tuple[int, str]):", "f((1, 'a'))", True),
    ("def f(a: tuple[int, ...]):", "f((1, 'a'))", False),
    ("def f(a: Whatever[int]):", "f(object)", False),
    ("def f(a: Whatever[int]):", "f(3)", True),
]


@pytest.mark.parametrize(("header", "call", "fits"), CALLS, ids=[f"{c[0]} {c[1]}" for c in CALLS])
def test_call_fits(header: str, call: str, fits: bool) -> None:
    function, expression = head(header), ast.parse(call, mode="eval").body
    assert function is not None and isinstance(expression, ast.Call)
    assert call_fits(expression, function) is fits


def test_a_broken_head_is_no_head() -> None:
    assert head("def f(a:") is None


def test_no_annotation_fits_everything() -> None:
    assert value_fits(object(), None)
