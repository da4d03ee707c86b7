"""Values survive the way out; what was not written by the sandbox is refused."""

import json
from collections import Counter, OrderedDict, defaultdict, deque
from enum import Enum, IntEnum
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_lsp.sandbox.codec import MAX_MEMBERS, Flood, Unknown, decode, encode

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.timedeltas()
)
HASHED = ATOMS | st.tuples(ATOMS, ATOMS)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.sets(HASHED)
        | st.frozensets(HASHED)
        | st.dictionaries(HASHED, inner)
    ),
    max_leaves=20,
)


def sent(value: object) -> tuple[object, str]:
    """Send a value out as the child does."""
    plain, name = encode(value)
    return decode(json.loads(json.dumps(plain))), name


@given(VALUES)
def test_a_plain_value_comes_out_equal_and_of_its_type(value: object) -> None:
    came, name = sent(value)
    assert came == value
    assert type(came) is type(value)
    assert name == type(value).__name__


class Point(NamedTuple):
    x: int
    y: int


class Level(IntEnum):
    LOW = 1


class Colour(Enum):
    RED = 1


class Lying(list[int]):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Point(1, 2), (1, 2)),
        (Level.LOW, 1),
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(int, a=1), {"a": 1}),
        (bytearray(b"ab"), b"ab"),
        ([Point(1, 2), {"k": Level.LOW}], [(1, 2), {"k": 1}]),
    ],
)
def test_what_equals_a_plain_value_comes_out_as_it(value: object, plain: object) -> None:
    came, _ = sent(value)
    assert came == plain


@pytest.mark.parametrize("value", [object(), iter([1]), range(3), deque([1]), Colour.RED, len])
def test_what_equals_no_literal_is_described(value: object) -> None:
    came, name = sent(value)
    assert came == f"<{name} object>"


@pytest.mark.parametrize("value", [Lying([1]), Fraction(1, 2), memoryview(b"a")])
def test_what_only_its_own_class_could_compare_is_unknown(value: object) -> None:
    came, name = sent(value)
    assert came == Unknown(name)
    assert sent([value])[0] == [Unknown(name)]


def test_numbers_beyond_what_json_knows_come_out() -> None:
    assert sent([2**2000, -(2**60), float("inf"), -float("inf")])[0] == [
        2**2000,
        -(2**60),
        float("inf"),
        -float("inf"),
    ]
    assert repr(sent(float("nan"))[0]) == "nan"


@pytest.mark.parametrize("depth", [101, 5000])
def test_what_is_too_deep_or_too_long_is_a_flood(depth: int) -> None:
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    for value in (deep, list(range(100_001))):
        with pytest.raises(Flood):
            encode(value)


def test_what_would_take_long_to_hash_is_a_flood() -> None:
    for text in ({"set": list(range(MAX_MEMBERS + 1))}, {"dict": [[1, 2]] * (MAX_MEMBERS + 1)}):
        with pytest.raises(Flood):
            decode(text)
    with pytest.raises(Flood):
        decode({"list": [{"set": list(range(MAX_MEMBERS))}] * 6})


@pytest.mark.parametrize(
    "written",
    [
        [1],
        {},
        {"list": [], "tuple": []},
        {"nothing": 1},
        {"list": 1},
        {"set": [{"list": []}]},
        {"dict": [1]},
        {"int": "x"},
        {"bytes": "x"},
        {"complex": [1]},
        {"decimal": "x"},
        {"date": "x"},
        {"timedelta": [10**30]},
        {"__class__": 1},
    ],
)
def test_what_encode_never_writes_is_refused(written: object) -> None:
    with pytest.raises(ValueError):
        decode(written)
