"""What a user can ask the server for by name, on scripted models and the real sandbox."""

import asyncio
import time

import pytest

from cascade_lsp import catalogue, keystroke, server
from cascade_lsp.ledger import Ledger, LedgerOptions
from cascade_lsp.sandbox import SandboxOptions, make_sandbox
from cascade_lsp.server import CascadeServer
from tests.protocol.editors import INVOKED, URI, NearEditor, Refusal
from tests.test_cascade import EXAMPLE, RIGHT, WRONG, cascade_of, model

STUB = EXAMPLE.replace("║", "")
FAILING = "def double(n: int) -> int:\n    return n + 2\n\n\nx = 1\n"
HEAD = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 26}}


@pytest.fixture
def ledger(tmp_path):
    return Ledger.open(tmp_path / "ledger.sqlite3", LedgerOptions(source_text=True))


@pytest.fixture
async def begin(ledger, monkeypatch, tmp_path):
    """Begin a session of an editor whose small model is wrong and whose large one is right."""
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path))
    sandbox = make_sandbox(SandboxOptions())
    servers = []

    async def start(text, small=WRONG, options=None, large=RIGHT, line="    return n + 2\n"):
        cascade = cascade_of(model(small, line=line), model(large), sandbox)
        begun = CascadeServer(lambda *_: cascade, lambda _: ledger)
        servers.append(begun)
        editor = NearEditor(begun)
        refresh = {"codeLens": {"refreshSupport": True}}
        await editor.begin(options, workspace=refresh, window={"workDoneProgress": True})
        editor.open(text)
        return editor

    yield start
    for begun in servers:
        await begun.close()
    await sandbox.close()


async def settled(check):
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110 - what is waited for has no event to wait on
            await asyncio.sleep(0.01)


# -- verifying what stands there -------------------------------------------------------------------


async def test_a_function_that_fails_its_tests_is_marked_and_its_better_version_offered(begin):
    editor = await begin(FAILING)
    told = await editor.run("cascade.verifyFunction", URI, "1", "4")
    assert told["function"] == "double"
    assert (told["action"], told["replaceable"]) == ("escalate", True)
    published = editor.heard("textDocument/publishDiagnostics")[-1]
    (fault,) = published["diagnostics"]
    assert fault["range"] == HEAD
    assert fault["code"] == told["id"]
    assert "double as it stands is not confirmed" in fault["message"]
    (action,) = await editor.request(
        "textDocument/codeAction",
        {"textDocument": {"uri": URI}, "range": HEAD, "context": {"diagnostics": []}},
    )
    assert action["title"] == "Replace with the verified version"
    (change,) = action["edit"]["documentChanges"]
    assert change["textDocument"] == {"uri": URI, "version": 1}
    assert change["edits"] == [
        {
            "range": {"start": {"line": 1, "character": 4}, "end": {"line": 1, "character": 16}},
            "newText": "return n * 2",
        }
    ]


async def test_line_ends_of_windows_move_nothing(begin):
    editor = await begin(FAILING.replace("\n", "\r\n"))
    assert (await editor.run("cascade.verifyFunction", URI, "1", "4"))["replaceable"]
    (fault,) = editor.heard("textDocument/publishDiagnostics")[-1]["diagnostics"]
    assert fault["range"] == HEAD
    await editor.run("cascade.replaceFunction", URI, "1", "4")
    (sent,) = editor.heard("workspace/applyEdit")
    (edit,) = sent["edit"]["documentChanges"][0]["edits"]
    assert (edit["range"]["start"], edit["range"]["end"]) == (
        {"line": 1, "character": 4},
        {"line": 1, "character": 16},
    )


async def test_the_record_of_a_verified_function_explains_itself(begin, ledger):
    editor = await begin(FAILING)
    told = await editor.run("cascade.verifyFunction", URI, "1", "4")
    explained = await editor.run("cascade.explainEscalation", told["id"])
    record = explained["record"]
    assert [a["tier"] for a in record["attempts"]] == ["document", "small", "large"]
    assert record["verdict"] == told["verdict"]
    assert "## document: escalated" in explained["markdown"]
    assert ledger.get(told["id"]).trigger == "verify"


async def test_what_was_found_is_taken_back_once_the_text_is_edited(begin):
    editor = await begin(FAILING)
    await editor.run("cascade.verifyFunction", URI, "1", "4")
    editor.type(4, 0, "y", 2)
    await settled(lambda: editor.heard("textDocument/publishDiagnostics")[-1]["diagnostics"] == [])
    offered = await editor.request(
        "textDocument/codeAction",
        {"textDocument": {"uri": URI}, "range": HEAD, "context": {"diagnostics": []}},
    )
    assert offered == []


async def test_a_function_that_holds_is_not_marked(begin):
    editor = await begin(FAILING.replace("n + 2", "n * 2"))
    told = await editor.run("cascade.verifyFunction", URI, "0", "6")
    assert (told["action"], told["replaceable"]) == ("accept", False)
    assert "Nothing speaks against double" in told["verdict"]
    assert editor.heard("textDocument/publishDiagnostics")[-1]["diagnostics"] == []


async def test_what_cannot_be_tested_is_said_and_nothing_is_asked(begin):
    editor = await begin(FAILING)
    told = await editor.run("cascade.verifyFunction", URI, "4", "0")
    assert told["action"] == "untestable"
    assert told["verdict"] == "Not testable: the cursor is not in a function."


async def test_replacing_verifies_first_and_sends_one_edit(begin, ledger):
    editor = await begin(FAILING)
    told = await editor.run("cascade.replaceFunction", URI, "1", "4")
    assert told["applied"] is True
    (sent,) = editor.heard("workspace/applyEdit")
    assert sent["edit"]["documentChanges"][0]["edits"][0]["newText"] == "return n * 2"
    assert [event.kind for event in ledger.events(told["id"])] == ["accepted"]


async def test_a_function_that_holds_is_not_replaced(begin):
    editor = await begin(FAILING.replace("n + 2", "n * 2"))
    told = await editor.run("cascade.replaceFunction", URI, "1", "4")
    assert told["applied"] is False
    assert editor.heard("workspace/applyEdit") == []


# -- a function that a suggestion has written ------------------------------------------------------


async def taken(begin, text=STUB, **session):
    """Take a suggestion that is wrong before its tests are over; return the editor and the line."""
    editor = await begin(text, **session)
    line = STUB.count("\n") - 1
    (item,) = await editor.complete(line, 4)
    assert item["insertText"] == "return n + 2"
    editor.type(line, 4, item["insertText"], 2)
    await settled(lambda: marks(editor))
    return editor, line


def marks(editor):
    published = editor.heard("textDocument/publishDiagnostics")
    return published[-1]["diagnostics"] if published else []


async def actions(editor, line):
    span = {"start": {"line": line, "character": 4}, "end": {"line": line, "character": 4}}
    params = {"textDocument": {"uri": URI}, "range": span, "context": {"diagnostics": []}}
    return await editor.request("textDocument/codeAction", params)


async def test_what_fails_after_it_was_taken_is_marked_and_can_be_replaced_or_explained(begin):
    editor, line = await taken(begin)
    (mark,) = marks(editor)
    assert (mark["severity"], mark["source"]) == (4, "cascade")
    assert mark["range"]["start"] == {"line": 0, "character": 0}
    assert "the small model's answer was not accepted" in mark["message"]
    assert editor.heard("cascade/improved") == []
    replacing, explaining = await actions(editor, line)
    (change,) = replacing["edit"]["documentChanges"]
    assert change["textDocument"] == {"uri": URI, "version": 2}
    span = {"start": {"line": line, "character": 4}, "end": {"line": line, "character": 16}}
    assert change["edits"] == [{"range": span, "newText": "return n * 2"}]
    told = await editor.run(explaining["command"]["command"], *explaining["command"]["arguments"])
    assert "the large model" in told["markdown"]


async def test_a_mark_follows_its_function_and_goes_with_an_edit_in_it(begin):
    editor, line = await taken(begin)
    editor.type(0, 0, "import os\n\n\n", 3)
    replacing, _ = await actions(editor, line + 3)
    assert replacing["edit"]["documentChanges"][0]["textDocument"]["version"] == 3
    assert len(marks(editor)) == 1
    editor.type(line + 3, 16, "0", 4)
    await settled(lambda: marks(editor) == [])
    assert await actions(editor, line + 3) == []


async def test_a_mark_goes_when_its_document_is_closed(begin):
    editor, _ = await taken(begin)
    editor.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    await settled(lambda: marks(editor) == [])


async def test_where_no_model_did_better_a_mark_is_only_explained(begin):
    editor, line = await taken(begin, large=WRONG)
    (only,) = await actions(editor, line)
    assert only["title"] == "Explain"


async def test_a_suggestion_that_failed_before_it_was_taken_is_marked_then(begin):
    editor = await begin(STUB, large=WRONG)
    line = STUB.count("\n") - 1
    await editor.complete(line, 4)
    await settled(lambda: editor.heard("didChangeStatus")[-1]["state"] == "escalated")
    await asyncio.sleep(0.1)
    assert marks(editor) == []
    editor.type(line, 4, "return n + 2", 2)
    await settled(lambda: marks(editor))


async def test_what_was_asked_for_and_failed_is_marked_once_it_is_taken(begin):
    editor = await begin(STUB, large=WRONG)
    line = STUB.count("\n") - 1
    (item,) = await editor.complete(line, 4, INVOKED)
    editor.type(line, 4, item["insertText"], 2)
    await settled(lambda: marks(editor))


async def lenses(editor):
    params = {"textDocument": {"uri": URI}}
    return await editor.request("textDocument/codeLens", params)


async def test_a_line_above_a_function_counts_its_tests_where_the_user_wants_that(begin):
    editor, line = await taken(begin, options={"lens": True})
    (shown,) = await lenses(editor)
    assert shown["command"]["title"] == "0 of 5 tests passed"
    editor.type(line, 4, "return n * 2", 3, until=16)
    await settled(lambda: marks(editor) == [])
    (shown,) = await lenses(editor)
    assert shown["command"]["title"] == "5 of 5 tests passed"


async def test_a_function_that_the_user_had_verified_has_its_line_too(begin):
    editor = await begin(FAILING.replace("n + 2", "n * 2"), options={"lens": True})
    await editor.run("cascade.verifyFunction", URI, "1", "4")
    await editor.told("workspace/codeLens/refresh")
    (shown,) = await lenses(editor)
    assert shown["command"]["title"] == "4 of 4 tests passed"


async def test_no_line_is_shown_above_a_function_unless_the_user_wants_it(begin):
    editor, _ = await taken(begin)
    assert await lenses(editor) == []


# -- cycling ---------------------------------------------------------------------------------------


async def test_who_asks_can_cycle_through_the_answers_of_the_tiers(begin):
    text = EXAMPLE.replace("║", "")
    editor = await begin(text)
    line = text.count("\n") - 1
    items = await editor.complete(line, 4, INVOKED)
    assert [item["insertText"] for item in items] == ["return n * 2", "return n + 2"]
    assert {item["command"]["arguments"][0] for item in items} == {
        items[0]["command"]["arguments"][0]
    }
    editor.type(line, 4, "return n *", 2)
    (left,) = await editor.complete(line, 14, INVOKED)
    assert left["insertText"] == " 2"


# -- pausing ---------------------------------------------------------------------------------------


async def test_a_pause_stops_all_work_and_ends(begin):
    editor = await begin("def f():\n    \n", line="    return 1\n")
    status = await editor.run("cascade.snooze", "5")
    assert (status["state"], status["kind"]) == ("paused", "Inactive")
    assert status["snoozed_until"] == pytest.approx(time.time() + 300, abs=5)
    assert await editor.complete(1, 4) == []
    assert await editor.complete(1, 4, INVOKED) == []
    work = (await editor.run("cascade.status"))["work"]
    assert work == {
        "requests": 2, "drafts": 0, "cached": 0, "verifications": 0, "escalations": 0,
            "read_tokens": 0, "written_tokens": 0,
    }  # fmt: skip
    status = await editor.run("cascade.snooze", "0")
    assert (status["state"], status["snoozed_until"]) == ("ready", None)
    assert len(await editor.complete(1, 4)) == 1


async def test_a_pause_ends_by_itself(begin, monkeypatch):
    editor = await begin("def f():\n    \n", line="    return 1\n")
    monkeypatch.setattr(server, "MINUTE_S", 2.0)  # its own answer may first try the sandbox
    assert (await editor.run("cascade.snooze", "1"))["state"] == "paused"
    assert await editor.complete(1, 4) == []
    await settled(lambda: editor.heard("didChangeStatus")[-1]["state"] == "ready")
    assert len(await editor.complete(1, 4)) == 1


async def test_a_language_can_be_turned_off_alone(begin):
    options = {"disabled_languages": ["python"]}
    editor = await begin("def f():\n    \n", options=options, line="    return 1\n")
    assert await editor.complete(1, 4) == []
    status = await editor.run("cascade.status")
    assert (status["work"]["requests"], status["work"]["drafts"]) == (1, 0)
    assert status["state"] == "ready"
    other = "file:///project/a.js"
    editor.open("function f() {\n    \n", uri=other, language="javascript")
    assert len((await editor.ask_completion(1, 4, uri=other))["items"]) == 1


@pytest.mark.parametrize("minutes", ["", "-1", "ten", "1e3", "1" * 20])
async def test_a_length_of_time_that_is_none_is_refused(begin, minutes):
    editor = await begin("x = 1\n")
    with pytest.raises(Refusal):
        await editor.run("cascade.snooze", minutes)


# -- the light -------------------------------------------------------------------------------------


async def test_the_light_tells_of_verifying_escalating_and_what_came_of_it(begin):
    text = EXAMPLE.replace("║", "")
    editor = await begin(text)
    await editor.complete(text.count("\n") - 1, 4)
    await editor.told("cascade/improved")
    states = [light["state"] for light in editor.heard("didChangeStatus")]
    for state in ("loading", "thinking", "verifying", "escalating", "escalated"):
        assert state in states
    status = await editor.run("cascade.status")
    assert status["state"] == "escalated"
    assert "the large model's was taken" in status["message"]
    assert status["work"]["escalations"] == 1
    assert status["sandbox"]["tier"] in ("native", "native_without_namespaces", "portable")
    assert "nothing leaves this machine" in status["network"]


# -- what became of suggestions --------------------------------------------------------------------


async def test_the_wait_is_noted_once_and_so_is_what_was_kept(begin, ledger, monkeypatch):
    monkeypatch.setattr(keystroke, "KEPT_S", 0.05)
    editor = await begin("def f():\n    \n", line="    return 1\n")
    (item,) = await editor.complete(1, 4)
    decision = item["command"]["arguments"][0]
    await settled(lambda: ledger.events(decision))
    editor.type(1, 4, item["insertText"], 2)
    await settled(lambda: len(ledger.events(decision)) == 3)
    found = {event.kind: event.value for event in ledger.events(decision)}
    assert set(found) == {"answered", "accepted", "kept"}
    assert 0 < found["answered"] < 10_000
    assert found["kept"] == 1.0


async def test_closing_a_document_settles_what_was_kept(begin, ledger):
    editor = await begin("def f():\n    \n", line="    return 1\n")
    (item,) = await editor.complete(1, 4)
    decision = item["command"]["arguments"][0]
    editor.type(1, 4, item["insertText"], 2)
    await settled(lambda: any(e.kind == "accepted" for e in ledger.events(decision)))
    editor.type(1, 4, "", 3, until=4 + len(item["insertText"]))
    editor.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    await settled(lambda: len(ledger.events(decision)) == 4)
    found = {event.kind: event.value for event in ledger.events(decision)}
    assert found["kept"] == found["kept_later"] == 0.0


async def test_statistics_and_the_list_of_decisions_come_from_the_ledger(begin):
    editor = await begin("def f():\n    \n", line="    return 1\n")
    (item,) = await editor.complete(1, 4)
    decision = item["command"]["arguments"][0]
    await editor.run("cascade.acceptCompletion", decision)
    told = await editor.run("cascade.statistics", "7")
    assert (told["days"], len(told["series"])) == (7, 7)
    assert (told["total"]["suggestions"], told["total"]["accepted"]) == (1, 1)
    listed = await editor.run("cascade.decisions", "7")
    (row,) = listed["rows"]
    assert (row["id"], row["accepted"], row["tier"]) == (decision, True, "small")
    assert listed["path"].endswith("ledger.sqlite3")


async def test_a_refused_suggestion_is_noted(begin, ledger):
    editor = await begin("def f():\n    \n", line="    return 1\n")
    (item,) = await editor.complete(1, 4)
    editor.notify("cascade/didRejectCompletion", {"item": item})
    decision = item["command"]["arguments"][0]
    await settled(lambda: "rejected" in [event.kind for event in ledger.events(decision)])


# -- models ----------------------------------------------------------------------------------------


async def test_the_models_are_listed_with_what_is_chosen(begin):
    editor = await begin("x = 1\n")
    listed = await editor.run("cascade.models")
    assert [model["name"] for model in listed] == [m.name for m in catalogue.load().models]
    assert [model["chosen"] for model in listed if model["chosen"]] == ["small", "large"]


async def test_a_model_that_is_already_there_is_not_fetched_again(begin, tmp_path):
    known = catalogue.load().find("smollm2-135m-instruct-q4_1")
    path = catalogue.weights_path(known)
    editor = await begin("x = 1\n")
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(known.size_bytes)
    assert await editor.run("cascade.fetchModel", known.name) == str(path)
    bars = editor.heard("$/progress")
    begun = next(b for b in bars if b["value"].get("title") == f"Getting {known.name}")
    assert begun["value"]["cancellable"]
    assert [b["value"]["kind"] for b in bars if b["token"] == begun["token"]][-1] == "end"


# -- a remote model ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "No remote model is configured: nothing leaves this machine."),
        (
            {"remote": {"url": "https://models.example/v1"}},
            "cascade.network is off, so the remote model at models.example is not asked: "
            "nothing leaves this machine.",
        ),
        (
            {"network": "on", "remote": {"url": "http://models.example/v1"}},
            "nothing leaves this machine.",
        ),
        (
            {"network": "on", "remote": {"url": "https://models.example/v1"}},
            "What the privacy policy lets out may be sent to the remote model at models.example, "
            "and nowhere else.",
        ),
    ],
)
async def test_the_status_says_to_whom_something_may_be_sent(begin, settings, said):
    editor = await begin("x = 1\n", options=settings)
    assert said in (await editor.run("cascade.status"))["network"]
