import asyncio
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cascade_lsp.sandbox import Check, Limits, Outcome
from cascade_lsp.sandbox.portable import PortableSandbox

LIMITS = Limits(time_s=0.5, memory_bytes=32 * 1024 * 1024)
ADD = "def add(a, b):\n    return a + b\n"
TWO = Check("add(1, 1)", "eq", "2")
LOOP = "def loop():\n    while True:\n        pass\n"


async def one(
    sandbox: PortableSandbox, source: str, check: Check, limits: Limits = LIMITS
) -> Outcome:
    outcomes = await sandbox.run(source, [check], limits)
    assert len(outcomes) == 1
    return outcomes[0]


def descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def interpreters() -> list[psutil.Process]:
    return [child for child in descendants() if child.name().startswith("monty")]


def gone(process: psutil.Process) -> bool:
    """A killed process may wait to be collected by its new parent for a while."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def all_gone(processes: list[psutil.Process], within_s: float = 5.0) -> bool:
    end = time.monotonic() + within_s
    while not all(map(gone, processes)) and time.monotonic() < end:
        time.sleep(0.01)
    return all(map(gone, processes))


async def test_the_sandbox_says_that_it_holds(sandbox: PortableSandbox) -> None:
    assert (await sandbox.status()).tier == "portable"


def pretending(tmp_path: Path, body: str) -> PortableSandbox:
    """A sandbox whose worker is another program."""
    script = tmp_path / "worker.py"
    script.write_text(body)
    return PortableSandbox([sys.executable, "-I", str(script)])


async def test_where_the_sandbox_does_not_hold_nothing_is_run(tmp_path: Path) -> None:
    leaky = pretending(
        tmp_path,
        "import json\nprint('ready', flush=True)\n"
        "while True:\n    input()\n"
        "    print(json.dumps({'kind': 'passed', 'seen': 'root:x:0'}), flush=True)\n",
    )
    status = await leaky.status()
    assert status.tier == "none"
    assert "trying read() gave passed, not blocked_access" in status.reason
    outcome = await one(leaky, ADD, TWO)
    assert (outcome.kind, outcome.detail) == ("sandbox_lost", status.reason)
    await leaky.close()


async def test_a_worker_that_does_not_start_is_no_verdict(tmp_path: Path) -> None:
    for body in ("raise SystemExit(1)", "print('hello')"):
        broken = pretending(tmp_path, body)
        assert (await one(broken, ADD, TWO)).kind == "sandbox_lost"
        assert (await broken.status()).tier == "none"
        assert not descendants()


async def test_nothing_starts_before_the_first_use_and_nothing_stays_after_the_end() -> None:
    sandbox = PortableSandbox()
    assert not descendants()
    assert (await one(sandbox, ADD, TWO)).kind == "passed"
    processes = descendants()
    assert len(processes) >= 2
    await sandbox.close()
    assert all_gone(processes)


async def test_the_server_never_loads_the_interpreter(sandbox: PortableSandbox) -> None:
    await one(sandbox, ADD, TWO)
    assert "pydantic_monty" not in sys.modules


@pytest.mark.parametrize("victim", ["worker", "interpreter"])
async def test_a_process_killed_in_the_middle_of_a_run_is_replaced(
    sandbox: PortableSandbox, victim: str
) -> None:
    assert (await one(sandbox, ADD, TWO)).kind == "passed"
    targets = psutil.Process().children() if victim == "worker" else interpreters()
    run = asyncio.create_task(one(sandbox, LOOP, Check("loop()"), replace(LIMITS, time_s=20)))
    await asyncio.sleep(0.2)
    targets[0].send_signal(signal.SIGKILL)
    assert (await asyncio.wait_for(run, 5)).kind == "sandbox_lost"
    assert (await one(sandbox, ADD, TWO)).kind == "passed"


async def test_when_the_server_dies_its_sandbox_ends_too() -> None:
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import asyncio\n"
        "from cascade_lsp.sandbox import Check, Limits\n"
        "from cascade_lsp.sandbox.portable import PortableSandbox\n"
        "async def main():\n"
        "    sandbox = PortableSandbox()\n"
        "    print(await sandbox.status(), flush=True)\n"
        f"    await sandbox.run({LOOP!r}, [Check('loop()')], Limits(time_s=0.5))\n"
        "asyncio.run(main())\n",
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdout is not None
    assert b"portable" in await server.stdout.readline()
    processes = psutil.Process(server.pid).children(recursive=True)
    assert len(processes) == 2
    server.kill()
    await server.wait()
    assert all_gone(processes)


async def test_cancelling_ends_the_run_at_once_and_the_next_one_works(
    sandbox: PortableSandbox,
) -> None:
    assert (await one(sandbox, ADD, TWO)).kind == "passed"
    processes = descendants()
    run = asyncio.create_task(one(sandbox, LOOP, Check("loop()"), replace(LIMITS, time_s=20)))
    await asyncio.sleep(0.2)
    began = time.perf_counter()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert time.perf_counter() - began < 0.2
    assert all_gone(processes)
    assert (await one(sandbox, ADD, TWO)).kind == "passed"


async def test_fifty_runs_at_once_all_get_their_own_answer(sandbox: PortableSandbox) -> None:
    async def square(n: int) -> str:
        return (
            await one(sandbox, f"def f(): return {n} * {n}", Check("f()", "eq", f"{n * n}"))
        ).seen

    assert await asyncio.gather(*map(square, range(50))) == [str(n * n) for n in range(50)]


async def test_the_event_loop_goes_on_while_a_program_runs(sandbox: PortableSandbox) -> None:
    await sandbox.status()
    run = asyncio.create_task(one(sandbox, LOOP, Check("loop()")))
    longest, before = 0.0, time.perf_counter()
    while not run.done():
        await asyncio.sleep(0.005)
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    assert (await run).kind == "timeout"
    assert longest < 0.1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_the_processes_inherit_nothing(
    sandbox: PortableSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADE_SECRET", "canary")
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        await one(sandbox, ADD, TWO)
        processes = [Path("/proc", str(process.pid)) for process in descendants()]
    assert len(processes) == 2
    for process in processes:
        assert (process / "environ").read_bytes() == b""
        assert str((process / "cwd").readlink()) == "/"
        files = {str(entry.readlink()) for entry in (process / "fd").iterdir()}
        assert {file for file in files if file.startswith("/")} == {"/dev/null"}
    (interpreter,) = interpreters()
    assert interpreter.num_fds() == 3
