"""The fork server of the native tier: it isolates itself once, then forks one child per run.

Run by the interpreter that generated code is to have, with nothing of the user's environment. It
never sees a program: jobs go straight to the child, over a socket that only passes through here.
It never goes on without a layer that it was told to have. Standard library only.

    host == control socket ==> launcher: namespaces, mounts, another user
                                 `- fork server: no capabilities, Landlock; the first process of
                                     `- child per run: limits, filter, program   its namespace
"""

import contextlib
import fcntl
import gc
import importlib
import json
import mmap
import os
import resource
import select
import shutil
import signal
import socket
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from cascade_lsp.sandbox import candidate, seccomp
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
    Missing,
)

SCRATCH = "/.scratch"  # a name that no folder of a project lies under
SCRATCH_OPTIONS = "size=16m,nr_inodes=512,mode=700"
MOST_ORDER_BYTES = 64 * 1024
NO_ONE = 61321  # the user that root becomes; nobody's, and no service's
MEGABYTE = 1024 * 1024
THREADS, FILES, WRITTEN_BYTES = 32, 32, MEGABYTE
IMPORT_S = 5.0
DYING_S = 2.0
# What most programs import; a child that finds it loaded starts with it at once.
USUAL = (
    "abc bisect collections contextlib copy dataclasses datetime decimal enum fractions functools "
    "hashlib heapq io itertools math operator random re statistics string textwrap time typing"
)
_SEPARATE = NEWNS | NEWPID | NEWNET | NEWIPC | NEWUTS | NEWCGROUP
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
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


def main(descriptor: int) -> NoReturn:
    """Isolate this process as the first message says, and serve until the socket is closed."""
    control = socket.socket(fileno=descriptor)
    setup = Setup(**json.loads(control.recv(MOST_ORDER_BYTES)))
    warnings.simplefilter("ignore")
    for name in USUAL.split():
        importlib.import_module(name)
    if setup.sources:
        importlib.import_module("cascade_lsp.sandbox.suite")  # later it could not be read
    library = _library()
    sys.path[:] = [path for path in sys.path if os.path.exists(path)] + [*setup.packages]
    try:
        kernel = Kernel(setup.hidden, setup.landlock_abi)
        view = _view(setup, library)
        _isolate(kernel, setup, view, control)
    except (Missing, OSError) as error:
        _say(control, {"missing": [str(part) for part in error.args]})
        os._exit(1)
    gc.collect()
    gc.freeze()
    Server(control, kernel, setup, view).serve()


def _library() -> list[str]:
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


def _view(setup: Setup, library: Sequence[str]) -> View:
    """See the interpreter's own library without what was installed into it, shared libraries, a
    few public files, and what was asked for."""
    standard = [path for path in sys.path if os.path.isdir(path) and path not in setup.packages]
    entries = [entry.path for folder in standard for entry in os.scandir(folder)]
    installed = [path for path in entries if path.endswith("-packages")]
    wanted = [*library, *_PUBLIC, *setup.packages, *setup.sources]
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


# -- isolation ----------------------------------------------------------------------


def _isolate(kernel: Kernel, setup: Setup, view: View, control: socket.socket) -> None:
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
        read = [*view.readable, *_DEVICES]
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
    for path in _DEVICES:
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


# -- one run after the other ----------------------------------------------------------------------


@dataclass(slots=True)
class Ended:
    """How a run ended: by an exit code or a signal; stopped at a call, late, or on demand. Not
    `begun`: the child could not confine itself, and so did not run anything."""

    begun: bool = False
    code: int = 0
    signal: int = 0
    blocked: str = ""
    late: bool = False
    cancelled: bool = False
    ms: float = 0.0
    memory_bytes: int = 0
    clean: bool = True


class Server:
    """Forks children for jobs that it never sees."""

    def __init__(self, control: socket.socket, kernel: Kernel, setup: Setup, view: View) -> None:
        self._control, self._kernel, self._setup = control, kernel, setup
        self._namespaces = setup.has("namespaces")
        allowance = seccomp.Allowance(
            threads=self._namespaces, files=self._namespaces, programs=bool(setup.program)
        )
        self._filter = seccomp.program(kernel.numbers, kernel.audit, allowance)
        scratch = [SCRATCH] if self._namespaces else []
        self._readable = (*view.shown, *_DEVICES, *scratch)
        self._null = os.open("/dev/null", os.O_RDONLY)
        self._imported: set[str] = set()
        self._space = _address_space()

    def serve(self) -> NoReturn:
        """Run what is ordered until the host closes the socket."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGALRM, _too_long)
        _say(self._control, {"ready": True, "landlock_abi": self._abi()})
        while True:
            order, descriptors, _, _ = socket.recv_fds(self._control, MOST_ORDER_BYTES, 2)
            if not order:
                os._exit(0)
            if len(descriptors) == 2:  # else it is about a run that has ended
                ended = self._run(json.loads(order), descriptors)
                _say(self._control, {name: getattr(ended, name) for name in Ended.__slots__})

    def _abi(self) -> int:
        return self._kernel.landlock_abi() if self._setup.has("landlock") else 0

    def _run(self, order: dict[str, Any], descriptors: list[int]) -> Ended:
        self._import(order["imports"])
        ours, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            try:
                self._become_candidate(order, descriptors, theirs)
            finally:
                os._exit(70)
        for descriptor in descriptors:
            os.close(descriptor)
        theirs.close()
        process = os.pidfd_open(child)
        ended = self._supervise(process, ours, order["time_s"])
        ours.close()
        os.close(process)
        _, status, usage = os.wait4(child, 0)
        ended.signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        ended.code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0
        ended.memory_bytes = usage.ru_maxrss * 1024
        ended.clean = self._clean_up()
        return ended

    def _import(self, names: Sequence[str]) -> None:
        """Load what programs ask for ahead of them; what cannot be loaded is their matter."""
        fresh = [name for name in names if name not in self._imported]
        for name in fresh:
            self._imported.add(name)
            signal.setitimer(signal.ITIMER_REAL, IMPORT_S)
            with contextlib.suppress(BaseException):
                importlib.import_module(name)
            signal.setitimer(signal.ITIMER_REAL, 0)
        if fresh:
            gc.collect()
            gc.freeze()
            self._space = _address_space()

    def _supervise(self, process: int, child: socket.socket, time_s: float) -> Ended:
        """Wait for the child's end, and bring it about where that is due."""
        ended, listener = Ended(), -1
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.register(self._control, select.POLLIN)
        number = child.recv(16)
        if not number:
            return ended
        if self._setup.has("seccomp"):
            listener = self._kernel.take(process, int(number))
            poll.register(listener, select.POLLIN)
        ended.begun = True
        began = time.monotonic()
        _quietly_send(child, b"go")
        while True:
            left_s = began + time_s - time.monotonic()
            ready = [descriptor for descriptor, _ in poll.poll(max(0.0, left_s) * 1000)]
            if process in ready:
                break
            if listener in ready:
                ended.blocked = self._kernel.stopped_call(listener)
                if not ended.blocked:
                    continue  # the call was interrupted meanwhile
            elif self._control.fileno() in ready:
                if not self._control.recv(MOST_ORDER_BYTES):
                    os._exit(0)
                ended.cancelled = True
            else:
                ended.late = True
            signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [], DYING_S)
            break
        ended.ms = (time.monotonic() - began) * 1000
        if listener >= 0:
            os.close(listener)
        return ended

    def _clean_up(self) -> bool:
        """End what a run left behind; say whether nothing is left."""
        if os.getpid() == 1:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, 0)[0]:
                    continue
        if not self._namespaces:
            return True
        try:
            for entry in os.scandir(SCRATCH):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)
        except OSError:
            return False
        return True

    # -- in the child ----------------------------------------------------------------------

    def _become_candidate(
        self, order: dict[str, Any], descriptors: list[int], parent: socket.socket
    ) -> NoReturn:
        """Give up all that a program must not have, take the job, and run it."""
        answers, told = _only_these(self._null, descriptors, parent.detach())
        program = self._setup.program
        job = {} if program else json.loads(_read_all(answers))
        os.umask(0o077)
        os.chdir(SCRATCH if self._namespaces else "/")
        if self._setup.has("rlimits"):
            self._limit(order)
        listener = self._null
        if self._setup.has("seccomp"):
            self._kernel.dumpable(on=True)  # the server takes the listener out of this process
            listener = self._kernel.filter(seccomp.for_process(self._filter, os.getpid()))
        os.write(told, str(listener).encode())
        os.read(told, 2)
        os.closerange(4, 16)
        if program:
            os.execve(program[0], program, dict(os.environ))
        candidate.run(job, answers, self._readable)

    def _limit(self, order: dict[str, Any]) -> None:
        seconds = int(order["time_s"]) + 2
        # A runtime reserves far more address space than it uses.
        room = resource.RLIMIT_DATA if self._setup.program else resource.RLIMIT_AS
        bounds = {
            resource.RLIMIT_CPU: seconds,
            room: self._space + order["memory_bytes"],
            resource.RLIMIT_FSIZE: WRITTEN_BYTES,
            resource.RLIMIT_NOFILE: FILES,
            resource.RLIMIT_NPROC: THREADS if self._namespaces else 0,
            resource.RLIMIT_MSGQUEUE: 0,
            resource.RLIMIT_MEMLOCK: 0,
        }
        for kind, bound in bounds.items():
            resource.setrlimit(kind, (bound, bound))


def _only_these(null: int, descriptors: list[int], parent: int) -> tuple[int, int]:
    """Keep nothing open but input, output, the way for answers (3) and the parent's socket (4)."""
    answers, output = descriptors
    high = [fcntl.fcntl(one, fcntl.F_DUPFD, 100) for one in (null, output, output, answers, parent)]
    for number, descriptor in enumerate(high):
        os.dup2(descriptor, number)
    os.closerange(5, 1024)
    return 3, 4


def _read_all(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, 65536):
        parts.append(part)
    return b"".join(parts)


def _address_space() -> int:
    """Return the bytes of address space in use: the least limit under which there is room for a
    page more. (There is no /proc here to read it from.)"""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    low, high = 0, 1 << 44
    while high - low > MEGABYTE:
        middle = (low + high) // 2
        try:
            resource.setrlimit(resource.RLIMIT_AS, (middle, hard))
            mmap.mmap(-1, 4096).close()
            high = middle
        except (OSError, MemoryError):
            low = middle
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    return high


def _too_long(_signal: int, _frame: object) -> None:
    raise TimeoutError("loading a module takes too long")


def _say(control: socket.socket, message: dict[str, Any]) -> None:
    _quietly_send(control, json.dumps(message).encode())


def _quietly_send(to: socket.socket, data: bytes) -> None:
    """Send, unless who was to receive it has gone."""
    with contextlib.suppress(OSError):
        to.send(data, socket.MSG_NOSIGNAL)
