"""Nothing leaves this machine: the real product, watched, where there is no network at all.

The watch itself is tried first on programs that do open sockets.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil
import pytest
from lsprotocol import types
from pytest_lsp import make_test_lsp_client

from cascade_lsp import paths
from cascade_lsp.offline import Run, holds, is_own
from cascade_lsp.settings import Settings
from cascade_lsp.watching import NOT_STARTED, Call, Watched, command_of
from tests import models
from tests.hosts import gone, of_home
from tests.protocol.test_real_model import CAPABILITIES, INVOKED, STUB, complete, open_document

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the watch is Linux's")
PATIENCE_S = 400

SOCKETS = {
    "inet": "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
    "inet6": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
}
GRANDCHILD = """\
import os, socket, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        import threading
        thread = threading.Thread(target=lambda: {opens})
        thread.start()
        thread.join()
        os._exit(0)
    os.wait()
    os._exit(0)
os.wait()
"""
SENDS = """\
import ctypes, socket
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for send in (
    lambda: one.sendto(b"x", ("192.0.2.1", 9)),
    lambda: one.sendmsg([b"x"], (), 0, ("192.0.2.2", 10)),
    lambda: one.connect(("192.0.2.3", 11)),
    lambda: one.bind(("192.0.2.4", 12)),
):
    try:
        send()
    except OSError:
        pass
pair = socket.socketpair()
pair[0].send(b"not addressed")
pair[0].sendmsg([b"nor this"])
"""


def watched(report: Path, *command: str, alone: bool = True, home: Path | None = None):
    """Run a command under the watch; return how it ended, and what was seen."""
    environment = {**os.environ, **({"CASCADE_HOME": str(home)} if home else {})}
    done = subprocess.run(
        command_of(report, command, alone=alone),
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode != NOT_STARTED, done.stderr
    return done, Watched.read(report)


def cascade(home: Path, *arguments: str):
    command = (sys.executable, "-m", "cascade_lsp", *arguments)
    return watched(home / "report.json", *command, home=home)


def others(seen: Watched, home: Path) -> list[Call]:
    """Return the calls that are not about the product's own sockets."""
    return [call for call in seen.calls if not is_own(call, paths.runtime_dir(home))]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home of its own with the installed models in it."""
    models.small()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights").symlink_to(paths.models_dir(), target_is_directory=True)
    return tmp_path


# -- the watch -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", SOCKETS)
@pytest.mark.parametrize("program", ["import socket; {opens}", GRANDCHILD])
def test_a_socket_is_seen_whoever_opens_it(tmp_path: Path, family: str, program: str) -> None:
    text = program.format(opens=SOCKETS[family])
    done, seen = watched(tmp_path / "report", sys.executable, "-c", text)
    assert done.returncode == 0, done.stderr
    assert [(call.name, call.family) for call in others(seen, tmp_path)] == [("socket", family)]
    assert len(seen.processes) == (3 if program == GRANDCHILD else 1)


def test_whom_a_call_addresses_is_read(tmp_path: Path) -> None:
    done, seen = watched(tmp_path / "report", sys.executable, "-c", SENDS)
    assert done.returncode == 0, done.stderr
    assert [(call.name, call.family, call.address) for call in seen.calls] == [
        ("socket", "inet", ""),
        ("sendto", "inet", "192.0.2.1 port 9"),
        ("sendmsg", "inet", "192.0.2.2 port 10"),
        ("connect", "inet", "192.0.2.3 port 11"),
        ("bind", "inet", "192.0.2.4 port 12"),
        ("socketpair", "unix", ""),
    ]


def test_a_ring_that_could_send_unseen_is_seen(tmp_path: Path) -> None:
    text = "import ctypes; ctypes.CDLL(None).syscall(425, 1, None)"  # io_uring_setup
    _, seen = watched(tmp_path / "report", sys.executable, "-c", text)
    assert [call.name for call in others(seen, tmp_path)] == ["io_uring_setup"]


def test_the_namespace_has_no_way_out_and_without_it_there_is_one(tmp_path: Path) -> None:
    listed = "print(sorted(line.split(':')[0].strip() for line in list(open('/proc/net/dev'))[2:]))"
    done, _ = watched(tmp_path / "report", sys.executable, "-c", listed)
    assert "lo" in done.stdout and "eth" not in done.stdout
    listen = (
        "import socket; a = socket.create_server(('127.0.0.1', 0)); "
        "socket.create_connection(a.getsockname(), 2)"
    )
    assert (
        watched(tmp_path / "report", sys.executable, "-c", listen, alone=False)[0].returncode == 0
    )
    assert watched(tmp_path / "report", sys.executable, "-c", listen)[0].returncode == 1


def test_exit_codes_and_signals_pass_through_and_what_was_left_running_ends(
    tmp_path: Path,
) -> None:
    script = "sleep 600 & (sleep 0.2; kill -CONT $$) & kill -STOP $$; exit 3"
    done, seen = watched(tmp_path / "report", "/bin/sh", "-c", script)
    assert done.returncode == 3 and seen.code == 3
    assert len(seen.processes) >= 2
    left = [one for one in psutil.process_iter() if one.pid in seen.processes]
    assert gone(left, 5)


def test_a_command_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = subprocess.run(
        command_of(tmp_path / "report", ["/no/such/program"]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == NOT_STARTED


# -- what is the product's own ---------------------------------------------------------------------


def test_only_unix_sockets_without_a_name_or_in_the_own_folder_are_own(tmp_path: Path) -> None:
    def call(family: str, address: str = "") -> Call:
        return Call(1, "python", "connect", family, address)

    assert is_own(call("unix"), tmp_path)
    assert is_own(call("unix", f"{tmp_path}/engine.sock"), tmp_path)
    for other in ("/run/dbus/socket", "@abstract", f"{tmp_path}x/engine.sock", "engine.sock"):
        assert not is_own(call("unix", other), tmp_path)
    assert not is_own(call("inet", "127.0.0.1 port 80"), tmp_path)
    assert not is_own(call(""), tmp_path)


def test_the_promise_is_not_shown_by_less_than_a_whole_completion(tmp_path: Path) -> None:
    quiet, loud = Watched(), Watched(calls=[Call(1, "python", "socket", "inet")])
    good = Run(False, tmp_path, quiet, {"text": "x"})
    no_namespace = Run(True, tmp_path, fault="no network namespace can be had here")
    assert holds([good, Run(True, tmp_path, quiet, {"text": "x"})])
    assert holds([good, no_namespace])
    assert not holds([good, Run(True, tmp_path, quiet, fault="no answer")])
    assert not holds([Run(False, tmp_path, loud, {"text": "x"}), no_namespace])
    assert not holds([Run(False, tmp_path, fault="not watched"), no_namespace])


# -- the product -----------------------------------------------------------------------------------


def test_the_doctor_shows_the_promise(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cascade_lsp", "doctor", "--network", "--json"],
        env={**os.environ, "CASCADE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    shown = json.loads(done.stdout)
    assert done.returncode == 0 and shown["kept"], shown
    for run in shown["runs"]:
        assert run["answered"] and run["others"] == []
        assert run["tests"] >= 2  # the sandbox ran under the watch, too
        assert run["processes"] >= 5
        assert run["calls"]["bind unix its own/engine.sock"] == 1


def test_where_nothing_can_be_watched_it_is_said_with_what_can_be_done_instead(
    tmp_path: Path,
) -> None:
    done, _ = cascade(tmp_path, "doctor", "--network")  # one that is traced cannot be traced again
    assert done.returncode == 1
    assert "the kernel allows no tracer here" in done.stdout
    assert "What can be checked instead" in done.stdout
    assert "✓" not in done.stdout


async def test_an_editor_is_served_without_a_network(home: Path) -> None:
    client, report = make_test_lsp_client(), home / "report.json"
    serve = (sys.executable, "-m", "cascade_lsp", "serve", "--log-file", str(home / "log"))
    command = command_of(report, serve, alone=True)
    await client.start_io(*command, env={**os.environ, "CASCADE_HOME": str(home)})
    options = {"completion": {"patience_s": PATIENCE_S}, "engine": {"linger_s": 0}}
    options["remote"] = {"url": "https://models.example/v1"}  # the network is off all the same
    await client.initialize_session(
        types.InitializeParams(CAPABILITIES, initialization_options=options)
    )
    open_document(client, STUB)
    (item,) = await asyncio.wait_for(complete(client, STUB, INVOKED), PATIENCE_S)
    assert "return" in item.insert_text
    await client.shutdown_session()
    await asyncio.wait_for(client._server.wait(), 60)
    await client.stop()
    seen = Watched.read(report)
    assert seen.code == 0
    assert any("cascade_lsp.engine.host" in call.program for call in seen.calls)
    assert others(seen, home) == []
    assert await asyncio.to_thread(gone, of_home(home), 5)


def test_the_doctor_measures_everything_without_a_network(home: Path) -> None:
    # The small model in both roles: it is about sockets, and the large one takes long to load.
    settings = home / "settings.json"
    settings.write_text(json.dumps({"models": {"large": Settings().models.small}}))
    done, seen = cascade(home, "doctor", "--json", "--settings", str(settings))
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 0, findings
    assert findings["small model: hole"]["state"] == "ok", findings
    assert "FIM markers" in findings["small model: hole"]["found"]
    assert "suggestion's budget" in findings["small model: speed"]["found"]
    assert findings["sandbox"]["state"] == "ok"
    assert others(seen, home) == []


def test_without_models_and_network_it_says_at_once_what_to_do_later(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("def add(a, b):\n    return ")
    done, seen = cascade(tmp_path, "complete", f"{file}:2")
    assert done.returncode == 3
    assert "cascade models fetch" in done.stderr
    assert others(seen, tmp_path) == []


def test_a_download_without_a_network_gives_up_and_says_what_to_do(tmp_path: Path) -> None:
    done, seen = cascade(tmp_path, "models", "fetch")
    assert done.returncode == 3
    assert "Check the network, then run the same again" in done.stderr
    calls = Counter(call.name for call in others(seen, tmp_path))
    assert 0 < calls["socket"] < 100, calls  # it tried, and did not try for ever
    left = [call for call in others(seen, tmp_path) if "cascade_lsp complete" in call.program]
    assert left == []
