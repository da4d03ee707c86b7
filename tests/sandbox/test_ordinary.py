"""Ordinary programs, whose answers are known, behave in the native sandbox."""

import importlib.util
import os
import re
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cascade_lsp.sandbox import Check, Limits, Outcome, Project, Sandbox
from cascade_lsp.sandbox.native import NativeSandbox

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the native tier is Linux's"),
]
LOOPS = pytest.mark.asyncio(loop_scope="module")
TEXT = (Path(__file__).parent / "ordinary.txt").read_text("utf-8")
PROGRAMS = {
    name: (expected, body)
    for name, expected, body in re.findall(
        r"^# (.+)\n#: (.+)\n((?:[^#\n].*\n)+)", TEXT, re.MULTILINE
    )
}
NUMPY = """
import numpy as np
def program():
    values = np.linspace(0, 1, 5).reshape(1, 5)
    return [float(values.mean()), int(np.arange(10)[::3].sum()), (values @ values.T).shape]
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def native() -> AsyncIterator[Sandbox]:
    made = NativeSandbox()
    yield made
    await made.close()


async def ran(sandbox: Sandbox, source: str, expected: str, limits: Limits) -> Outcome:
    (outcome,) = await sandbox.run(source, [Check("program()", "eq", expected)], limits)
    return outcome


def test_there_are_programs_to_speak_of() -> None:
    assert len(PROGRAMS) == TEXT.count("\n# ") + 1 >= 45


@LOOPS
@pytest.mark.parametrize("name", PROGRAMS)
async def test_it_behaves(native: Sandbox, name: str) -> None:
    expected, body = PROGRAMS[name]
    source = f"def program():\n{textwrap.indent(body, '    ')}"
    outcome = await ran(native, source, expected, Limits())
    assert outcome.kind == "passed", outcome


@LOOPS
@pytest.mark.parametrize(
    "statement",
    [
        "import sqlite3; sqlite3.connect('own.sqlite').execute('create table t (n)')",
        "import subprocess; subprocess.run(['true'])",
        "import multiprocessing; multiprocessing.Pool(2)",
        "import shutil; shutil.copy(shutil.__file__, 'copy')",
        "import os; open('x', 'w').close(); os.chmod('x', 0o600)",
        "import socket; socket.create_connection(('localhost', 80))",
        "import urllib.request; urllib.request.urlopen('http://localhost')",
        "open('/etc/hostname').read()",
        "import os; os.listdir('/home')",
        "import numpy_that_is_not_there",
        "import threading; [threading.Thread(target=input).start() for _ in range(500)]",
        "x = [bytearray(2**20) for _ in range(2000)]",
        "while True: pass",
    ],
)
async def test_what_the_sandbox_does_not_let_run_is_no_evidence(
    native: Sandbox, statement: str
) -> None:
    source = f"def program():\n    {statement}\n    return 1\n"
    outcome = await ran(native, source, "2", Limits(time_s=0.5))
    assert not outcome.conclusive, outcome


@LOOPS
async def test_numpy_behaves_where_a_project_with_it_is_trusted(tmp_path: Path) -> None:
    if importlib.util.find_spec("numpy") is None:
        pytest.skip("numpy is not installed")
    sandbox = NativeSandbox(Project(tmp_path, Path(sys.executable)))
    try:
        limits = Limits(time_s=5, memory_bytes=1024 * 1024 * 1024)
        outcome = await ran(sandbox, NUMPY, "[0.5, 18, (1, 1)]", limits)
        assert outcome.kind == "passed", outcome
    finally:
        await sandbox.close()


@LOOPS
async def test_many_programs_at_once_do_not_meet(native: Sandbox) -> None:
    """Each sees a folder of its own, whatever the others leave in theirs."""
    source = (
        "import os\ndef program(n):\n"
        "    open(f'left-{n}', 'w').close()\n    return sorted(os.listdir('.'))\n"
    )
    checks = [Check(f"program({n})", "eq", f"['left-{n}']") for n in range(20)]
    outcomes = await native.run(source, checks, Limits())
    assert {outcome.kind for outcome in outcomes} == {"passed"}
    assert not any(name.startswith("left-") for name in os.listdir("."))  # noqa: PTH208
