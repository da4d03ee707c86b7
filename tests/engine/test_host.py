"""One engine host for all windows: real processes, most with a worker that needs no model."""

import asyncio
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cascade_lsp import __version__, paths
from cascade_lsp.engine import EngineOptions, Piece, Prompt, Token, Usage, collect, endpoint, shared
from cascade_lsp.engine.endpoint import Endpoint, Unshareable
from cascade_lsp.engine.lease import Lease
from cascade_lsp.engine.shared import HOST, SharedEngine
from cascade_lsp.errors import EngineError
from tests import models
from tests.hosts import gone, hosts, until, workers
from tests.protocol.editors import far_editor

ADD = Prompt((Piece("text", "def add(first, second):\n    return"),), n_predict=16, stop=("\n",))
LONG = Prompt((Piece("text", "x = [1, 2, 3]\n" * 120),), n_predict=64)
FEW = Prompt((Piece("text", "a"),), n_predict=3)
MANY = Prompt((Piece("text", "a"),), n_predict=2000)  # twenty seconds
NOBODY = 65534
MODEL = Path(__file__)  # what the scripted worker does not look at
as_root = pytest.mark.skipif(not hasattr(os, "fork") or os.geteuid() != 0, reason="needs root")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home of Cascade's own, with the installed models in it."""
    weights = paths.models_dir()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights").symlink_to(weights, target_is_directory=True)
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # for what is scripted
    return tmp_path


@pytest.fixture
def folder(home: Path) -> Iterator[Path]:
    """Return a folder for sockets, which have short paths; nothing is left running in it."""
    made = Path(tempfile.mkdtemp(prefix="cascade-"))
    yield made
    left = hosts(made)
    for host in left:
        host.kill()
    assert gone(left)
    shutil.rmtree(made)


Open = Callable[..., SharedEngine]


@pytest.fixture
async def opened(folder: Path, tmp_path: Path) -> AsyncIterator[Open]:
    """Return a function that makes a window's engine; all are closed."""
    made: list[SharedEngine] = []
    (tmp_path / "available").write_text(str(10**12))

    def open_(
        model: Path = MODEL,
        *,
        keep: bool = True,
        host: tuple[str, ...] | None = None,
        linger_s: float = 1.0,
        **more: float,
    ) -> SharedEngine:
        options = replace(EngineOptions(threads=2, linger_s=linger_s), **more)  # type: ignore[arg-type]
        host = host or scripted(tmp_path)
        where = Endpoint(folder)
        engine = SharedEngine(model, options, Lease(), keep=keep, endpoint=where, host=host)
        made.append(engine)
        return engine

    yield open_
    for engine in made:
        await engine.close()


def scripted(home: Path, version: str = __version__) -> tuple[str, ...]:
    """Return the command of a host with scripted workers."""
    return sys.executable, "-m", "tests.engine.scripted_host", version, str(home / "available")


async def one(engine: SharedEngine, prompt: Prompt = FEW) -> tuple[str, Usage]:
    (answer,), usage = await collect(engine.generate([prompt]), 1)
    return answer.text, usage


async def the_host(folder: Path) -> psutil.Process:
    """Return the one host, once the process that started it has ended."""
    assert await asyncio.to_thread(until, lambda: len(hosts(folder)) == 1)
    (host,) = hosts(folder)
    return host


@contextmanager
def window(folder: Path, home: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run another window's process, which has its engine ready."""
    command = [sys.executable, "-m", "tests.engine.window", str(folder), str(MODEL)]
    process = subprocess.Popen([*command, *scripted(home)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        assert process.stdout.readline() == "READY\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# -- one host ----------------------------------------------------------------------------------


async def test_a_second_window_adds_no_second_worker(opened: Open, folder: Path) -> None:
    first, second = opened(), opened()
    assert await one(first) == ("word word word ", Usage(new_tokens=3))
    assert await one(second) == ("word word word ", Usage(new_tokens=3))
    assert len(workers(await the_host(folder))) == 1


async def test_windows_that_start_at_once_start_one_host(opened: Open, folder: Path) -> None:
    answers = await asyncio.gather(*(one(opened()) for _ in range(5)))
    assert [text for text, _ in answers] == ["word word word "] * 5
    assert len(workers(await the_host(folder))) == 1


async def test_other_options_are_another_worker_but_not_another_linger(
    opened: Open, folder: Path
) -> None:
    await asyncio.gather(opened(linger_s=1).start(), opened(linger_s=2, unload_s=9).start())
    host = await the_host(folder)
    assert len(workers(host)) == 1
    await opened(Path(sys.executable)).start()
    assert len(workers(host)) == 2


async def test_models_of_all_windows_take_turns(opened: Open) -> None:
    many = Prompt((Piece("text", "a"),), n_predict=50)
    seen: list[int] = []

    async def ask(number: int, model: Path) -> None:
        async for item in opened(model).generate([many]):
            seen.append(number) if isinstance(item, Token) else None

    await asyncio.gather(ask(0, MODEL), ask(1, Path(sys.executable)))
    assert seen in ([0] * 50 + [1] * 50, [1] * 50 + [0] * 50)


async def test_the_host_loads_no_library_of_a_models(opened: Open, folder: Path) -> None:
    await one(opened())
    host = await the_host(folder)
    size = host.memory_info().rss / 1e6
    print(f"the host takes {size:.0f} MB")  # noqa: T201
    assert size < 40
    if Path("/proc").exists():
        maps = Path(f"/proc/{host.pid}/maps").read_text()
        assert not any(name in maps for name in ("numpy", "llama", "sqlite"))


async def test_a_second_server_takes_at_most_80_mb_and_no_worker(home: Path) -> None:
    serve = ["-m", "cascade_lsp", "serve"]
    options = {"engine": {"linger_s": 0, "threads": 2}, "sandbox": {"execution": "off"}}
    async with far_editor(command=serve) as first, far_editor(command=serve) as second:
        for editor in (first, second):
            await editor.begin(options)
            editor.open("def add(a, b):\n    return ")
            assert (await editor.ask_completion(1, 11))["items"]
        family = [host := await the_host(paths.runtime_dir()), *workers(host)]
        size = psutil.Process(second.process.pid).memory_info().rss / 1e6
        print(f"a second server takes {size:.0f} MB")  # noqa: T201
        assert len(workers(host)) == 1
        assert size <= 80
        await first.end()
        await second.end()
    assert await asyncio.to_thread(gone, family)
    shutil.rmtree(paths.runtime_dir())


# -- its end, and that of others ---------------------------------------------------------------


async def test_it_ends_a_while_after_the_last_window(opened: Open, folder: Path) -> None:
    first, second = opened(linger_s=2.0), opened(linger_s=0.0)
    await asyncio.gather(first.start(), second.start())
    family = [host := await the_host(folder), *workers(host)]
    await asyncio.gather(first.close(), second.close())
    await asyncio.sleep(0.7)
    assert len(workers(host)) == 1
    third = opened(linger_s=0.0)
    await third.start()  # what lingers is taken up again
    assert hosts(folder) == [host]
    await third.close()
    assert await asyncio.to_thread(gone, family)
    assert not Endpoint(folder).path.exists()


async def test_without_lingering_it_ends_with_the_last_window(opened: Open, folder: Path) -> None:
    engine = opened(linger_s=0.0)
    await engine.start()
    family = [host := await the_host(folder), *workers(host)]
    await engine.close()
    assert await asyncio.to_thread(gone, family, 5)


async def test_it_outlives_the_window_that_started_it(
    opened: Open, folder: Path, tmp_path: Path
) -> None:
    other = opened()
    with window(folder, tmp_path) as owner:
        host = await the_host(folder)
        await other.start()
        for process in (*psutil.Process(owner.pid).children(recursive=True), owner):
            process.kill()
        owner.wait()
    assert await one(other) == ("word word word ", Usage(new_tokens=3))
    assert hosts(folder) == [host]
    await other.close()
    assert await asyncio.to_thread(gone, [host])


async def test_a_killed_window_counts_as_gone(folder: Path, opened: Open, tmp_path: Path) -> None:
    with window(folder, tmp_path):
        family = [host := await the_host(folder), *workers(host)]
    assert await asyncio.to_thread(gone, family)


async def test_the_socket_of_a_killed_host_is_no_obstacle(opened: Open, folder: Path) -> None:
    first = opened()
    await first.start()
    killed = await the_host(folder)
    killed.kill()
    assert await asyncio.to_thread(gone, [killed])
    assert Endpoint(folder).path.exists()
    assert (await one(opened()))[0] == "word word word "
    assert (await the_host(folder)).pid != killed.pid


async def test_a_lost_host_ends_the_stream_and_the_next_request_starts_another(
    opened: Open, folder: Path
) -> None:
    engine = opened()
    seen = []
    async for item in engine.generate([MANY]):
        seen.append(item)
        if len(seen) == 3:
            (await the_host(folder)).kill()
    assert isinstance(seen[-1], Usage)
    assert seen[-1].new_tokens == len(seen) - 1
    assert (await one(engine))[0] == "word word word "


async def test_an_older_host_retires_and_serves_those_it_has(
    opened: Open, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "__version__", "0.0.1")
    aged = opened(host=scripted(tmp_path, "0.0.1"), linger_s=60.0)
    await aged.start()
    old = await the_host(folder)
    monkeypatch.setattr(shared, "__version__", __version__)
    newcomers = [opened(), opened()]
    await asyncio.gather(*(engine.start() for engine in newcomers))
    assert await asyncio.to_thread(until, lambda: len(hosts(folder)) == 2)
    assert (await one(aged))[0] == "word word word "
    await aged.close()
    assert await asyncio.to_thread(gone, [old], 5)
    assert [(await one(engine))[0] for engine in newcomers] == ["word word word "] * 2


# -- who may use it ----------------------------------------------------------------------------


async def test_the_socket_is_the_users_alone(opened: Open, tmp_path: Path, folder: Path) -> None:
    Endpoint(tmp_path / "new").prepare()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    await opened().start()
    assert Endpoint(folder).path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("state", ["open to a group", "a link", "a file", "another user's"])
def test_a_folder_that_is_not_the_users_alone_is_not_used(folder: Path, state: str) -> None:
    place = folder / "place"
    match state:
        case "open to a group":
            place.mkdir()
            place.chmod(0o710)
        case "a link":
            place.symlink_to(folder)
        case "a file":
            place.touch()
        case _:
            if os.geteuid() != 0:
                pytest.skip("needs root")
            place.mkdir(mode=0o700)
            os.chown(place, NOBODY, NOBODY)
    with pytest.raises(Unshareable):
        Endpoint(place).prepare()
    assert not (folder / "engine.sock").exists()


def test_a_path_that_is_too_long_for_a_socket_is_not_used(folder: Path) -> None:
    with pytest.raises(Unshareable, match="too long"):
        Endpoint(folder / ("x" * 100)).prepare()


async def test_where_nothing_is_shared_the_engine_is_private_and_the_log_says_why(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.chmod(0o755)
    engine = SharedEngine(
        models.small(), EngineOptions(threads=2), Lease(), endpoint=Endpoint(folder), host=HOST
    )
    with caplog.at_level(logging.WARNING):
        assert (await one(engine, ADD))[0] == " first + second"
    assert "for this window alone: others have access to the folder" in caplog.text
    assert len(psutil.Process().children()) == 1
    await engine.close()
    assert list(folder.iterdir()) == []


async def test_a_host_that_does_not_start_is_no_obstacle(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    engine = opened(models.small(), host=(sys.executable, "-c", "raise SystemExit(3)"))
    with caplog.at_level(logging.WARNING):
        assert (await one(engine, ADD))[0] == " first + second"
    assert "the engine host does not start" in caplog.text


def as_nobody(action: Callable[[], None]) -> int:
    """Do something in a process of another user; return that process's id."""
    child = os.fork()
    if child:
        return child
    try:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        action()
        os._exit(0)
    finally:
        os._exit(9)


@as_root
async def test_another_user_is_hung_up_on(opened: Open, folder: Path) -> None:
    await opened().start()
    path = Endpoint(folder).path
    folder.chmod(0o711)  # as if nothing else kept others out
    path.chmod(0o666)

    def connect() -> None:
        with socket.socket(socket.AF_UNIX) as connected:
            connected.connect(str(path))
            assert connected.recv(100) == b""

    child = as_nobody(connect)
    assert await asyncio.to_thread(os.waitpid, child, 0) == (child, 0)
    folder.chmod(0o700)
    assert (await one(opened()))[0] == "word word word "


@as_root
async def test_a_socket_of_another_user_is_not_spoken_to(folder: Path) -> None:
    path = Endpoint(folder).path
    listening, listens = os.pipe()

    def listen() -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen()
            os.write(listens, b"1")
            connected, _ = server.accept()
            assert connected.recv(100) == b""

    folder.chmod(0o777)
    child = as_nobody(listen)
    await asyncio.to_thread(os.read, listening, 1)
    with pytest.raises(Unshareable, match="somebody else listens"):
        await Endpoint(folder).connect()
    assert await asyncio.to_thread(os.waitpid, child, 0) == (child, 0)


async def test_the_other_end_is_asked_whose_it_is(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened().start()
    monkeypatch.setattr(endpoint.os, "geteuid", lambda: 4242)
    with pytest.raises(Unshareable, match="somebody else listens"):
        await Endpoint(folder).connect()


async def test_who_does_not_keep_to_the_messages_is_hung_up_on(opened: Open, folder: Path) -> None:
    engine = opened()
    await engine.start()
    for wrong in (b"hello\n", b"[]\n", b'{"op":"generate","id":1}\n', b'{"op":"open"}\n'):
        reader, writer = await asyncio.open_unix_connection(Endpoint(folder).path)
        assert b'"ev":"host"' in await reader.readline()
        writer.write(wrong)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
    assert (await one(engine))[0] == "word word word "


# -- what is computed and what is loaded -------------------------------------------------------


async def test_a_cancelled_request_makes_room_for_the_next(opened: Open) -> None:
    engine = opened()
    async with aclosing(engine.generate([MANY])) as stream:
        async for item in stream:
            assert isinstance(item, Token)
            break
    async with asyncio.timeout(5):
        assert (await one(engine))[0] == "word word word "


async def test_a_window_that_leaves_cancels_what_it_asked(opened: Open, folder: Path) -> None:
    leaving, staying = (opened(models.small(), host=HOST) for _ in range(2))
    await asyncio.gather(leaving.start(), staying.start())
    asked = asyncio.create_task(one(leaving, LONG))
    await asyncio.sleep(0.3)
    await leaving.close()
    assert (await asked)[1].prompt_tokens == 0
    (worker,) = workers(await the_host(folder))
    await asyncio.sleep(1.5)  # a slice that is under way is computed to its end
    before = worker.cpu_times()
    await asyncio.sleep(1.0)
    after = worker.cpu_times()
    assert after.user - before.user < 0.3
    assert (await one(staying, ADD))[0] == " first + second"


async def test_after_a_killed_worker_the_next_request_loads_once_and_is_answered(
    opened: Open, folder: Path
) -> None:
    engine = opened(models.small(), host=HOST)
    assert (await one(engine, ADD))[0] == " first + second"
    host = await the_host(folder)
    (killed,) = workers(host)
    killed.kill()  # its pipes end, and the host notices, only once its memory is given back
    assert await asyncio.to_thread(until, lambda: not psutil.pid_exists(killed.pid))
    assert (await one(engine, ADD))[0] == " first + second"
    (worker,) = workers(host)
    assert worker.pid != killed.pid


async def test_a_model_that_is_not_kept_leaves_memory_when_it_is_idle(
    opened: Open, folder: Path
) -> None:
    kept = opened(models.small(), host=HOST, unload_s=1.0)
    other = opened(models.small(), keep=False, host=HOST, unload_s=1.0, context_tokens=1024)
    await kept.start()
    host = await the_host(folder)
    (staying,) = workers(host)
    assert (await one(other, ADD))[0] == " first + second"
    assert len(workers(host)) == 2
    assert await asyncio.to_thread(until, lambda: workers(host) == [staying])
    assert (await one(other, ADD))[0] == " first + second"
    assert len(workers(host)) == 2


async def test_short_memory_unloads_what_is_not_kept_and_does_not_load_it(
    opened: Open, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept, large = opened(), opened(Path(sys.executable), keep=False)
    await asyncio.gather(kept.start(), large.start())
    host = await the_host(folder)
    assert len(workers(host)) == 2
    (tmp_path / "available").write_text(str(400_000_000))
    assert await asyncio.to_thread(until, lambda: len(workers(host)) == 1)
    assert (await one(kept))[0] == "word word word "
    for engine in (large, opened(Path(sys.executable), keep=False)):
        with pytest.raises(EngineError, match=r"was not loaded: it needs 1\.0 GB .* goes on with"):
            await one(engine)
    assert "was not loaded" in caplog.text
    (tmp_path / "available").write_text(str(10**12))
    assert (await one(large))[0] == "word word word "


async def test_a_model_is_kept_as_long_as_one_window_wants_it_to_be(
    opened: Open, folder: Path
) -> None:
    kept, idle = opened(keep=True), opened(keep=False, unload_s=0.0)
    await asyncio.gather(kept.start(), idle.start())
    host = await the_host(folder)
    await asyncio.sleep(2.5)
    assert len(workers(host)) == 1
    await kept.close()
    assert await asyncio.to_thread(until, lambda: not workers(host))
    assert (await one(idle))[0] == "word word word "


async def test_a_model_that_cannot_be_loaded_is_a_sentence_with_a_remedy(
    opened: Open, folder: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(200))
    engine = opened(broken, host=HOST)
    with pytest.raises(EngineError, match=r"broken\.gguf could not be started .*cascade doctor"):
        await one(engine)
    assert await one(engine) == ("", Usage())  # and for a while nobody tries again
