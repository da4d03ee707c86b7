"""Whether a call with literal arguments fits a function's head: its parameters and annotations.

Pure reading of syntax. Annotations that are not understood accept everything; a small model's
tests are often wrong about the arguments.
"""

import ast
import inspect
from collections.abc import Sequence

_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "complex": (int, float, complex),
    "str": (str,),
    "bool": (bool,),
    "bytes": (bytes,),
    "list": (list,),
    "set": (set, frozenset),
    "frozenset": (set, frozenset),
    "tuple": (tuple,),
    "dict": (dict,),
    "mapping": (dict,),
    "mutablemapping": (dict,),
    "sequence": (list, tuple, str),
    "iterable": (list, tuple, str, set, frozenset, dict),
    "collection": (list, tuple, str, set, frozenset, dict),
}


def head(header: str) -> ast.FunctionDef | None:
    """Return the syntax of a function's head ("def f(a: int) -> int:"), None if it is broken."""
    try:
        function = ast.parse(f"{header} ...").body[0]
    except (SyntaxError, IndexError):
        return None
    return function if isinstance(function, ast.FunctionDef) else None


def call_fits(call: ast.Call, function: ast.FunctionDef) -> bool:
    """Say whether a call with literal arguments binds and its values fit the annotations."""
    annotations = {a.arg: a.annotation for a in _all_arguments(function.args)}
    try:
        positional = [ast.literal_eval(argument) for argument in call.args]
        named = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
        bound = _signature(function.args).bind(*positional, **named)
    except (TypeError, ValueError):
        return False
    return all(
        value_fits(value, annotations[name])
        for name, value in bound.arguments.items()
        if name in annotations
    )


def value_fits(value: object, annotation: ast.expr | None) -> bool:
    """Say whether a value fits an annotation as far as that can be read."""
    match annotation:
        case ast.Constant(value=None):
            return value is None
        case ast.Constant(value=str(text)):
            return value_fits(value, _parsed(text))
        case ast.Name() | ast.Attribute():
            return _is_kind(value, annotation)
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return value_fits(value, left) or value_fits(value, right)
        case ast.Subscript(value=generic, slice=inner):
            return _fits_generic(value, _name(generic), _parts(inner), generic)
    return True


def _parsed(text: str) -> ast.expr | None:
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        return None


def _fits_generic(value: object, name: str, parts: Sequence[ast.expr], generic: ast.expr) -> bool:
    if name == "optional":
        return value is None or value_fits(value, parts[0])
    if name == "union":
        return any(value_fits(value, part) for part in parts)
    if not _is_kind(value, generic):
        return False
    if isinstance(value, dict) and len(parts) == 2:
        keys = all(value_fits(key, parts[0]) for key in value)
        return keys and all(value_fits(one, parts[1]) for one in value.values())
    if isinstance(value, tuple) and name == "tuple" and len(parts) > 1:
        return _fits_tuple(value, parts)
    if isinstance(value, list | set | frozenset | tuple) and len(parts) == 1:
        return all(value_fits(one, parts[0]) for one in value)
    return True


def _fits_tuple(value: Sequence[object], parts: Sequence[ast.expr]) -> bool:
    if isinstance(parts[-1], ast.Constant) and parts[-1].value is Ellipsis:
        return all(value_fits(one, parts[0]) for one in value)
    pairs = zip(value, parts, strict=False)
    return len(value) == len(parts) and all(value_fits(one, part) for one, part in pairs)


def _is_kind(value: object, annotation: ast.expr) -> bool:
    kinds = _KINDS.get(_name(annotation))
    if kinds is None:
        return True
    if isinstance(value, bool) and bool not in kinds:
        return False
    return isinstance(value, kinds)


def _name(annotation: ast.expr) -> str:
    match annotation:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.lower()
    return ""


def _parts(inner: ast.expr) -> Sequence[ast.expr]:
    return inner.elts if isinstance(inner, ast.Tuple) else [inner]


def _all_arguments(arguments: ast.arguments) -> Sequence[ast.arg]:
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def _signature(arguments: ast.arguments) -> inspect.Signature:
    """Rebuild a signature whose defaults are all `...`: only their presence matters."""
    kind = inspect.Parameter
    optional = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    parameters = [
        kind(
            argument.arg,
            kind.POSITIONAL_ONLY if i < len(arguments.posonlyargs) else kind.POSITIONAL_OR_KEYWORD,
            default=... if i >= optional else kind.empty,
        )
        for i, argument in enumerate([*arguments.posonlyargs, *arguments.args])
    ]
    if arguments.vararg:
        parameters.append(kind(arguments.vararg.arg, kind.VAR_POSITIONAL))
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        given = kind.empty if default is None else ...
        parameters.append(kind(argument.arg, kind.KEYWORD_ONLY, default=given))
    if arguments.kwarg:
        parameters.append(kind(arguments.kwarg.arg, kind.VAR_KEYWORD))
    return inspect.Signature(parameters)
