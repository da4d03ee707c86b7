"""What each kind of program is labelled, seen from outside; one sandbox serves all."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from cascade_lsp.sandbox import Check, Limits, Outcome
from cascade_lsp.sandbox.portable import PortableSandbox

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS = Limits(time_s=0.5, memory_bytes=32 * 1024 * 1024)
ADD = "def add(a, b):\n    return a + b\n"
TWO = Check("add(1, 1)", "eq", "2")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[PortableSandbox]:
    portable = PortableSandbox()
    yield portable
    await portable.close()


async def one(
    sandbox: PortableSandbox, source: str, check: Check, limits: Limits = LIMITS
) -> Outcome:
    outcomes = await sandbox.run(source, [check], limits)
    assert len(outcomes) == 1
    return outcomes[0]


@pytest.mark.parametrize(
    ("source", "check", "kind", "seen"),
    [
        (ADD, TWO, "passed", "2"),
        (ADD, Check("add(1, 1)", "ne", "3"), "passed", "2"),
        (ADD, Check("add(True, False) is 1", strong=False), "passed", "True"),
        (ADD, Check("add([], [])", "falsy"), "passed", "[]"),
        ("f = None", Check("f", "is", "None"), "passed", "None"),
        (ADD, Check("add(1, 1)", "eq", "3"), "assert_failed", "2"),
        (ADD, Check("add(1, 1)", "is", "None"), "assert_failed", "2"),
        ("def f(): 1 / 0", Check("f()"), "error", "ZeroDivisionError: division by zero"),
        ("def f(): assert False", Check("f()"), "error", "AssertionError"),
        ("def f(): raise NotImplementedError", Check("f()"), "error", "NotImplementedError"),
        ("def f(): raise SystemExit", Check("f()"), "error", "SystemExit"),
        ("def f(): return f()", Check("f()"), "error", "RecursionError: maximum recursion depth"),
        ("def f(:", Check("f()"), "error", "SyntaxError: "),
        (ADD, Check("add(1", "eq", "2"), "test_error", ""),
        (ADD, Check("sub(1, 1)", "eq", "0"), "test_error", "NameError: name 'sub'"),
        (ADD, Check("add(1, 1)", "eq", "add(1, 1)"), "test_error", ""),
        (ADD, Check("x = add(1, 1)", "eq", "2"), "test_error", ""),
        ("import heapq", Check("1"), "inconclusive", "ModuleNotFoundError"),
        ("import numpy as np", Check("1"), "inconclusive", "ModuleNotFoundError"),
        ("class A(Exception): pass", Check("1"), "inconclusive", "NotImplementedError"),
        ("def f():\n yield 1", Check("1"), "inconclusive", "NotImplementedError"),
        ("import sys\ndef f(): sys.exit()", Check("f()"), "inconclusive", "AttributeError"),
        ("def f(): return '{x}'.format_map({'x': 1})", Check("f()"), "inconclusive", ""),
        ("def f(): raise ValueError(1, 2)", Check("f()"), "inconclusive", "RuntimeError"),
        ("class A: pass", Check("A()", "eq", "1"), "inconclusive", "MontyClassProxy"),
        ("def f(): return {1, 2}", Check("list(f())", "eq", "[1, 2]"), "passed", "[1, 2]"),
        ("def f(): return {2, 1}", Check("list(f())", "eq", "[1, 2]"), "inconclusive", "[2, 1]"),
        ("def f(): return open('/x')", Check("f()"), "blocked_access", "PermissionError"),
        ("import os\ndef f(): return os.getenv('A')", Check("f()"), "blocked_access", ""),
        ("import os\ndef f(): return list(os.walk('/'))", Check("f()"), "blocked_access", ""),
        (
            "def f():\n    try: open('/x')\n    except Exception: return 1",
            Check("f()", "eq", "1"),
            "blocked_access",
            "1",
        ),
    ],
)
async def test_each_run_gets_the_label_that_fits(
    sandbox: PortableSandbox, source: str, check: Check, kind: str, seen: str
) -> None:
    outcome = await one(sandbox, source, check)
    assert (outcome.kind, outcome.seen[: len(seen)]) == (kind, seen)
    if kind == "inconclusive":
        assert outcome.detail


@pytest.mark.parametrize(
    ("source", "check", "wide", "narrow", "kind"),
    [
        (
            "def f():\n    for _ in range(300000): pass\n    return 1",
            Check("f()", "eq", "1"),
            replace(LIMITS, time_s=30),
            replace(LIMITS, time_s=0.001),
            "timeout",
        ),
        (
            "def f(): return len('x' * 20_000_000)",
            Check("f()", "eq", "20000000"),
            LIMITS,
            replace(LIMITS, memory_bytes=8 * 1024 * 1024),
            "memory",
        ),
        (
            "import time\ndef f(): return time.sleep(0.1)",
            Check("f()", "is", "None"),
            replace(LIMITS, sleep_s=1),
            replace(LIMITS, sleep_s=0.05),
            "timeout",
        ),
        (
            "def f():\n    for _ in range(1000): print('x' * 99)\n    return 1",
            Check("f()", "eq", "1"),
            replace(LIMITS, output_bytes=100_000),
            replace(LIMITS, output_bytes=99_999),
            "output_flood",
        ),
    ],
    ids=["time", "memory", "sleep", "output"],
)
async def test_a_limit_stops_what_a_wider_one_lets_pass(
    sandbox: PortableSandbox, source: str, check: Check, wide: Limits, narrow: Limits, kind: str
) -> None:
    assert (await one(sandbox, source, check, wide)).kind == "passed"
    assert (await one(sandbox, source, check, narrow)).kind == kind


async def test_recursion_goes_as_deep_as_in_cpython(sandbox: PortableSandbox) -> None:
    down = "def down(n): return 0 if n == 0 else 1 + down(n - 1)"
    assert (await one(sandbox, down, Check("down(900)", "eq", "900"))).kind == "passed"
    assert (await one(sandbox, down, Check("down(1100)", "eq", "1100"))).kind == "error"


@pytest.mark.parametrize(
    "expression",
    ["list(range(150000))", "'x' * 2_000_000", "deep()", "shared()", "10 ** 3_000_000"],
)
async def test_a_huge_result_is_labelled_and_the_next_run_works(
    sandbox: PortableSandbox, expression: str
) -> None:
    source = (
        "def deep():\n    x = []\n    for _ in range(50000): x = [x]\n    return x\n"
        "def shared():\n    x = [1]\n    for _ in range(40): x = [x, x]\n    return x\n"
    )
    wide = replace(LIMITS, memory_bytes=256 * 1024 * 1024)
    assert (await one(sandbox, source, Check(expression), wide)).kind == "result_flood"
    assert (await one(sandbox, ADD, TWO)).kind == "passed"


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "while True:\n        try: f(1)\n        except BaseException: pass",
        "try: f()\n    finally: f()",
        "sorted(range(10 ** 12))",
        "import itertools\n    sum(itertools.count())",
        "'a' * 10 ** 6 in 'b' * 10 ** 6\n    while [f for _ in range(99)]: pass",
        "x = 7 ** 7 ** 9",
    ],
)
async def test_nothing_runs_much_longer_than_its_limit(sandbox: PortableSandbox, body: str) -> None:
    await sandbox.status()
    began = time.perf_counter()
    outcome = await one(sandbox, f"def f():\n    {body}\n", Check("f()"))
    assert outcome.kind in ("timeout", "memory", "error")
    assert time.perf_counter() - began < LIMITS.time_s + 1.0


async def test_a_passing_verdict_needs_the_right_value_whatever_the_program_does(
    sandbox: PortableSandbox,
) -> None:
    forgeries = [
        "class Yes:\n    def __eq__(self, other): return True\n"
        "    def __bool__(self): return True\n    def __repr__(self): return '2'\n"
        "def add(a, b): return Yes()",
        "class Yes:\n    def __eq__(self, other): return True\ndef add(a, b): return [Yes()]",
        "def add(a, b): print('passed'); raise SystemExit",
        "def add(a, b): raise SystemExit(0)",
        "def bool(x): return True\ndef add(a, b): return 0",
        'import sys\nprint(\'{"kind": "passed"}\')\ndef add(a, b): return 3',
        "def _cascade_typed(value): return 2\ndef add(a, b): return 0",
        "def _cascade_typed(value): return [None, int]\ndef add(a, b): return 0",
        "def _cascade_type(value): return 5\ndef add(a, b): return '2'",
        "_cascade_type = str\ndef add(a, b): return '2'",
        "int.__eq__ = lambda a, b: True\ndef add(a, b): return 3",
        "import builtins\nbuiltins.bool = lambda x: True\ndef add(a, b): return 3",
        "def add(a, b): return lambda: 2",
        "def add(a, b): return [[2]]",
        "def add(a, b): raise AssertionError('passed')",
        "def add(a, b): return ...",
        "raise SystemExit",
    ]
    for source in forgeries:
        outcome = await one(sandbox, source, TWO)
        assert outcome.kind != "passed", source
        assert (await one(sandbox, source, replace(TWO, relation="is"))).kind != "passed", source


async def test_one_run_leaves_nothing_for_the_next(sandbox: PortableSandbox) -> None:
    await one(sandbox, "import math\nmath.e = 1\nspoor = 1\ndef add(a, b): return 5", TWO)
    assert (await one(sandbox, "", Check("spoor"))).kind == "test_error"
    assert (await one(sandbox, ADD, TWO)).kind == "passed"


async def test_random_numbers_follow_the_seed(sandbox: PortableSandbox) -> None:
    source = "import random\ndef f(): return random.random()"
    seen = [(await sandbox.run(source, [Check("f()")], LIMITS, seed=n))[0].seen for n in (1, 1, 2)]
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.parametrize(
    ("source", "passes"),
    [
        ("def f(): return map(str, [1])", False),
        ("def f(): return list(map(str, [1]))", True),
        ("def f(): return (str(x) for x in [1])", False),
        ("def f(): return [next(str(x) for x in [1])]", True),
        (
            "def f():\n    it = zip([1])\n    list(it)\n    return [str(x) for x in it] or ['1']",
            True,
        ),
        ("import collections\ndef f(): return collections.deque(['1'])", False),
        (
            "def f():\n    xs, seen = [1, 2], []\n    for i, x in enumerate(xs):\n"
            "        xs[1] = 1\n        seen.append(str(x))\n    return seen[1:]",
            True,
        ),
        (
            "def f():\n    xs = [1, 0]\n    return [str(any(map(lambda x: 1 // x, xs)))] and ['1']",
            True,
        ),
    ],
)
async def test_iterators_behave_as_in_cpython(
    sandbox: PortableSandbox, source: str, passes: bool
) -> None:
    outcome = await one(sandbox, source, Check("f()", "eq", "['1']"))
    assert outcome.kind == ("passed" if passes else "assert_failed")


async def test_what_cpython_would_not_evaluate_is_no_evidence(sandbox: PortableSandbox) -> None:
    source = "def f(xs): return any(1 / x for x in xs)"
    checks = [Check("f([1, 0])", "is", "True"), Check("f([1, 2])", "is", "True")]
    kinds = [outcome.kind for outcome in await sandbox.run(source, checks, LIMITS)]
    assert kinds == ["inconclusive", "passed"]


@pytest.mark.parametrize(
    ("source", "kind", "seen", "detail"),
    [
        ("print('hello')\n", "passed", "hello\n", ""),
        ("print(1)\nassert 1 == 2", "assert_failed", "1\n", "AssertionError; line 2"),
        (
            "def f():\n    1 / 0\nf()",
            "error",
            "",
            "ZeroDivisionError: division by zero; line 2, in f",
        ),
        ("import heapq", "inconclusive", "", "ModuleNotFoundError: No module named 'heapq'"),
        ("while True: print('x' * 1000)", "output_flood", "x" * 100, "more than"),
        ("raise SystemExit", "error", "", "SystemExit; line 1"),
    ],
)
async def test_a_script_shows_what_it_printed_and_why_it_ended(
    sandbox: PortableSandbox, source: str, kind: str, seen: str, detail: str
) -> None:
    outcome = await sandbox.run_script(source, LIMITS)
    assert outcome.kind == kind
    assert outcome.seen.startswith(seen) and len(outcome.seen) <= LIMITS.output_bytes
    assert outcome.detail.startswith(detail)
