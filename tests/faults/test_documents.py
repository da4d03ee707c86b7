"""Documents that are none, that are huge, or that come and go: the window stays open and small."""

import asyncio
import os

import psutil
import pytest

from tests.protocol.editors import far_editor


@pytest.fixture
async def editor(tmp_path):
    async with far_editor({}, env={"CASCADE_HOME": str(tmp_path / "home")}) as editor:
        await editor.begin()
        yield editor


async def answered(editor, uri):
    """Ask at a document's beginning, in all the ways that look at it; return the suggestions."""
    place = {"textDocument": {"uri": uri}}
    span = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 0}}
    context = {"diagnostics": []}
    await editor.request("textDocument/codeLens", place)
    await editor.request("textDocument/codeAction", {**place, "range": span, "context": context})
    return await editor.complete(0, 4, uri=uri)


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "nothing", "secret", "loop"])
async def test_what_is_no_file_is_answered_empty_and_never_read(editor, tmp_path, kind):
    path = tmp_path / "thing.py"
    match kind:
        case "fifo":
            os.mkfifo(path)  # who opens it to read waits for ever
        case "device":
            path.symlink_to("/dev/zero")  # who reads it runs out of memory
        case "folder":
            path.mkdir()
        case "secret":
            path = tmp_path / ".env"
            path.write_text("KEY=1")
        case "loop":
            path.symlink_to(path)
    async with asyncio.timeout(10):
        assert await answered(editor, path.as_uri()) == []  # nobody has opened it in the editor
        editor.notify("textDocument/didClose", {"textDocument": {"uri": path.as_uri()}})
        assert await editor.run("cascade.status")


@pytest.mark.parametrize("kind", ["fifo", "device"])
async def test_the_editors_text_of_such_a_file_is_completed_like_any_other(editor, tmp_path, kind):
    path = tmp_path / "thing.py"
    os.mkfifo(path) if kind == "fifo" else path.symlink_to("/dev/zero")
    editor.open("x = ", uri=path.as_uri())
    async with asyncio.timeout(10):
        assert await answered(editor, path.as_uri())


async def test_a_document_of_a_hundred_megabytes_is_left_alone_and_the_next_one_is_not(editor):
    editor.open("x = 1\n" * 17_000_000, uri="file:///w/huge.py")
    async with asyncio.timeout(60):
        assert await answered(editor, "file:///w/huge.py") == []
        editor.type(0, 0, "y", 2, uri="file:///w/huge.py")
        assert await answered(editor, "file:///w/huge.py") == []
    editor.notify("textDocument/didClose", {"textDocument": {"uri": "file:///w/huge.py"}})
    editor.open("x = ", uri="file:///w/small.py")
    assert await answered(editor, "file:///w/small.py")


async def test_a_thousand_documents_that_come_and_go_leave_nothing_behind(editor):
    process = psutil.Process(editor.process.pid)

    async def come_and_go(number):
        uri = f"file:///w/{number}.py"
        editor.open("x = ", uri=uri)
        asked = editor.ask_completion(0, 4, uri=uri)
        editor.type(0, 4, "1", 2, uri=uri)
        editor.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
        await asked

    for number in range(300):
        await come_and_go(number)
    await editor.run("cascade.status")
    memory, files = process.memory_info().rss, process.num_fds()
    for number in range(300, 1300):
        await come_and_go(number)
    await editor.run("cascade.status")
    grown = process.memory_info().rss / memory
    print(f"memory after 1,000 more documents: {grown:.3f} of before")  # noqa: T201
    assert grown < 1.05
    assert process.num_fds() <= files + 1


async def test_a_client_that_never_cancels_gets_an_answer_to_everything(editor):
    editor.open("", uri="file:///w/a.py")
    asked = []
    for number in range(400):
        editor.type(0, number, "x", number + 2, uri="file:///w/a.py")
        asked.append(editor.ask_completion(0, number + 1, uri="file:///w/a.py"))
    async with asyncio.timeout(30):
        await asyncio.gather(*asked)
    assert await answered(editor, "file:///w/a.py") is not None


async def test_a_model_that_never_ends_holds_up_nobody(tmp_path):
    endless = {"text": "y = 1\n" * 10_000, "letter_s": 0.0005}
    async with far_editor(endless, env={"CASCADE_HOME": str(tmp_path)}) as editor:
        await editor.begin()
        editor.open("x = ", uri="file:///w/a.py")
        async with asyncio.timeout(20):
            await editor.complete(0, 4, uri="file:///w/a.py")
            for version in range(2, 12):
                editor.type(0, 2 + version, "1", version, uri="file:///w/a.py")
                await editor.complete(0, 3 + version, uri="file:///w/a.py")
