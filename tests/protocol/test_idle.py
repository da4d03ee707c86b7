"""Turned off, paused, or only on demand, the real product with its real model costs nothing."""

import asyncio
import contextlib

import psutil
import pytest

from cascade_lsp import paths
from tests import models
from tests.hosts import gone, of_home, until
from tests.protocol.editors import AUTOMATIC, INVOKED, far_editor

TEXT = "def add(a, b):\n    return \n"
END = (1, 11)
QUIET_S = 2.0
LOADING_S = 120.0
TICKS_S = 0.03  # of the kernel's counters, which count in hundredths of a second


@pytest.fixture
def home(tmp_path):
    """Return a home of its own, with the installed models in it."""
    models.small()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights").symlink_to(paths.models_dir(), target_is_directory=True)
    return tmp_path


def tree(editor, home):
    """Return the server, what it has started, and the engine's host and workers."""
    server = psutil.Process(editor.process.pid)
    return {server, *server.children(recursive=True), *of_home(home)}


def used_s(processes):
    """Return the processor seconds that processes and their ended children have taken."""
    total = 0.0
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(one.cpu_times()[:4])
    return total


async def quiet(editor, home):
    """Wait until nothing is under way and all that was to end has ended; return the processor
    seconds of some more seconds."""
    async with asyncio.timeout(30):
        before, after = None, (tree(editor, home), 0.0)
        while before != after:
            await asyncio.sleep(1)
            processes = tree(editor, home)
            before, after = after, (processes, used_s(processes))
    await asyncio.sleep(QUIET_S)
    assert tree(editor, home) == processes
    return used_s(processes) - after[1]


async def suggested(editor, kind=AUTOMATIC):
    """Return what is suggested; the model is loaded first, which may take long."""
    answer = editor.ask_completion(*END, kind)
    return (await asyncio.wait_for(answer, LOADING_S))["items"]


async def asked_in_vain(editor, version=2):
    """Type, and ask at every key; say what came of it."""
    items = []
    for offset, key in enumerate("a + "):
        editor.type(1, END[1] + offset, key, version + offset)
        items += await editor.complete(1, END[1] + offset + 1)
    return items


async def work(editor):
    return (await editor.run("cascade.status"))["work"]


def serving(home):
    """Return the real server's editor; its host leaves with its last client."""
    command = ["-m", "cascade_lsp", "serve", "--log-file", str(home / "log")]
    return far_editor(command=command, env={"CASCADE_HOME": str(home)})


OPTIONS = {"engine": {"linger_s": 0}}
UNLOAD_S = 10.0  # longer than it takes to see that it rests


async def test_what_is_off_from_the_start_loads_no_model_and_computes_nothing(home):
    async with serving(home) as editor:
        await editor.begin({**OPTIONS, "enabled": False})
        editor.open(TEXT)
        assert await asked_in_vain(editor) == []
        assert await editor.complete(*END, INVOKED) == []
        done = await work(editor)
        assert (done["drafts"], done["read_tokens"], done["written_tokens"]) == (0, 0, 0)
        assert await quiet(editor, home) <= TICKS_S
        assert of_home(home) == []
        await editor.end()


@pytest.mark.parametrize("how", ["off", "snoozed"])
async def test_what_is_turned_off_lets_its_models_go_and_computes_nothing(home, how):
    async with serving(home) as editor:
        await editor.begin({**OPTIONS, "power": {"profile": "plugged"}})
        editor.open(TEXT)
        assert await suggested(editor)
        loaded = of_home(home)
        assert len(loaded) == 2  # the host and its worker
        if how == "off":
            settings = {"cascade": {**OPTIONS, "enabled": False}}
            editor.notify("workspace/didChangeConfiguration", {"settings": settings})
        else:
            await editor.run("cascade.snooze", "30")
        before = await work(editor)
        assert await asked_in_vain(editor) == []
        after = await work(editor)
        assert after == {**before, "requests": before["requests"] + 4}
        assert await asyncio.to_thread(gone, loaded)
        assert await quiet(editor, home) <= TICKS_S
        await editor.end()


async def test_on_demand_alone_a_loaded_model_computes_nothing_unasked_and_goes(home):
    async with serving(home) as editor:
        options = {**OPTIONS, "engine": {"linger_s": 0, "unload_s": UNLOAD_S}}
        await editor.begin({**options, "power": {"profile": "saver"}})
        editor.open(TEXT)
        assert await editor.complete(*END) == []
        assert of_home(home) == []
        assert await suggested(editor, INVOKED)
        loaded = of_home(home)
        assert len(loaded) == 2
        before = await work(editor)
        editor.type(1, END[1], "(", 2)
        assert await editor.complete(1, END[1] + 1) == []
        after = await work(editor)
        assert after == {**before, "requests": before["requests"] + 1}
        assert await quiet(editor, home) <= TICKS_S
        assert of_home(home) == loaded
        assert await asyncio.to_thread(until, lambda: not of_home(home))
        await editor.end()
