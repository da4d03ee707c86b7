"""The whole way in a real client: `cascade serve` over stdio, the installed models, llama.cpp."""

import asyncio
import os
import sys
from functools import partial

import psutil
import pytest
from lsprotocol import types
from pytest_lsp import make_test_lsp_client

from cascade_lsp import paths
from tests import models
from tests.hosts import arguments, gone, of_home

URI = "file:///project/a.py"
CONTEXT = types.InlineCompletionContext
INVOKED = CONTEXT(types.InlineCompletionTriggerKind.Invoked)
AUTOMATIC = CONTEXT(types.InlineCompletionTriggerKind.Automatic)
STUB = '''def is_even(number: int) -> bool:
    """Say whether number is even.

    >>> is_even(4)
    True
    >>> is_even(7)
    False
    """
    '''
CAPABILITIES = types.ClientCapabilities(
    general=types.GeneralClientCapabilities(position_encodings=["utf-16"]),
    text_document=types.TextDocumentClientCapabilities(
        inline_completion=types.InlineCompletionClientCapabilities()
    ),
    window=types.WindowClientCapabilities(work_done_progress=True),
)


@pytest.fixture
def home(tmp_path):
    """Return a home of its own, with the installed models in it."""
    models.small()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights").symlink_to(paths.models_dir(), target_is_directory=True)
    return tmp_path


@pytest.fixture
async def client(home):
    client = make_test_lsp_client()
    client.improved, client.light, client.tested = [], "", asyncio.Event()

    def show(status):
        if client.light == "Testing the suggestion" and not status.busy:
            client.tested.set()
        client.light = status.message

    client.feature("cascade/improved")(partial(client.improved.append))
    client.feature("didChangeStatus")(show)
    environment = {**os.environ, "CASCADE_HOME": str(home)}
    serve = (sys.executable, "-m", "cascade_lsp", "serve", "--log-file", str(home / "log"))
    await client.start_io(*serve, env=environment)
    # Patience without end: a test waits for what it tests, and the machine may be slow.
    options = {"completion": {"patience_s": 600}, "engine": {"linger_s": 0}}
    await client.initialize_session(
        types.InitializeParams(CAPABILITIES, initialization_options=options)
    )
    yield client
    if client._server.returncode is None:
        await client.shutdown_session()
    await client.stop()


def open_document(client, text):
    document = types.TextDocumentItem(URI, "python", 1, text)
    client.text_document_did_open(types.DidOpenTextDocumentParams(document))


async def complete(client, text, context=AUTOMATIC):
    """Return the items offered at the end of a text whose last line has no line end."""
    position = types.Position(text.count("\n"), len(text) - text.rfind("\n") - 1)
    document = types.TextDocumentIdentifier(URI)
    found = await client.text_document_inline_completion_async(
        types.InlineCompletionParams(context, document, position)
    )
    return list(found.items)


async def run(client, command, *arguments):
    params = types.ExecuteCommandParams(command, arguments=list(arguments))
    return await client.workspace_execute_command_async(params)


async def test_a_keystroke_is_answered_by_the_small_model(client):
    open_document(client, "def add(a, b):\n    return ")
    (item,) = await complete(client, "def add(a, b):\n    return ")
    assert item.insert_text.startswith("a + b")
    assert item.range.start == item.range.end == types.Position(1, 11)
    assert client.messages == []
    server = psutil.Process(client._server.pid)
    size = server.memory_info().rss / 1e6
    print(f"the server process takes {size:.0f} MB with a model in use")  # noqa: T201
    assert size < 120
    assert not any("llama" in mapped.path for mapped in server.memory_maps())


async def test_who_asks_gets_a_tested_body_and_its_explanation(client):
    open_document(client, STUB)
    (item,) = await complete(client, STUB, INVOKED)
    assert "%" in item.insert_text or "&" in item.insert_text
    decision = item.command.arguments[0]
    explained = await run(client, "cascade.explainEscalation", decision)
    assert explained["id"] == decision
    assert "is_even" in explained["markdown"]
    assert "docstring" in explained["markdown"]


async def test_what_was_shown_is_tested_behind_the_reply(client):
    open_document(client, STUB)
    (item,) = await complete(client, STUB)
    decision = item.command.arguments[0]
    await asyncio.wait_for(client.tested.wait(), 300)
    explained = await run(client, "cascade.explainEscalation", decision)
    assert "docstring" in explained["markdown"]
    (again,) = await complete(client, STUB)
    replaced = again.insert_text != item.insert_text
    assert [told.decisionId for told in client.improved] == [decision] * replaced


async def test_no_process_is_left_when_the_client_dies(client, home):
    open_document(client, STUB)
    await complete(client, STUB)
    family = [*psutil.Process(client._server.pid).children(recursive=True), *of_home(home)]
    assert any("cascade_lsp.engine.worker" in arguments(one) for one in family)
    client._server.stdin.close()
    assert await asyncio.to_thread(gone, family, 5)
    assert await client._server.wait() == 0
