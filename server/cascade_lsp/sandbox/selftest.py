"""Attack a sandbox and say what it stopped: `cascade sandbox selftest`.

The attacks are data, in attacks/: a file is a group, each attack the body of a function that
returns "canary" where it got through. They only ever run inside the sandbox that is tried, aim at
files and listeners made for them in a temporary folder, and those that would hurt the user's
session if they got through are left to the project's own tests, which have machines to waste.
That an attack works where nothing holds it is what those tests show first.
"""

import asyncio
import base64
import contextlib
import os
import platform
import re
import shutil
import struct
import sys
import tempfile
import textwrap
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from cascade_lsp.sandbox import Check, Limits, Outcome, Sandbox, Tier, syscalls

DATA = Path(__file__).parent / "attacks"
FORGERIES = "forgeries"
# What an interpreter refuses that a kernel need not: within one's own process it harms nobody.
INTERPRETER = "interpreter"
MARK = ".throw-away"

CANARY = "canary"
MOST_SHOWN = 20_000
LIMITS = Limits(memory_bytes=256 * 1024 * 1024)
SMALL = Limits(time_s=3.0, memory_bytes=64 * 1024 * 1024)  # for attacks on the limits themselves
SHORT = Limits(time_s=0.25, memory_bytes=64 * 1024 * 1024)

# What a tier is known not to stop, by the names of attacks.
GAPS: Mapping[Tier, frozenset[str]] = {
    "native": frozenset(),
    "native_without_namespaces": frozenset(
        {
            "learn that a file is there",
            "learn by the kind of refusal",
            "stat a file",
            "stat a folder's times",
            "stat by C",
            "ask for access",
            "read a link",
            "read a namespace",
            "learn the machine's name",
            "measure the disk",
            "learn the group of another",
            "learn the session of another",
            "learn the processors of another",
            "learn how another is scheduled",
            "learn the time of another",
        }
    ),
    "portable": frozenset(),
    "none": frozenset(),
}

_CALL = """\
def call(name, *arguments):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    words = [word.encode() if isinstance(word, str) else word for word in words]
    result = libc.syscall(ctypes.c_long(NUMBERS[name]), *words)
    return result if result >= 0 else -ctypes.get_errno()
"""
# A program of 132 bytes for Linux on x86-64 that ends with 42.
_CODE = bytes.fromhex("bf2a000000b83c0000000f05")
_ELF = (
    b"\x7fELF\2\1\1"
    + bytes(9)
    + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 132, 132, 4096)
    + _CODE
)
# A database of one table that holds the canary.
_DATABASE = (
    "c-jjN^vNtqRY=P(%1ta$FlJz4U}R))P*7lC05TyM1{i^u1&vP#Ffr&QGxCBIGu~$aqESF!AkWAq&d<-NUy_)VlUh>3"
    "<Q(Mc7~-lB;^^e#s!*a)p$UnbZwx>*3PudzU}Ta^PRvUzsssS-#T3&"
)


@dataclass(frozen=True, slots=True)
class Attack:
    """A way to try to get out.

    `first` is a program to run before, by somebody else. `marks`: "userns" needs rights that an
    ordinary user has in a namespace of its own, "flood" shows itself by the size of its answer,
    "time" by the time it takes, "grave" would hurt the user's session, "unittest" forges a
    verdict of that framework.
    """

    group: str
    name: str
    body: str
    first: str = ""
    marks: frozenset[str] = frozenset()

    @property
    def limits(self) -> Limits:
        if self.group != "resources":
            return LIMITS
        return SHORT if "time" in self.marks else SMALL


@dataclass(frozen=True, slots=True)
class Places:
    """What attacks aim at: a folder with a secret, a port, sockets, and a process."""

    folder: Path
    port: int
    victim: int

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    @property
    def abstract(self) -> str:
        return self.folder.parent.name


@dataclass(frozen=True, slots=True)
class Tried:
    """One attack and what came of it; `why` is empty where it was stopped."""

    attack: Attack
    outcome: Outcome
    why: str = ""

    @property
    def stopped(self) -> bool:
        return not self.why


@dataclass(slots=True)
class Report:
    """All that was tried, and whether the sandbox still worked in between and afterwards."""

    tier: Tier
    reason: str
    tried: list[Tried] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def through(self) -> list[str]:
        """Return the names of the attacks that got through and are no known gap."""
        known = GAPS[self.tier]
        return [t.attack.name for t in self.tried if not t.stopped and t.attack.name not in known]

    @property
    def gaps(self) -> list[str]:
        """Return the names of the known gaps that were seen again."""
        known = GAPS[self.tier]
        return [t.attack.name for t in self.tried if not t.stopped and t.attack.name in known]

    @property
    def holds(self) -> bool:
        """Say whether the sandbox is as good as its tier promises."""
        return self.tier != "none" and not self.through and not self.faults

    def figures(self) -> dict[str, tuple[int, int]]:
        """Return tried and stopped, by group."""
        tried = Counter(t.attack.group for t in self.tried)
        stopped = Counter(t.attack.group for t in self.tried if t.stopped)
        return {group: (tried[group], stopped[group]) for group in tried}


@cache
def load() -> tuple[Attack, ...]:
    """Return all attacks and forgeries, in the order of their files."""
    return tuple(attack for path in sorted(DATA.glob("*.txt")) for attack in _parse(path))


def _parse(path: Path) -> Iterable[Attack]:
    for part in re.split(r"^# ", path.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        name, _, body = part.partition("\n")
        marks = frozenset(re.findall(r"^#: (.+)$", body, re.MULTILINE))
        first, _, last = re.sub(r"^#: .+\n", "", body, flags=re.MULTILINE).rpartition("---\n")
        yield Attack(path.stem, name, last, first, marks)


def chosen(tier: Tier) -> list[Attack]:
    """Return the attacks that a tier promises to stop, but for its known gaps."""
    groups = {attack.group for attack in load()} - {FORGERIES}
    if tier != "portable":
        groups.discard(INTERPRETER)
    return [attack for attack in load() if attack.group in groups]


def program(body: str, places: Places) -> str:
    """Return an attack as the source of a function `attack`."""
    names: dict[str, object] = {
        "FOLDER": str(places.folder),
        "SECRET": str(places.folder / "secret"),
        "TARGET": str(places.folder / "target"),
        "SOCKET": str(places.socket),
        "ABSTRACT": places.abstract,
        "PORT": places.port,
        "VICTIM": places.victim,
        "HOST": platform.node(),
        "ELF": _ELF,
    }
    head = "".join(f"{n} = {v!r}\n" for n, v in names.items() if re.search(rf"\b{n}\b", body))
    if "call(" in body:
        known = syscalls.architecture()
        used = set(re.findall(r'call\("(\w+)"', body))
        numbers = {name: (known[1] if known else {}).get(name, -1) for name in sorted(used)}
        head += f"NUMBERS = {numbers}\n{_CALL}"
    return f"{head}def attack():\n{textwrap.indent(body, '    ')}"


def furnish(folder: Path) -> None:
    """Put into an empty folder what attacks want to read and to change."""
    for name in ("inner", "empty", ".ssh", ".git"):
        (folder / name).mkdir()
    (folder / "inner" / "file").write_text("x")
    (folder / "secret").write_text(CANARY)
    (folder / "planted.py").write_text(f"shown = {CANARY!r}\n")
    (folder / ".env").write_text(f"PASSWORD={CANARY}\n")
    (folder / ".ssh" / "id_ed25519").write_text(f"{CANARY}\n")
    (folder / ".git" / "config").write_text(f"[user]\ntoken = {CANARY}\n")
    (folder / "data.sqlite").write_bytes(zlib.decompress(base64.b85decode(_DATABASE)))
    with contextlib.suppress(OSError, AttributeError, NotImplementedError):
        (folder / "link").symlink_to(CANARY)
        if sys.platform == "linux":
            os.setxattr(folder / "secret", "user.note", CANARY.encode())


def restore(folder: Path) -> None:
    """Put a folder back into the state of `furnish`, with its sockets."""
    folder.chmod(0o755)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif not path.is_socket() or not path.name.startswith("socket"):
            path.unlink()
    furnish(folder)


def snapshot(folder: Path) -> frozenset[str]:
    """Describe all that a folder holds: names, kinds, modes, owners, sizes, times, attributes."""
    return frozenset(map(_describe, [folder, *sorted(folder.rglob("*"))]))


def _describe(path: Path) -> str:
    about = path.lstat()
    notes: list[str] = []
    if sys.platform == "linux" and not path.is_symlink():
        with contextlib.suppress(OSError):
            notes = sorted(os.listxattr(path))
    what = (about.st_mode, about.st_uid, about.st_gid, about.st_nlink, about.st_size)
    return f"{path} {what} {about.st_mtime_ns} {notes}"


class Visitors:
    """Listens where attacks try to connect, and counts who comes."""

    def __init__(self) -> None:
        self.count = 0
        self._open = contextlib.AsyncExitStack()

    async def listen(self, folder: Path) -> int:
        """Listen at a port of this machine and in the folder; return the port."""
        server = await asyncio.start_server(self._came, "127.0.0.1", 0)
        await self._open.enter_async_context(server)
        port = int(server.sockets[0].getsockname()[1])
        with contextlib.suppress(OSError):
            await self._open.enter_async_context(
                await asyncio.start_server(self._came, "::1", port)
            )
        for host in ("127.0.0.1", "::1"):
            with contextlib.suppress(OSError):
                await self._datagrams(local_addr=(host, port))
        if sys.platform == "linux":
            for path in (f"{folder}/socket", f"\0{folder.parent.name}"):
                with contextlib.suppress(OSError):  # the path may be too long
                    unix = await asyncio.start_unix_server(self._came, path)
                    await self._open.enter_async_context(unix)
            with contextlib.suppress(OSError):
                await self._datagrams(local_addr=f"{folder}/socket-datagrams", family=1)
        return port

    async def close(self) -> None:
        await self._open.aclose()

    async def _datagrams(self, **where: Any) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), **where)
        self._open.callback(transport.close)

    def _came(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.count += 1
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, visitors: Visitors) -> None:
        self._visitors = visitors

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._visitors.count += 1


@contextlib.asynccontextmanager
async def arena(under: Path | None = None) -> AsyncIterator[tuple[Places, Visitors]]:
    """Make what attacks aim at, and take it away again."""
    top = Path(tempfile.mkdtemp(prefix="cascade-attacks-", dir=under))
    folder, visitors = top / "home", Visitors()
    victim = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", "import time; time.sleep(900)"),
        env={**os.environ, "CANARY": CANARY},
        start_new_session=True,
    )
    try:
        folder.mkdir()
        (top / MARK).touch()
        furnish(folder)
        yield Places(folder, await visitors.listen(folder), victim.pid), visitors
    finally:
        await visitors.close()
        with contextlib.suppress(ProcessLookupError):
            victim.kill()
        await victim.wait()
        shutil.rmtree(top, ignore_errors=True)


def judge(attack: Attack, outcome: Outcome) -> str:
    """Say how an attack got through; "" where nothing shows that it did."""
    if "flood" in attack.marks:
        return "all of it arrived" if len(outcome.seen + outcome.detail) > MOST_SHOWN else ""
    if outcome.kind == "passed":
        return "it did what it tried"
    return "it was seen" if CANARY in outcome.seen else ""


async def attempt(sandbox: Sandbox, attack: Attack, places: Places) -> Outcome:
    """Run one attack in the sandbox, after the program that it follows."""
    for body in filter(None, (attack.first, attack.body)):
        check = Check("attack()", "eq", repr(CANARY))
        (outcome,) = await sandbox.run(program(body, places), [check], attack.limits)
    return outcome


async def selftest(
    sandbox: Sandbox,
    told: Callable[[Tried], None] = lambda _: None,
    *,
    grave: bool = False,
    watch: Callable[[], frozenset[str]] = frozenset,
    only: Callable[[Attack], bool] = lambda _: True,
) -> Report:
    """Try the attacks and report; `told` hears of each as it is done.

    `grave` adds those that only a machine to waste should see, `watch` describes what else must
    not change. Where nothing is ever run nothing is tried.
    """
    status = await sandbox.status()
    report = Report(status.tier, status.reason)
    if status.tier == "none":
        return report
    async with arena() as (places, visitors):
        await _ask_for_sanity(sandbox, places, report)
        before = snapshot(places.folder) | watch()
        for attack in filter(only, chosen(status.tier)):
            if "grave" in attack.marks and not grave:
                continue
            visitors.count = 0
            outcome = await attempt(sandbox, attack, places)
            after = await settled(before, lambda: snapshot(places.folder) | watch())
            why = judge(attack, outcome)
            if after != before:
                why = f"it left a trace: {sorted(after ^ before)[:4]}"
            elif visitors.count:
                why = "a connection arrived"
            if after != before:
                restore(places.folder)
                after = snapshot(places.folder) | watch()
            before = after
            report.tried.append(Tried(attack, outcome, why))
            told(report.tried[-1])
            if outcome.kind == "sandbox_lost":
                report.faults.append(f"lost over {attack.name!r}: {outcome.detail}")
        await _ask_for_sanity(sandbox, places, report)
    return report


async def settled(before: frozenset[str], look: Callable[[], frozenset[str]]) -> frozenset[str]:
    """Look until nothing has changed; what is still changed after a while is a trace.

    Only processes need a while, to end.
    """
    for pause in (0.005, 0.01, 0.03, 0.1, 0.3):
        after = look()
        if not any(line.startswith("processes") for line in before ^ after):
            break
        await asyncio.sleep(pause)
    return after


async def _ask_for_sanity(sandbox: Sandbox, places: Places, report: Report) -> None:
    """Check that what does no harm gets its answer out: else nothing would show an attack."""
    harmless = Attack("", "", f"return {CANARY!r}\n")
    outcome = await attempt(sandbox, harmless, places)
    if outcome.kind != "passed":
        report.faults.append(f"a harmless program did not pass: {outcome.kind} {outcome.detail}")


async def forge(sandbox: Sandbox, told: Callable[[Tried], None] = lambda _: None) -> list[Tried]:
    """Try to forge verdicts: nothing may pass for a value that it could not know."""
    tried = []
    for forgery in (attack for attack in load() if attack.group == FORGERIES):
        token = f"token-{os.urandom(8).hex()}"
        check = Check("secret(2, 3)", "eq", repr(token))
        (outcome,) = await sandbox.run(forgery.body, [check], LIMITS)
        why = "it passed" if outcome.kind == "passed" else ""
        tried.append(Tried(forgery, outcome, why))
        told(tried[-1])
    return tried
