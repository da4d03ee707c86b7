"""Forged verdicts: nothing passes for a value that a program could not know.

Each forgery has a control: where program and test share a process, as is usual, it is believed.
And answers that a program writes itself, past all that ought to write them: no verdict comes of
them but that of the value, and they do not hold the reader up.
"""

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from cascade_lsp.sandbox import Check, Limits, Sandbox, selftest
from cascade_lsp.sandbox.native import NativeSandbox
from cascade_lsp.sandbox.selftest import FORGERIES
from tests.sandbox import control
from tests.sandbox.conftest import Table, attack
from tests.sandbox.control import Shown
from tests.sandbox.runner import Configuration

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the corners are Linux's")
LIMITS = Limits()
LOOPS = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def native() -> AsyncIterator[Sandbox]:
    made = NativeSandbox()
    yield made
    await made.close()


def test_every_forgery_is_believed_where_the_test_shares_the_process(
    live: dict[str, Shown],
) -> None:
    forgeries = [attack for attack in selftest.load() if attack.group == FORGERIES]
    assert len(forgeries) >= 60
    assert [forgery.name for forgery in forgeries if not live[forgery.name].live] == []


@pytest.mark.usefixtures("live")
def test_a_program_that_only_fails_is_not_believed() -> None:
    """The control of the controls: what shows a forgery does not show just any failure."""
    job = [FORGERIES, "a failure without a trick"]
    source = "def secret(a, b):\n    return ''\n"
    patch = (
        "import sys; sys.argv = sys.argv[1:]; sys.path[:0] = sys.argv[1:];"
        "from cascade_lsp.sandbox import selftest; from tests.sandbox import control;"
        f"selftest.load = lambda: (selftest.Attack(*{job!r}, {source!r}),"
        f" selftest.Attack({job[0]!r}, 'a failure of unittest', {source!r},"
        " marks=frozenset(['unittest'])));"
        "control.main()"
    )
    root = control.isolated.ROOT
    done = subprocess.run(
        [sys.executable, "-c", patch, "", str(root), str(root / "server")],
        input=f"{json.dumps(job)}\n{json.dumps([job[0], 'a failure of unittest'])}\n",
        capture_output=True,
        text=True,
        check=False,
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [believed for _, believed, _, _ in told] == [False, False], done.stderr


@pytest.mark.parametrize(
    ("name", "configuration"),
    [
        ("forged verdicts, native", Configuration(forgeries=True)),
        ("forged verdicts, portable", Configuration("portable", forgeries=True)),
    ],
    ids=["native", "portable"],
)
def test_no_forged_verdict_passes(
    name: str, configuration: Configuration, shown: dict[str, Shown], table: Table
) -> None:
    report = attack(configuration)
    table.add(name, report, shown)
    assert report.through == {}
    assert report.left == ()
    assert len(report.why) >= 60


@LOOPS
async def test_what_knows_the_value_passes(native: Sandbox) -> None:
    program = "def secret(a, b): return 'token-1'"
    check = Check("secret(2, 3)", "eq", "'token-1'")
    assert [outcome.kind for outcome in await native.run(program, [check], LIMITS)] == ["passed"]


# -- answers written by the program itself ---------------------------------------------------------

EVERYWHERE = """
import os
def f():
    for file in range(3, 64):
        try:
            text = TEXT
            while text:
                text = text[os.write(file, text):]
        except OSError:
            pass
    os._exit(0)
"""
COLLIDING = [(2**61 - 1) * n for n in range(1, 33000)]


def value(plain: object, kind: str = "int", **others: object) -> str:
    return json.dumps({"kind": "value", "type": kind, "plain": plain, **others})


def raw(plain: str) -> str:
    return f'{{"kind": "value", "type": "int", "plain": {plain}}}'


ANSWERS: dict[str, Callable[[], str]] = {
    "a set of equal hashes": lambda: value({"set": COLLIDING}, "set"),
    "a dictionary of equal hashes": lambda: value(
        {"dict": [[n, 0] for n in COLLIDING[:28000]]}, "dict"
    ),
    "a set of tuples of equal hashes": lambda: value(
        {"set": [{"tuple": [n]} for n in COLLIDING[:22000]]}, "set"
    ),
    "a set of decimals of equal hashes": lambda: value(
        {"set": [{"decimal": str(n)} for n in COLLIDING[:18000]]}, "set"
    ),
    "deep values": lambda: raw('{"list":[' * 30000 + "]}" * 30000),
    "deep lists": lambda: raw("[" * 400000 + "]" * 400000),
    "a very large decimal": lambda: value({"decimal": "1e999999999999999999"}, "Decimal"),
    "a very long decimal": lambda: value({"decimal": "9" * 900000}, "Decimal"),
    "a decimal that cannot be hashed": lambda: value({"set": [{"decimal": "sNaN"}]}, "set"),
    "a very long number": lambda: value({"int": "9" * 900000}),
    "a very long number of base 16": lambda: value({"int": "0x" + "f" * 900000}),
    "a very long number of JSON": lambda: raw("9" * 900000),
    "many long numbers of JSON": lambda: raw(f"[{','.join(['9' * 4000] * 200)}]"),
    "no number": lambda: raw("NaN"),
    "a long time": lambda: value({"timedelta": [10**30, 0, 0]}, "timedelta"),
    "too many parts": lambda: value({"complex": [1, 2, 3]}, "complex"),
    "a kind given twice": lambda: '{"kind": "value", "kind": "passed", "type": "int", "plain": 5}',
    "two answers": lambda: f"{value(5)}\n{value(5)}",
    "a verdict": lambda: '{"kind": "passed"}',
    "a verdict of the user's tests": lambda: (
        '{"kind": "suite", "verdict": "passed", "seen": "", "detail": ""}'
    ),
    "a list": lambda: "[1]",
    "nothing": lambda: "null",
    "an empty line": lambda: "",
    "no text": lambda: "\udcff",
    "a long type": lambda: value(5, "x" * 900000),
    "a type that is none": lambda: json.dumps({"kind": "value", "type": {"a": 1}, "plain": 5}),
    "an object that is none": lambda: value({"object": {"a": 1}}, "x"),
    "no bytes": lambda: value({"bytes": [1]}, "bytes"),
    "an exception without a name": lambda: '{"kind": "raised"}',
    "an exception of odd parts": lambda: json.dumps(
        {"kind": "raised", "name": [], "message": {}, "line": "x", "function": [], "in_check": 0}
    ),
    "what cannot be hashed": lambda: value({"set": [{"list": []}]}, "set"),
    "half a letter": lambda: value("\ud800", "str"),
}


async def tell(sandbox: Sandbox, text: str, check: Check) -> selftest.Outcome:
    data = f"{text}\n".encode("utf-8", "surrogateescape")
    (outcome,) = await sandbox.run(f"TEXT = {data!r}\n{EVERYWHERE}", [check], LIMITS)
    return outcome


@LOOPS
async def test_an_answer_written_by_hand_is_read_as_a_value(native: Sandbox) -> None:
    """The control of the next test: what it writes does arrive."""
    assert (await tell(native, value(5), Check("f()", "eq", "5"))).kind == "passed"
    assert (await tell(native, value(4), Check("f()", "eq", "5"))).kind == "assert_failed"


@LOOPS
@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_written_by_hand_gives_no_verdict_and_holds_nobody_up(
    native: Sandbox, name: str
) -> None:
    text = ANSWERS[name]()
    await native.status()
    for check in (Check("f()", "eq", "{'token'}"), Check("f()", "is", "False")):
        began = time.perf_counter()
        outcome = await tell(native, text, check)
        assert outcome.kind != "passed"
        assert len(outcome.seen) + len(outcome.detail) < 1000
        assert time.perf_counter() - began < 1.0
    (after,) = await native.run("", [Check("1 + 1", "eq", "2")], LIMITS)
    assert after.kind == "passed"
