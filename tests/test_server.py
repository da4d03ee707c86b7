import asyncio
import threading

import pytest

from cascade_lsp.behind import IDLE_S
from cascade_lsp.drafting import RETRY_S
from cascade_lsp.errors import LedgerError
from cascade_lsp.ledger import Ledger, LedgerOptions
from cascade_lsp.server import CascadeServer
from tests.protocol.editors import AUTOMATIC, INVOKED, URI, NearEditor, Refusal
from tests.protocol.scripted_cascade import Script, ScriptedCascade

TEXT = "def f():\n    \n"
CURSOR = (1, 4)
SELECTED = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 3}}


class Session:
    """A server in this process, what it was made of, and an editor with one open document."""

    def __init__(self, ledger, configuration=None, **script):
        self.cascade = ScriptedCascade(Script(**script))
        self.made_with = []
        self.roots = []
        self.server = CascadeServer(self._make, lambda _: ledger())
        self.editor = NearEditor(self.server, configuration)

    def _make(self, settings, root):
        self.made_with.append(settings)
        self.roots.append(root)
        return self.cascade

    @property
    def drafts(self):
        return self.cascade.calls.count("draft")


@pytest.fixture
def ledger(tmp_path):
    return Ledger.open(tmp_path / "ledger.sqlite3", LedgerOptions(source_text=True))


@pytest.fixture
async def begin(ledger):
    """Begin a session: `await begin(text="pass", options={...})`."""
    sessions = []

    async def start(document=TEXT, options=None, opened=None, configuration=None, **script):
        session = Session(opened or (lambda: ledger), configuration, **script)
        sessions.append(session)
        workspace = {"configuration": configuration is not None}
        window = {"workDoneProgress": True}
        await session.editor.begin(options, workspace=workspace, window=window)
        session.editor.open(document)
        return session

    yield start
    for session in sessions:
        await session.server.close()


async def settled(check):
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110 - what is waited for has no event to wait on
            await asyncio.sleep(0.01)


# -- one keystroke ---------------------------------------------------------------------------------


async def test_a_keystroke_is_answered_with_one_item_at_the_cursor(begin):
    session = await begin()
    (item,) = await session.editor.complete(*CURSOR)
    here = {"line": 1, "character": 4}
    assert item["insertText"] == "return 1"
    assert item["range"] == {"start": here, "end": here}
    assert item["command"]["command"] == "cascade.acceptCompletion"
    assert item["command"]["arguments"] == ["d1"]


async def test_a_selected_suggestion_is_continued_in_its_own_range(begin):
    session = await begin("pri", text="(x)")
    selected = {"selectedCompletionInfo": {"range": SELECTED, "text": "print"}}
    (item,) = await session.editor.complete(0, 3, context=selected)
    assert (item["insertText"], item["range"]) == ("print(x)", SELECTED)


async def test_a_selection_over_two_lines_is_answered_empty(begin):
    session = await begin()
    span = {"start": {"line": 0, "character": 0}, "end": {"line": 1, "character": 0}}
    selected = {"selectedCompletionInfo": {"range": span, "text": "print"}}
    assert await session.editor.complete(0, 3, context=selected) == []


async def test_nothing_to_suggest_is_an_empty_list(begin):
    session = await begin(text="")
    assert await session.editor.request(
        "textDocument/inlineCompletion",
        {
            "textDocument": {"uri": URI},
            "position": {"line": 0, "character": 0},
            "context": {"triggerKind": AUTOMATIC},
        },
    ) == {"items": []}


async def test_typing_through_a_suggestion_asks_no_model(begin):
    session = await begin()
    await session.editor.complete(*CURSOR)
    for version, char in enumerate("return", start=2):
        session.editor.type(1, 2 + version, char, version)
        (item,) = await session.editor.complete(1, 3 + version)
        assert item["insertText"] == "return 1"[version - 1 :]
    assert session.drafts == 1


async def test_typing_through_several_lines_with_line_ends_of_windows_asks_no_model(begin, ledger):
    session = await begin("def f():\r\n    \r\n", text="x = 1\n    return x")
    await session.editor.complete(*CURSOR)
    session.editor.type(1, 4, "x = 1\r\n    ret", 2)
    (item,) = await session.editor.complete(2, 7)
    assert (item["insertText"], session.drafts) == ("urn x", 1)
    session.editor.type(2, 7, "urn x", 3)
    await settled(lambda: kinds(ledger, "d1") == ["accepted"])


LINES = "total = 0\n    return total"


async def test_the_first_line_is_shown_while_the_rest_is_written(begin, ledger):
    session = await begin(text=LINES, letter_s=0.01)
    (item,) = await session.editor.complete(*CURSOR)
    assert item["insertText"] == "total = 0"
    told = await session.editor.told("cascade/improved")
    assert told["decisionId"] == "d1"
    (item,) = await session.editor.complete(
        *CURSOR, INVOKED
    )  # as an editor fetches what it is told of
    assert (item["insertText"], session.drafts) == (LINES, 1)
    assert "complete" not in session.cascade.calls
    await settled(lambda: [record.answer.text for record in ledger.since(60)] == [LINES])
    await settled(lambda: ledger.events("d1"))
    (waited,) = [e.value for e in ledger.events("d1") if e.kind == "answered"]
    assert 0 < waited < 0.7 * len(LINES) * 10  # for the first line, not for all letters at 10 ms


async def test_typing_what_is_being_written_lets_it_go_on(begin):
    session = await begin(text=LINES, letter_s=0.02)
    asked = [session.editor.ask_completion(*CURSOR)]
    for version, char in enumerate("total", start=2):
        await asyncio.sleep(0.02)
        session.editor.type(1, 2 + version, char, version)
        session.editor.cancel(asked[-1])
        asked.append(session.editor.ask_completion(1, 3 + version))
    (item,) = (await asked[-1])["items"]
    assert (item["insertText"], session.drafts) == (" = 0", 1)
    assert session.server.work.cached == 1


async def test_typing_something_else_ends_what_is_being_written_and_keeps_it(begin):
    session = await begin(text=LINES, letter_s=0.01)
    await session.editor.complete(*CURSOR)
    session.editor.type(1, 4, "x", 2)
    (item,) = await session.editor.complete(1, 5)
    assert (item["insertText"], session.drafts) == ("total = 0", 2)
    session.editor.type(1, 4, "", 3, until=5)
    (item,) = await session.editor.complete(*CURSOR)
    assert item["insertText"].startswith("total = 0")
    assert session.drafts == 2


async def test_of_a_burst_of_keystrokes_at_most_one_draft_is_written_to_its_end(begin):
    session = await begin(letter_s=0.02)
    asked = [session.editor.ask_completion(*CURSOR)]
    for version, char in enumerate("something else in all", start=2):
        session.editor.type(1, 2 + version, char, version)
        session.editor.cancel(asked[-1])
        asked.append(session.editor.ask_completion(1, 3 + version))
        await asyncio.sleep(0.01)
    assert len((await asked[-1])["items"]) == 1
    await asyncio.sleep(0.3)
    assert session.cascade.ended.count("written") == 1


async def test_a_cancelled_request_stops_the_writing_within_a_tenth_of_a_second(begin):
    session = await begin(letter_s=0.05)
    asked = session.editor.ask_completion(*CURSOR)
    await settled(lambda: session.drafts == 1)
    session.editor.cancel(asked)
    await asyncio.sleep(0.1)
    (desk,) = session.server._desks.values()
    assert desk.pen.done()
    assert "written" not in session.cascade.ended


async def test_what_follows_an_accepted_suggestion_lies_ready(begin, ledger):
    session = await begin(ahead="\n    pass")
    await session.editor.complete(*CURSOR)
    await settled(lambda: "ahead" in session.server._unseen)
    session.editor.type(1, 4, "return 1", 2)
    assert await session.editor.complete(1, 12) == [], "nothing behind what was just accepted"
    session.editor.type(1, 12, "\n", 3)
    (item,) = await session.editor.complete(2, 0)
    assert (item["insertText"], session.drafts) == ("    pass", 1)
    await settled(lambda: ledger.get("ahead"))


async def test_where_the_cursor_stays_the_text_before_it_is_read(begin):
    session = await begin()
    await session.editor.complete(*CURSOR)  # there something is known
    for line, character in ((0, 0), (0, 4), CURSOR):
        place = {"line": line, "character": character}
        params = {"textDocument": {"uri": URI}, "context": {"diagnostics": []}}
        params["range"] = {"start": place, "end": place}
        await session.editor.request("textDocument/codeAction", params)
    await settled(lambda: "warm" in session.cascade.ended)
    assert session.cascade.calls.count("warm") == 1


async def test_where_nothing_was_to_be_said_no_model_is_asked_again(begin):
    session = await begin(text="")
    assert await session.editor.complete(*CURSOR) == []
    assert await session.editor.complete(*CURSOR) == []
    assert session.drafts == 1


async def test_the_latest_request_of_a_document_wins_and_the_one_before_is_answered(begin):
    session = await begin(draft_s=0.2)
    first = session.editor.ask_completion(*CURSOR)
    await asyncio.sleep(0.05)
    assert len(await session.editor.complete(0, 8)) == 1
    assert (await first)["items"] == []
    assert session.cascade.ended.count("draft") == 1


async def test_requests_of_two_documents_do_not_disturb_each_other(begin):
    session = await begin(draft_s=0.1)
    session.editor.open(TEXT, uri="file:///project/b.py")
    other = session.editor.ask_completion(*CURSOR, uri="file:///project/b.py")
    assert len(await session.editor.complete(*CURSOR)) == 1
    assert len((await other)["items"]) == 1


async def test_an_answer_of_another_version_is_not_given(begin):
    session = await begin()
    assert await session.editor.complete(*CURSOR, textDocument={"version": 7}) == []
    assert len(await session.editor.complete(*CURSOR, textDocument={"version": 1})) == 1


async def test_a_document_that_is_not_open_is_answered_empty(begin):
    session = await begin()
    assert await session.editor.complete(0, 0, textDocument={"uri": "file:///nowhere.py"}) == []


async def test_a_huge_document_is_answered_empty(begin):
    session = await begin(options={"max_file_kb": 1}, document="x" * 2000)
    assert await session.editor.complete(0, 5) == []
    assert session.drafts == 0


async def test_a_position_outside_the_text_means_the_nearest_inside(begin):
    session = await begin("abc")
    (item,) = await session.editor.complete(7, 99)
    assert item["range"]["start"] == {"line": 0, "character": 3}


# -- an explicit request ---------------------------------------------------------------------------


async def test_who_asks_gets_the_whole_cascade(begin, ledger):
    session = await begin()
    (item,) = await session.editor.complete(*CURSOR, INVOKED)
    assert item["insertText"] == "return 2"
    assert session.drafts == 0
    await settled(lambda: ledger.get("c1"))


async def test_who_asks_can_choose_among_distinct_suggestions_the_best_first(begin):
    session = await begin(others=("return 3", "return 2", "return 3", ""))
    items = await session.editor.complete(*CURSOR, INVOKED)
    assert [one["insertText"] for one in items] == ["return 2", "return 3"]
    assert len(await session.editor.complete(*CURSOR)) == 1  # who only types gets one


async def test_what_there_is_to_choose_from_keeps_nobody_waiting(begin, monkeypatch):
    monkeypatch.setattr("cascade_lsp.keystroke.OTHERS_S", 0.05)
    session = await begin(others=("return 3",), others_s=60)
    (item,) = await session.editor.complete(*CURSOR, INVOKED)
    assert item["insertText"] == "return 2"


async def test_who_asks_after_typing_is_not_put_off_with_the_untested_draft(begin):
    session = await begin()
    await session.editor.complete(*CURSOR)
    (item,) = await session.editor.complete(*CURSOR, INVOKED)
    assert item["insertText"] == "return 2"


async def test_what_was_tested_is_not_tested_again(begin):
    session = await begin()
    await session.editor.complete(*CURSOR, INVOKED)
    await session.editor.complete(*CURSOR, INVOKED)
    assert session.cascade.calls.count("complete") == 1


async def test_patience_has_an_end_and_the_draft_is_given_then(begin):
    session = await begin(options={"completion": {"patience_s": 0.1}}, think_s=60)
    (item,) = await session.editor.complete(*CURSOR, INVOKED)
    assert item["insertText"] == "return 1"


async def test_a_cascade_with_nothing_to_say_falls_back_to_the_draft(begin):
    session = await begin(better="")
    (item,) = await session.editor.complete(*CURSOR, INVOKED)
    assert item["insertText"] == "return 1"


# -- behind the reply ------------------------------------------------------------------------------


async def test_what_was_shown_has_one_row_in_the_ledger(begin, ledger):
    session = await begin()
    await session.editor.complete(*CURSOR)
    await settled(lambda: ledger.get("d1"))
    await session.editor.complete(*CURSOR)
    assert [record.answer.text for record in ledger.since(60)] == ["return 1"]


async def test_the_reply_does_not_wait_for_the_ledger(begin, ledger):
    replied = threading.Event()
    session = await begin(opened=lambda: replied.wait(30) and ledger)
    assert len(await session.editor.complete(*CURSOR)) == 1
    replied.set()
    await settled(lambda: ledger.get("d1"))


async def test_a_better_answer_is_announced_cached_and_recorded(begin, ledger):
    session = await begin(testable=True)
    await session.editor.complete(*CURSOR)
    told = await session.editor.told("cascade/improved")
    here = {"line": 1, "character": 4}
    span = {"start": here, "end": here}
    expected = {"uri": URI, "version": 1, "range": span, "decisionId": "d1", "how": "replace"}
    assert told == expected
    (item,) = await session.editor.complete(*CURSOR, INVOKED)
    assert (item["insertText"], item["command"]["arguments"]) == ("return 2", ["d1"])
    assert session.cascade.calls == ["load", "draft", "verify"]
    await settled(lambda: [record.answer.text for record in ledger.since(60)] == ["return 2"])


async def verified(session, ledger):
    """Wait until the verification of the first draft is over and its record kept."""
    await settled(lambda: "verify" in session.cascade.ended)
    await settled(lambda: ledger.get("d1").answer.evidence.execution == "ran")


async def test_an_answer_that_holds_is_not_announced(begin, ledger):
    session = await begin(testable=True, better="return 1")
    await session.editor.complete(*CURSOR)
    await verified(session, ledger)
    assert session.editor.heard("cascade/improved") == []


async def test_nothing_is_announced_for_a_document_edited_meanwhile(begin, ledger):
    session = await begin(testable=True, think_s=0.1)
    await session.editor.complete(*CURSOR)
    session.editor.type(0, 0, "# ", 2)
    await verified(session, ledger)
    assert session.editor.heard("cascade/improved") == []


async def test_a_keystroke_ends_the_verification_before_it(begin):
    session = await begin(testable=True, think_s=5)
    await session.editor.complete(*CURSOR)
    await settled(lambda: "verify" in session.cascade.calls)
    await session.editor.complete(0, 8)
    await asyncio.sleep(0)
    assert "verify" not in session.cascade.ended
    assert not session.server.light.busy


async def test_typing_through_lets_the_verification_go_on(begin):
    session = await begin(testable=True, think_s=0.2)
    await session.editor.complete(*CURSOR)
    await settled(lambda: "verify" in session.cascade.calls)
    session.editor.type(1, 4, "r", 2)
    await session.editor.complete(1, 5)
    await settled(lambda: "verify" in session.cascade.ended)


async def test_a_shown_draft_is_recorded_even_if_its_verification_is_cut_short(begin, ledger):
    session = await begin(testable=True, think_s=5)
    await session.editor.complete(*CURSOR)
    await session.editor.complete(0, 8)
    await settled(lambda: ledger.get("d1") and ledger.get("d2"))


# -- when ------------------------------------------------------------------------------------------


UNASKED = [
    # the text, the cursor in its last line, and the items that come by themselves and on request
    ("x = total", 6, 0, 1),
    ("x = total", 4, 0, 1),
    ("f(a, )", 5, 1, 1),
    ("# so ", 5, 0, 1),
]


@pytest.mark.parametrize(("text", "character", "automatic", "invoked"), UNASKED)
async def test_who_asks_gets_a_suggestion_where_none_comes_by_itself(
    begin, text, character, automatic, invoked
):
    session = await begin(text, options={"when": {"comments": False}})
    assert len(await session.editor.complete(0, character)) == automatic
    assert session.drafts == automatic
    assert len(await session.editor.complete(0, character, INVOKED)) == invoked


@pytest.mark.parametrize(("kind", "count"), [(AUTOMATIC, 0), (INVOKED, 1)])
async def test_a_selected_row_that_what_was_typed_contradicts_is_not_continued(begin, kind, count):
    session = await begin("pxi", text="(x)", better="(x)")
    selected = {"selectedCompletionInfo": {"range": SELECTED, "text": "print"}}
    assert len(await session.editor.complete(0, 3, kind, context=selected)) == count


async def test_what_was_taken_out_of_a_suggestion_of_several_lines_is_followed_at_once(begin):
    session = await begin(ahead="\n    pass")
    await session.editor.complete(*CURSOR)
    await settled(lambda: "ahead" in session.server._unseen)
    session.editor.type(1, 4, "return 1", 2)
    assert await session.editor.complete(1, 12) == []
    (item,) = await session.editor.complete(1, 12, INVOKED)
    assert (item["insertText"], session.cascade.calls.count("complete")) == ("\n    pass", 0)
    await session.editor.complete(1, 12, INVOKED)
    assert session.cascade.calls.count("complete") == 1


async def test_who_types_a_suggestion_to_its_end_is_given_the_next(begin):
    session = await begin(text="x", ahead="\n    pass")
    await session.editor.complete(*CURSOR)
    await settled(lambda: "ahead" in session.server._unseen)
    session.editor.type(1, 4, "x", 2)
    (item,) = await session.editor.complete(1, 5)
    assert item["insertText"] == "\n    pass"


class Slow:
    """The pace of someone who is given time for the next key."""

    def __init__(self):
        self.pauses = 0

    def typed(self, now):
        pass

    def answered(self, seconds):
        pass

    def pause_s(self):
        self.pauses += 1
        return 0.15


async def test_keys_that_follow_at_once_ask_no_model_and_all_are_answered(begin):
    session = await begin()
    session.server._pace = Slow()
    asked = []
    for version, char in enumerate("something", start=2):
        session.editor.type(1, 2 + version, char, version)
        asked.append(session.editor.ask_completion(1, 3 + version))
        await asyncio.sleep(0.01)
    answers = await asyncio.wait_for(asyncio.gather(*asked), 10)
    assert [len(answer["items"]) for answer in answers] == [0] * 8 + [1]
    assert session.drafts == 1


async def test_a_key_ends_what_is_written_for_another_text_before_its_own_pause_is_over(begin):
    session = await begin(letter_s=0.05)
    session.editor.ask_completion(*CURSOR)
    await settled(lambda: session.drafts == 1)
    session.server._pace = Slow()
    session.editor.type(1, 4, "x", 2)
    session.editor.ask_completion(1, 5)
    await asyncio.sleep(0.1)
    (desk,) = session.server._desks.values()
    assert (desk.pen.done(), session.drafts) == (True, 1)


async def test_what_is_known_or_being_written_or_asked_for_waits_for_no_key(begin):
    session = await begin(text=LINES, letter_s=0.01, better="")
    await session.editor.complete(*CURSOR)
    session.server._pace = slow = Slow()
    session.editor.type(1, 4, "t", 2)
    (item,) = await session.editor.complete(1, 5)  # it is still being written
    assert item["insertText"].startswith("otal")
    await session.editor.told("cascade/improved")
    session.editor.type(1, 5, "o", 3)
    (item,) = await session.editor.complete(1, 6)  # it is known
    assert item["insertText"] == LINES[2:]
    assert len(await session.editor.complete(0, 8, INVOKED)) == 1  # the user asks
    assert slow.pauses == 0
    session.editor.type(1, 6, "x", 4)
    await session.editor.complete(1, 7)
    assert slow.pauses == 1


# -- a better answer that comes late ---------------------------------------------------------------


async def improved(session, typed, better, refuse=False):
    """Show "return 1", type a part of it, and let a better answer come; return what the editor was
    told, None if it was told nothing, and what is shown then."""
    shown = await session.editor.complete(*CURSOR)
    await settled(lambda: "verify" in session.cascade.calls)
    if typed:
        session.editor.type(1, 4, typed, 2)
        shown = await session.editor.complete(1, 4 + len(typed))
    await settled(lambda: "verify" in session.cascade.ended)
    await settled(lambda: session.server.journal.held("d1").answer.text == better)
    told = session.editor.heard("cascade/improved")
    return (told[-1] if told else None), [item["insertText"] for item in shown]


LATE = [
    # what was typed meanwhile, the better answer, what the editor is told, and what it is given
    # when it fetches that, or when the user asks
    ("", "return 2", "replace", "return 2"),
    ("", "return 1 + 2", "extend", "return 1 + 2"),
    ("ret", "return 1 + 2", "extend", "urn 1 + 2"),
    ("ret", "return 2", "offer", "urn 2"),
]


@pytest.mark.parametrize(("typed", "better", "how", "given"), LATE)
async def test_a_better_answer_replaces_what_is_untouched_goes_on_or_is_offered(
    begin, typed, better, how, given
):
    session = await begin(testable=True, better=better, think_s=0.1)
    told, _ = await improved(session, typed, better)
    end = {"line": 1, "character": 4 + (len(typed) if how != "offer" else 0)}
    assert (told["how"], told["range"]["end"]) == (how, end)
    assert told["version"] == (1 if how == "offer" or not typed else 2)
    (item,) = await session.editor.complete(1, 4 + len(typed), INVOKED)
    assert item["insertText"] == given
    assert "complete" not in session.cascade.calls


async def test_what_is_only_offered_moves_nothing_until_the_user_asks(begin):
    session = await begin(testable=True, think_s=0.1)
    _, shown = await improved(session, "ret", "return 2")
    assert shown == ["urn 1"]
    assert "ask for a suggestion" in session.server.light.message
    session.editor.type(1, 7, "u", 3)
    (item,) = await session.editor.complete(1, 8)
    assert item["insertText"] == "rn 1"
    (item,) = await session.editor.complete(1, 8, INVOKED)
    assert item["insertText"] == "rn 2"
    session.editor.type(1, 8, "rn ", 4)
    (item,) = await session.editor.complete(1, 11)
    assert (item["insertText"], session.drafts) == ("2", 1)


@pytest.mark.parametrize(
    ("typed", "better"),
    [
        ("return 1", "return 2"),  # accepted
        ("return 1", "return 1 + 2"),  # accepted, and there is more of it
        ("pass", "return 2"),  # something else
        ("return", "pass"),  # what is better cannot stand behind it
    ],
)
async def test_what_was_accepted_or_edited_meanwhile_is_left_alone(begin, typed, better):
    session = await begin(testable=True, better=better, think_s=0.1)
    await session.editor.complete(*CURSOR)
    await settled(lambda: "verify" in session.cascade.calls)
    session.editor.type(1, 4, typed, 2)
    await settled(lambda: "verify" in session.cascade.ended)
    await settled(lambda: session.server.journal.held("d1").answer.text == better)
    assert session.editor.heard("cascade/improved") == []


async def test_typing_on_after_what_cannot_be_brought_in_keeps_the_suggestion(begin):
    session = await begin(testable=True, better="pass", think_s=0.1)
    _, shown = await improved(session, "return", "pass")
    assert shown == [" 1"]
    session.editor.type(1, 10, " ", 3)
    (item,) = await session.editor.complete(1, 11)
    assert (item["insertText"], session.drafts) == ("1", 1)


async def test_a_request_in_between_does_not_turn_the_fetch_into_a_question(begin):
    session = await begin(text=LINES, letter_s=0.01)
    await session.editor.complete(*CURSOR)
    await session.editor.told("cascade/improved")
    await session.editor.complete(*CURSOR)
    (item,) = await session.editor.complete(*CURSOR, INVOKED)
    assert item["insertText"] == LINES
    assert "complete" not in session.cascade.calls
    await session.editor.complete(*CURSOR, INVOKED)
    assert "complete" in session.cascade.calls


# -- an answer to a text that is gone --------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "given", "character"),
    [("", "return 1", 4), ("ret", "urn 1", 7), ("return 1", None, 0), ("x", None, 0)],
)
async def test_an_edit_without_a_request_gets_the_rest_or_nothing(begin, typed, given, character):
    session = await begin(draft_s=0.1)
    asked = session.editor.ask_completion(*CURSOR)
    await settled(lambda: session.drafts == 1)
    session.editor.type(1, 4, typed, 2)
    items = (await asked)["items"]
    assert [item["insertText"] for item in items] == ([given] if given else [])
    starts = [item["range"]["start"] for item in items]
    assert starts == ([{"line": 1, "character": character}] if given else [])


# -- a second opinion where nothing is tested ------------------------------------------------------


async def refuse(session):
    """Type something else than is shown, and see what is suggested there."""
    await session.editor.complete(*CURSOR)
    session.editor.type(1, 4, "x", 2)
    return await session.editor.complete(1, 5)


async def test_who_types_something_else_is_offered_the_larger_models_answer(begin, ledger):
    session = await begin()
    (item,) = await refuse(session)
    assert item["insertText"] == "return 1"
    told = await session.editor.told("cascade/improved")
    assert (told["decisionId"], told["how"], told["version"]) == ("d2", "replace", 2)
    (item,) = await session.editor.complete(1, 5, INVOKED)
    assert (item["insertText"], session.cascade.calls.count("second")) == ("return 2", 1)
    await settled(lambda: {r.id: r.answer.text for r in ledger.since(60)}.get("d2") == "return 2")


async def test_what_is_not_refused_stays_with_the_small_model(begin):
    session = await begin()
    await session.editor.complete(*CURSOR)
    await asyncio.sleep(IDLE_S + 0.1)
    assert session.cascade.calls == ["load", "draft"]


async def test_a_draft_in_doubt_gets_a_second_opinion(begin):
    session = await begin(doubt=True)
    await session.editor.complete(*CURSOR)
    assert (await session.editor.told("cascade/improved"))["how"] == "replace"


async def test_where_nothing_came_a_second_opinion_is_shown(begin):
    session = await begin(text="", doubt=True)
    assert await session.editor.complete(*CURSOR) == []
    assert (await session.editor.told("cascade/improved"))["how"] == "extend"
    (item,) = await session.editor.complete(*CURSOR, INVOKED)
    assert item["insertText"] == "return 2"


async def test_where_nothing_came_for_a_function_it_is_written_with_tests(begin):
    session = await begin(text="", testable=True)
    assert await session.editor.complete(*CURSOR) == []
    assert (await session.editor.told("cascade/improved"))["how"] == "extend"
    assert session.cascade.calls == ["load", "draft", "verify"]


async def test_no_second_opinion_is_asked_while_someone_types(begin):
    session = await begin()
    await refuse(session)
    session.editor.type(1, 5, "y", 3)
    await asyncio.sleep(IDLE_S + 0.1)
    assert "second" not in session.cascade.calls


async def test_the_next_key_ends_a_second_opinion(begin):
    session = await begin(think_s=60)
    await refuse(session)
    await settled(lambda: "second" in session.cascade.calls)
    session.editor.type(1, 5, "r", 3)
    await asyncio.sleep(0.01)
    assert session.server._second.done()
    assert session.cascade.ended.count("second") == 0


async def test_only_one_second_opinion_is_asked_at_a_time(begin):
    session = await begin(think_s=60, doubt=True)
    await session.editor.complete(*CURSOR)
    await settled(lambda: "second" in session.cascade.calls)
    first = session.server._second
    session.editor.open(TEXT, uri="file:///project/b.py")
    await session.editor.complete(*CURSOR, textDocument={"uri": "file:///project/b.py"})
    await settled(lambda: session.cascade.calls.count("second") == 2)
    assert first.cancelled()


# -- what became of it -----------------------------------------------------------------------------


def kinds(ledger, decision):
    """Return what became of a suggestion after it was answered."""
    return [e.kind for e in ledger.events(decision) if e.kind != "answered"]


async def test_an_accepted_suggestion_is_noted(begin, ledger):
    session = await begin()
    await session.editor.run("cascade.acceptCompletion", "d1")
    assert kinds(ledger, "d1") == ["accepted"]


async def test_a_suggestion_that_was_typed_in_full_counts_as_accepted(begin, ledger):
    session = await begin()
    await session.editor.complete(*CURSOR)
    session.editor.type(1, 4, "return", 2)
    await session.editor.complete(1, 10)
    assert kinds(ledger, "d1") == []
    session.editor.type(1, 10, " 1", 3)
    await settled(lambda: kinds(ledger, "d1") == ["accepted"])


async def test_shown_and_partly_accepted_are_noted(begin, ledger):
    session = await begin()
    (item,) = await session.editor.complete(*CURSOR)
    session.editor.notify("textDocument/didShowCompletion", {"item": item})
    await settled(lambda: kinds(ledger, "d1") == ["shown"])
    partly = {"item": item, "acceptedLength": 3}
    session.editor.notify("textDocument/didPartiallyAcceptCompletion", partly)
    await settled(lambda: kinds(ledger, "d1") == ["shown", "partially_accepted"])


@pytest.mark.parametrize("params", [None, {}, [], {"item": {"command": {"arguments": [3]}}}])
async def test_a_malformed_note_changes_nothing(begin, params):
    session = await begin()
    session.editor.notify("textDocument/didShowCompletion", params)
    assert len(await session.editor.complete(*CURSOR)) == 1


async def test_a_decision_is_explained(begin, ledger):
    session = await begin()
    await session.editor.complete(*CURSOR)
    await settled(lambda: ledger.events("d1"))  # how long it took is noted last
    named = await session.editor.run("cascade.explainEscalation", "d1")
    last = await session.editor.run("cascade.explainEscalation")
    assert named == last
    assert named["id"] == "d1"
    assert "function `f`" in named["markdown"]


async def test_this_session_is_explained_with_the_texts_that_the_ledger_does_not_keep(
    begin, tmp_path
):
    forgetful = Ledger.open(tmp_path / "forgetful.sqlite3", LedgerOptions())
    session = await begin(opened=lambda: forgetful)
    await session.editor.complete(*CURSOR)
    await settled(lambda: forgetful.get("d1"))
    explained = await session.editor.run("cascade.explainEscalation", "d1")
    assert "return 1" in explained["markdown"]
    assert forgetful.get("d1").answer.text == ""


async def test_an_unknown_decision_is_said_to_be_unknown(begin):
    session = await begin()
    told = await session.editor.run("cascade.explainEscalation", "nothing")
    assert told == {"id": None, "markdown": "No such decision is on record.", "record": None}


@pytest.mark.parametrize("arguments", [[], [1], ["a", "b"], [{"id": "a"}]])
async def test_a_command_with_wrong_arguments_is_refused(begin, arguments):
    session = await begin()
    with pytest.raises(Refusal) as refusal:
        await session.editor.run("cascade.acceptCompletion", *arguments)
    assert refusal.value.code == -32602


# -- what the editor shows -------------------------------------------------------------------------


async def test_the_status_light_goes_on_and_out_again(begin):
    session = await begin()
    await session.editor.complete(*CURSOR)
    said = [(one["busy"], one["message"]) for one in session.editor.heard("didChangeStatus")]
    assert (True, "Loading the model") in said
    assert (True, "Writing") in said
    assert said[-1] == (False, "")
    light = await session.editor.run("cascade.status")
    shown = {key: light[key] for key in ("busy", "message", "kind", "state")}
    assert shown == {"busy": False, "message": "", "kind": "Normal", "state": "ready"}


async def test_the_status_light_goes_out_when_a_request_is_cancelled(begin):
    session = await begin(draft_s=60)
    asked = session.editor.ask_completion(*CURSOR)
    await settled(lambda: session.server.light.message == "Writing")
    session.editor.cancel(asked)
    with pytest.raises(Refusal):
        await asked
    assert not session.server.light.busy


async def test_a_lost_engine_is_told_once_and_shown_until_it_works_again(begin):
    session = await begin(fails="lost")
    for _ in range(3):
        assert await session.editor.complete(*CURSOR) == []
    (told,) = session.editor.heard("window/showMessage")
    assert told["message"] == "The model was lost. Run `cascade doctor`."
    assert session.server.light.kind == "Warning"
    session.cascade.script.fails = ""
    assert len(await session.editor.complete(*CURSOR)) == 1
    assert session.server.light.kind == "Normal"


async def test_a_model_that_cannot_be_loaded_is_told_once_and_tried_again_after_a_pause(begin):
    session = await begin(fails_to_load=True)
    for _ in range(3):
        assert await session.editor.complete(*CURSOR) == []
    assert len(session.editor.heard("window/showMessage")) == 1
    assert session.cascade.calls == ["load", "close"]
    session.cascade.script.fails_to_load = False
    await asyncio.sleep(RETRY_S + 0.1)
    assert len(await session.editor.complete(*CURSOR)) == 1
    assert len(session.made_with) == 2


async def test_a_ledger_that_cannot_be_opened_is_told_once_and_completion_goes_on(begin):
    def broken():
        raise LedgerError("The decision record cannot be opened. Check its folder.")

    session = await begin(opened=broken)
    for character in (4, 3, 2):
        assert len(await session.editor.complete(1, character)) == 1
    await session.editor.told("window/showMessage")
    assert (await session.editor.run("cascade.explainEscalation"))["id"] == "d3"
    assert len(session.editor.heard("window/showMessage")) == 1


async def test_a_ledger_set_aside_is_told(begin, tmp_path):
    path = tmp_path / "broken.sqlite3"
    path.write_text("this is no database, and long enough to be looked at " * 20)
    session = await begin(opened=lambda: Ledger.open(path, LedgerOptions()))
    await session.editor.complete(*CURSOR)
    assert "damaged" in (await session.editor.told("window/showMessage"))["message"]


async def test_loading_survives_the_keystrokes_that_wait_for_it(begin):
    session = await begin(load_s=0.2)
    for _ in range(5):
        session.editor.ask_completion(*CURSOR)
        await asyncio.sleep(0.02)
    assert len(await session.editor.complete(*CURSOR)) == 1
    assert session.cascade.calls.count("load") == 1


async def test_loading_shows_a_progress_bar_that_ends(begin):
    session = await begin(load_s=0.05)
    await session.editor.complete(*CURSOR)
    bars = session.editor.heard("$/progress")
    assert [bar["value"]["kind"] for bar in bars] == ["begin", "end"]
    (created,) = session.editor.heard("window/workDoneProgress/create")
    assert {bar["token"] for bar in bars} == {created["token"]}


# -- settings --------------------------------------------------------------------------------------


async def test_wrong_settings_are_told_once_and_the_right_ones_hold(begin):
    wrong = {"engine": {"threads": "many", "gpu_layers": 0}}
    session = await begin(options=wrong)
    session.editor.notify("workspace/didChangeConfiguration", {"settings": {"cascade": wrong}})
    await session.editor.complete(*CURSOR)
    (told,) = session.editor.heard("window/showMessage")
    assert "cascade.engine.threads" in told["message"]
    assert session.made_with[0].engine.gpu_layers == 0


async def test_suggestions_can_be_turned_off_and_on(begin):
    session = await begin(options={"enabled": False})
    assert await session.editor.complete(*CURSOR) == []
    assert session.cascade.calls == []
    assert session.server.light.kind == "Inactive"
    session.editor.notify("workspace/didChangeConfiguration", {"settings": {"enabled": True}})
    assert len(await session.editor.complete(*CURSOR)) == 1


async def test_new_settings_close_what_was_made_with_the_old_ones(begin):
    session = await begin()
    await session.editor.complete(*CURSOR)
    changed = {"settings": {"engine": {"threads": 3}}}
    session.editor.notify("workspace/didChangeConfiguration", changed)
    session.editor.notify("workspace/didChangeConfiguration", changed)
    await session.editor.complete(*CURSOR)
    assert [made.engine.threads for made in session.made_with] == [0, 3]
    assert session.cascade.calls == ["load", "draft", "close", "load", "draft"]


async def test_settings_are_asked_for_where_the_editor_can_be_asked(begin):
    session = await begin(configuration={"engine": {"threads": 2}})
    await settled(lambda: session.editor.heard("workspace/configuration"))
    session.editor.configuration = {"engine": {"threads": 4}}
    session.editor.notify("workspace/didChangeConfiguration", {"settings": None})
    await settled(lambda: len(session.editor.heard("workspace/configuration")) == 2)
    await session.editor.complete(*CURSOR)
    assert session.made_with[-1].engine.threads == 4


async def test_an_editor_without_settings_of_ours_leaves_the_first_ones(begin):
    session = await begin(options={"engine": {"threads": 2}}, configuration={})
    await settled(lambda: session.editor.heard("workspace/configuration"))
    await session.editor.complete(*CURSOR)
    assert session.made_with[-1].engine.threads == 2


async def test_the_server_asks_to_be_told_of_changed_settings_where_it_has_to(ledger):
    session = Session(lambda: ledger)
    dynamic = {"didChangeConfiguration": {"dynamicRegistration": True}}
    await session.editor.begin(workspace=dynamic)
    (wish,) = (await session.editor.told("client/registerCapability"))["registrations"]
    assert wish["method"] == "workspace/didChangeConfiguration"
    assert wish["registerOptions"] == {"section": "cascade"}
    await session.server.close()


@pytest.mark.parametrize(
    ("opened", "root"),
    [("a/x.py", "a"), ("b/x.py", "b"), ("b/inner/x.py", "b/inner"), ("elsewhere.py", "a")],
)
async def test_a_document_is_tested_in_the_project_that_holds_it(ledger, tmp_path, opened, root):
    session = Session(lambda: ledger)
    folders = [tmp_path / name for name in ("a", "b", "b/inner")]
    await session.editor.begin(folders=folders)
    session.editor.open(TEXT, uri=(tmp_path / opened).as_uri())
    await settled(lambda: session.roots)
    assert session.roots == [tmp_path / root]
    await session.server.close()


# -- the end ---------------------------------------------------------------------------------------


async def test_a_closed_document_leaves_nothing_running(begin):
    session = await begin(draft_s=60)
    asked = session.editor.ask_completion(*CURSOR)
    await settled(lambda: "draft" in session.cascade.calls)
    session.editor.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    assert (await asked)["items"] == []
    assert not session.server.light.busy


async def test_closing_the_server_ends_what_is_under_way_and_the_cascade(begin):
    session = await begin(testable=True, think_s=60)
    await session.editor.complete(*CURSOR)
    await settled(lambda: "verify" in session.cascade.calls)
    await session.server.close()
    await session.server.close()
    assert session.cascade.calls.count("close") == 1
    assert not session.server.light.busy


async def test_a_change_of_a_document_that_was_closed_meanwhile_is_no_fault(begin, caplog):
    session = await begin()
    session.editor.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    session.editor.type(1, 4, "x", 2)
    assert await session.editor.complete(*CURSOR) == []
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_new_settings_while_the_model_loads_are_no_fault(begin, caplog):
    session = await begin(load_s=0.2)
    await settled(lambda: session.cascade.calls == ["load"])
    change = {"settings": {"cascade": {"context": {"suffix_chars": 100}}}}
    session.editor.notify("workspace/didChangeConfiguration", change)
    assert len(await session.editor.complete(*CURSOR)) == 1
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
