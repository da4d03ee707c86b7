"""What a user would see of ten traps of pygls 2.1; each of these fails on pygls as it comes."""

import asyncio
import json
import os
import sys

import pytest

from cascade_lsp.ledger import Ledger, LedgerOptions
from cascade_lsp.server import CascadeServer
from tests.protocol.editors import AUTOMATIC, ROOT, URI, NearEditor, Refusal, far_editor
from tests.protocol.scripted_cascade import Script, ScriptedCascade

WINDOW = {"window": {"workDoneProgress": True}}


@pytest.fixture
async def near(tmp_path):
    """Begin a session in this process: `server, editor = await near(document, **script)`."""
    servers = []

    async def start(document, **script):
        cascade = ScriptedCascade(Script(**script))
        ledger = Ledger.open(tmp_path / "ledger.sqlite3", LedgerOptions())
        server = CascadeServer(lambda *_: cascade, lambda _: ledger)
        servers.append(server)
        editor = NearEditor(server)
        await editor.begin(**WINDOW)
        editor.open(document)
        return server, editor

    yield start
    for server in servers:
        await server.close()


@pytest.fixture
def home(tmp_path):
    return {"CASCADE_HOME": str(tmp_path)}


# -- 1: a feature that is registered but not announced ---------------------------------------------


async def test_an_editor_learns_that_there_are_inline_completions(tmp_path):
    editor = NearEditor(CascadeServer(lambda *_: ScriptedCascade(), lambda _: None))
    assert (await editor.begin())["inlineCompletionProvider"] == {}


# -- 2: lines as Python counts them ----------------------------------------------------------------


@pytest.mark.parametrize("odd", ["\f", "\v", "\x1c", "\x85", "\u2028", "\u2029"])
async def test_an_odd_character_does_not_shift_the_users_edits(near, odd):
    server, editor = await near(f"# a{odd}b\nx = 1\ny = 2\n")
    editor.type(2, 4, "4", 2)
    assert server.document(URI).source == f"# a{odd}b\nx = 1\ny = 42\n"


async def test_an_odd_character_does_not_shift_the_suggestion(near):
    _, editor = await near("# a\fb\nx = \n")
    (item,) = await editor.complete(1, 4)
    assert item["range"]["start"] == {"line": 1, "character": 4}


# -- 3: busy handlers that keep the next message from being read -----------------------------------


async def test_esc_works_while_many_files_wait_for_an_answer(home):
    async with far_editor({"draft_s": 30}, env=home) as editor:
        await editor.begin()
        uris = [f"file:///project/{i}.py" for i in range(40)]
        for uri in uris:
            editor.open("x = ", uri=uri)
        asked = [editor.ask_completion(0, 4, uri=uri) for uri in uris]
        await editor.told("didChangeStatus")
        editor.cancel(asked[-1])
        with pytest.raises(Refusal):
            await asyncio.wait_for(asked[-1], 5)


# -- 4: cancelled, but still at work ---------------------------------------------------------------


async def test_a_cancelled_request_is_answered_and_its_work_ends(near):
    server, editor = await near("x = ", draft_s=30)
    asked = editor.ask_completion(0, 4)
    await editor.told("$/progress", count=2)
    await asyncio.sleep(0)
    editor.cancel(asked)
    with pytest.raises(Refusal) as refusal:
        await asyncio.wait_for(asked, 5)
    assert refusal.value.code == -32800
    assert not server.light.busy


async def test_a_cancelled_command_ends(near):
    server, editor = await near("")
    ended = asyncio.Event()

    async def slow():
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    server.command("slow")(slow)
    asked = editor.ask("workspace/executeCommand", {"command": "slow"})
    await asyncio.sleep(0.01)
    editor.cancel(asked)
    with pytest.raises(Refusal):
        await asyncio.wait_for(asked, 5)
    await asyncio.wait_for(ended.wait(), 5)


# -- 5: what cannot be read is never answered ------------------------------------------------------


async def test_a_client_of_an_earlier_draft_gets_its_suggestion(near):
    _, editor = await near("x = ")
    (item,) = await editor.complete(0, 4, kind=0)
    assert item["insertText"] == "return 2"


@pytest.mark.parametrize(
    "params",
    [
        None,
        7,
        {},
        {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 0}},
        {"textDocument": URI, "position": {"line": 0, "character": 0}, "context": {}},
        {
            "textDocument": {"uri": URI},
            "position": {"line": -1, "character": 0},
            "context": {"triggerKind": AUTOMATIC},
        },
        {
            "textDocument": {"uri": URI},
            "position": {"line": 0, "character": 0},
            "context": {"triggerKind": 9},
        },
    ],
)
async def test_a_request_that_cannot_be_read_is_refused_and_the_next_one_answered(near, params):
    _, editor = await near("x = ")
    with pytest.raises(Refusal) as refusal:
        await editor.request("textDocument/inlineCompletion", params)
    assert refusal.value.code == -32602
    assert len(await editor.complete(0, 4)) == 1


# -- 6: a cursor at the end of the text ------------------------------------------------------------


async def test_at_the_end_of_a_text_without_newline_no_character_is_lost(near):
    server, editor = await near("abc")
    editor.type(0, 9, "d", 2)
    assert server.document(URI).source == "abcd"
    (item,) = await editor.complete(0, 9)
    assert item["range"]["start"] == {"line": 0, "character": 4}


# -- 7: errors about errors when the editor is gone ------------------------------------------------


async def test_an_editor_that_vanishes_leaves_no_flood_of_errors(home):
    read, write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.protocol.scripted_server", json.dumps({"draft_s": 0.2})),
        stdin=asyncio.subprocess.PIPE,
        stdout=write,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **home},
    )
    os.close(write)

    def say(method, params, **more):
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **more}).encode()
        process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    document = {"uri": URI, "languageId": "python", "version": 1, "text": "x = "}
    say("initialize", {"processId": None, "rootUri": None, "capabilities": {}}, id=1)
    await asyncio.get_running_loop().run_in_executor(None, os.read, read, 1)
    os.close(read)
    say("textDocument/didOpen", {"textDocument": document})
    for i in range(20):
        place = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": i % 4}}
        say("textDocument/inlineCompletion", {**place, "context": {"triggerKind": 2}}, id=2 + i)
    await asyncio.sleep(0.5)
    process.stdin.close()
    noise = await asyncio.wait_for(process.stderr.read(), 10)
    await process.wait()
    assert len(noise) < 2000, noise[:2000]


# -- 8: progress bars ------------------------------------------------------------------------------


async def test_progress_bars_do_not_pile_up(near):
    server, editor = await near("x = ")
    await editor.complete(0, 4)
    assert len(editor.heard("$/progress")) == 2
    assert server.work_done_progress.tokens == {}


# -- 9: a pop-up at every keystroke ----------------------------------------------------------------


async def test_keys_do_not_pile_up(near):
    server, editor = await near("x = ")
    for version in range(2, 102):
        editor.type(0, 4, "1", version)
    await editor.complete(0, 4)
    assert len(server.protocol._request_futures) < 10


async def test_a_fault_in_the_server_raises_no_pop_up(near):
    _, editor = await near("x = ", fails="bug")
    for character in range(4):
        assert await editor.complete(0, character) == []
    assert editor.heard("window/showMessage") == []


async def test_an_edit_of_an_unknown_file_raises_no_pop_up(near):
    _, editor = await near("x = ")
    editor.type(0, 0, "y", 2, uri="file:///never/opened.py")
    assert len(await editor.complete(0, 4)) == 1
    assert editor.heard("window/showMessage") == []
