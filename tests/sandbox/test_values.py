import datetime
from decimal import Decimal

import pytest

from cascade_lsp.sandbox.values import (
    MAX_BYTES,
    MAX_NODES,
    MAX_TEXT,
    Value,
    holds,
    literal,
    reordered,
    show,
)


def value(plain: object) -> Value:
    return Value(plain, type(plain).__name__)


def nested(depth: int) -> list[object]:
    outer: list[object] = []
    for _ in range(depth):
        outer = [outer]
    return outer


def doubled(times: int) -> list[object]:
    shared: list[object] = [1]
    for _ in range(times):
        shared = [shared, shared]
    return shared


class Agreeable:
    def __eq__(self, other: object) -> bool:
        raise AssertionError("a generated class was asked")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("plain", "expected", "equal"),
    [
        (2, "2", True),
        (2, "3", False),
        (1, "True", True),
        (1.0, "1", True),
        ([1, (2, "a")], "[1, (2, 'a')]", True),
        ([1, 2], "(1, 2)", False),
        ({"a": {1, 2}}, "{'a': {2, 1}}", True),
        (frozenset({1}), "{1}", True),
        (b"a", "b'a'", True),
        (None, "None", True),
        (float("nan"), "None", False),
        (Decimal("1.5"), "1.5", True),
        (datetime.date(2020, 1, 1), "'2020-01-01'", False),
    ],
)
def test_plain_values_compare_as_python_compares_them(
    plain: object, expected: str, equal: bool
) -> None:
    assert holds(value(plain), "eq", literal(expected)) is equal
    assert holds(value(plain), "ne", literal(expected)) is not equal


@pytest.mark.parametrize("part", [Agreeable(), [1, Agreeable()], {"a": (Agreeable(),)}])
def test_an_instance_of_a_generated_class_is_never_asked_whether_it_is_equal(part: object) -> None:
    assert [holds(value(part), relation, 1) for relation in ("eq", "ne", "truthy", "falsy")] == [
        None
    ] * 4


def test_identity_is_told_for_singletons_alone() -> None:
    assert holds(value(True), "is", True) is True
    assert holds(value(1), "is", True) is False
    assert holds(value([]), "is", None) is False
    assert holds(value("a"), "is", "a") is None


def test_truth_is_told_of_plain_values() -> None:
    assert holds(value([0]), "truthy", None) is True
    assert holds(value(""), "truthy", None) is False
    assert holds(value(0), "falsy", None) is True


@pytest.mark.parametrize(
    ("plain", "type_name"),
    [("<list_iterator object>", "list_iterator"), ([1], "deque"), ("range(0, 3)", "range")],
)
def test_a_description_of_an_object_equals_nothing_not_even_its_own_text(
    plain: object, type_name: str
) -> None:
    assert holds(Value(plain, type_name), "eq", plain) is False
    assert holds(Value(plain, type_name), "truthy", None) is None


def test_a_view_of_a_dict_may_equal_a_set_so_it_is_not_judged() -> None:
    assert holds(Value("dict_keys([1])", "dict_keys"), "eq", {1}) is None


@pytest.mark.parametrize(
    "plain",
    [
        nested(5000),
        doubled(40),
        list(range(MAX_NODES + 1)),
        "x" * (MAX_BYTES + 1),
        1 << (8 * MAX_BYTES + 8),
        ["x" * 1000] * 2000,
    ],
    ids=["deep", "shared", "long", "text", "number", "total"],
)
def test_what_is_too_large_or_too_deep_is_not_looked_at(plain: object) -> None:
    assert value(plain).form == "flood"
    assert holds(value(plain), "eq", plain) is None


def test_what_is_just_small_enough_is_compared() -> None:
    assert value(list(range(MAX_NODES - 1))).form == "plain"
    assert value(nested(90)).form == "plain"


def test_values_are_shown_in_a_few_hundred_characters() -> None:
    assert show(value([1, 2])) == "[1, 2]"
    assert len(show(value("x" * 10_000))) == MAX_TEXT
    assert show(value(10**5000)) == f"<int of {(10**5000).bit_length()} bits>"
    assert show(Value("<map object>", "map")) == "<map object> of type map"


@pytest.mark.parametrize("text", ["f(1)", "[", "1 +", "x", "[" * 10_000, ""])
def test_what_is_no_literal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a literal"):
        literal(text)


def test_a_change_of_order_alone_is_recognised() -> None:
    assert reordered((34, 11), (11, 34))
    assert reordered([[2, 1], ["ba"]], [["ab"], [1, 2]])
    assert not reordered([1, 1], [1, 2])
    assert not reordered([1, 2], [1, 2, 2])
