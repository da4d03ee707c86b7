"""Whatever a client says, in whichever order: nothing crashes or hangs, and every request has one
answer."""

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.product import make_home, product
from tests.protocol.editors import far_editor

EXAMPLES, MESSAGES = 40, 260  # more than 10,000 messages in all
URIS = ("file:///w/a.py", "file:///w/b.js", "untitled:c", "file:///dev/zero", "a b\x00", "")
REQUESTS = (
    *("textDocument/inlineCompletion", "textDocument/codeAction", "textDocument/codeLens"),
    *("workspace/executeCommand", "textDocument/hover", "x/y", "$/z", "initialize"),
)
NOTICES = (
    *("textDocument/didOpen", "textDocument/didChange", "textDocument/didClose"),
    *("workspace/didChangeConfiguration", "textDocument/didShowCompletion", "$/setTrace"),
    *("textDocument/didPartiallyAcceptCompletion", "cascade/didRejectCompletion", "x/y"),
    *("notebookDocument/didOpen", "notebookDocument/didChange", "initialized"),
    *("workspace/didChangeWorkspaceFolders", "$/cancelRequest", "window/workDoneProgress/cancel"),
)
COMMANDS = (
    *("explainEscalation", "decisions", "statistics", "verifyFunction", "replaceFunction"),
    *("models", "snooze", "status", "previewRemote", "acceptCompletion", "no"),
)

numbers = st.one_of(st.integers(-2, 40), st.sampled_from([2**31, 2**53, -(2**63), 10**30]))
texts = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["def f(a):\n    return ", "x = 1\r\n\ty\x0c", "é😀\n", "\ud800", "a" * 30_000]
    ),
)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.floats(allow_nan=False), texts),
    lambda deeper: st.one_of(
        st.lists(deeper, max_size=3), st.dictionaries(st.text(max_size=6), deeper, max_size=3)
    ),
    max_leaves=6,
)
uris = st.sampled_from(URIS)
places = st.fixed_dictionaries({"line": st.integers(0, 9), "character": st.integers(0, 40)})
ranges = st.fixed_dictionaries({"start": places, "end": places})
documents = st.fixed_dictionaries({"uri": uris}, optional={"version": numbers})
params = st.one_of(
    anything,
    st.fixed_dictionaries(
        {
            "textDocument": documents,
            "position": places,
            "context": st.fixed_dictionaries({"triggerKind": st.integers(-1, 3)}),
        }
    ),
    st.fixed_dictionaries({"textDocument": documents, "range": ranges, "context": anything}),
    st.fixed_dictionaries(
        {
            "textDocument": st.fixed_dictionaries(
                {"uri": uris, "version": numbers, "languageId": texts, "text": texts}
            )
        }
    ),
    st.fixed_dictionaries(
        {
            "textDocument": documents,
            "contentChanges": st.lists(
                st.fixed_dictionaries({"text": texts}, optional={"range": ranges}), max_size=3
            ),
        }
    ),
    st.fixed_dictionaries(
        {
            "command": st.sampled_from([f"cascade.{name}" for name in COMMANDS]),
            "arguments": st.lists(st.one_of(texts, numbers, uris, st.just("3")), max_size=3),
        }
    ),
    st.fixed_dictionaries({"settings": st.dictionaries(st.text(max_size=8), anything)}),
    st.fixed_dictionaries({"id": numbers}),
)
requests = st.fixed_dictionaries({"method": st.sampled_from(REQUESTS), "params": params})
notices = st.fixed_dictionaries({"method": st.sampled_from(NOTICES), "params": params})
answers = st.one_of(
    st.fixed_dictionaries({"id": numbers, "result": anything}),
    st.fixed_dictionaries({"id": numbers, "error": anything}),
)
garbage = st.one_of(
    st.binary(max_size=40),
    anything.map(lambda value: json.dumps(value).encode()),
    st.just(b'{"jsonrpc": "2.0", "method": '),
)
messages = st.lists(
    st.one_of(requests.map(lambda one: ("request", one)), notices, requests, answers, garbage),
    min_size=MESSAGES,
    max_size=MESSAGES,
)


@asynccontextmanager
async def scripted(tmp_path):
    """Start a server whose cascade is a script, in a home of its own."""
    async with far_editor({"testable": True}, env={"CASCADE_HOME": str(tmp_path)}) as editor:
        yield editor


async def garble(editor, said) -> Counter:
    """Say everything to a server; return how often each request was answered."""
    asked, counted = [], Counter()
    hear = editor.hear

    def count(message):
        if "method" in message:
            hear(message)
        else:
            counted[message["id"]] += 1

    editor.hear = count
    for number, one in enumerate(said):
        if isinstance(one, bytes):
            editor._send(one)
        elif isinstance(one, tuple):
            asked.append(f"fuzz-{number}")
            editor._send(encode({"id": asked[-1], **one[1]}))
        else:
            editor._send(encode(one))
    async with asyncio.timeout(60):
        while not all(counted[one] for one in asked):  # noqa: ASYNC110 - answers come as they come
            await asyncio.sleep(0.01)
    editor.hear = hear
    return Counter({one: counted[one] for one in asked})


def encode(message) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode("utf-8", "surrogatepass")


async def still_serves(editor) -> None:
    """See that a server goes on as if nothing had been."""
    editor.notify("workspace/didChangeConfiguration", {"settings": {"cascade": {}}})
    uri = "file:///w/last.py"
    editor.open("def f():\n    ", uri=uri)
    assert await editor.run("cascade.snooze", "0")
    async with asyncio.timeout(60):
        while not (await editor.ask_completion(1, 4, 1, uri))["items"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # the model may still be loaded


def of(examples: int):
    """Return how hypothesis makes so many lists of messages, however long they take."""
    lax = list(HealthCheck)
    return settings(max_examples=examples, deadline=None, suppress_health_check=lax, database=None)


def test_whatever_is_said_every_request_is_answered_once_and_the_next_one_too(tmp_path_factory):
    said_in_all, asked_in_all = 0, 0

    @of(EXAMPLES)
    @given(said=messages)
    def try_it(said):
        asyncio.run(session(said))

    async def session(said):
        nonlocal said_in_all, asked_in_all
        async with scripted(tmp_path_factory.mktemp("home")) as editor:
            await editor.begin()
            counted = await garble(editor, said)
            assert set(counted.values()) <= {1}
            await still_serves(editor)
            assert editor.noise == [] and editor.process.returncode is None
        said_in_all += len(said)
        asked_in_all += len(counted)

    try_it()
    print(f"{said_in_all} messages, {asked_in_all} of them requests")  # noqa: T201
    assert said_in_all >= 10_000 and asked_in_all >= 1_000


def test_the_real_product_holds_what_the_scripted_one_holds(tmp_path_factory):
    @of(1)
    @given(said=messages)
    def try_it(said):
        asyncio.run(session(said))

    async def session(said):
        async with product(make_home(tmp_path_factory.mktemp("real"))) as window:
            await window.begin("def add(first, second):\n    return first +")
            counted = await garble(window.editor, said)
            assert set(counted.values()) <= {1}
            assert window.editor.process.returncode is None
            await still_serves(window.editor)

    try_it()


async def test_before_initialize_and_after_shutdown_requests_are_refused_and_answered(tmp_path):
    async with scripted(tmp_path) as editor:
        counted = await garble(editor, [("request", {"method": REQUESTS[0], "params": {}})] * 5)
        assert set(counted.values()) == {1}
        await editor.begin()
        await editor.request("shutdown", None)
        counted = await garble(editor, [("request", {"method": REQUESTS[0], "params": {}})] * 5)
        assert set(counted.values()) == {1}
        editor.notify("exit", None)
        assert await asyncio.wait_for(editor.process.wait(), 20) in (0, 1)


async def test_a_message_that_breaks_off_ends_the_server_and_not_the_machine(tmp_path):
    async with scripted(tmp_path) as editor:
        await editor.begin()
        editor.process.stdin.write(b'Content-Length: 5000\r\n\r\n{"jsonrpc"')
        editor.process.stdin.close()
        await asyncio.wait_for(editor.process.wait(), 20)


async def test_who_no_longer_reads_is_no_reason_to_hang(tmp_path):
    async with scripted(tmp_path) as editor:
        await editor.begin()
        editor.open("x = ", uri=URIS[0])
        editor.process._transport.get_pipe_transport(1).close()
        for _ in range(50):
            editor.ask_completion(0, 4, uri=URIS[0])
        editor.process.stdin.close()
        await asyncio.wait_for(editor.process.wait(), 20)
