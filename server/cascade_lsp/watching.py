"""A watch over the network calls of a command and of everything that it starts: Linux only.

`python -m cascade_lsp.watching [--alone] REPORT COMMAND...` runs the command under a filter of
system calls that its descendants inherit. The filter stops at every call that opens, connects or
names a socket or addresses a datagram; this process, their tracer, writes down who made it, lets
it happen, and leaves a JSON report. With `--alone` the command is in a network namespace without
interfaces. What the command left running is killed at its end.

It judges nothing and stops nothing. It is a tracer because the sandbox has listeners of its own,
and the kernel allows one in a chain of filters (EBUSY). It does not see a call that a filter
further in refuses (it never happens), a socket handed over by a process outside, what a service
outside does when it is asked over a Unix socket, or requests inside an io_uring, whose set-up it
does see. A child that hides from tracers can open no socket at all (ENOSYS).
"""

import argparse
import ctypes
import ipaddress
import json
import os
import signal
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NoReturn

from cascade_lsp.sandbox import syscalls

WATCHED = ("socket", "socketpair", "connect", "bind", "sendto", "sendmsg", "sendmmsg")
RINGS = ("io_uring_setup",)
FOREIGN = "a call of another architecture"
FAMILIES = {0: "unspecified", 1: "unix", 2: "inet", 10: "inet6", 16: "netlink", 17: "packet"}
NOT_STARTED = 97  # the exit code where the watch could not begin

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_FIFTH = 16 + 8 * 4  # where the fifth argument is
_ALLOW, _TRACE, _X32 = 0x7FFF0000, 0x7FF00000, 0x40000000
_NEWUSER, _NEWNET = 0x10000000, 0x40000000
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _BY_FILTER = 38, 22, 2
_CONT, _SEIZE, _LISTEN, _CALL_INFO = 7, 0x4206, 0x4208, 0x420E
_FORK, _VFORK, _CLONE, _AT_FILTER, _END_WITH_ME = 2, 4, 8, 0x80, 0x100000
_STOPPED_BY_FILTER, _STOPPED = 7, 128  # PTRACE_EVENT_SECCOMP, PTRACE_EVENT_STOP
_ALL = 0x40000000  # __WALL: threads and clones, too
_STOPS = (19, 20, 21, 22)  # SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, which Windows does not name
_MOST_MESSAGES = 1024


@dataclass(frozen=True, slots=True)
class Call:
    """One call: of which process, by which program, to which kind of socket, to which address."""

    pid: int
    program: str
    name: str
    family: str
    address: str = ""


@dataclass(slots=True)
class Watched:
    """What was seen: the command's exit code, the processes, the calls in order."""

    code: int = 0
    processes: set[int] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)

    @classmethod
    def read(cls, report: Path) -> "Watched":
        """Read a report."""
        raw = json.loads(report.read_text("utf-8"))
        calls = [Call(**call) for call in raw["calls"]]
        return cls(raw["code"], set(raw["processes"]), calls)

    def write(self, report: Path) -> None:
        """Write the report that `read` reads."""
        raw = {
            "code": self.code,
            "processes": sorted(self.processes),
            "calls": [asdict(call) for call in self.calls],
        }
        report.write_text(json.dumps(raw), encoding="utf-8")


class Unwatchable(Exception):
    """This machine does not let a command be watched, or be cut off; the text says why."""


def command_of(report: Path, command: Sequence[str], *, alone: bool = False) -> list[str]:
    """Return the command line that runs a command under the watch."""
    options = ["--alone"] if alone else []
    return [sys.executable, "-m", "cascade_lsp.watching", *options, str(report), *command]


def main() -> NoReturn:
    """Run a command under the watch; end with its exit code."""
    parser = argparse.ArgumentParser(prog="python -m cascade_lsp.watching")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("report", type=Path)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    try:
        watched = watch(given.command, alone=given.alone)
    except Unwatchable as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(NOT_STARTED)
    watched.write(given.report)
    sys.exit(watched.code)


def watch(command: Sequence[str], *, alone: bool) -> Watched:
    """Run a command to its end and return what was seen; raise Unwatchable.

    For a process of its own: it waits for any child, and what is left running dies with it.
    """
    found = syscalls.architecture() if sys.platform == "linux" else None
    if found is None:
        raise Unwatchable("network calls can be watched on Linux, on x86-64 and aarch64, only")
    audit, numbers = found
    tracer = _Tracer()
    said, saying = os.pipe()
    gate, opening = os.pipe()
    child = os.fork()
    if child == 0:
        _become(command, program(audit, numbers), saying, gate, alone=alone)
    os.close(saying)
    if fault := os.read(said, 4096).removeprefix(b"ready").decode():
        os.waitpid(child, 0)
        raise Unwatchable(fault)
    try:
        tracer.seize(child)
    except OSError as error:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise Unwatchable(f"the kernel allows no tracer here: {error.strerror}") from error
    os.write(opening, b"go")
    names = {numbers[name]: name for name in (*WATCHED, *RINGS) if name in numbers}
    return tracer.follow(child, audit, names)


def program(audit: int, numbers: Mapping[str, int]) -> bytes:
    """Return the filter that stops at the watched calls, and at any that it cannot name."""
    code = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, _TRACE),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _TRACE),
    ]
    for name in (*WATCHED, *RINGS):
        if name == "sendto":  # without an address it is what every stream sends with
            no_address = [
                (_LOAD, 0, 0, 48),
                (_EQUAL, 0, 2, 0),
                (_LOAD, 0, 0, 52),
                (_EQUAL, 1, 0, 0),
            ]
            code += [(_EQUAL, 0, 6, numbers[name]), *no_address, (_RETURN, 0, 0, _TRACE)]
            code.append((_RETURN, 0, 0, _ALLOW))
        else:
            code += [(_EQUAL, 0, 1, numbers[name]), (_RETURN, 0, 0, _TRACE)]
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


# -- in the child ----------------------------------------------------------------------------------


def _become(
    command: Sequence[str], text: bytes, saying: int, gate: int, *, alone: bool
) -> NoReturn:
    """Put this process under the filter, wait for the tracer, and become the command."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if alone:
            _leave_network(libc)
        _filter(libc, text)
        os.write(saying, b"ready")
        os.close(saying)
        os.read(gate, 2)
        os.execvp(command[0], list(command))
    except OSError as error:
        os.write(saying, f"{error.filename or ''} {error.strerror or error}".strip().encode())
    finally:
        os._exit(NOT_STARTED)


def _leave_network(libc: ctypes.CDLL) -> None:
    """Have a network namespace without interfaces; root keeps its users, as the sandbox needs
    more than one."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0 and libc.unshare(_NEWNET) == 0:
        return
    if libc.unshare(_NEWUSER | _NEWNET) != 0:
        why = os.strerror(ctypes.get_errno())
        raise OSError(0, f"no network namespace can be had here: {why}")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _filter(libc: ctypes.CDLL, text: bytes) -> None:
    held = ctypes.create_string_buffer(text, len(text))
    header = struct.pack("=HxxxxxxQ", len(text) // 8, ctypes.addressof(held))
    refused = libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _SET_SECCOMP, _BY_FILTER, ctypes.c_char_p(header), 0, 0
    )
    if refused:
        raise OSError(0, f"no filter can be set here: {os.strerror(ctypes.get_errno())}")


# -- the tracer ------------------------------------------------------------------------------------


class _Tracer:
    """The one thread that the kernel tells of what it traces."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._ptrace = libc.ptrace
        self._ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
        self._ptrace.restype = ctypes.c_long

    def seize(self, child: int) -> None:
        """Trace a child and all that comes of it; raise OSError."""
        options = _FORK | _VFORK | _CLONE | _AT_FILTER | _END_WITH_ME
        if self._ptrace(_SEIZE, child, None, options) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def follow(self, child: int, audit: int, names: Mapping[int, str]) -> Watched:
        """Let all of them run, and return what was seen when the child has ended."""
        watched, threads = Watched(processes={child}), {child}
        while True:
            thread, status = os.waitpid(-1, _ALL)
            if not os.WIFSTOPPED(status):
                threads.discard(thread)
                if thread == child:
                    watched.code = os.waitstatus_to_exitcode(status)
                    return watched
                continue
            if thread not in threads:
                threads.add(thread)
                watched.processes.add(_process_of(thread))
            event, number = status >> 16, os.WSTOPSIG(status)
            if event == _STOPPED_BY_FILTER:
                watched.calls += self._calls(thread, audit, names)
            if event == _STOPPED and number in _STOPS:
                self._ptrace(_LISTEN, thread, None, None)
            else:  # a thread that was killed meanwhile is heard of later
                self._ptrace(_CONT, thread, None, None if event else number)

    def _calls(self, thread: int, audit: int, names: Mapping[int, str]) -> Iterator[Call]:
        """Yield the call that a thread stands at, once for each address."""
        info = ctypes.create_string_buffer(88)  # struct ptrace_syscall_info
        if self._ptrace(_CALL_INFO, thread, len(info), ctypes.addressof(info)) <= 0:
            return
        (architecture,) = struct.unpack_from("=I", info, 4)
        number, *arguments = struct.unpack_from("=7Q", info, 24)
        name = names.get(number, FOREIGN) if architecture == audit else FOREIGN
        pid, said_by = _process_of(thread), _program_of(thread)
        for family, address in _addressed(thread, name, arguments):
            yield Call(pid, said_by, name, family, address)


def _addressed(thread: int, name: str, arguments: list[int]) -> Iterator[tuple[str, str]]:
    """Yield the family and the address of what a call is about; nothing where it addresses none."""
    match name:
        case "socket" | "socketpair":
            yield _family(arguments[0] & 0xFFFFFFFF), ""
        case "connect" | "bind":
            yield _address(thread, arguments[1], arguments[2])
        case "sendto":
            yield _address(thread, arguments[4], arguments[5])
        case "sendmsg" | "sendmmsg":
            count = min(arguments[2], _MOST_MESSAGES) if name == "sendmmsg" else 1
            for i in range(count):
                where, size = struct.unpack("=QI", _memory(thread, arguments[1] + 64 * i, 12))
                if where:
                    yield _address(thread, where, size)
        case _:
            yield "", ""


def _address(thread: int, where: int, size: int) -> tuple[str, str]:
    """Read a socket address: its family and what it says, as text."""
    raw = _memory(thread, where, min(size & 0xFFFFFFFF, 128))
    if len(raw) < 2:
        return "unreadable", ""
    (number,) = struct.unpack_from("=H", raw)
    family = _family(number)
    if family == "unix":
        path = raw[2:]
        text = b"@" + path[1:] if path[:1] == b"\0" else path.split(b"\0")[0]
        return family, os.fsdecode(text)
    if family in ("inet", "inet6") and len(raw) >= 8:
        (port,) = struct.unpack_from("!H", raw, 2)
        host = raw[4:8] if family == "inet" else raw[8:24].ljust(16, b"\0")
        return family, f"{ipaddress.ip_address(host)} port {port}"
    return family, raw[2:].hex()


def _family(number: int) -> str:
    return FAMILIES.get(number, f"family {number}")


def _memory(thread: int, where: int, size: int) -> bytes:
    """Read a tracee's memory; zeros where it cannot be read."""
    try:
        with Path(f"/proc/{thread}/mem").open("rb", buffering=0) as memory:
            memory.seek(where)
            return memory.read(size).ljust(size, b"\0")
    except (OSError, OverflowError):
        return bytes(size)


def _process_of(thread: int) -> int:
    try:
        status = Path(f"/proc/{thread}/status").read_text()
    except OSError:
        return thread
    return next(int(line[5:]) for line in status.splitlines() if line.startswith("Tgid:"))


def _program_of(thread: int) -> str:
    """Return how a process was started, in a few words."""
    try:
        words = Path(f"/proc/{thread}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "?"
    return " ".join(word[:60] for word in (Path(words[0]).name, *words[1:4])).strip()


if __name__ == "__main__":
    main()
