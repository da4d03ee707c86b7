"""The native tier from outside: what each kind of program is labelled, and that nothing is left."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from cascade_lsp.sandbox import Check, Limits, Outcome, Project, Suite, lane
from cascade_lsp.sandbox.lane import Unavailable
from cascade_lsp.sandbox.native import NativeSandbox

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform != "linux", reason="the native tier is Linux's"),
    pytest.mark.filterwarnings(
        "ignore:.*is marked with '@pytest.mark.asyncio' but it is not an async"
    ),
]

LIMITS = Limits(time_s=2.0, memory_bytes=64 * 1024 * 1024)
ADD = "def add(a, b):\n    return a + b\n"
TWO = Check("add(1, 1)", "eq", "2")
LOOP = "def loop():\n    while True:\n        pass\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[NativeSandbox]:
    made = NativeSandbox()
    yield made
    await made.close()


async def one(
    sandbox: NativeSandbox, source: str, check: Check, limits: Limits = LIMITS
) -> Outcome:
    (outcome,) = await sandbox.run(source, [check], limits)
    return outcome


def server_of(sandbox: NativeSandbox) -> psutil.Process:
    """Return the process that forks, the child of the one that was started."""
    (server,) = psutil.Process(sandbox._python.start().process.pid).children()
    return server


CLASS = "class A:\n    def __eq__(self, other): return True\n"


@pytest.mark.parametrize(
    ("source", "check", "kind", "seen"),
    [
        (ADD, TWO, "passed", "2"),
        (ADD, Check("add(1, 1)", "ne", "3"), "passed", "2"),
        (ADD, Check("add(1, 1) < 2", strong=False), "assert_failed", "False"),
        (ADD, Check("add([], [])", "falsy"), "passed", "[]"),
        (ADD, Check("add(1, 1)", "eq", "3"), "assert_failed", "2"),
        (ADD, Check("add(1, 1)", "is", "None"), "assert_failed", "2"),
        ("def f(): 1 / 0", Check("f()"), "error", "ZeroDivisionError: division by zero"),
        ("def f(): assert False", Check("f()"), "error", "AssertionError"),
        ("def f(): raise NotImplementedError", Check("f()"), "error", "NotImplementedError"),
        ("import sys\ndef f(): sys.exit()", Check("f()"), "error", "SystemExit"),
        ("def f(): return f()", Check("f()"), "error", "RecursionError: maximum recursion depth"),
        ("def f(:", Check("f()"), "error", "SyntaxError: "),
        ("from math import root", Check("1"), "error", "ImportError: cannot import name 'root'"),
        (ADD, Check("add(1", "eq", "2"), "test_error", ""),
        (ADD, Check("sub(1, 1)", "eq", "0"), "test_error", "NameError: name 'sub'"),
        (ADD, Check("add(1, 1)", "eq", "add(1, 1)"), "test_error", ""),
        ("import nothing_of_the_kind", Check("1"), "inconclusive", "ModuleNotFoundError"),
        (CLASS, Check("A()", "eq", "1"), "inconclusive", "<A object>"),
        ("def f(): yield 1", Check("f()", "eq", "[1]"), "assert_failed", "<generator object>"),
        ("def f(): return [{1: (2, 'a')}, {3}, b'x', None, 1.5, 2**70, 1j, ...]",
         Check("f()", "eq", "[{1: (2, 'a')}, {3}, b'x', None, 1.5, 2**70, 1j, ...]"),
         "test_error", ""),
        ("def f(): return [{1: (2, 'a')}, {3}, b'x', None, 1.5, 2**70, 1j]",
         Check("f()", "eq", f"[{{1: (2, 'a')}}, {{3}}, b'x', None, 1.5, {2**70}, 1j]"),
         "passed", "[{1: (2, 'a')}"),
        ("from collections import *\nP = namedtuple('P', 'a b')\ndef f(): return P(1, 2)",
         Check("f()", "eq", "(1, 2)"), "passed", "(1, 2)"),
        ("from collections import Counter\ndef f(): return Counter('aab')",
         Check("f()", "eq", "{'a': 2, 'b': 1}"), "passed", "{'a': 2"),
        ("from enum import IntEnum\nclass E(IntEnum): A = 3\ndef f(): return E.A",
         Check("f()", "eq", "3"), "passed", "3"),
        ("class S(str):\n    def __eq__(self, other): return True\ndef f(): return S('b')",
         Check("f()", "eq", "'a'"), "inconclusive", "<S object>"),
        ("def f(): return list({1, 2})", Check("f()", "eq", "[2, 1]"), "inconclusive", "[1, 2]"),
        ("def f(): return list({1, 2})", Check("f()", "eq", "[2, 2]"), "assert_failed", "[1, 2]"),
        ("def f(): return [1, 2]", Check("f()", "eq", "[2, 1]"), "assert_failed", "[1, 2]"),
        ("def f(): return open('/etc/passwd')", Check("f()"), "blocked_access", "FileNotFound"),
        ("def f():\n    try: open('/etc/passwd')\n    except OSError: return 1",
         Check("f()", "eq", "1"), "blocked_access", "1"),
        ("import sqlite3\ndef f(): sqlite3.connect('/tmp/x.db')", Check("f()"),
         "blocked_access", "OperationalError"),
        ("import sqlite3\n"
         "def f(): return sqlite3.connect(':memory:').execute('select 1').fetchone()",
         Check("f()", "eq", "(1,)"), "passed", "(1,)"),
        ("import os\ndef f(): os.fork()", Check("f()"), "blocked_syscall", ""),
        ("import socket\ndef f(): socket.socket()", Check("f()"), "blocked_syscall", ""),
        ("import os\ndef f(): os._exit(0)", Check("f()"), "exited_early", ""),
        ("import os\ndef f(): os.abort()", Check("f()"), "crash", ""),
        ("import os\ndef f(): os.write(3, b'{}')", Check("f()"), "tampered", ""),
        ("def f(): return bytearray(10**9)", Check("f()"), "memory", "MemoryError"),
        ("def f(): return 'x' * (2 * 1024 * 1024)", Check("f()"), "result_flood", ""),
        ("def f():\n    x = []\n    for _ in range(500): x = [x]\n    return x",
         Check("f()"), "result_flood", ""),
        ("def f(): print('x' * 100_000)", Check("f()"), "output_flood", ""),
        ("def f():\n    while True: print('x')", Check("f()"), "output_flood", ""),
        ("def f(): open('x', 'wb').write(b'x' * (2 * 1024 * 1024))", Check("f()"),
         "inconclusive", "OSError"),
    ],
)  # fmt: skip
async def test_each_kind_of_program_has_its_label(
    sandbox: NativeSandbox, source: str, check: Check, kind: str, seen: str
) -> None:
    outcome = await one(sandbox, source, check)
    assert (outcome.kind, outcome.seen[: len(seen)]) == (kind, seen), outcome


async def test_an_outcome_names_the_call_the_signal_and_the_place(sandbox: NativeSandbox) -> None:
    async def detail(body: str) -> str:
        return (await one(sandbox, f"import os, socket\ndef f():\n    {body}", Check("f()"))).detail

    assert await detail("socket.socket()") == "socket"
    assert await detail("os.kill(1, 9)") == "kill"
    assert await detail("os.abort()") == "SIGABRT"
    assert await detail("1 / 0") == "line 3, in f"
    assert await detail("import nowhere") == "the sandbox has no module nowhere"


async def test_an_outcome_carries_time_and_memory(sandbox: NativeSandbox) -> None:
    source = "import time\ndef f():\n    x = b'x' * 30_000_000\n    time.sleep(0.05)\n    return 1"
    outcome = await one(sandbox, source, Check("f()", "eq", "1"))
    assert outcome.kind == "passed"
    assert outcome.ms >= 50
    assert outcome.memory_bytes > 30_000_000


async def test_a_script_passes_fails_or_ends(sandbox: NativeSandbox) -> None:
    async def label(source: str) -> tuple[str, str]:
        outcome = await sandbox.run_script(source, LIMITS)
        return outcome.kind, outcome.seen

    assert await label("print('a')") == ("passed", "a\n")
    assert await label("print('a'); assert 1 == 2") == ("assert_failed", "a\n")
    assert await label("def f(): assert False\nf()") == ("error", "")
    assert await label("raise SystemExit") == ("passed", "")
    assert await label("raise SystemExit(3)") == ("error", "")


async def test_a_run_sees_nothing_of_the_one_before(sandbox: NativeSandbox) -> None:
    leave = (
        "import builtins, json, os, sys\ndef f():\n"
        "    builtins.left = json.left = 1\n    os.environ['LEFT'] = '1'\n"
        "    os.mkdir('folder', 0o300)\n    open('folder/file', 'w').write('x')\n    return 1"
    )
    look = (
        "import builtins, json, os\ndef f():\n"
        "    return hasattr(builtins, 'left'), hasattr(json, 'left'), 'LEFT' in os.environ, "
        "os.listdir('.')"
    )
    assert (await one(sandbox, leave, Check("f()", "eq", "1"))).kind == "passed"
    seen = (await one(sandbox, look, Check("f()", "eq", "0"))).seen
    assert seen == "(False, False, False, [])"


async def test_random_numbers_are_those_of_the_seed(sandbox: NativeSandbox) -> None:
    source = "import random\ndef f(): return random.random()"
    runs = [await sandbox.run(source, [Check("f()")], LIMITS, seed=s) for s in (1, 1, 2)]
    seen = [outcome.seen for (outcome,) in runs]
    assert seen[0] == seen[1] != seen[2]


async def test_the_sandbox_inherits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADE_SECRET", "canary")
    made = NativeSandbox()
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        assert (await one(made, ADD, TWO)).kind == "passed"
        server = Path("/proc", str(server_of(made).pid))
        assert b"canary" not in (server / "environ").read_bytes()
        files = {str(entry.readlink()) for entry in (server / "fd").iterdir()}
        assert {file for file in files if file.startswith("/")} <= {"/dev/null", "/tmp/#"} | {
            file for file in files if "(deleted)" in file
        }
        assert str(tmp_path) not in str(files)
    await made.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up being root")
async def test_root_is_given_up(sandbox: NativeSandbox) -> None:
    source = "import os\ndef f(): return os.getresuid(), os.getgroups()"
    seen = (await one(sandbox, source, Check("f()", "eq", "0"))).seen
    assert "0," not in seen.replace("61321", "")
    assert set(server_of(sandbox).uids()) == {61321}


async def test_a_wall_limit_is_kept(sandbox: NativeSandbox) -> None:
    limits = replace(LIMITS, time_s=0.2)
    for source in (LOOP, "import time\ndef loop(): time.sleep(60)"):
        outcome = await one(sandbox, source, Check("loop()"), limits)
        assert outcome.kind == "timeout"
        assert 200 <= outcome.ms < 700  # measure.py has the figure; machines can be busy


async def test_cancelling_ends_the_run_and_keeps_the_server(sandbox: NativeSandbox) -> None:
    assert (await one(sandbox, ADD, TWO)).kind == "passed"
    server = server_of(sandbox)
    run = asyncio.create_task(one(sandbox, LOOP, Check("loop()"), replace(LIMITS, time_s=20)))
    await asyncio.sleep(0.2)
    assert len(server.children()) == 1
    began = time.perf_counter()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert time.perf_counter() - began < 0.5
    assert server.children() == []
    assert (await one(sandbox, ADD, TWO)).kind == "passed"
    assert server_of(sandbox) == server


async def test_a_run_cancelled_before_it_began_harms_no_other(sandbox: NativeSandbox) -> None:
    runs = [asyncio.create_task(one(sandbox, ADD, TWO)) for _ in range(10)]
    await asyncio.sleep(0)
    for run in runs[::2]:
        run.cancel()
    done = await asyncio.gather(*runs, return_exceptions=True)
    assert [o.kind for o in done if isinstance(o, Outcome)] == ["passed"] * 5


async def test_a_server_that_is_lost_is_no_verdict_and_is_replaced(sandbox: NativeSandbox) -> None:
    assert (await one(sandbox, ADD, TWO)).kind == "passed"
    server = server_of(sandbox)
    run = asyncio.create_task(one(sandbox, LOOP, Check("loop()"), replace(LIMITS, time_s=20)))
    await asyncio.sleep(0.2)
    server.kill()
    assert (await run).kind == "sandbox_lost"
    assert (await one(sandbox, ADD, TWO)).kind == "passed"
    assert server_of(sandbox) != server


async def test_a_server_is_replaced_after_so_many_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "RUNS_PER_SERVER", 3)
    made = NativeSandbox()
    first = server_of(made)
    for _ in range(3):
        assert (await one(made, ADD, TWO)).kind == "passed"
    assert server_of(made) != first
    await made.close()


def test_when_the_host_is_killed_nothing_is_left() -> None:
    program = textwrap.dedent("""
        import asyncio
        from cascade_lsp.sandbox import Check, Limits
        from cascade_lsp.sandbox.native import NativeSandbox
        async def main():
            made = NativeSandbox()
            await made.status()
            print(made._python.start().process.pid, flush=True)
            await made.run("while True: pass", [Check("1")], Limits(time_s=60))
        asyncio.run(main())
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as host:
        assert host.stdout
        launcher = psutil.Process(int(host.stdout.readline()))
        time.sleep(0.3)
        family = [launcher, *launcher.children(recursive=True)]
        assert len(family) == 3
        host.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=5)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []


async def test_the_event_loop_goes_on_while_a_program_runs(sandbox: NativeSandbox) -> None:
    run = asyncio.create_task(one(sandbox, LOOP, Check("loop()"), replace(LIMITS, time_s=0.5)))
    longest, before = 0.0, time.perf_counter()
    while not run.done():
        await asyncio.sleep(0.005)
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    assert (await run).kind == "timeout"
    assert longest < 0.3


async def test_a_thousand_runs_keep_their_labels_and_leave_nothing(sandbox: NativeSandbox) -> None:
    cases = [
        (ADD, TWO, "passed"),
        (ADD, Check("add(1, 1)", "eq", "3"), "assert_failed"),
        ("def f(): 1 / 0", Check("f()"), "error"),
        ("import os\ndef f(): os.fork()", Check("f()"), "blocked_syscall"),
        ("import os\ndef f(): os._exit(3)", Check("f()"), "exited_early"),
        ("def f(): open('x', 'w').write('x' * 1000); return 1", Check("f()", "eq", "1"), "passed"),
        ("def f(): return open('/etc/passwd')", Check("f()"), "blocked_access"),
    ]
    me = psutil.Process()
    for source, check, kind in cases * 20:
        assert (await one(sandbox, source, check)).kind == kind
    descriptors, resident = me.num_fds(), me.memory_info().rss
    for i in range(860):
        source, check, kind = cases[i % len(cases)]
        assert (await one(sandbox, source, check)).kind == kind
    assert me.num_fds() <= descriptors + 2
    assert me.memory_info().rss < resident + 16 * 1024 * 1024
    assert (await one(sandbox, ADD, TWO)).kind == "passed"
    assert server_of(sandbox).num_fds() < 20


async def test_the_hidden_means_of_isolation_are_named() -> None:
    for hidden in ("landlock", "mount", "seccomp_notify"):
        made = NativeSandbox(hidden=[hidden])
        if hidden == "seccomp_notify":  # only a child asks for it
            assert (await one(made, ADD, TWO)).kind == "sandbox_lost"
        else:
            with pytest.raises(Unavailable, match=hidden):
                await made.status()
        await made.close()


# -- what of a project may be read -----------------------------------------------------------------


# Of each kind that `secret_files` tells: by a name, by a folder around it or before it, in data.
SECRETS = (
    *(
        ".env",
        "conf/server.pem",
        "conf/Server.KEY",
        ".git/config",
        ".envs/local/django",
        "conf/.env/a",
    ),
    *(".docker/config.json", "conf/credentials.json", "secrets.yaml", "prod.tfvars", ".pgpass"),
)
ORDINARY = ("data.txt", "credentials.py", "conf/secrets/model.py", "docker/config.json")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with secrets, a module, a test of it, and this environment's packages."""
    tmp_path.chmod(0o755)  # root's files must be readable by the user that root becomes
    for names, text in ((SECRETS, "canary"), (ORDINARY, "data")):
        for path in map(tmp_path.joinpath, names):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    (tmp_path / "shop.py").write_text("def price(n):\n    ...\n")
    (tmp_path / "test_shop.py").write_text(
        "from shop import price\ndef test_price():\n    assert price(2) == 6\n"
    )
    return Project(tmp_path, Path(sys.executable), sources=True)


async def test_packages_are_there_only_where_a_project_is_trusted(
    sandbox: NativeSandbox, project: Project
) -> None:
    source = "import numpy\ndef f(): return numpy.int64(3) + numpy.arange(3).sum()"
    check, limits = Check("f()", "eq", "6"), replace(LIMITS, memory_bytes=1024**3)
    assert (await one(sandbox, source, check, limits)).kind == "inconclusive"
    trusting = NativeSandbox(replace(project, sources=False))
    assert (await one(trusting, source, check, limits)).kind == "passed"
    read = f"def f(): return open({str(project.root / 'data.txt')!r}).read()"
    assert (await one(trusting, read, Check("f()"))).kind == "blocked_access"
    await trusting.close()


async def test_sources_can_be_read_but_for_secrets_and_never_written(project: Project) -> None:
    trusting = NativeSandbox(project)

    async def read(name: str) -> Outcome:
        source = f"def f(): return open({str(project.root / name)!r}).read()"
        return await one(trusting, source, Check("f()", "eq", "'data'"))

    for name in SECRETS:
        assert "canary" not in (await read(name)).seen, name
    for name in ORDINARY:
        assert (await read(name)).kind == "passed", name
    write = f"def f(): open({str(project.root / 'data.txt')!r}, 'a').write('x')"
    assert (await one(trusting, write, Check("f()"))).kind == "blocked_access"
    assert (project.root / "data.txt").read_text() == "data"
    await trusting.close()


async def test_the_home_folder_is_never_shown(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for home in (project.root, project.root / "conf"):
        monkeypatch.setenv("HOME", str(home))
        with pytest.raises(Unavailable, match="home folder"):
            await NativeSandbox(project).status()


@pytest.mark.parametrize(("body", "kind"), [("3 * n", "passed"), ("n", "assert_failed")])
async def test_the_users_own_tests_see_the_candidate(
    project: Project, body: str, kind: str
) -> None:
    trusting = NativeSandbox(project)
    suite = Suite("shop", f"def price(n):\n    return {body}\n", (("test_shop.py", "test_price"),))
    (outcome,) = await trusting.run_suite(suite, replace(LIMITS, time_s=10))
    assert outcome.kind == kind, outcome
    await trusting.close()


# -- JavaScript and TypeScript ---------------------------------------------------------------------

JS = "function add(a, b) { return a + b }\n"


async def test_node_is_one_more_language_where_it_is_installed(sandbox: NativeSandbox) -> None:
    assert (await sandbox.status()).languages == ("python", "javascript", "typescript")


@pytest.mark.parametrize(
    ("source", "check", "kind", "seen"),
    [
        (JS, TWO, "passed", "2"),
        (JS, Check("add(1, 1)", "eq", "3"), "assert_failed", "2"),
        ("const f = () => ({a: [1, 'b', null]})", Check("f()", "eq", "{'a': [1, 'b', None]}"),
         "passed", "{'a': [1, 'b', None]}"),
        ("function f() { throw new TypeError('no') }", Check("f()"), "error", "TypeError: no"),
        ("function f(:", Check("f()"), "error", "SyntaxError"),
        ("function f() { while (true); }", Check("f()"), "timeout", ""),
        ("function f() { process.exit(0) }", Check("f()"), "exited_early", ""),
        ("import fs from 'node:fs'\nfunction f() { fs.writeSync(3, '{}') }", Check("f()"),
         "tampered", ""),
        ("import fs from 'node:fs'\nfunction f() { return fs.readFileSync('/etc/passwd', 'utf8') }",
         Check("f()"), "blocked_access", "Error: ENOENT"),
        ("import fs from 'node:fs'\nfunction f() { fs.writeFileSync('x', '1')\n"
         "return fs.readdirSync('.') }", Check("f()", "eq", "['x']"), "passed", "['x']"),
        ("import cp from 'node:child_process'\nfunction f() { return cp.execSync('id') }",
         Check("f()"), "blocked_syscall", ""),
        ("import net from 'node:net'\nfunction f() { net.connect(9, '127.0.0.1')\n"
         "return new Promise(() => 0) }",
         Check("f()"), "blocked_syscall", ""),
        ("import dgram from 'node:dgram'\nfunction f() {\n"
         "dgram.createSocket('udp4').bind(); return new Promise(() => 0) }",
         Check("f()"), "blocked_syscall", ""),
        ("function f() { process.kill(process.ppid); return 1 }", Check("f()"),
         "blocked_syscall", ""),
        ("function f() { const a = []; while (true) a.push(new Array(1e6).fill(1)) }",
         Check("f()"), "memory", ""),
        ("const f = () => true", Check("f()", "eq", "1"), "assert_failed", "True"),
        ("const f = () => [false, 1]", Check("f()", "eq", "[0, 1]"), "assert_failed", "[False"),
        ("const f = () => [false, 1]", Check("f()", "ne", "[0, 1]"), "passed", "[False"),
        ("const f = () => [true]", Check("f()", "eq", "[True]"), "passed", "[True]"),
        (JS, Check("sub(1, 1)", "eq", "0"), "test_error", "ReferenceError"),
        ("function f() { return 'x'.repeat(2e6) }", Check("f()"), "result_flood", ""),
        ("function f() { while (true) console.log('x'.repeat(1000)) }", Check("f()"),
         "output_flood", ""),
    ],
)  # fmt: skip
async def test_javascript_has_the_same_labels(
    sandbox: NativeSandbox, source: str, check: Check, kind: str, seen: str
) -> None:
    (outcome,) = await sandbox.run(source, [check], LIMITS, language="javascript")
    assert (outcome.kind, outcome.seen[: len(seen)]) == (kind, seen), outcome


async def test_typescript_is_run_without_its_types(sandbox: NativeSandbox) -> None:
    source = "enum E { A = 3 }\nfunction f(x: number): number { return E.A + x }\n"
    checks = [Check("f(1)", "eq", "4"), Check("f(1)", "eq", "5")]
    outcomes = await sandbox.run(source, checks, LIMITS, language="typescript")
    assert [outcome.kind for outcome in outcomes] == ["passed", "assert_failed"]


async def test_a_script_of_javascript_prints_and_fails(sandbox: NativeSandbox) -> None:
    source = "console.log(1)\nconsole.assert(1 === 2)"
    outcome = await sandbox.run_script(source, LIMITS, language="javascript")
    assert (outcome.kind, outcome.seen) == ("assert_failed", "1\n")
