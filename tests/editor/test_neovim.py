"""Neovim 0.11 with our Lua file, end to end: keys go in, and what is on the screen comes out.

Behind it is `cascade serve` with the installed 0.5B model, or with a scripted cascade where a test
is about the editor; where the server itself must be strange, one in Lua.
"""

import json

import pytest

from cascade_lsp import paths
from cascade_lsp.ledger import Ledger, LedgerOptions
from tests import models
from tests.editor.neovim_session import LEAVING_S, Neovim
from tests.hosts import arguments, gone

ADD = "def add(a, b):\n    return "
CODE = "def f():\n    "
STUB = '''def gcd(a: int, b: int) -> int:
    """Return the greatest common divisor.

    >>> gcd(12, 18)
    6
    """
    '''
WRONG = '''def double(number: int) -> int:
    """Return twice the number.

    >>> double(4)
    8
    >>> double(5)
    10
    """
    return number * 3
'''
PATIENT = """
vim.lsp.config("cascade", {
  init_options = {
    completion = { verify = false, patience_s = 600 },
    engine = { linger_s = 0 },
  },
})
"""
ENCODING = """
vim.lsp.config("cascade", { capabilities = { general = { positionEncodings = { "%s" } } } })
"""
LUA_SERVER = """
local commands = { commands = { "cascade.acceptCompletion" } }
local able = { textDocumentSync = 1, executeCommandProvider = commands }
vim.lsp.config("cascade", {
  cmd = function()
    return {
      request = function(method, _, reply)
        local answers = { initialize = { capabilities = able } }
        answers["textDocument/inlineCompletion"] = { items = vim.json.decode([==[%s]==]) }
        vim.schedule(function()
          reply(nil, answers[method])
          _G.answers = (_G.answers or 0) + (method == "textDocument/inlineCompletion" and 1 or 0)
        end)
        return true, 1
      end,
      notify = function() end,
      is_closing = function() end,
      terminate = function() end,
    }
  end,
})
"""
COLLECT = """
_G.sent = {}
vim.api.nvim_create_autocmd("LspNotify", { callback = function(event)
  table.insert(_G.sent, { event.data.method, event.data.params })
end })
"""


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Start Neovim with the serving command of one's choice."""
    started = []

    def neovim(serve, more=""):
        started.append(Neovim(monkeypatch, tmp_path, [*serve, str(tmp_path / "log")], more))
        return started[-1]

    yield neovim
    for one in started:
        one.close()


@pytest.fixture
def real(start, tmp_path):
    """Return a Neovim with the installed models behind it."""
    models.small()
    weights = tmp_path / "cascade" / "models" / "weights"
    weights.parent.mkdir(parents=True)
    weights.symlink_to(paths.models_dir(), target_is_directory=True)
    return start(["-m", "cascade_lsp", "serve", "--log-file"], PATIENT)


@pytest.fixture
def scripted(start):
    """Return what starts a Neovim with a scripted cascade behind it."""

    def neovim(more="", **script):
        return start(["-m", "tests.protocol.scripted_server", json.dumps(script)], more)

    return neovim


@pytest.fixture
def ledger(tmp_path):
    return Ledger.open(tmp_path / "cascade" / "state" / "ledger.sqlite3", LedgerOptions())


def events(ledger):
    """Return what became of the last suggestion."""
    last = ledger.last()
    return {event.kind for event in ledger.events(last.id)} if last else set()


def sent(neovim, method):
    """Return what the server was told with a method; needs COLLECT."""
    return [params for name, params in neovim.lua("return _G.sent") if name == method]


def status(neovim):
    return neovim.lua("return require('cascade').status()")


def improved(neovim, back=0):
    """Hand Neovim the word of a better answer for the text as it was `back` versions ago; return
    whether it asks for it."""
    return neovim.lua(
        """
        local client = vim.lsp.get_clients()[1]
        local now = vim.lsp.util.make_position_params(0, client.offset_encoding)
        local range = { start = now.position, ["end"] = now.position }
        local version = vim.lsp.util.buf_versions[vim.api.nvim_get_current_buf()] - ...
        local told = { uri = now.textDocument.uri, version = version, range = range }
        client.handlers["cascade/improved"](nil, told, { client_id = client.id })
        return next(client.requests) ~= nil
        """,
        back,
    )


# -- with the real model ---------------------------------------------------------------------------


def test_a_suggestion_stays_while_it_is_typed_and_costs_no_inference(real):
    real.open(ADD)
    # On a loaded machine a line is shown before it is whole.
    ghost = real.until(lambda: real.ghost.startswith("a + b") and real.ghost)
    assert real.screen[1] == f"    return {ghost.splitlines()[0]}"
    for typed, key in enumerate("a + ", start=1):
        answers = real.logged("answered with")
        real.type(key)
        real.until(lambda answers=answers: real.logged("answered with") > answers)
        assert real.ghost == ghost[typed:]
        assert real.screen[1] == f"    return {ghost.splitlines()[0]}"
    assert real.logged("Writing: ") == 1


def test_an_accepted_suggestion_is_inserted_as_shown_and_noted(real, ledger):
    real.open(ADD)
    ghost = real.until(lambda: real.ghost)
    real.type("<Tab>")
    real.until(lambda: real.text != ADD)
    assert real.text == ADD + ghost
    real.until(lambda: {"answered", "shown", "accepted"} <= events(ledger))
    real.type("<Esc>u")
    real.until(lambda: real.text == ADD)


def test_who_asks_gets_a_body_with_the_rest_of_it_below_the_line(real):
    real.open(STUB)
    real.type("<M-c>")
    real.until(lambda: real.logged("Writing and testing: "))
    first, *below = real.until(lambda: real.ghost).splitlines()
    assert below
    assert "% b" in real.ghost
    at = STUB.count("\n")
    assert real.screen[at : at + len(below) + 1] == ["    " + first, *below]


def test_a_decision_is_explained_in_a_window(real, ledger):
    real.open(ADD)
    real.until(lambda: real.ghost)
    real.until(lambda: ledger.last())
    real.type("<Esc>:CascadeExplain<CR>")
    real.until(lambda: real.api.current.buffer.options["filetype"] == "markdown")
    assert f"decision `{ledger.last().id}`" in real.text
    assert "function `add`" in real.text
    assert real.api.current.buffer.options["buftype"] == "nofile"


def test_a_function_is_verified_marked_and_replaced(real):
    real.open(WRONG)
    real.type("<Esc>:Cascade verifyFunction<CR>")
    (found,) = real.until(lambda: real.lua("return vim.diagnostic.get(0)"))
    assert found["lnum"] == 0
    assert found["source"] == "Cascade"
    real.until(lambda: found["message"] in real.messages)
    real.type(":Cascade replaceFunction<CR>")
    real.until(lambda: real.text != WRONG.rstrip())
    assert "number * 3" not in real.text
    assert real.text.startswith(WRONG.partition("    return")[0])


@pytest.mark.parametrize("way", ["quits", "is killed"])
def test_no_process_is_left_when_neovim(real, way):
    real.open(ADD)
    real.until(lambda: real.ghost)
    family = real.family()
    assert any("cascade_lsp.engine.worker" in arguments(one) for one in family)
    if way == "quits":
        real.type("<Esc>:qa!<CR>")
    else:
        real.process.kill()
    assert gone(family, LEAVING_S)


# -- with a scripted cascade -----------------------------------------------------------------------


def test_a_suggestion_is_taken_word_by_word_and_line_by_line(scripted):
    neovim = scripted(text="return f(x_1) + 2\n    # é\n    z")
    neovim.open(CODE)
    neovim.until(lambda: neovim.ghost)
    taken = CODE
    for key, part in [
        ("<C-Right>", "return"),
        ("<C-Right>", " f"),
        ("<C-Right>", "("),
        ("<C-Right>", "x_1"),
        ("<C-Down>", ") + 2"),
        ("<C-Right>", "\n    #"),
        ("<C-Right>", " é"),
        ("<C-Down>", "\n    z"),
    ]:
        neovim.type(key)
        taken += part
        neovim.until(lambda taken=taken: neovim.text == taken)
        assert neovim.cursor == (taken.count("\n"), len(taken.split("\n")[-1].encode()))
    assert neovim.logged("Writing: ") == 1


def test_a_part_taken_is_told_in_utf_16_units(scripted, ledger):
    neovim = scripted(COLLECT, text="é😀 = 1")
    neovim.open(CODE)
    neovim.until(lambda: neovim.ghost)
    neovim.type("<C-Right>")
    neovim.until(lambda: neovim.text == CODE + "é😀")
    assert sent(neovim, "textDocument/didPartiallyAcceptCompletion")[0]["acceptedLength"] == 3
    neovim.type("<Tab>")
    neovim.until(lambda: neovim.text == CODE + "é😀 = 1")
    neovim.until(lambda: {"shown", "partially_accepted", "accepted"} <= events(ledger))


def test_going_back_in_a_suggestion_costs_no_inference(scripted):
    neovim = scripted()
    neovim.open(CODE)
    neovim.until(lambda: neovim.ghost)
    neovim.type("ret")
    neovim.until(lambda: neovim.ghost == "urn 1")
    neovim.type("<BS><BS>")
    neovim.until(lambda: neovim.ghost == "eturn 1")
    assert neovim.logged("Writing: ") == 1


def test_leaving_insert_mode_clears_a_suggestion(scripted):
    neovim = scripted()
    neovim.open(CODE)
    neovim.until(lambda: neovim.ghost)
    neovim.type("<Esc>")
    neovim.until(lambda: not neovim.ghost)
    assert neovim.text == CODE


@pytest.mark.parametrize(
    ("key", "comes_again"), [("<Left>", True), ("<Up>", False), ("x", True), ("<Del>", True)]
)
def test_what_no_longer_fits_is_gone_before_the_server_answers(scripted, key, comes_again):
    neovim = scripted(draft_s=1)
    neovim.open(CODE + ")")
    neovim.type("<Left>")
    neovim.until(lambda: neovim.ghost)
    answers = neovim.logged("answered with")
    neovim.type(key)
    neovim.until(lambda: not neovim.ghost)
    assert neovim.logged("answered with") == answers
    if comes_again:  # not in the middle of the line above
        neovim.until(lambda: neovim.ghost)
        assert neovim.ghost_place == neovim.cursor


def test_a_menu_hides_the_suggestion(scripted):
    neovim = scripted()
    neovim.open("value = 1\nvalid = 2\nva")
    neovim.until(lambda: neovim.ghost)
    neovim.type("<C-n>")
    neovim.until(lambda: neovim.lua("return vim.fn.pumvisible()") and not neovim.ghost)
    neovim.type("<C-e>")
    neovim.until(lambda: neovim.ghost)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_wide_characters_before_the_cursor_move_nothing(scripted, encoding):
    line = "say('é😀', "
    neovim = scripted(ENCODING % encoding, text="'ü😀'")
    neovim.open("# 😀é\n" + line + ")")
    neovim.type("<Left>")
    neovim.until(lambda: neovim.ghost)
    assert neovim.lua("return vim.lsp.get_clients()[1].offset_encoding") == encoding
    assert neovim.ghost_place == neovim.cursor == (1, len(line.encode()))
    assert neovim.screen[1] == line + "'ü😀')"
    neovim.type("'ü")
    neovim.until(lambda: neovim.ghost == "😀'")
    neovim.type("<Tab>")
    neovim.until(lambda: neovim.text == "# 😀é\n" + line + "'ü😀')")


def test_a_better_answer_takes_the_place_of_the_one_that_is_shown(scripted):
    neovim = scripted(testable=True)
    neovim.open(CODE)
    neovim.until(lambda: neovim.ghost == "return 1")
    neovim.until(lambda: neovim.ghost == "return 2")


def test_a_better_answer_is_not_shown_to_who_has_typed_on(scripted):
    neovim = scripted(COLLECT, testable=True, think_s=1)
    neovim.open(CODE)
    neovim.until(lambda: neovim.ghost == "return 1")
    neovim.type("r")
    neovim.until(lambda: neovim.logged("answered with") == 2)
    neovim.until(lambda: neovim.logged("Testing the suggestion: "))
    assert neovim.ghost == "eturn 1"
    assert not improved(neovim, back=1)
    assert neovim.ghost == "eturn 1"
    neovim.lua("require('cascade').trigger()")  # it is given to who asks
    neovim.until(lambda: neovim.ghost == "eturn 2")


def test_a_key_without_a_suggestion_does_its_usual_work(scripted):
    neovim = scripted(text="")
    neovim.open(CODE)
    neovim.until(lambda: neovim.logged("Writing: "))
    neovim.type("<Tab>x<C-]>")
    neovim.until(lambda: neovim.text == CODE + "    x")


def test_a_refused_suggestion_is_gone_and_noted(scripted, ledger):
    neovim = scripted()
    neovim.open(CODE)
    neovim.until(lambda: neovim.ghost)
    neovim.type("<C-]>")
    neovim.until(lambda: "rejected" in events(ledger))
    assert (neovim.ghost, neovim.text) == ("", CODE)


def test_the_status_says_what_is_done(scripted):
    neovim = scripted(draft_s=1)
    neovim.open(CODE)
    neovim.until(lambda: status(neovim) == "Cascade… Writing")
    neovim.until(lambda: status(neovim) == "Cascade")
    assert "Cascade" in neovim.screen[-2]
    neovim.type("<Esc>:Cascade snooze 5<CR>")
    neovim.until(lambda: status(neovim).startswith("Cascade- "))


def test_a_killed_server_is_told_of_once_and_editing_goes_on(scripted):
    neovim = scripted()
    neovim.open(CODE)
    neovim.until(lambda: neovim.ghost)
    (server,) = neovim.family()
    server.kill()
    neovim.until(lambda: neovim.lua("return #vim.lsp.get_clients() == 0"))
    neovim.until(lambda: not neovim.ghost)
    neovim.type("pass<CR>x = 1<Esc>")
    neovim.until(lambda: neovim.text == CODE + "pass\nx = 1")
    assert status(neovim) == ""
    assert neovim.messages.count("quit with exit code") == 1
    assert "Error" not in neovim.messages
    neovim.type(":write | edit<CR>A")
    neovim.until(lambda: neovim.ghost)


# -- with a server that is strange -----------------------------------------------------------------


def items(*texts, start=4, end=4):
    span = {"start": {"line": 1, "character": start}, "end": {"line": 1, "character": end}}
    command = {"title": "", "command": "cascade.acceptCompletion", "arguments": ["d"]}
    return [{"insertText": text, "range": span, "command": command} for text in texts]


def test_several_suggestions_are_gone_through_in_a_circle(start):
    neovim = start([], LUA_SERVER % json.dumps(items("one", "two", "three")))
    neovim.open(CODE)
    neovim.until(lambda: neovim.ghost == "one")
    for key, ghost in [("<M-n>", "two"), ("<M-p>", "one"), ("<M-p>", "three"), ("<M-p>", "two")]:
        neovim.type(key)
        neovim.until(lambda ghost=ghost: neovim.ghost == ghost)
    neovim.type("t")
    neovim.until(lambda: neovim.lua("return _G.answers") == 2)
    assert neovim.ghost == "wo"
    neovim.type("<M-p>")
    neovim.until(lambda: neovim.ghost == "hree")
    neovim.type("<Tab>")
    neovim.until(lambda: neovim.text == CODE + "three")


def test_a_suggestion_replaces_the_whole_range_that_it_names(start):
    neovim = start([], LUA_SERVER % json.dumps(items("print(x)", start=4, end=8)))
    neovim.open("def f():\n    pri)")
    neovim.type("<Left>")
    neovim.until(lambda: neovim.ghost == "nt(x)")
    neovim.type("<Tab>")
    neovim.until(lambda: neovim.text == "def f():\n    print(x)")


def test_a_suggestion_that_does_not_begin_with_what_is_there_is_not_shown(start):
    neovim = start([], LUA_SERVER % json.dumps(items("print(x)", start=4, end=7)))
    neovim.open("def f():\n    put")
    neovim.until(lambda: neovim.lua("return _G.answers") == 1)
    assert neovim.ghost == ""
