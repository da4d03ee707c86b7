"""How a process isolates itself for good: what it sees, who it is, what it may do to files.

Used by the fork server before it loads anything that it does not trust. It raises where a layer
that was asked for cannot be put up. Standard library only.
"""

import contextlib
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from cascade_lsp.sandbox.kernel import (
    NEWCGROUP,
    NEWIPC,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWUSER,
    NEWUTS,
    Access,
    Kernel,
)

SCRATCH = "/.scratch"  # a name that no folder of a project lies under
SCRATCH_OPTIONS = "size=16m,nr_inodes=512,mode=700"
NO_ONE = 61321  # the user that root becomes; nobody's, and no service's
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
_SEPARATE = NEWNS | NEWPID | NEWNET | NEWIPC | NEWUTS | NEWCGROUP
_PUBLIC = ("/usr/share/zoneinfo", "/etc/ld.so.cache")
# Where the program is that loads others; the folder holds little else.
_LOADERS = ("/lib64", "/lib/ld-linux-aarch64.so.1")
_MOUNT_POINTS = ("/sys", "/mnt", "/proc")


@dataclass(frozen=True, slots=True)
class Setup:
    """What the host wants: which layers, which folders may be read, what is concealed in them.

    `program` is a command line that a child becomes (a runtime, its options, its own script),
    where a job is not for this interpreter. `hidden` are primitives to do without, for tests.
    """

    layers: tuple[str, ...]
    packages: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    concealed: tuple[str, ...] = ()
    program: tuple[str, ...] = ()
    landlock_abi: int | None = None
    hidden: tuple[str, ...] = ()

    def has(self, layer: str) -> bool:
        """Say whether a layer is wanted."""
        return layer in self.layers


def library() -> list[str]:
    """Return the folders that shared libraries were loaded from, the C library's among them; of a
    folder that holds the interpreter's own library, too, only the files that were loaded."""
    with open("/proc/self/maps") as maps:
        mapped = {line.split(maxsplit=5)[5].strip() for line in maps if ".so" in line}
    found = set()
    for path in mapped:
        folder = os.path.dirname(path)
        if path.startswith("/") and "lib-dynload" not in path:
            holds_more = any(other.startswith(f"{folder}/") for other in sys.path)
            found.add(path if holds_more else folder)
    return sorted(found)


@dataclass(frozen=True, slots=True)
class View:
    """What of the file system is seen: `shown` in the new root, but for `concealed`; of it
    `readable` can be read, and of the folders in `listed` the names."""

    shown: tuple[str, ...]
    concealed: tuple[str, ...]
    readable: tuple[str, ...]
    listed: tuple[str, ...]


def view_of(setup: Setup, libraries: Sequence[str]) -> View:
    """See the interpreter's own library without what was installed into it, shared libraries, a
    few public files, and what was asked for."""
    standard = [path for path in sys.path if os.path.isdir(path) and path not in setup.packages]
    entries = [entry.path for folder in standard for entry in os.scandir(folder)]
    installed = [path for path in entries if path.endswith("-packages")]
    wanted = [*libraries, *_PUBLIC, *setup.packages, *setup.sources]
    if setup.program:
        wanted += [*_LOADERS, setup.program[0], setup.program[-1]]
    others = [os.path.realpath(path) for path in wanted if os.path.exists(path)]
    return View(
        shown=(*standard, *others),
        concealed=(*installed, *setup.concealed),
        readable=(*(path for path in entries if path not in installed), *others),
        listed=tuple(standard),
    )


def _loaders() -> list[str]:
    """Return the programs of the system that load others."""
    folders = [os.path.realpath(path) for path in _LOADERS if os.path.exists(path)]
    return [
        entry.path
        for folder in folders
        for entry in (os.scandir(folder) if os.path.isdir(folder) else ())
    ] + [path for path in folders if not os.path.isdir(path)]


def isolate(kernel: Kernel, setup: Setup, view: View, control: socket.socket) -> None:
    """Put up every layer that holds for the whole life of the server, or raise."""
    was_root = os.geteuid() == 0
    if setup.has("namespaces"):
        _leave_namespaces(kernel, view, was_root)
        server = os.fork()
        if server:
            _stand_by(server, control)
        kernel.die_with_parent()
    elif was_root:
        kernel.become(NO_ONE)
        os.chdir("/")
    kernel.dumpable(on=False)
    if setup.has("namespaces"):
        kernel.drop_capabilities()
    if setup.has("landlock"):
        scratch = [SCRATCH] if setup.has("namespaces") else []
        read = [*view.readable, *DEVICES]
        run = [*_loaders(), setup.program[0]] if setup.program else []
        kernel.landlock(Access(read, view.listed, run, write=["/dev/null", *scratch]))
    if setup.has("seccomp"):
        kernel.no_new_privileges()


def _leave_namespaces(kernel: Kernel, view: View, was_root: bool) -> None:
    """Have namespaces of one's own and a root that holds what is readable and a scratch folder.

    Root does the mounting itself, since its interpreter may lie where no other user may look,
    and becomes another user afterwards; so that user never has a right over these mounts.
    """
    process = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY)
    uid, gid = (NO_ONE, NO_ONE) if was_root else (os.geteuid(), os.getegid())
    if was_root:
        kernel.unshare(_SEPARATE)
    else:
        kernel.unshare(NEWUSER | _SEPARATE)
        _map_ids(process, uid, gid)
    kernel.make_private()
    _make_root(kernel, view, f"{SCRATCH_OPTIONS},uid={uid},gid={gid}")
    socket.sethostname("sandbox")
    if was_root:
        kernel.become(uid)
        kernel.dumpable(on=True)  # else the files that map the user would be root's
        kernel.unshare(NEWUSER)
        _map_ids(process, uid, gid)
        kernel.dumpable(on=False)
    os.close(process)


def _map_ids(process: int, uid: int, gid: int) -> None:
    texts = {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
    for name, text in texts.items():
        file = os.open(name, os.O_WRONLY, dir_fd=process)
        os.write(file, text.encode())
        os.close(file)


def _make_root(kernel: Kernel, view: View, scratch: str) -> None:
    root = next(path for path in _MOUNT_POINTS if os.path.isdir(path))
    kernel.mount_tmpfs(root, "size=1m,mode=755")
    for link in ("/lib", "/lib64", "/bin"):
        if os.path.islink(link):
            os.symlink(os.readlink(link), root + link)
    for path in _outermost(view.shown):
        _show(kernel, path, root + path)
    for path in view.concealed:
        _conceal(kernel, path, root + path)
    for path in DEVICES:
        _touch(root + path)
        kernel.bind(path, root + path, device=True)
    os.makedirs(root + SCRATCH, exist_ok=True)
    kernel.mount_tmpfs(root + SCRATCH, scratch)
    kernel.make_read_only(root)
    kernel.enter(root)


def _outermost(paths: Sequence[str]) -> list[str]:
    """Return the paths that lie under no other one."""
    kept: list[str] = []
    for path in sorted(set(paths)):
        if not any(path.startswith(f"{above}/") for above in kept):
            kept.append(path)
    return kept


def _show(kernel: Kernel, path: str, target: str) -> None:
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        _touch(target)
    kernel.bind(path, target)


def _conceal(kernel: Kernel, path: str, target: str) -> None:
    """Put something empty in the place of a file or a folder."""
    if os.path.isdir(path):
        kernel.mount_tmpfs(target, "size=4k,mode=555")
    elif os.path.exists(path):
        kernel.bind("/dev/null", target, device=True)


def _touch(path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


def _stand_by(server: int, control: socket.socket) -> NoReturn:
    """Outlive the server by a moment, and end it when the host has gone."""
    watched = os.pidfd_open(server)
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    poll.register(control, select.POLLRDHUP)
    poll.poll()
    with contextlib.suppress(ProcessLookupError):
        os.kill(server, signal.SIGKILL)
    os.waitpid(server, 0)
    os._exit(0)
