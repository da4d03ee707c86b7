"""What a power profile does to the requests of an editor, on machines that are made up."""

import asyncio

import pytest

from cascade_lsp import behind
from cascade_lsp.ledger import Ledger, LedgerOptions
from cascade_lsp.power import Counters, Gauge, Reading
from cascade_lsp.server import CascadeServer
from tests.protocol.editors import INVOKED, URI, NearEditor
from tests.protocol.scripted_cascade import Script, ScriptedCascade

TEXT = "def f():\n    \n"
CURSOR = (1, 4)
SAVER = {"power": {"profile": "saver"}}
BATTERY = {"power": {"profile": "battery"}}


class Session:
    """A server in this process on a machine that is made up, and an editor with one document."""

    def __init__(self, ledger, machine, **script):
        self.cascade = ScriptedCascade(Script(**script))
        self.machine = machine
        self.server = CascadeServer(lambda settings, root: self.cascade, lambda _: ledger)
        self.server.gauge = Gauge(lambda: self.machine, lambda: Counters(0.0, 0.0, {}), cores=2)
        self.editor = NearEditor(self.server)

    def calls(self, name):
        return self.cascade.calls.count(name)


@pytest.fixture
async def begin(tmp_path):
    """Begin a session: `await begin({"power": {...}}, machine=Reading(...), testable=True)`."""
    ledger = Ledger.open(tmp_path / "ledger.sqlite3", LedgerOptions(source_text=True))
    sessions = []

    async def start(options=None, machine=None, **script):
        session = Session(ledger, machine or Reading(), **script)
        sessions.append(session)
        await session.editor.begin(options)
        await asyncio.sleep(0)  # the settings are taken once initialize is answered
        session.editor.open(TEXT)
        return session

    yield start
    for session in sessions:
        await session.server.close()


async def settled(check):
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110 - what is waited for has no event to wait on
            await asyncio.sleep(0.01)


# -- only when asked for ---------------------------------------------------------------------------


async def test_under_saver_a_model_is_neither_loaded_nor_asked_unless_someone_asks(begin):
    session = await begin(SAVER)
    assert await session.editor.complete(*CURSOR) == []
    assert session.cascade.calls == []
    (item,) = await session.editor.complete(*CURSOR, INVOKED)
    assert item["insertText"] == "return 1"
    assert session.cascade.calls == ["load", "draft"]  # and nothing is tested


async def test_the_light_says_why_nothing_comes_by_itself(begin):
    session = await begin(machine=Reading(on_battery=True, percent=18.0))
    await session.editor.complete(*CURSOR)
    expected = "Suggestions come only when you ask for them: on battery at 18 %."
    assert session.server.light.message == expected


async def test_what_is_known_is_shown_under_saver_too(begin):
    session = await begin(SAVER)
    await session.editor.complete(*CURSOR, INVOKED)
    session.editor.type(1, 4, "ret", 2)
    (item,) = await session.editor.complete(1, 7)
    assert (item["insertText"], session.calls("draft")) == ("urn 1", 1)


async def test_asking_again_under_saver_asks_no_model_again(begin):
    session = await begin(SAVER)
    await session.editor.complete(*CURSOR, INVOKED)
    (item,) = await session.editor.complete(*CURSOR, INVOKED)
    assert (item["insertText"], session.calls("draft"), session.calls("complete")) == (
        "return 1",
        1,
        0,
    )


async def test_a_draft_that_is_being_written_is_waited_for_under_saver(begin):
    session = await begin(SAVER, draft_s=0.2)
    asked = session.editor.ask_completion(*CURSOR, INVOKED)
    await settled(lambda: session.calls("draft"))
    (item,) = await session.editor.complete(*CURSOR)
    await asked
    assert (item["insertText"], session.calls("draft")) == ("return 1", 1)


async def test_a_machine_that_is_plugged_in_again_gets_suggestions_again(begin):
    session = await begin(machine=Reading(on_battery=True, percent=18.0))
    assert await session.editor.complete(*CURSOR) == []
    session.machine = Reading(percent=18.0)
    await asyncio.to_thread(session.server.gauge.look)
    assert len(await session.editor.complete(*CURSOR)) == 1


async def test_under_saver_the_models_go_once_nobody_has_asked_for_long(begin):
    session = await begin({**SAVER, "engine": {"unload_s": 0.2}})
    await session.editor.complete(*CURSOR, INVOKED)
    await settled(lambda: session.calls("close"))
    (item,) = await session.editor.complete(*CURSOR)  # what it has answered is known without it
    assert (item["insertText"], session.calls("load")) == ("return 1", 1)
    session.editor.type(1, 4, "x", 2)
    await session.editor.complete(1, 5, INVOKED)
    assert session.calls("load") == 2


async def test_models_stay_where_suggestions_come_by_themselves(begin):
    session = await begin({"engine": {"unload_s": 0.1}})
    await session.editor.complete(*CURSOR)
    await asyncio.sleep(0.4)
    assert session.calls("close") == 0


@pytest.mark.parametrize("how", ["snooze", "off"])
async def test_models_go_when_suggestions_are_paused_or_turned_off(begin, how):
    session = await begin()
    await session.editor.complete(*CURSOR)
    if how == "snooze":
        await session.editor.run("cascade.snooze", "30")
    else:
        session.editor.notify(
            "workspace/didChangeConfiguration", {"settings": {"cascade": {"enabled": False}}}
        )
    await settled(lambda: session.calls("close"))
    done = list(session.cascade.calls)
    session.editor.type(1, 4, "x", 2)
    assert await session.editor.complete(1, 5, INVOKED) == []
    assert session.cascade.calls == done


# -- tests and work ahead --------------------------------------------------------------------------


async def test_on_battery_a_suggestion_is_tested_only_in_a_pause(begin, monkeypatch):
    monkeypatch.setattr(behind, "PAUSE_S", 0.8)
    session = await begin(BATTERY, testable=True)
    await session.editor.complete(*CURSOR)
    await asyncio.sleep(behind.IDLE_S + 0.2)
    assert session.calls("verify") == 0
    session.editor.type(1, 4, "return 1", 2)  # accepted, and still no pause
    await asyncio.sleep(0.5)
    assert session.calls("verify") == 0
    await settled(lambda: session.calls("verify"))


async def test_plugged_in_a_suggestion_is_tested_while_the_user_types_on(begin):
    session = await begin(testable=True)
    await session.editor.complete(*CURSOR)
    session.editor.type(1, 4, "r", 2)
    await settled(lambda: session.calls("verify"))


async def test_where_nothing_is_tested_nothing_is_verified_however_long_the_pause(begin):
    session = await begin({"power": {"profile": "custom", "verify": "never"}}, testable=True)
    await session.editor.complete(*CURSOR)
    await asyncio.sleep(2 * behind.IDLE_S)
    assert session.calls("verify") == 0 and session.server.work.verifications == 0


@pytest.mark.parametrize(("options", "expected"), [(None, 1), (BATTERY, 0)])
async def test_models_work_ahead_only_where_that_may_be_spent(begin, options, expected):
    session = await begin(options)
    await session.editor.complete(*CURSOR)
    session.editor.type(1, 4, "xyz = ", 2)
    here = {"line": 1, "character": 10}
    await session.editor.request(
        "textDocument/codeAction",
        {
            "textDocument": {"uri": URI},
            "range": {"start": here, "end": here},
            "context": {"diagnostics": []},
        },
    )
    await asyncio.sleep(0.3)
    assert session.calls("warm") == expected


# -- what is told ----------------------------------------------------------------------------------


async def test_the_status_tells_the_profile_and_the_machine(begin):
    session = await begin(machine=Reading(on_battery=True, percent=41.4))
    told = (await session.editor.run("cascade.status"))["power"]
    assert told.pop("spared").startswith("on battery at 41 % (battery): suggestions of 50%")
    assert told == {
        "profile": "battery",
        "why": "on battery at 41 %",
        "on_battery": True,
        "percent": 41,
    }


async def test_the_cascade_is_told_what_it_may_spend_before_each_request(begin):
    session = await begin(machine=Reading(on_battery=True, percent=41.0))
    await session.editor.complete(*CURSOR)
    assert session.cascade.spending.profile == "battery"
    session.machine = Reading(percent=41.0)
    await asyncio.to_thread(session.server.gauge.look)
    session.editor.type(1, 4, "x", 2)
    await session.editor.complete(1, 5)
    assert session.cascade.spending.profile == "plugged"
