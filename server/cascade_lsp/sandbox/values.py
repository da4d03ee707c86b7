"""Compare and show values that came out of the sandbox.

Values arrive decoded into plain Python objects; what has no plain form arrives as a stand-in.
This module never calls a method that generated code could have defined, and it looks at the
size and depth of a value before anything else touches it. It runs outside the sandbox, and the
expected literals live only here.
"""

import ast
import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from types import EllipsisType, NoneType
from typing import Literal

from cascade_lsp.sandbox import Relation

MAX_NODES = 100_000
MAX_DEPTH = 100
MAX_BYTES = 1024 * 1024
MAX_TEXT = 400
MAX_SHOWN_BITS = 4096

_ATOMS = (
    NoneType,
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    EllipsisType,
    Decimal,
    datetime.date,
    datetime.datetime,
    datetime.time,
    datetime.timedelta,
)
_SINGLETONS = (None, True, False, ...)
# Views of a dict equal sets; every other object without a plain form equals no literal.
_EQUAL_TO_SETS = {"dict_keys", "dict_items"}

Form = Literal["plain", "stand_in", "opaque", "flood"]


@dataclass(frozen=True, slots=True)
class Value:
    """A decoded value and the name of the type that it had inside."""

    plain: object
    type_name: str

    @property
    def form(self) -> Form:
        """Say what can be known of it outside.

        plain: equality means what it means inside. stand_in: a description of an object that has
        no plain form (an iterator, a function). opaque: an instance of a generated class, whose
        equality only generated code could tell. flood: too large or too deep to look at.
        """
        form = _examine(self.plain)
        if form == "plain" and not self._kept_its_type():
            return "stand_in"
        return form

    def _kept_its_type(self) -> bool:
        """Say whether the decoded type is the one inside; subclasses of dict and tuple equal
        their plain forms, so theirs need not be."""
        return isinstance(self.plain, (dict, tuple)) or type(self.plain).__name__ == self.type_name


def literal(text: str) -> object:
    """Parse a Python literal; raise ValueError where it is not one."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"{text[:MAX_TEXT]!r} is not a literal") from error


def holds(value: Value, relation: Relation, expected: object) -> bool | None:
    """Say whether the relation holds of a value; None where it cannot be told outside."""
    if relation == "is":
        return _is(value.plain, expected)
    form = value.form
    if form in ("opaque", "flood"):
        return None
    if relation in ("eq", "ne"):
        equal = _equal(value, form, expected)
        return equal if equal is None or relation == "eq" else not equal
    return bool(value.plain) is (relation == "truthy") if form == "plain" else None


def reordered(value: object, expected: object) -> bool:
    """Say whether a plain value and a literal differ in the order of their parts alone."""
    return _unordered(value) == _unordered(expected)


def _unordered(value: object) -> object:
    if isinstance(value, str):
        return sorted(value)
    if isinstance(value, (list, tuple)):
        return sorted(repr(_unordered(part)) for part in value)
    return value


def show(value: Value) -> str:
    """Return a value as text of at most MAX_TEXT characters."""
    plain = value.plain
    if isinstance(plain, int) and plain.bit_length() > MAX_SHOWN_BITS:
        return f"<int of {plain.bit_length()} bits>"
    if value.form == "stand_in":
        return cap(f"{plain} of type {value.type_name}")
    try:
        return cap(repr(plain))
    except (ValueError, RecursionError):
        return f"<{value.type_name} too large to show>"


def cap(text: str) -> str:
    """Cut a text to MAX_TEXT characters and show that it was cut."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _equal(value: Value, form: Form, expected: object) -> bool | None:
    if form == "stand_in":
        return None if value.type_name in _EQUAL_TO_SETS else False
    return value.plain == expected


def _is(value: object, expected: object) -> bool | None:
    """Identity means something for singletons alone."""
    return value is expected if any(expected is one for one in _SINGLETONS) else None


def _examine(value: object) -> Form:
    """Walk a value within a budget, shared parts counted each time that they are met."""
    nodes = size = 0
    todo: list[tuple[object, int]] = [(value, 0)]
    while todo:
        item, depth = todo.pop()
        nodes, size = nodes + 1, size + _size(item)
        if nodes + len(todo) > MAX_NODES or size > MAX_BYTES or depth > MAX_DEPTH:
            return "flood"
        parts = _parts(item)
        if parts is None:
            return "opaque"
        if len(parts) > MAX_NODES:
            return "flood"
        todo.extend((part, depth + 1) for part in parts)
    return "plain"


def _size(item: object) -> int:
    if isinstance(item, (str, bytes)):
        return len(item)
    return item.bit_length() // 8 if isinstance(item, int) else 0


def _parts(item: object) -> list[object] | None:
    """Return what a value is made of; None for what is not plain."""
    if type(item) in _ATOMS:
        return []
    if isinstance(item, dict):
        return [*_limited(item.keys()), *_limited(item.values())]
    if isinstance(item, (list, tuple, set, frozenset)):
        return _limited(item)
    return None


def _limited(items: Iterable[object]) -> list[object]:
    """Copy one part more than the budget allows at the most, however long the container is."""
    return [item for item, _ in zip(items, range(MAX_NODES + 1), strict=False)]
