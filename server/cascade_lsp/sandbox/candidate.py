"""What the forked, confined child does: load a program, evaluate an expression, tell its value.

Everything here runs in the candidate's own process and so proves nothing but the value that it
sends: what was expected never comes in. Standard library only. What is needed after the program
has run is bound to local names before, so that a program that patches a module harms itself alone.
"""

import json
import os
import random
import sys
import traceback
import types
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from cascade_lsp.sandbox import codec

SOURCE_FILE, CHECK_FILE = "<candidate>", "<check>"
MOST_BYTES = 1024 * 1024
MOST_TEXT = 400
_PATH_CALLS = (
    "chdir chmod chown link listdir mkdir remove rename rmdir scandir symlink truncate utime"
)
_PATH_EVENTS = frozenset(["open", "sqlite3.connect", *(f"os.{n}" for n in _PATH_CALLS.split())])

Answer = dict[str, Any]


def run(job: dict[str, Any], answers: int, readable: Sequence[str]) -> NoReturn:
    """Run a job, write one line of JSON to the descriptor `answers`, and end the process."""
    write, leave, dump = os.write, os._exit, json.dumps
    touched = _watched(readable)
    answer = _suite(job) if job.get("suite") else _program(job)
    answer["touched"] = touched[0] if touched else ""
    try:
        text = dump(answer).encode()
    except (ValueError, RecursionError):
        text = b'{"kind": "flood"}'
    if len(text) > MOST_BYTES:
        text = b'{"kind": "flood"}'
    text += b"\n"
    while text:
        text = text[write(answers, text) :]
    leave(0)


def _program(job: dict[str, Any]) -> Answer:
    random.seed(job["seed"])
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv, sys.orig_argv = [SOURCE_FILE], [SOURCE_FILE]
    expression = job["expression"]
    try:
        exec(compile(job["source"], SOURCE_FILE, "exec", dont_inherit=True), module.__dict__)
        if expression is None:
            return _printed({"kind": "value", "type": "NoneType", "plain": None})
        check = compile(f"(\n{expression}\n)", CHECK_FILE, "eval", dont_inherit=True)
        plain, kind = codec.encode(eval(check, module.__dict__))
        return {"kind": "value", "type": kind, "plain": plain}
    except codec.Flood:
        return {"kind": "flood"}
    except BaseException as error:  # noqa: BLE001 - the program may raise anything at all
        answer = raised(error)
        ended = isinstance(error, SystemExit) and error.code in (None, 0)
        if expression is None and ended:
            answer = {"kind": "value", "type": "NoneType", "plain": None}
        return _printed(answer) if expression is None else answer


def _suite(job: dict[str, Any]) -> Answer:
    """Run one of the user's own tests; it shares its process with the candidate."""
    from cascade_lsp.sandbox import suite

    told = suite.run(**job["suite"])
    return {"kind": "suite", "verdict": told.pop("kind"), **told}


def raised(error: BaseException) -> Answer:
    """Describe an exception: its name, its text, where it passed last in what was given."""
    walked = traceback.walk_tb(error.__traceback__)
    places = traceback.StackSummary.extract(walked, lookup_lines=False)
    own = [place for place in places if place.filename in (SOURCE_FILE, CHECK_FILE)]
    inner = [place for place in own if place.filename == SOURCE_FILE]
    place = inner[-1] if inner else None
    is_syntax = isinstance(error, SyntaxError)
    return {
        "kind": "raised",
        "name": type(error).__name__[:100],
        "message": _text(error),
        "line": error.lineno if isinstance(error, SyntaxError) else place.lineno if place else None,
        "function": place.name if place else None,
        "in_check": not inner and not is_syntax,
        "depth": len(inner),
        "errno": error.errno if isinstance(error, OSError) else None,
        "module": error.name if isinstance(error, ImportError) else None,
    }


def _text(error: BaseException) -> str:
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except BaseException:  # noqa: BLE001 - a class of the program's own
        return ""
    return str(text)[: MOST_TEXT + 1]


def _printed(answer: Answer) -> Answer:
    """Push out what was printed."""
    for stream in (sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            continue
    return answer


def _watched(readable: Sequence[str]) -> list[str]:
    """Return a list that gets the first path outside `readable` that the program asks for."""
    touched: list[str] = []
    inside = tuple(f"{folder}/" for folder in readable)
    absolute: Callable[[str], str] = os.path.abspath

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if touched or event not in _PATH_EVENTS or not arguments:
            return
        path = arguments[0]
        if isinstance(path, bytes):
            path = path.decode(errors="replace")
        if isinstance(path, str) and path and not f"{absolute(path)}/".startswith(inside):
            touched.append(path[:MOST_TEXT])

    sys.addaudithook(look)
    return touched
