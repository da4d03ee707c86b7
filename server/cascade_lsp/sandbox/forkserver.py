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
from cascade_lsp.sandbox.isolation import DEVICES, SCRATCH, Setup, View, isolate, library, view_of
from cascade_lsp.sandbox.kernel import Kernel, Missing

MOST_ORDER_BYTES = 64 * 1024
MEGABYTE = 1024 * 1024
THREADS, FILES, WRITTEN_BYTES = 32, 32, MEGABYTE
IMPORT_S = 5.0
DYING_S = 2.0
# What most programs import; a child that finds it loaded starts with it at once.
USUAL = (
    "abc bisect collections contextlib copy dataclasses datetime decimal enum fractions functools "
    "hashlib heapq io itertools math operator random re statistics string textwrap time typing"
)


def main(descriptor: int) -> NoReturn:
    """Isolate this process as the first message says, and serve until the socket is closed."""
    control = socket.socket(fileno=descriptor)
    setup = Setup(**json.loads(control.recv(MOST_ORDER_BYTES)))
    warnings.simplefilter("ignore")
    for name in USUAL.split():
        importlib.import_module(name)
    if setup.sources:
        importlib.import_module("cascade_lsp.sandbox.suite")  # later it could not be read
    libraries = library()
    sys.path[:] = [path for path in sys.path if os.path.exists(path)] + [*setup.packages]
    try:
        kernel = Kernel(setup.hidden, setup.landlock_abi)
        view = view_of(setup, libraries)
        isolate(kernel, setup, view, control)
    except (Missing, OSError) as error:
        _say(control, {"missing": [str(part) for part in error.args]})
        os._exit(1)
    gc.collect()
    gc.freeze()
    Server(control, kernel, setup, view).serve()


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
        self._readable = (*view.shown, *DEVICES, *scratch)
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
