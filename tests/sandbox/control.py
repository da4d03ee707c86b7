"""Controls: every attack and every forgery, run where nothing holds it, to show that it is real.

A process of its own, started by `Controls`: jobs come in and what happened goes out, as lines of
JSON. Each job runs as a throw-away user in a home made for it, in namespaces that end with this
process, bounded in time, memory, files and processes. `insist` refuses to run anything as any
other user or in any other home. Around it stands what a careless server would be: one that runs
every job in itself, keeps their texts, and leaves its descriptors open.
"""

import asyncio
import atexit
import contextlib
import fcntl
import json
import os
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    _root = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(_root), str(_root / "server")]

from cascade_lsp.sandbox import selftest
from cascade_lsp.sandbox.selftest import CANARY, FORGERIES, MARK, Attack, Places
from tests.sandbox import isolated

USER = 61357
WALL_S = 8.0
TELL = 250  # the descriptor on which the results go out, which no job has
MOST_BYTES = 64 * 1024 * 1024
FLOOD_BYTES = 1024 * 1024
PASSED = b'{"kind": "passed"'


@dataclass(frozen=True, slots=True)
class Shown:
    """What a control showed: whether it works here, the traces it left, and some words of it."""

    name: str
    live: bool
    traces: tuple[str, ...]
    words: str


# -- the side of the tests -------------------------------------------------------------------------


def controls(attacks: Iterable[Attack]) -> dict[str, Shown]:
    """Run the controls of attacks, in two corners at once; raise Impossible."""
    attacks = list(attacks)
    found: dict[str, Shown] = {}
    failures: list[Exception] = []

    def work(part: list[Attack]) -> None:
        try:
            found.update((shown.name, shown) for shown in _run(part))
        except (isolated.Impossible, AssertionError) as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(attacks[n::2],)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return {attack.name: found[attack.name] for attack in attacks}


def controls_twice(attacks: Iterable[Attack]) -> dict[str, Shown]:
    """Run the controls, and those that showed nothing once more: some depend on timing."""
    attacks = list(attacks)
    found = controls(attacks)
    silent = [attack for attack in attacks if not found[attack.name].live]
    return found | controls(silent)


def _run(attacks: list[Attack]) -> Iterator[Shown]:
    if not attacks:
        return
    jobs = "".join(f"{json.dumps([attack.group, attack.name])}\n" for attack in attacks)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", __file__],
        input=jobs,
        env={"CANARY": CANARY, "PATH": "/bin:/usr/bin", "HOME": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    lines = done.stdout.splitlines()
    if lines[:1] and "impossible" in lines[0]:
        raise isolated.Impossible(json.loads(lines[0])["impossible"])
    if len(lines) != len(attacks):
        raise AssertionError(f"the controls ended after {len(lines)}: {done.stderr[-2000:]}")
    for line in lines:
        name, live, traces, words = json.loads(line)
        yield Shown(name, live, tuple(traces), words)


# -- the first process of the corner ---------------------------------------------------------------


def main() -> None:
    os.dup2(1, TELL)
    known = {(attack.group, attack.name): attack for attack in selftest.load()}
    jobs = [known[tuple(json.loads(line))] for line in sys.stdin]
    try:
        if os.getuid() != 0:
            raise isolated.Impossible("only root can become a throw-away user")
        isolated.enter(USER)
    except isolated.Impossible as error:
        os.write(TELL, json.dumps({"impossible": str(error)}).encode() + b"\n")
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    top = Path(f"/tmp/cascade-attacks-{os.urandom(4).hex()}")
    for job in jobs:
        shown = _control(job, top)
        os.write(TELL, json.dumps(shown).encode() + b"\n")


def _control(attack: Attack, top: Path) -> tuple[str, bool, list[str], str]:
    """Run one control in a corner made new, and say what it showed."""
    home = _make(top)
    listener, port = _listening(home)
    victim = _victim()
    try:
        _give(top)
        places = Places(home, port, victim)
        before = selftest.snapshot(home) | isolated.traces()
        token = f"token-{os.urandom(8).hex()}"
        runner, pipes = _start(attack, places, token)
        sent = _collect(runner, pipes)
        traces = sorted((selftest.snapshot(home) | isolated.traces()) - before)
    finally:
        _end_all(USER)
        os.kill(listener, signal.SIGKILL)
        _reap()
        _clear(top)
    live, words = _showed(attack, *sent)
    return attack.name, live, traces[:9], words[-300:]


def _make(top: Path) -> Path:
    """Make a home to waste."""
    for folder in ("home", "work"):
        (top / folder).mkdir(parents=True)
    (top / MARK).touch()
    selftest.furnish(top / "home")
    return top / "home"


def _give(top: Path) -> None:
    for path in [top, *top.rglob("*")]:
        os.chown(path, USER, USER, follow_symlinks=False)


def _clear(top: Path) -> None:
    """Take away what the job left, wherever this corner could have it."""
    for folder in (top, Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path(isolated.QUEUES)):
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_dir() and not path.is_symlink() and not path.is_mount():
                _remove_tree(path)
            elif not path.is_dir() or path.is_symlink():
                path.unlink()
    if top.exists():
        shutil.rmtree(top)
    for kind, call in (("shm", "shmctl"), ("sem", "semctl"), ("msg", "msgctl")):
        for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]:
            number = int(line.split()[1])
            arguments = (number, 0, 0) if kind == "sem" else (number, 0, None)
            getattr(isolated.libc, call)(*arguments)


def _remove_tree(path: Path) -> None:
    """Remove a tree however deep it is."""
    if any(path.is_relative_to(kept) or Path(kept).is_relative_to(path) for kept in _KEPT):
        return
    subprocess.run(["/bin/rm", "-rf", "--", str(path)], check=True)


_KEPT = (str(isolated.ROOT), sys.prefix, sys.base_prefix)


def _listening(home: Path) -> tuple[int, int]:
    """Start a process that listens where attacks try to connect; return it, and the port."""
    out, into = os.pipe()
    child = os.fork()
    if child:
        os.close(into)
        port = int(os.read(out, 16))
        os.close(out)
        return child, port

    async def listen() -> None:
        port = await selftest.Visitors().listen(home)
        os.write(into, b"%d" % port)
        await asyncio.sleep(60)

    asyncio.run(listen())
    os._exit(0)


def _victim() -> int:
    """Start a process of the throw-away user that does nothing, and wait until it is that."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        isolated.become(USER)
        os.write(into, b"x")
        time.sleep(60)
        os._exit(0)
    os.read(out, 1)
    os.close(out)
    os.close(into)
    return child


Pipes = tuple[int, int]


def _start(attack: Attack, places: Places, token: str) -> tuple[int, Pipes]:
    """Start the careless server with one job; return it, and where its output and answer come."""
    printed, print_to = os.pipe()
    answered, answer_to = os.pipe()
    child = os.fork()
    if child:
        os.close(print_to)
        os.close(answer_to)
        return child, (printed, answered)
    try:
        for file in (TELL, printed, answered):
            os.close(file)
        _serve(attack, places, token, print_to, answer_to)
    except BaseException as error:  # noqa: BLE001 - whatever a job does ends here
        os.write(2, f"{error!r}\n".encode())
    os._exit(9)


def _collect(runner: int, pipes: Pipes) -> tuple[int, bytes, bytes]:
    """Read what comes until the server ends; return how it ended, what was printed, the answer."""
    texts, until, ended = [b"", b""], time.monotonic() + WALL_S, None
    late = until
    sizes = [0, 0]
    while True:
        ready, _, _ = select.select(pipes, [], [], 0.01 if ended is None else 0)
        for pipe in ready:
            index = pipes.index(pipe)
            text = os.read(pipe, 1 << 20)
            sizes[index] += len(text)
            if len(texts[index]) < FLOOD_BYTES * 2:
                texts[index] += text
        if not any(ready) or sum(sizes) > MOST_BYTES:
            if ended is not None and (ended >= 0 or sizes[1] or time.monotonic() > late):
                break
        elif ended is not None and not _any_left(pipes, ready):
            break
        if ended is None:
            done, status = os.waitpid(runner, os.WNOHANG)
            ended = os.waitstatus_to_exitcode(status) if done else None
            late = min(late, time.monotonic() + 0.5) if done else late
        if time.monotonic() > until:
            break
    for pipe in pipes:
        os.close(pipe)
    return ended if ended is not None else -99, texts[0], texts[1]


def _any_left(pipes: Pipes, ready: list[int]) -> bool:
    """Say whether more may come: an end that is ready but empty stays ready for ever."""
    return any(
        struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0] for pipe in ready
    )


def _end_all(user: int) -> None:
    """Kill every process of the throw-away user in this corner."""
    child = os.fork()
    if child == 0:
        isolated.become(user)
        isolated.forget_keys()
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        os._exit(0)
    os.waitpid(child, 0)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _showed(attack: Attack, code: int, printed: bytes, answer: bytes) -> tuple[bool, str]:
    words = (printed[-200:] + b" | " + answer[-200:]).decode(errors="replace") + f" | {code}"
    if attack.group == FORGERIES:
        believed = answer.startswith(PASSED), code == 0
        return any(believed) or b"all tests passed" in printed, words
    if "flood" in attack.marks:
        return len(printed) + len(answer) > FLOOD_BYTES, words
    return CANARY.encode() in printed + answer, words


# -- the careless server, and the job in it, as the throw-away user --------------------------------


def _serve(attack: Attack, places: Places, token: str, print_to: int, answer_to: int) -> None:
    """Run a job in a child, with much lying about that a careful server would not leave there."""
    os.setsid()
    isolated.become(USER)
    os.environ["HOME"] = str(places.folder)
    os.chdir(places.folder.parent / "work")
    os.dup2(print_to, 1)
    os.dup2(print_to, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    out, into = os.pipe()
    os.write(into, b"the canary of another job")
    held, other = socket.socketpair()
    other.send(b"the canary of another job")
    listening = socket.create_server(("127.0.0.1", 0))
    root = os.open("/", os.O_RDONLY)
    child = os.fork()
    if child == 0:
        _run_job(attack, places, token, answer_to)
    kept = (out, held, other, listening, root)
    _, status = os.waitpid(child, 0)
    del kept
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128)


def _run_job(attack: Attack, places: Places, token: str, answer_to: int) -> None:
    for what, most in (
        (resource.RLIMIT_AS, 4 << 30),
        (resource.RLIMIT_CPU, 8),
        (resource.RLIMIT_NPROC, 400),
        (resource.RLIMIT_FSIZE, 512 << 20),
        (resource.RLIMIT_NOFILE, 512),
    ):
        resource.setrlimit(what, (most, most))
    isolated.insist(places.folder)
    if "userns" in attack.marks:
        _have_rights()
    answer = _forge if attack.group == FORGERIES else _attack
    try:
        code = answer(attack, places, token, answer_to)
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        with contextlib.suppress(Exception):
            sys.stdout.flush()
    os._exit(code)


def _have_rights() -> None:
    """Be root of namespaces of one's own, where what needs rights can be shown."""
    flags = isolated.NEWNS | isolated.NEWPID | isolated.NEWNET | isolated.NEWUTS | isolated.NEWIPC
    isolated.have_rights_in_a_namespace(flags, 0)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) % 256)
    isolated.raise_loopback()


def _attack(attack: Attack, places: Places, _: str, answer_to: int) -> int:
    """Run the first program and the second in this same process, as a careless server would."""
    kept: list[object] = []
    for body in filter(None, (attack.first, attack.body)):
        source = selftest.program(body, places)
        kept += [source, {"source": source}]
        scope: dict[str, object] = {"__name__": "__main__"}
        try:
            exec(source, scope)
            value = scope["attack"]()  # type: ignore[operator]
        except SystemExit:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a job raises is its answer
            value = repr(error) if "flood" in attack.marks else f"{type(error)}: {error}"[:300]
    _send(answer_to, value if isinstance(value, str) else _written(value))
    return 0


def _written(value: object) -> str:
    return hex(value) if isinstance(value, int) else repr(value)


def _send(file: int, text: str) -> None:
    data = text.encode()
    while data:
        data = data[os.write(file, data) :]


_PLAIN_CHECK = """
def check(candidate):
    assert candidate(2, 3) == {token!r}
    return True
check(secret)
"""
_UNITTEST_CHECK = """
import unittest
class Test(unittest.TestCase):
    def test(self):
        self.assertEqual(secret(2, 3), {token!r})
_result = unittest.TestResult()
unittest.defaultTestLoader.loadTestsFromTestCase(Test).run(_result)
if not _result.wasSuccessful():
    raise AssertionError
"""


def _forge(attack: Attack, _: Places, token: str, answer_to: int) -> int:
    """Run a program and its test together, and tell of it in three ways that one could believe:
    the exit code, a printed line, a frame on a pipe."""
    check = _UNITTEST_CHECK if "unittest" in attack.marks else _PLAIN_CHECK
    source = attack.body + check.format(token=token)
    try:
        exec(compile(source, "<program>", "exec"), {"__name__": "__main__"})
        kind = "passed"
    except SystemExit:
        raise
    except BaseException:  # noqa: BLE001 - a failure is told, whatever it is
        kind = "failed"
    text = json.dumps({"kind": kind})
    os.write(answer_to, text.encode() + b"\n")
    print("all tests passed" if kind == "passed" else "some failed")  # noqa: T201 - one of three ways
    if kind == "failed":
        sys.exit(1)
    return 0


if __name__ == "__main__":
    main()
