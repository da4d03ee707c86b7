"""The filter of system calls, followed instruction by instruction for both architectures."""

import errno
import struct
from collections.abc import Iterator, Mapping

import pytest

from cascade_lsp.sandbox import syscalls
from cascade_lsp.sandbox.seccomp import Allowance, for_process, program

ALLOW, STOP, KILL = 0x7FFF0000, 0x7FC00000, 0x80000000
PID = 4711
EVERYTHING, NO_FILES = Allowance(), Allowance(threads=False, files=False)
FORK, THREAD = 0x01200011, 0x3D0F00


class Filter:
    """A filter of one architecture, applied as the kernel applies it."""

    def __init__(self, machine: str, allowance: Allowance) -> None:
        found = syscalls.architecture(machine)
        assert found
        self.audit, self.numbers = found
        raw = for_process(program(self.numbers, self.audit, allowance), PID)
        self.code = list(struct.iter_unpack("=HBBI", raw))

    def __call__(self, name: str, *arguments: int, audit: int | None = None) -> int:
        padded = [*arguments, *[0] * (6 - len(arguments))]
        number = self.numbers.get(name, 100_000) if name else 0x40000000
        return self.run(struct.pack("=iIQ6Q", number, audit or self.audit, 0, *padded))

    def run(self, data: bytes) -> int:
        accumulator = at = 0
        while True:
            operation, jump_true, jump_false, operand = self.code[at]
            at += 1
            match operation:
                case 0x20:
                    (accumulator,) = struct.unpack_from("=I", data, operand)
                case 0x15:
                    at += jump_true if accumulator == operand else jump_false
                case 0x35:
                    at += jump_true if accumulator >= operand else jump_false
                case 0x54:
                    accumulator &= operand
                case 0x06:
                    return int(operand)
                case _:
                    raise AssertionError(operation)


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


CASES: Mapping[str, tuple[tuple[int, ...], int]] = {
    "read": ((), ALLOW),
    "openat": ((0, 0, 0o1101), ALLOW),
    "execve": ((), STOP),
    "socket": ((2, 1), STOP),
    "sendmsg": ((), STOP),
    "fchmodat": ((), STOP),
    "utimensat": ((), STOP),
    "setxattr": ((), STOP),
    "kill": ((PID, 0), STOP),
    "ptrace": ((), STOP),
    "mount": ((), STOP),
    "io_uring_setup": ((), STOP),
    "seccomp": ((), STOP),
    "memfd_create": ((), STOP),
    "flock": ((), STOP),
    "clone3": ((), 0x50000 | errno.ENOSYS),
    "getxattr": ((), 0x50000 | errno.EOPNOTSUPP),
}


@pytest.mark.parametrize("name", CASES)
def test_a_call_is_allowed_stopped_or_absent(machine: str, name: str) -> None:
    arguments, answer = CASES[name]
    assert Filter(machine, EVERYTHING)(name, *arguments) == answer


@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("clone", (THREAD,), ALLOW),
        ("clone", (FORK,), STOP),
        ("clone", (THREAD | 0x10000000,), STOP),
        ("clone", (0x100,), STOP),
        ("tgkill", (PID, PID, 6), ALLOW),
        ("tgkill", (1, 1, 9), STOP),
        ("socketpair", (1, 1), ALLOW),
        ("socketpair", (2, 1), STOP),
        ("sendto", (3, 1, 1, 0, 0, 0), ALLOW),
        ("sendto", (3, 1, 1, 0, 0xFF, 16), STOP),
        ("sendto", (3, 1, 1, 0, 0xFF00000000, 16), STOP),
        ("fcntl", (3, 2), ALLOW),
        ("fcntl", (3, 6), STOP),
        ("ioctl", (3, 0x5401), ALLOW),
        ("ioctl", (3, 0x5412), STOP),
        ("prctl", (15,), ALLOW),
        ("prctl", (4,), STOP),
        ("prlimit64", (0, 7, 0), ALLOW),
        ("prlimit64", (PID, 7, 0), ALLOW),
        ("prlimit64", (0, 7, 0xFF), STOP),
        ("prlimit64", (0, 7, 0xFF00000000), STOP),
        ("prlimit64", (1, 7, 0), STOP),
    ],
)
def test_a_call_is_judged_by_its_arguments(
    machine: str, name: str, arguments: tuple[int, ...], answer: int
) -> None:
    assert Filter(machine, EVERYTHING)(name, *arguments) == answer


def test_without_a_folder_of_its_own_nothing_can_be_written_or_started(machine: str) -> None:
    judge = Filter(machine, NO_FILES)
    assert judge("openat", 0, 0, 0o2000000) == ALLOW
    for flag in (0o1, 0o2, 0o100, 0o1000, 0o2000, 0o20200000):
        assert judge("openat", 0, 0, flag) == 0x50000 | errno.EACCES
    for name in ("mkdirat", "unlinkat", "renameat2", "linkat", "symlinkat", "truncate"):
        assert judge(name) == STOP
    assert judge("clone", THREAD) == STOP


def test_a_runtime_may_start_and_do_without_more(machine: str) -> None:
    judge = Filter(machine, Allowance(programs=True))
    assert judge("execve") == ALLOW
    assert judge("prlimit64", 0, 7, 0xFF) == 0x50000 | errno.EPERM
    assert judge("io_uring_setup") == 0x50000 | errno.ENOSYS
    for name in ("socket", "kill", "ptrace", "mount", "sendmsg"):
        assert judge(name) == STOP
    assert judge("clone", FORK) == STOP


def test_another_architecture_or_the_32_bit_calls_end_the_process(machine: str) -> None:
    judge = Filter(machine, EVERYTHING)
    assert judge("read", audit=0x40000003) == KILL
    assert judge("") == KILL


def calls() -> Iterator[str]:
    for machine in ("x86_64", "aarch64"):
        found = syscalls.architecture(machine)
        assert found
        yield from found[1]


def test_fewer_than_half_of_all_calls_are_allowed(machine: str) -> None:
    judge = Filter(machine, EVERYTHING)
    allowed = [name for name in judge.numbers if judge(name) == ALLOW]
    assert len(allowed) < len(judge.numbers) / 2
    assert len(program(judge.numbers, judge.audit, EVERYTHING)) // 8 < 4096


def test_an_unknown_machine_has_no_filter() -> None:
    assert syscalls.architecture("riscv64") is None
    assert {"openat", "seccomp", "landlock_restrict_self", "mount_setattr"} <= set(calls())
