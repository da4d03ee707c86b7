"""A corner of the machine to waste: namespaces of its own, an unprivileged user, and a look at it.

As root, or with a user namespace, `enter` moves this process to process, network, IPC and mount
namespaces of its own, with temporary folders, shared memory and queues that end with it; an
interpreter that the throw-away user could not read is shown to it there, and nothing else of the
folders that are closed to it. `traces` describes what a program could leave behind.
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cascade_lsp.sandbox import syscalls
from cascade_lsp.sandbox.selftest import MARK

ROOT = Path(__file__).resolve().parents[2]
USERS = range(61184, 65520)
NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x20000,
    0x4000000,
    0x8000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
_BIND, _REC, _PRIVATE = 4096, 16384, 1 << 18
_OWN = ("/tmp", "/var/tmp", "/dev/shm")
QUEUES = "/var/tmp/queues"

libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Impossible(Exception):
    """This machine, or this user, cannot do it: why."""


def enter(user: int) -> None:
    """Go on as the first process of a corner of its own; `user` is who will be let read.

    The calling process waits for it and ends as it does. Raise Impossible where namespaces are
    not to be had.
    """
    flags = NEWNS | NEWPID | NEWIPC | NEWNET | NEWUTS
    try:
        _do("unshare", flags)
    except OSError:
        have_rights_in_a_namespace(flags, os.getuid())
    _do("mount", b"none", b"/", None, _REC | _PRIVATE, None)
    kept = _kept()  # descriptors of the new mounts: those of the old ones cannot be shown again
    for folder in _OWN:
        _cover(folder, kept, 0o1777)
    for folder in sorted(closed(kept)):
        _cover(folder, kept, 0o755)
    Path(QUEUES).mkdir()
    _do("mount", b"none", QUEUES.encode(), b"mqueue", 0, None)
    for held in kept.values():
        os.close(held)
    child = os.fork()
    if child:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os.kill(child, signal.SIGKILL))
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) % 256)
    libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # end with the one who waits
    _do("mount", b"none", b"/proc", b"proc", 0, None)
    raise_loopback()


def have_rights_in_a_namespace(flags: int, known_as: int) -> None:
    """Leave the namespaces as an ordinary user can: with a user namespace, where the user has all
    rights, under the same number or as root."""
    user, group = os.getuid(), os.getgid()
    try:
        _do("unshare", flags | NEWUSER)
    except OSError as error:
        raise Impossible(f"no namespaces of its own: {error}") from error
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{known_as} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{known_as and group} {group} 1")


def raise_loopback() -> None:
    """Switch the new network's own interface on, so that listeners can be reached."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        fcntl.ioctl(link, 0x8914, struct.pack("16sH14x", b"lo", 0x49))


def become(user: int) -> None:
    """Be an ordinary user for good, one that others of this user may look at."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    libc.prctl(4, 1, 0, 0, 0)


def be_ordinary() -> None:
    """Stop being root, if that is what this process is."""
    if os.getuid() == 0:
        try:
            become(USERS[173])
        except OSError as error:
            raise Impossible(f"this corner knows no other user: {error}") from error


def insist(folder: Path) -> None:
    """Refuse to go on as anyone but a throw-away user, or with any home but a throw-away one."""
    home = Path(os.environ.get("HOME", "/"))
    if len(set(os.getresuid())) != 1 or os.getuid() not in USERS or os.getgroups():
        raise SystemExit("refused: this is no throw-away user")
    if home != folder or not (home.parent / MARK).exists() or not _throw_away(home.parent):
        raise SystemExit("refused: this is no throw-away home")
    if not _throw_away(Path.cwd().parent):
        raise SystemExit("refused: this is no throw-away folder")


def _throw_away(folder: Path) -> bool:
    return folder.name.startswith("cascade-attacks-") and folder.parent == Path("/tmp")


def _kept() -> dict[str, int]:
    """Hold what the interpreter needs, so that it can be shown again under what covers it."""
    places = {sys.prefix, sys.base_prefix, str(ROOT)}
    places |= {str(Path(place).resolve()) for place in places}
    return {place: os.open(place, os.O_PATH) for place in sorted(places)}


def closed(kept: Iterable[str]) -> set[str]:
    """Return the topmost folders above what is kept that others may not enter."""
    closed = set()
    for place in kept:
        for folder in [*reversed(Path(place).parents), Path(place)]:
            if not folder.stat().st_mode & 0o001 and str(folder) not in _OWN:
                closed.add(str(folder))
                break
    return closed


def _cover(folder: str, kept: dict[str, int], mode: int) -> None:
    """Mount an empty folder over one, and show in it what is kept."""
    _do("mount", b"none", folder.encode(), b"tmpfs", 0, f"mode={mode:o}".encode())
    for place, held in kept.items():
        if Path(place).is_relative_to(folder):
            Path(place).mkdir(parents=True, exist_ok=True)
            _do("mount", f"/proc/self/fd/{held}".encode(), place.encode(), None, _BIND | _REC, None)


def _do(name: str, *arguments: object) -> None:
    words = [ctypes.c_ulong(word) if isinstance(word, int) else word for word in arguments]
    if getattr(libc, name)(*words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def watcher() -> Callable[[], frozenset[str]]:
    """Return `traces`, but with the processes of now or fewer as one: a sandbox ends and starts
    its own."""
    usual: list[int] = []

    def watch() -> frozenset[str]:
        alive = sum(map(_alive, Path("/proc").iterdir()))
        usual.append(alive)
        other = (trace for trace in _traces() if not trace.startswith("processes"))
        return frozenset([*other, f"processes {max(alive, usual[0])}"])

    return watch


def forget_keys() -> None:
    """Empty this user's ring of keys: no namespace of its own ends with this corner."""
    known = syscalls.architecture()
    if known is not None:
        libc.syscall(ctypes.c_long(known[1]["keyctl"]), 7, -4, 0)


def traces() -> frozenset[str]:
    """Describe what a program could have left in this corner outside the folder it aims at."""
    return frozenset(_traces())


def _traces() -> Iterator[str]:
    for folder in (*_OWN, QUEUES):
        for path in sorted(Path(folder).iterdir()) if Path(folder).is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                about = path.lstat()
                size = 0 if path.is_dir() else about.st_size
                yield f"{path} {about.st_mode:o} {size}"
    for kind in ("shm", "sem", "msg"):
        for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]:
            yield f"sysv {kind} {' '.join(line.split()[:3])}"
    yield f"host name {os.uname().nodename}"
    yield f"processes {sum(map(_alive, Path('/proc').iterdir()))}"
    for family in (socket.AF_INET, socket.AF_INET6):
        yield from _listening(family)
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "00010000":
            yield f"listening unix {' '.join(words[7:])}"


def _listening(family: int) -> Iterator[str]:
    """Ask the kernel which sockets of TCP listen, and which of UDP have an address: its tables
    in /proc take milliseconds to read."""
    for protocol, states in ((socket.IPPROTO_TCP, 1 << 10), (socket.IPPROTO_UDP, 1 << 7)):
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as link:
            asked = struct.pack("=BBBxI48x", family, protocol, 0, states)
            link.send(struct.pack("=IHHII", 16 + len(asked), 20, 0x301, 1, 0) + asked)
            ended = False
            while not ended:
                text = link.recv(65536)
                while text:
                    size, kind = struct.unpack_from("=IH", text)
                    ended = kind in (2, 3)  # an error, or done
                    if kind == 20:
                        (port,) = struct.unpack_from(">H", text, 20)
                        yield f"listening {protocol} at {port} in family {family}"
                    text = text[(size + 3) & ~3 :]


def _alive(process: Path) -> bool:
    if not process.name.isdigit():
        return False
    with contextlib.suppress(OSError):
        return (process / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
