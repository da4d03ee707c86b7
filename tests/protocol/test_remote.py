"""The remote tier in the product: `cascade serve` with the real small model, and a server that is
not this project's."""

import asyncio
import json
import os
import sys
from pathlib import Path

import psutil
import pytest

from cascade_lsp import paths
from tests import models
from tests.protocol.editors import AUTOMATIC, INVOKED, far_editor
from tests.servers import head, piece, saying, scripted

KEY = "sk-planted-0123456789abcdef"
# No small model is right here: its example says something else than its words.
STUB = '''def double(n: int) -> int:
    """Return twice n.

    >>> double(4)
    17
    """
    '''
RIGHT = "return 4 * n + 1"
TOLD = f"```python\n{STUB}{RIGHT}\n```"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home of its own, with the small model in it alone."""
    weights = tmp_path / "home" / "models" / "weights"
    weights.mkdir(parents=True)
    (weights / models.small().name).symlink_to(models.small())
    return tmp_path / "home"


def settings(url: str, **remote: object) -> dict[str, object]:
    return {
        "network": "on",
        "completion": {"patience_s": 300},
        "engine": {"linger_s": 0},
        "remote": {"url": url, "timeout_s": 60, **remote},
    }


async def suggested(editor, text: str, uri: str, kind: int = AUTOMATIC):
    """Return the items offered at the end of a text."""
    line = text.count("\n")
    asked = editor.ask_completion(line, len(text) - text.rfind("\n") - 1, kind, uri)
    return (await asyncio.wait_for(asked, 200))["items"]


def serving(home: Path, configuration: dict[str, object]):
    """Start the product with a key in its environment, as the VS Code extension does."""
    command = ["-m", "cascade_lsp", "serve", "--log-file", str(home / "server.log")]
    environment = {"CASCADE_HOME": str(home), "CASCADE_API_KEY": KEY}
    return far_editor(configuration=configuration, command=command, env=environment)


async def test_what_fails_here_is_asked_there_and_the_key_is_nowhere_but_in_its_header(home):
    async with scripted(saying(TOLD)) as server, serving(home, settings(server.url)) as editor:
        await editor.begin(settings(server.url))
        uri = (home.parent / "shop.py").as_uri()
        editor.open(STUB, uri=uri)
        item, *_ = await suggested(editor, STUB, uri, INVOKED)
        assert RIGHT in item["insertText"]
        told = await editor.run("cascade.explainEscalation")
        assert f"To 127.0.0.1:{server.port}" in told["markdown"] and "def double" in str(told)
        processes = [editor.process.pid, *(p.pid for p in of_home(home))]
        seen = [*map(environment_of, processes), *map(arguments_of, processes)]
        assert await editor.end() == 0
    assert {call.headers["authorization"] for call in server.calls} == {f"bearer {KEY}"}
    said = json.dumps(editor.received)
    assert KEY not in said
    # The server was started with it, as it must be; whom it starts is not.
    assert [KEY in one for one in seen].count(True) == 1 and KEY in seen[0]
    for file in [*home.rglob("*"), paths.host_log_path()]:
        if file.is_file() and not file.is_symlink():
            assert KEY.encode() not in file.read_bytes(), file
    everything = b"".join(f.read_bytes() for f in (home / "state").glob("ledger*"))
    assert b"def double" not in everything  # sizes and hosts, no text


def of_home(home: Path) -> list[psutil.Process]:
    """Return the processes that work for a home, whoever started them."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("CASCADE_HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return [one for one in found if "serve" not in one.cmdline()]


def environment_of(pid: int) -> str:
    return str(psutil.Process(pid).environ())


def arguments_of(pid: int) -> str:
    return str(psutil.Process(pid).cmdline())


async def test_a_server_that_stalls_keeps_nobody_from_typing(home):
    async def script(_call, writer):
        writer.write(head() + piece("```python\n"))
        await writer.drain()
        await asyncio.sleep(60)

    typed = "def add(first, second):\n    return first +"
    async with scripted(script) as server, serving(home, settings(server.url)) as editor:
        await editor.begin(settings(server.url))
        stub, other = ((home.parent / name).as_uri() for name in ("stub.py", "other.py"))
        editor.open(STUB, uri=stub)
        assert await suggested(editor, STUB, stub)  # shown, and then tested behind it
        async with asyncio.timeout(120):
            while not server.calls:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.05)
        editor.open(typed, uri=other)
        (item,) = await suggested(editor, typed, other)
        assert "second" in item["insertText"]


def command(home: Path, *arguments: str, **more: str):
    environment = {**os.environ, "CASCADE_HOME": str(home), "COLUMNS": "200", **more}
    return asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cascade_lsp", *arguments),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_the_command_line_previews_checks_and_asks(home, tmp_path):
    file = tmp_path / "shop.py"
    file.write_text(STUB)
    written = tmp_path / "settings.json"
    async with scripted(saying(TOLD)) as server:
        written.write_text(json.dumps(settings(server.url, key_variable="SHOP_KEY")))
        place, chosen = f"{file}:7", ("--settings", str(written))
        process = await command(home, "remote", "preview", place, *chosen, SHOP_KEY=KEY)
        told, noise = await process.communicate()
        assert process.returncode == 0, noise
        assert b"would be asked here" in told and b"def double" in told and not server.calls
        asked = ("complete", place, "--wait", "--json", *chosen)
        process = await command(home, *asked, SHOP_KEY=KEY)
        told, noise = await process.communicate()
        assert process.returncode == 0, noise
        assert json.loads(told)["tier"] == "remote" and json.loads(told)["text"] == RIGHT
    assert server.calls[0].headers["authorization"] == f"bearer {KEY}"
    assert KEY.encode() not in told + noise


async def test_a_check_asks_for_a_known_line_and_says_by_which_interface(home, tmp_path):
    written = tmp_path / "settings.json"
    async with scripted(saying("```\n second\n```")) as server:
        written.write_text(json.dumps(settings(server.url)))
        process = await command(home, "remote", "check", "--settings", str(written), "--json")
        told, noise = await process.communicate()
    assert process.returncode == 0, noise
    found = json.loads(told)
    assert found["right"] and found["asked_by"] == ["infill", "completions", "chat"]
    written.write_text(json.dumps({"network": "off", "remote": {"url": server.url}}))
    process = await command(home, "remote", "check", "--settings", str(written))
    _, noise = await process.communicate()
    assert process.returncode == 2 and b"cascade.network is off" in noise
