"""Attacks on each tier, each with a control: where nothing holds it, it does what it tries to do.

The attacks are data of the package, in sandbox/attacks. Sandboxes are attacked in a corner of the
machine to waste (`runner`), controls run there too, as a throw-away user (`control`).
"""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from cascade_lsp.sandbox import Status, selftest
from cascade_lsp.sandbox.portable import PortableSandbox
from cascade_lsp.sandbox.selftest import FORGERIES, GAPS, INTERPRETER
from tests.sandbox import control, isolated
from tests.sandbox.conftest import Table, attack, not_live
from tests.sandbox.control import Shown
from tests.sandbox.runner import LAYERS, Configuration

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the corners are Linux's")

# What needs rights that no user of this kind has, parts of the kernel that may not be built, or
# devices that may not be there: such an attack may be tried without a control that works.
MAY_BE_DEAD = {
    "read the kernel's log", "write the interpreter's own library", "reach the kernel's ciphers",
    "reach the host of the machine", "set the clock", "load a module", "remove a module",
    "load another kernel", "swap", "account for processes", "load a program for the kernel",
    "open a file by the kernel's name", "reach the ports", "open its ports to itself",
    "hang up the terminal", "call by a second set of numbers", "open what stands for memory",
    "open what makes machines", "open what makes file systems", "use very large pages",
    "make an interface", "observe itself by the kernel", "observe another", "make a ring of calls",
    "handle its own page faults", "change its segments", "call as a program of 32 bits",
    "keep memory secret", "list the mounts", "ask what of a file is in memory",
    "set an attribute by setxattrat", "change a flag of a file", "type into the terminal",
    "ask for the state of a file system", "write quotas", "become a program of its own",
    "become a program in memory", "read an attribute", "list the attributes", "set an attribute",
    "set an attribute by a descriptor", "remove an attribute", "measure the processor's time",
    "connect by many paths at once", "connect by inet6", "send a datagram by inet6",
    "listen by inet6", "make a raw packet of inet6", "ask the kernel for its sockets",
    "move its pages between nodes", "move the pages of another", "fork by the old call",
}  # fmt: skip


def test_there_are_attacks_to_speak_of() -> None:
    counts = Counter(attack.group for attack in selftest.load())
    names = [attack.name for attack in selftest.load()]
    assert len(set(names)) == len(names)
    assert counts.total() - counts[FORGERIES] - counts[INTERPRETER] >= 450
    assert counts[FORGERIES] >= 55
    assert len(counts) == 12


def test_every_name_in_a_list_is_an_attack() -> None:
    names = {attack.name for attack in selftest.load()}
    assert names >= MAY_BE_DEAD
    assert all(names >= gaps for gaps in GAPS.values())


@LINUX
def test_every_attack_works_where_nothing_holds_it(live: dict[str, Shown], table: Table) -> None:
    dead = not_live(live)
    table.say(f"cannot be shown to work on this machine ({len(dead)}): {', '.join(dead)}")
    assert {name: live[name].words for name in dead if name not in MAY_BE_DEAD} == {}


@LINUX
def test_the_controls_leave_the_traces_that_are_looked_for(live: dict[str, Shown]) -> None:
    traces = [trace for control in live.values() for trace in control.traces]
    for start in (
        *("/tmp/cascade-attacks-", "/tmp/cascade-left", "/var/tmp/cascade-left"),
        *("/dev/shm/cascade-left", "/dev/shm/sem.cascade-left", f"{isolated.QUEUES}/cascade-left"),
        *("sysv shm", "sysv sem", "sysv msg", "processes", "listening 6", "listening unix"),
    ):
        assert any(trace.startswith(start) for trace in traces), start


@LINUX
@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ("os.environ['HOME'] = os.path.expanduser('~root')", "this is no throw-away home"),
        ("os.environ['HOME'] = '/tmp'", "this is no throw-away home"),
        ("os.chdir('/')", "this is no throw-away folder"),
        ("isolated.USERS = range(0)", "this is no throw-away user"),
    ],
)
def test_a_control_refuses_any_other_home_and_any_other_user(
    change: str, refusal: str, tmp_path: Path
) -> None:
    """Each change by itself is refused; without one the same words are accepted."""
    if os.getuid() != 0:
        pytest.skip("only root can become a throw-away user")
    program = f"""
import os, pathlib, sys
sys.path[:0] = {[str(isolated.ROOT), str(isolated.ROOT / "server")]!r}
from tests.sandbox import isolated
isolated.enter({control.USER})
top = pathlib.Path("/tmp/cascade-attacks-refusal")
(top / "home").mkdir(parents=True)
(top / "work").mkdir()
(top / isolated.MARK).touch()
isolated.become({control.USER})
os.environ["HOME"] = str(top / "home")
os.chdir(top / "work")
isolated.insist(top / "home")
print("accepted", flush=True)
{change}
isolated.insist(top / "home")
print("accepted again", flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.stdout, done.stderr.strip()) == ("accepted\n", f"refused: {refusal}")


@LINUX
def test_a_control_refuses_root() -> None:
    program = "from tests.sandbox import isolated; isolated.insist(isolated.ROOT)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=isolated.ROOT,
        env={"PYTHONPATH": str(isolated.ROOT), "HOME": "/tmp"},
    )
    assert done.stderr.strip() == "refused: this is no throw-away user"


@LINUX
@pytest.mark.parametrize(
    ("name", "configuration"),
    [
        ("native, as an ordinary user", Configuration()),
        ("native, started as root", Configuration(root=True)),
        ("native without namespaces", Configuration(layers=LAYERS[1:])),
        ("portable", Configuration("portable")),
    ],
    ids=["native", "native-root", "native-without-namespaces", "portable"],
)
def test_no_attack_gets_through_and_none_leaves_a_trace(
    name: str, configuration: Configuration, shown: dict[str, Shown], table: Table
) -> None:
    report = attack(configuration)
    table.add(name, report, shown)
    assert report.unforeseen == {}
    assert (report.faults, report.left) == ((), ())
    assert len(report.why) > 450
    gaps = sorted(report.through)
    if gaps:
        table.say(f"    known gaps ({len(gaps)}): {', '.join(gaps)}")
    assert gaps == sorted(GAPS[report.tier])  # type: ignore[index]
    expected = {"portable": "portable", "native": "native"}[configuration.tier]
    assert report.tier.startswith(expected)


async def test_the_selftest_tells_of_each_attack_and_leaves_the_grave_ones_out(
    sandbox: PortableSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    told: list[str] = []
    report = await selftest.selftest(
        sandbox,
        lambda tried: told.append(tried.attack.name),
        only=lambda attack: attack.group in ("reading", "others", "fork_server"),
    )
    assert report.holds and report.tier == "portable"
    assert told == [tried.attack.name for tried in report.tried]
    assert not {"end all", "slow the user down"} & set(told)
    assert set(report.figures()) == {"reading", "others", "fork_server"}
    assert all(tried == stopped > 30 for tried, stopped in report.figures().values())
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_the_selftest_runs_nothing_where_there_is_no_sandbox(
    sandbox: PortableSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox._status = Status("none", "nothing holds")
    report = await selftest.selftest(sandbox)
    assert (report.tried, report.holds, report.reason) == ([], False, "nothing holds")


async def test_an_attack_that_gets_through_is_seen() -> None:
    """A sandbox that holds nothing: the report says so, and the folder is put right again."""

    class Open(PortableSandbox):
        async def run(self, source, checks, limits, **_):  # type: ignore[no-untyped-def,override]
            told = json.dumps([source, checks[0].expression])
            program = (
                "import json, sys; s, e = json.load(sys.stdin); exec(s, globals()); print(eval(e))"
            )
            done = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-I", "-S", "-c", program],
                input=told,
                capture_output=True,
                text=True,
                check=False,
            )
            right = done.stdout.strip() == "canary"
            return [selftest.Outcome("passed" if right else "error", done.stdout)]

        async def status(self) -> Status:
            return Status("portable", "")

    harmless = {"read a file", "write a file", "stat a file", "touch a file", "connect"}
    report = await selftest.selftest(Open(), only=lambda attack: attack.name in harmless)
    assert set(report.through) == harmless and not report.holds
    assert report.faults == []
