"""JavaScript and TypeScript: the function at the cursor, programs, bodies, and tests of them."""

import pytest
from tree_sitter import Node

from cascade_lsp import fim
from cascade_lsp.filters import clean
from cascade_lsp.fim import solutions
from cascade_lsp.languages.javascript_module import parse as syntax
from cascade_lsp.languages.javascript_values import fits, is_literal, value_of
from cascade_lsp.sandbox import Check, Limits, SandboxOptions, make_sandbox
from cascade_lsp.syntax import adds_errors
from cascade_lsp.testable import (
    Target,
    Untestable,
    body_from,
    emptied,
    find,
    program,
    stub_program,
)
from cascade_lsp.testgen import examples, parse, prompts
from tests.marked import place

MODULE = """\
import { inspect, type Options, Style } from 'node:util';
import type { Shape } from './shapes';
import { remote } from './remote';

enum Unit { Metre = 1 }
interface Circle { radius: number }
const SCALE = 3;

function scaled(x: number): number {
  return x * SCALE + Unit.Metre;
}

export function unrelated(x: number) {
  return remote(x);
}

/**
 * Returns the scaled area.
 *
 * @example area({ radius: 1 }) // => 10
 */
export const area = (circle: Circle, digits = 2, style?: Style): number => {
  ║
};
"""


def target_of(marked: str, language: str = "javascript") -> Target:
    found = find(place(marked, language))
    assert isinstance(found, Target), found
    return found


def test_the_function_at_the_cursor_is_found_with_its_parts() -> None:
    target = target_of(MODULE, "typescript")
    assert (target.name, target.parameters) == ("area", ("circle", "digits", "style"))
    assert target.header.startswith("export const area = (circle: Circle")
    assert target.doc.startswith("Returns the scaled area.")
    assert (target.runs_as, target.stub) == ("typescript", True)
    assert "interface Circle" in target.setup and "function scaled" in target.setup


UNTESTABLE = [
    ("const x = ║1;\n", "not in a function"),
    ("function f(a) { return a; }\n║\n", "not in a function"),
    ("class A { f(a) { ║ } }\n", "method"),
    ("class A { f = (a) => { ║ } }\n", "method"),
    ("const o = { f(a) { ║ } };\n", "method"),
    ("function f(a) { const g = (b) => { ║ }; }\n", "nested"),
    ("async function f(a) { ║ }\n", "asynchronous"),
    ("const f = async (a) => { ║ };\n", "asynchronous"),
    ("function* f(a) { ║ }\n", "generator"),
    ("function f() { ║ }\n", "no arguments"),
    ("if (1) { function f(a) { ║ } }\n", "not at module level"),
]


@pytest.mark.parametrize(("marked", "reason"), UNTESTABLE, ids=[r[0] for r in UNTESTABLE])
def test_what_cannot_be_tested_says_why(marked: str, reason: str) -> None:
    found = find(place(marked, "javascript"))
    assert isinstance(found, Untestable)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("marked", "language", "reason"),
    [
        ("function f(a: number): void { ║ }", "typescript", "returns nothing"),
        ("function f(this: Date, a: number) { ║ }", "typescript", "this"),
        ("function View(props) { ║ }", "javascriptreact", "component"),
        ("const view = (p: P): JSX.Element => { ║ }", "typescriptreact", "component"),
    ],
)
def test_what_its_types_rule_out_says_why(marked: str, language: str, reason: str) -> None:
    found = find(place(marked, language))
    assert isinstance(found, Untestable)
    assert reason in found.reason


STUBS = [
    "function f(a) {\n  ║\n}\n",
    "function f(a) {\n║\n}\n",
    "function f(a) {║}\n",
    "function f(a) { ║ }\n",
    "function f(a) {║",
    "function f(a) {\n  ║\n\nfunction g(b) {\n  return b;\n}\n",
    "function f(a) {\n  // soon\n  ║\n}\n",
    "function f(a) {\n  // soon║\n}\n",
    "export default function f(a) {\n\t║\n}\n",
    "export const f = (a) => {\n    ║\n};\n",
    "const f = function (a) {║};\n",
    "const f = a => ║;\n",
    "const f = a => ║\n\nconst x = 1;\n",
    "const f = (a) =>║",
    "const é = 'ü';\n// ß\nfunction f(a) {\r\n  ║\r\n}\r\n",
]


@pytest.mark.parametrize("marked", STUBS)
def test_a_body_put_into_a_stub_gives_a_function_that_parses(marked: str) -> None:
    target = target_of(marked)
    body = body_from("function f(a) {\n    const b = a;\n    return b;\n}\n", target)
    completed = place(marked, "javascript").completed(body)
    assert target.stub
    assert not syntax(completed, "javascript").has_error, completed
    assert program(completed, target, whole=True)


def test_a_program_holds_what_the_function_needs_and_no_types() -> None:
    target = target_of(MODULE, "typescript")
    body = body_from("const area = (c) => { return inspect(scaled(c.radius)).length }", target)
    source = program(place(MODULE).completed(body), target, whole=True)
    assert source is not None
    assert source.startswith("\"use strict\";\nconst { inspect } = require('node:util');")
    assert "enum Unit" in source and "const SCALE = 3;" in source
    for other in ("interface", "export", "remote", "unrelated", "Style }", "shapes"):
        assert other not in source


def test_imports_of_all_kinds_become_calls() -> None:
    marked = (
        "import fs, { join as j } from 'a';\nimport * as u from 'b';\nconst { v } = require('c')\n"
        "function f(x) {\n  ║\n}\n"
    )
    completed = place(marked).completed("return fs(j(u(v(x))));")
    source = program(completed, target_of(marked), whole=True)
    assert source is not None
    assert "const fs = require('a'); const { join: j } = require('a');" in source
    assert "const u = require('b');" in source and "const { v } = require('c');" in source


HALF = [
    "x = a;",
    "return;",
    "if (a) { return 1; }",
    "while (a) a -= 1;",
    "switch (a) { case 1: return 1; }",
]
WHOLE = [
    "return a;",
    "throw new Error(a);",
    "if (a) return 1; else return 2;",
    "if (a) { return 1; } else if (b) { return 2; } else { return 3; }",
    "for (const x of a) { return x; }",
    "while (true) { return a; }",
    "try { return a; } catch (e) { return 0; }",
    "switch (a) { case 1: return 1; default: return 2; }",
    "return a; // done",
]


@pytest.mark.parametrize("body", HALF)
def test_half_a_function_is_no_program(body: str) -> None:
    marked = "function f(a) {\n  ║\n}"
    assert program(place(marked).completed(body), target_of(marked), whole=True) is None


@pytest.mark.parametrize("body", WHOLE)
def test_a_function_that_gives_a_value_on_every_path_is_whole(body: str) -> None:
    marked = "function f(a) {\n  ║\n}"
    assert program(place(marked).completed(body), target_of(marked), whole=True)


def test_the_stub_program_returns_nothing() -> None:
    source = stub_program(place(MODULE).document, target_of(MODULE, "typescript"))
    assert "return undefined;" in source
    assert not syntax(source, "typescript").has_error


def test_the_listing_is_a_whole_function_under_its_comment() -> None:
    listing = target_of("// Adds.\nconst f = (a) => {║};").listing
    assert listing == "```javascript\n// Adds.\nconst f = (a) => {\n  // ...\n};\n```\n"


ANSWERS = [
    ("prose around it", "Sure:\n\nfunction f(a) {\n  return a;\n}\n\nThis returns a.", "return a;"),
    ("fences around it", "Sure:\n```js\nfunction f(a) {\n  return a;\n}\n```\nIt is.", "return a;"),
    ("an arrow", "const f = a => a + 1", "return a + 1;"),
    ("exported", "export default function f(a) { return a }", "return a"),
    ("comments are kept", "function f(a) {\n  // why\n  return a;\n}", "// why\n    return a;"),
    (
        "its helper moves inside",
        "const g = (b) => b;\nfunction f(a) {\n  return g(a);\n}",
        "const g = (b) => b;\n    return g(a);",
    ),
    (
        "a template keeps its blanks",
        "function f(a) {\n  return `x\n  y`;\n}",
        "return `x\n  y`;",
    ),
    (
        "a step is a step of the document",
        "function f(a) {\n if (a) {\n  b();\n }\n}",
        "if (a) {\n        b();\n    }",
    ),
    ("another function is not taken", "function g(a) { return a }", ""),
    ("a cut-off function is not taken", "function f(a) {\n  return (a +", ""),
    ("a body of nothing is nothing", "function f(a) {\n  // todo\n}", ""),
]


@pytest.mark.parametrize(("answer", "body"), [a[1:] for a in ANSWERS], ids=[a[0] for a in ANSWERS])
def test_body_from(answer: str, body: str) -> None:
    assert body_from(answer, target_of("function f(a) {\n    ║\n}")) == body


def test_what_the_file_has_is_not_repeated() -> None:
    target = target_of("const g = (b) => b;\nfunction f(a) {\n  ║\n}")
    answer = "const g = (b) => b;\nfunction f(a) { return g(a); }"
    assert body_from(answer, target) == "return g(a);"


@pytest.mark.parametrize("head", ["function f(a) {\n  ║\n}", "const f = (a) => ║"])
def test_a_model_that_goes_on_with_the_head_writes_a_whole_function(head: str) -> None:
    target = target_of(head)
    prompt = solutions(target, "prefix", 1)[0]
    assert "".join(piece.text for piece in prompt.pieces) == target.begun
    assert "\n}" in prompt.stop
    assert "return a;" in fim.body("return a;", target)


@pytest.mark.parametrize(
    ("marked", "text", "breaks"),
    [
        ("const x = ║;\n", "3", False),
        ("const x = ║;\n", "(3", True),
        ("function f(a) {\n  ║\n}\n", "return a;", False),
        ("function f(a) {\n  ║\n}\n", "return a;\n}", True),
        ("function f(a) {║\n", "\n  return a;", False),
    ],
)
def test_a_text_is_held_to_what_the_place_allows(marked: str, text: str, breaks: bool) -> None:
    assert adds_errors(place(marked, "javascript"), text) is breaks


@pytest.mark.parametrize(
    ("document", "body"),
    [
        ("function f(x) { retu║rn x; }\n", "return x;"),
        ("const f = (x) => x║ + 1;\n", "x + 1"),
        (
            "/** Doc. */\nexport const ║f = (x) => {\n  // why\n  return x; // é\n};\n",
            "// why\n  return x; // é",
        ),
        ("const é = 1;\nfunction f(x) {\n  return x;\n}║", "return x;"),
    ],
)
def test_a_function_is_emptied_to_a_stub_and_its_body_makes_it_whole(document, body):
    context = place(document, "javascript")
    stub, found = emptied(context)
    assert (found, stub.language) == (body, "javascript")
    assert stub.completed(found) == context.document
    assert find(stub).stub


def test_a_function_without_a_body_cannot_be_emptied() -> None:
    found = emptied(place("function f(x) {\n  // ║\n}", "javascript"))
    assert found == Untestable("the function has no body yet")


TRIMMED = [
    ("function f(a) {\n  ║\n}\n", "  return a;\n}\n\nf(1);", "return a;"),
    (
        "function f(a) {║\n}\n",
        "\n  if (a) {\n    b();\n  }\n}\n\nf(1);",
        "\n  if (a) {\n    b();\n  }",
    ),
    ("const f = (a) => {║\n};\n", "\n  return a;\n};\nf(1);", "\n  return a;"),
    ("f(1, ║);\n", "2);", "2"),
]


@pytest.mark.parametrize(("marked", "written", "kept"), TRIMMED)
def test_what_closes_the_block_again_is_cut(marked: str, written: str, kept: str) -> None:
    assert clean(written, place(marked, "javascript")) == kept


# -- tests that a model wrote ----------------------------------------------------------------------

F = "function f(a, b = 2) {\n  ║\n}"
KEPT = [
    ("console.assert(f(1) === 2, 'no');", Check("f(1)", "eq", "2")),
    ("assert.strictEqual(f( 1,2 ), [1, 2])", Check("f(1, 2)", "eq", "[1, 2]")),
    ("assert.equal(2, f('x'));", Check('f("x")', "eq", "2")),
    ("assert.deepEqual(f({a: null}), {b: [-1.5]})", Check("f({a: null})", "eq", "{'b': [-1.5]}")),
    ("assert(f(1) !== 2)", Check("f(1)", "ne", "2")),
    ("assert(!f(1))", Check("!!f(1)", "is", "False")),
    ("assert.ok(f(1))", Check("!!f(1)", "is", "True")),
    ("expect(f(1)).toBe(true)", Check("f(1)", "is", "True")),
    ("expect(f(1)).toBeNull()", Check("f(1)", "is", "None")),
    ("expect(f(1)).not.toBe(undefined)", Check("(f(1)) == null", "is", "False")),
    ("expect(f(1)).not.toEqual('a')", Check("f(1)", "ne", "'a'")),
    ("expect(f(1)).to.deep.equal([1])", Check("f(1)", "eq", "[1]")),
    ("expect(f(1)).toHaveLength(3)", Check("f(1).length", "eq", "3")),
    ("assert(JSON.stringify(f(1)) === JSON.stringify([1]))", Check("f(1)", "eq", "[1]")),
    ("assert.deepEqual(f(1), new Set([1]))", Check("f(1)", "eq", "{1}")),
    ("assert.deepEqual(f([1,\n 2]),\n  3);", Check("f([1, 2])", "eq", "3")),
    ("assert(f(1) > 2)", Check("!!(f(1) > 2)", "is", "True", strong=False)),
]  # fmt: skip


@pytest.mark.parametrize(("line", "check"), KEPT, ids=[k[0] for k in KEPT])
def test_a_usable_assertion_becomes_the_strongest_check(line: str, check: Check) -> None:
    tests, dropped = parse(["0), 99);\n" + line], target_of(F), "small")
    assert tests[1].check == check
    assert not dropped


DROPPED = [
    ("assert.equal(f(1", "does_not_compile"),
    ("console.log(f(1));", "not_one_assert"),
    ("expect(f(1)).toThrow();", "not_one_assert"),
    ("assert.throws(() => f(1));", "not_one_assert"),
    ("assert.equal(g(1), 2);", "does_not_call"),
    ("assert.equal(f(x), 2);", "arguments_not_literal"),
    ("assert.equal(f([1,,2]), 2);", "arguments_not_literal"),
    ("assert.equal(f(1), f(1));", "tautology"),
    ("assert(f(1) || true);", "tautology"),
    ("console.assert(f(0) === 99);", "repeated"),
    ("assert.equal(f(), 2);", "arguments_do_not_fit"),
    ("assert.equal(f(1, 2, 3), 2);", "arguments_do_not_fit"),
]


@pytest.mark.parametrize(("line", "reason"), DROPPED, ids=[d[0] for d in DROPPED])
def test_a_useless_assertion_is_dropped_and_counted(line: str, reason: str) -> None:
    tests, dropped = parse(["0), 99);\n" + line], target_of(F), "small")
    assert len(tests) == 1
    assert dropped == {reason: 1}


def test_what_only_brings_assertions_or_explains_is_passed_over() -> None:
    answer = "1), 2); // one\nconst assert = require('assert');\nimport { expect } from 'vitest';\n"
    assert parse([answer], target_of(F), "small")[1] == {}


def test_what_a_model_says_twice_and_differently_it_does_not_know() -> None:
    answers = ["1), true);\nassert.equal(f(3), 4)", "1), false);"]
    tests, dropped = parse(answers, target_of(F), "small")
    assert [test.text for test in tests] == ["assert.deepStrictEqual(f(3), 4)"]
    assert dropped == {"contradicted": 2}


def test_what_the_types_of_the_head_do_not_promise_is_dropped() -> None:
    head = "function f(a: number[], b?: string): Record<string, number> | null {\n  ║\n}"
    answer = "[1]), { a: 1 });\nassert.equal(f([1], 'x'), null);\nassert.equal(f(['a']), null);\n"
    answer += "assert.equal(f([1], 2), null);\nassert.equal(f([2]), 'x');"
    tests, dropped = parse([answer], target_of(head, "typescript"), "small")
    assert len(tests) == 2
    assert dropped == {"arguments_do_not_fit": 2, "value_does_not_fit": 1}


def test_tests_are_asked_for_in_the_language_without_any_body() -> None:
    for language in ("javascript", "typescript"):
        target = target_of(F, language)
        prompt = prompts(target, "chat", 1)[0]
        assert prompt.pieces[0].text.startswith(target.listing)
        assert prompt.pieces[-1].text == f"```{language}\nassert.deepStrictEqual(f("


STATED = [
    ("/** @example f(1) // => 2 */", "f(1), 2"),
    ("/**\n * f(1); // 2\n */", "f(1), 2"),
    ("/**\n * f('a') === 'b'\n */", 'f("a"), "b"'),
    ("/**\n * So f([1, 2]) -> [1].\n */", "f([1, 2]), [1]"),
    ("/**\n * console.log(f(9)); // returns { a: 1 }\n */", "f(9), {a: 1}"),
    ("// >>> f(1)\n// true", "f(1), true"),
    ("/*\n  > f(1, 'x')\n  [1]\n*/", 'f(1, "x"), [1]'),
]


@pytest.mark.parametrize(("comment", "text"), STATED, ids=[s[0] for s in STATED])
def test_an_example_in_the_comment_above_is_a_trusted_test(comment: str, text: str) -> None:
    (example,) = examples(target_of(f"{comment}\n{F}"))
    expected = f"assert.deepStrictEqual({text})"
    assert (example.text, example.trusted, example.origin) == (expected, True, "docstring")


@pytest.mark.parametrize(
    "comment", ["// f(x) -> y", "// this.f(1) == 2", "// f(1) throws", "// f(1) == 2\n"]
)
def test_what_states_no_literal_value_of_the_function_below_is_no_example(comment: str) -> None:
    assert examples(target_of(f"{comment}\n{F}")) == []


# -- literals and types ----------------------------------------------------------------------------

LITERALS = [
    ("0x1f", 31),
    ("1_000", 1000),
    (".5", 0.5),
    ("1e3", 1000),
    ("10n", 10),
    ("-2", -2),
    ("12345678901234567890", 12345678901234567890.0),
    (r"'a\n\x41\u{1F600}\ud83d\ude00\''", "a\nA😀😀'"),
    ("`x\\ty`", "x\ty"),
    ("[1, [true, null], undefined,]", [1, [True, None], None]),
    ("{a: 1, 'b c': 2, 3: /* three */ 3}", {"a": 1, "b c": 2, "3": 3}),
    ("new Map([['a', 1]])", {"a": 1}),
    ("new Set()", set()),
    ("(void 0)", None),
]
NOT_LITERALS = [
    "NaN",
    "x",
    "[...x]",
    "{[x]: 1}",
    "{x}",
    "`${x}`",
    "/x/",
    "new Date(1)",
    "+'1'",
    "017",
    "1 + 1",
]


def expression(text: str) -> Node:
    return syntax(f"({text})", "typescript").named_children[0].named_children[0].named_children[0]


@pytest.mark.parametrize(("text", "value"), LITERALS, ids=[lit[0] for lit in LITERALS])
def test_a_literal_has_the_same_value_in_python(text: str, value: object) -> None:
    assert value_of(expression(text)) == value
    assert type(value_of(expression(text))) is type(value)


@pytest.mark.parametrize("text", NOT_LITERALS)
def test_what_python_cannot_write_is_no_literal(text: str) -> None:
    assert not is_literal(expression(text))


@pytest.mark.parametrize(
    ("type_", "value", "held"),
    [
        ("number", 1.5, True),
        ("number", True, False),
        ("string[]", ["a"], True),
        ("Array<string>", [1], False),
        ("[number, string]", [1, "a"], True),
        ("'a' | 'b'", "c", False),
        ("string | undefined", None, True),
        ("Map<string, number>", {"a": "b"}, False),
        ("Set<number>", [1], False),
        ("Whatever<number>", 1, True),
    ],
)
def test_a_value_is_held_to_a_type_as_far_as_it_is_understood(type_, value, held):
    node = syntax(f"let x: {type_};", "typescript").named_children[0].named_children[0]
    assert fits(value, node.child_by_field_name("type")) is held


# -- what the sandbox makes of them ----------------------------------------------------------------

RUN = [
    ("return [];", "assert(f(1));", "passed"),
    ("return '';", "assert(!f(1));", "passed"),
    ("return NaN;", "assert(!f(1));", "passed"),
    ("return { b: 1, a: [2, null] };", "assert.deepEqual(f(1), { a: [2, null], b: 1 });", "passed"),
    ("return 1;", "assert.equal(f(1), true);", "assert_failed"),
    ("return undefined;", "assert.equal(f(1), null);", "passed"),
    ("return undefined;", "assert.notEqual(f(1), null);", "assert_failed"),
    ("return new Map([['a', 1]]);", "assert.deepEqual(f(1), new Map([['a', 1]]));", "passed"),
    ("return a + 0.1;", "expect(f(0.2)).toBeCloseTo(0.3);", "passed"),
    ("return [1];", "assert.deepEqual(f(1), f(2));", "passed"),
    ("return '\\u{1F600}';", "assert.equal(f(1), '\\ud83d\\ude00');", "passed"),
    ("return a.b.c;", "assert.equal(f(1), 1);", "error"),
]


async def test_an_assertion_holds_in_the_sandbox_as_it_does_in_node() -> None:
    box = make_sandbox(SandboxOptions())
    assert box is not None
    if "javascript" not in (await box.status()).languages:
        await box.close()
        pytest.skip("no tier here runs JavaScript")
    target = target_of(F)
    for body, assertion, kind in RUN:
        (test, *_), _ = parse(["x);\n" + assertion], target, "small")
        source = program(place(F).completed(body), target, whole=False)
        assert source is not None
        (outcome,) = await box.run(source, [test.check], Limits(), language=target.runs_as)
        assert outcome.kind == kind, (body, assertion, outcome)
    await box.close()
