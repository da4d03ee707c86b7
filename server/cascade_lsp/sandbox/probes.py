"""A few live attacks by which a sandbox is tried before it is trusted with anything.

Each is a function that gives 1 where it got through. What counts is that none does: not a version
number, not that a call succeeded. With them goes what must work.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cascade_lsp.sandbox import Check, Limits, Outcome, Sandbox

LIMITS = Limits(memory_bytes=32 * 1024 * 1024)
SOON = replace(LIMITS, time_s=0.03)
# No attack may end in one of these; what it gets is not 1, or it does not come to giving anything.
_THROUGH = ("passed", "sandbox_lost", "tampered", "exited_early")

_TEXT = """\
import ctypes, mmap, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def work(): return sum(map(int, '1 2 3'.split()))
def read(): return int(bool(open(SECRET).read()))
def listing(): return int(bool(os.listdir(os.path.dirname(SECRET))))
def write(): return int(open(SECRET + '.new', 'w').write('x') > 0)
def change_mode(): return int(os.chmod(SECRET, 0o600) is None)
def connect(): return int(socket.create_connection(('127.0.0.1', 9), 0.05) is not None)
def datagram(): return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))
def fork(): return int(os.fork() >= 0)
def execute(): return os.execv('/bin/true', ['true'])
def end_parent(): return int(os.kill(os.getppid() or 1, 0) is None)
def trace(): return int(libc.ptrace(0, 0, 0, 0) == 0)
def share(): return int(libc.shmget(4711, 4096, 0o1600) >= 0)
def unshare(): return int(libc.unshare(0x10000000) == 0)
def grow(): return len(mmap.mmap(-1, 10**9)) // 10**9
def loop():
    while True: pass
""".replace("SECRET", repr(str(Path(__file__).resolve())))  # noqa: E501
_ATTACKS = (
    "read listing write change_mode connect datagram fork execute end_parent trace share unshare "
    "grow loop"
)


@dataclass(frozen=True, slots=True)
class Trial:
    """One probe and what came of it."""

    name: str
    outcome: Outcome
    holds: bool


async def works(sandbox: Sandbox) -> Trial:
    """Try what must work."""
    (outcome,) = await sandbox.run(_TEXT, [Check("work()", "eq", "6")], LIMITS)
    return Trial("work", outcome, outcome.kind == "passed")


async def attempt(sandbox: Sandbox) -> Sequence[Trial]:
    """Try every attack until one gets through."""
    trials = list[Trial]()
    for name in _ATTACKS.split():
        limits, through = (SOON, _THROUGH) if name == "loop" else (LIMITS, (*_THROUGH, "timeout"))
        (outcome,) = await sandbox.run(_TEXT, [Check(f"{name}()", "eq", "1")], limits)
        trials.append(Trial(name, outcome, outcome.kind not in through))
        if not trials[-1].holds:
            break
    return trials
