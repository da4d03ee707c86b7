"""Values on their way out of a sandboxed process: written inside, read outside, never unpickled.

A value is JSON with a name for what JSON lacks: {"tuple": [...]}, {"set": [...]}, {"dict": pairs},
{"int": text}, {"float": text}, {"bytes": hex}, and {"object": type name} for what has no plain
form. `encode` runs beside generated code and is believed nothing but its answer; `decode` runs
outside, on at most `values.MAX_BYTES` of text, and calls nothing that the text could choose.
"""

import datetime
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

MAX_NODES = 100_000
MAX_DEPTH = 100
MAX_MEMBERS = 2_000  # of a set or a dictionary
_JSON_INT = 2**53


class Flood(Exception):
    """A value has more parts than the budget, or is deeper."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Stands for an object that has no plain form: its type's name is all that is known."""

    type_name: str

    def __repr__(self) -> str:
        return f"<{self.type_name} object>"


# -- inside ----------------------------------------------------------------------


def encode(value: object) -> tuple[Any, str]:
    """Return a value as JSON's own types, and the name of its type; raise Flood."""
    kind = _plain_type(value)
    if kind in _PLAIN or kind in _CONTAINERS:
        return _encode(value, 0, [MAX_NODES]), _SHOWN_AS.get(kind, kind).__name__
    if kind.__module__ == "numpy" and not getattr(value, "shape", True):
        return encode(value.item())  # type: ignore[attr-defined]
    # Of the others only those whose class says so can equal a literal.
    equality: object = kind.__eq__
    same = equality is object.__eq__ or kind.__module__ in ("builtins", "collections")
    name = str(kind.__name__)[:100]
    return (f"<{name} object>" if same and kind is not memoryview else {"object": name}), name


def _encode(value: Any, depth: int, budget: list[int]) -> Any:
    budget[0] -= 1
    if budget[0] < 0 or depth > MAX_DEPTH:
        raise Flood
    kind = _plain_type(value)
    write = _PLAIN.get(kind)
    if write is not None:
        return write(value)
    if kind is list:
        return {"list": [_encode(part, depth + 1, budget) for part in list.__iter__(value)]}
    if kind in (tuple, set, frozenset):
        return {kind.__name__: [_encode(part, depth + 1, budget) for part in kind.__iter__(value)]}
    if kind is dict:
        pairs = [(k, v) for k, v in dict.items(value)]
        return {"dict": [[_encode(part, depth + 1, budget) for part in pair] for pair in pairs]}
    if kind.__module__ == "numpy" and not getattr(value, "shape", True):
        return _encode(value.item(), depth + 1, budget)
    return {"object": str(kind.__name__)[:100]}


def _plain_type(value: object) -> type:
    """Return the plain type whose values a value equals: its own, or one that it inherits from
    without saying anew what equality is."""
    kind = type(value)
    if kind in _PLAIN or kind in _CONTAINERS:
        return kind
    for base in (str, int, float, bytes, list, tuple, dict, set, frozenset):
        if issubclass(kind, base):
            same = kind.__eq__ is base.__eq__ or kind.__eq__ in _AS_A_DICT
            return base if same else kind
    return kind


def _number(value: int) -> Any:
    return value if -_JSON_INT < value < _JSON_INT else {"int": hex(value)}


def _real(value: float) -> Any:
    finite = value - value == 0
    return value if finite else {"float": float.__repr__(value)}


_CONTAINERS = (list, tuple, dict, set, frozenset)
# What these say of a plain dict is what a dict says.
_AS_A_DICT = (OrderedDict.__eq__, Counter.__eq__)
_SHOWN_AS: dict[type, type] = {bytearray: bytes}
_PLAIN: dict[type, Callable[[Any], Any]] = {
    type(None): lambda _: None,
    bool: lambda value: value,
    str: lambda value: str.__str__(value),
    int: lambda value: _number(int.__index__(value)),
    float: lambda value: _real(float.__float__(value)),
    complex: lambda value: {"complex": [_real(value.real), _real(value.imag)]},
    bytes: lambda value: {"bytes": bytes.hex(value)},
    bytearray: lambda value: {"bytes": bytearray.hex(value)},
    type(...): lambda _: {"ellipsis": True},
    Decimal: lambda value: {"decimal": str(value)},
    datetime.datetime: lambda value: {"datetime": value.isoformat()},
    datetime.date: lambda value: {"date": value.isoformat()},
    datetime.time: lambda value: {"time": value.isoformat()},
    datetime.timedelta: lambda value: {
        "timedelta": [value.days, value.seconds, value.microseconds]
    },
}

# -- outside ----------------------------------------------------------------------


def decode(written: object) -> object:
    """Return the value; raise ValueError where it was not written by `encode`, Flood where sets
    and dictionaries are so large that members of equal hashes would hold the reader up."""
    return _Reader().read(written)


class _Reader:
    """Reads one value, and counts what has to be hashed for it."""

    def __init__(self) -> None:
        self._hashed = 0

    def read(self, written: object) -> object:
        if isinstance(written, list):
            raise ValueError("a list without a name")
        if not isinstance(written, dict):
            return written
        if len(written) != 1:
            raise ValueError("not one name and its parts")
        ((name, parts),) = written.items()
        try:
            if name in _ATOMS:
                return _ATOMS[name](parts)
            if name in ("list", "tuple"):
                return (list if name == "list" else tuple)(self._parts(parts))
            if name in ("set", "frozenset"):
                self._count(parts)
                return (set if name == "set" else frozenset)(self._parts(parts))
            if name == "dict":
                self._count(parts)
                return {self.read(key): self.read(value) for key, value in parts}
        except (TypeError, ArithmeticError, RecursionError) as error:
            raise ValueError(f"not a {name}") from error
        raise ValueError(f"nothing is called {name!r}")

    def _parts(self, written: Any) -> list[object]:
        if not isinstance(written, list):
            raise TypeError
        return [self.read(part) for part in written]

    def _count(self, members: Any) -> None:
        self._hashed += len(members)
        if len(members) > MAX_MEMBERS or self._hashed > 5 * MAX_MEMBERS:
            raise Flood


_ATOMS: dict[str, Callable[[Any], object]] = {
    "int": lambda text: int(str(text), 0),
    "float": lambda text: float(str(text)),
    "complex": lambda parts: _complex(*map(_real_part, parts)),
    "bytes": lambda text: bytes.fromhex(text),
    "ellipsis": lambda _: ...,
    "decimal": lambda text: Decimal(str(text)),
    "datetime": lambda text: datetime.datetime.fromisoformat(text),
    "date": lambda text: datetime.date.fromisoformat(text),
    "time": lambda text: datetime.time.fromisoformat(text),
    "timedelta": lambda parts: datetime.timedelta(*parts),
    "object": lambda name: Unknown(str(name)[:100]),
}


def _complex(real: float, imaginary: float) -> complex:
    return complex(real, imaginary)


def _real_part(written: Any) -> float:
    """Read a part of a complex number, which may be infinite."""
    return float(written["float"] if isinstance(written, dict) else written)
