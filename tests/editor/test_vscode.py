"""The extension in a real VS Code, with the real server and the real models.

What a user sees is read from the page, what the server did from its counters and its ledger.
"""

import json
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.editor import machine, rendered
from tests.hosts import arguments, of_home

ADD = "def add(a, b):\n    return "
# The small model's answer fails a docstring example of this stub, the large one's pass all.
HARD = '''def compare_versions(first: str, second: str) -> int:
    """Return -1, 0 or 1 as the first dotted version is older, equal or newer.

    Missing parts are zeros.

    >>> compare_versions("1.10", "1.9.3")
    1
    >>> compare_versions("2.0", "2")
    0
    """'''
WRONG = '''def add(a: int, b: int) -> int:
    """Return the sum of a and b.

    >>> add(2, 3)
    5
    """
    return a - b
'''
LONGER_THAN_A_LINE = 100  # characters
EVENTS = "SELECT kind FROM events WHERE kind = '{}'"


def noted(code, kind):
    """Say whether the ledger knows that this became of a suggestion."""
    return bool(code.rows(EVENTS.format(kind)))


# -- suggestions -----------------------------------------------------------------------------------


def test_typing_shows_a_suggestion_and_tab_accepts_it(code, page):
    code.begin(page, ADD)
    code.type("a")
    code.wait_for_ghost("+ b")
    code.press("Tab")
    expect(code.ghost).to_have_count(0)
    assert code.saved() == f"{ADD}a + b"
    code.until(lambda: noted(code, "accepted") and noted(code, "shown"))


def test_typing_through_a_suggestion_asks_no_model_again(code, page):
    code.begin(page, ADD)
    code.type("a")
    ghost = code.wait_for_ghost("+ b")
    before = code.counters()
    for i, typed in enumerate(ghost[:-1], start=1):
        code.type(typed)
        code.until(lambda left=ghost[i:]: code.ghost_text().strip() == left.strip())
    after = code.counters()
    assert after["requests"] > before["requests"]
    assert after["drafts"] == before["drafts"]


def test_a_suggestion_of_several_lines_is_shown_whole_and_accepted_whole(code, page):
    code.begin(page, HARD)
    code.press("Enter")
    ghost = code.wait_for_ghost()  # its first line; the rest is announced when it is written
    code.until(lambda: len(code.ghost_text()) > LONGER_THAN_A_LINE)
    code.press("Tab")
    text = code.saved()
    assert text.startswith(HARD)
    assert len(text.removeprefix(HARD).strip().splitlines()) > 2
    assert ghost.strip()[:9] in text


def test_a_word_or_a_line_of_a_suggestion_can_be_taken(code, page):
    code.begin(page, ADD)
    code.type("a")
    code.wait_for_ghost("+ b")
    code.press("Control+ArrowRight")
    code.until(lambda: code.ghost_text() == "+ b" and noted(code, "partially_accepted"))
    code.press("Control+Alt+l")
    expect(code.ghost).to_have_count(0)
    assert code.saved() == f"{ADD}a + b"


def test_escape_rejects_a_suggestion_and_leaves_the_text_alone(code, page):
    code.begin(page, ADD)
    code.type("a")
    code.wait_for_ghost("+ b")
    code.press("Escape")
    expect(code.ghost).to_have_count(0)
    code.until(lambda: noted(code, "rejected"))
    assert code.saved() == f"{ADD}a"


# -- testing and escalating ------------------------------------------------------------------------


def test_a_draft_that_fails_its_tests_is_upgraded_and_the_reason_can_be_read(code, page):
    code.configure(**{"workbench.colorTheme": "Default Dark Modern", "editor.fontSize": 15})
    page.set_viewport_size({"width": 1280, "height": 720})
    code.begin(page, HARD)
    code.press("Control+b", "Enter")
    first = code.wait_for_ghost()
    code.picture("ghost")
    code.wait_for_light("asking the larger model")
    code.wait_for_light("escalated")
    code.until(lambda: code.ghost_text() not in ("", first))
    code.picture("upgraded")
    code.press("Tab")
    code.until(lambda: noted(code, "accepted"))
    code.command("Cascade: Explain Escalation")
    view = code.view("Escalat")
    expect(view.locator("main")).to_contain_text("Escalated: the small model's answer was not")
    expect(view.locator("main")).to_contain_text("docstring examples")
    expect(view.locator("main")).to_contain_text("compare_versions('1.10', '1.9.3')")
    expect(view.locator("main")).to_contain_text("What would have changed")
    code.picture("explanation")


def test_the_explanation_reads_in_high_contrast(code, page):
    code.configure(**{"workbench.colorTheme": "Default High Contrast"})
    code.begin(page, ADD)
    code.type("a")
    code.wait_for_ghost("+ b")
    code.command("Cascade: Explain Escalation")
    expect(code.view("Escalat").locator("main")).to_contain_text("Accepted the small model's")
    code.picture("explanation-high-contrast")


def test_a_function_can_be_verified_and_replaced_by_a_version_that_holds(code, page):
    code.begin(page, WRONG)
    code.press("ArrowUp")
    code.command("Cascade: Verify Function Under Cursor")
    told = code.notification("add as it stands is not confirmed")
    code.picture("verified")
    told.get_by_role("button", name="Replace").click()
    code.until(lambda: "a + b" in code.saved())
    assert "a - b" not in code.saved()


def test_what_would_be_sent_is_previewed_before_anything_is(code, page):
    code.begin(page, ADD)
    code.command("Cascade: Preview What Would Be Sent")
    shown = page.locator(".editor-group-container .view-lines").last
    expect(shown).to_contain_text("Nothing would be sent")
    expect(shown).to_contain_text("No remote model is configured")


# -- off means off ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "state"),
    [
        ("Cascade: Toggle Suggestions (Globally)", "off"),
        ("Cascade: Toggle Suggestions for This Language", "off for python"),
    ],
)
def test_what_is_turned_off_does_no_work_and_comes_back(code, page, command, state):
    code.begin(page, ADD)
    code.command(command)
    code.wait_for_light(state)
    before = code.counters()
    after = code.type_until_asked()
    assert {**after, "requests": 0} == {**before, "requests": 0}
    assert code.ghost.count() == 0
    code.command(command)
    code.wait_until_ready()
    code.press("Control+a")
    code.type("def add(a, b): return a")
    code.wait_for_ghost("+ b")


def test_a_pause_stops_all_work_and_says_until_when(code, page):
    code.begin(page, ADD)
    code.command("Cascade: Snooze Suggestions")
    code.pick("15 minutes")
    code.wait_for_light("paused until")
    before = code.counters()
    after = code.type_until_asked()
    assert {**after, "requests": 0} == {**before, "requests": 0}
    code.command("Cascade: Snooze Suggestions")
    code.until(lambda: code.light.inner_text().strip() == "Cascade")


def test_a_workspace_that_is_not_trusted_gets_suggestions_and_executes_nothing(code, page):
    (code.project / ".vscode").mkdir()
    planted = {"cascade.python": "/bin/false", "cascade.sandbox.execution": "auto"}
    (code.project / ".vscode" / "settings.json").write_text(json.dumps(planted))
    code.write("work.py", HARD)
    code.serve(trust=False)
    code.visit(page, "work.py")
    page.get_by_role("button", name="No, I don't trust the authors").click()
    code.wait_until_ready()
    code.caret_at_end()
    code.press("Enter")
    code.wait_for_ghost()
    code.command("Cascade: Verify Function Under Cursor")
    code.until(lambda: code.rows("SELECT * FROM decisions"))
    code.command("Cascade: Show Status")
    sandbox = page.locator(".quick-input-list .monaco-list-row", has_text="sandbox:")
    expect(sandbox).to_contain_text("nothing is executed, because this workspace is not trusted")
    code.picture("restricted")
    code.press("Escape")
    assert code.counters()["verified"] == 0
    ran = "SELECT count(*) n FROM decisions, json_each(attempts) a, json_each(a.value, '$.tests')"
    assert code.rows(ran)[0]["n"] == 0
    assert not [one for one in code.processes() if "cascade_lsp.sandbox" in str(arguments(one))]


# -- faults ----------------------------------------------------------------------------------------


def test_a_killed_engine_comes_back_and_goes_on(code, page):
    code.begin(page, ADD)
    (engine,) = code.engines()
    engine.kill()
    code.wait_for_light("engine ended")
    code.until(lambda: code.engines() and code.engines()[0].pid != engine.pid)
    code.wait_until_ready()
    code.type("a")
    code.wait_for_ghost("+ b")
    assert page.locator(".notification-toast").count() == 0


def test_a_missing_model_leads_to_the_offer_to_download_it(code, page, home):
    (home / "models" / "weights").unlink()
    code.write("work.py", ADD)
    code.serve()
    code.visit(page, "work.py")
    offer = code.notification("the model qwen2.5-coder-0.5b-instruct-q4_k_m is not on this machine")
    expect(offer.get_by_role("button", name="Download both (1,609 MB)")).to_be_visible()
    expect(offer.get_by_role("button", name="Download the small model (491 MB)")).to_be_visible()
    code.wait_for_light("no model")
    code.picture("no-model")
    code.caret_at_end()
    code.type("a + b")
    assert page.locator(".notification-toast").count() == 1


def test_without_an_engine_the_installation_is_offered_once(code, page, tmp_path):
    code.configure(cascade_python="")
    code.write("work.py", ADD)
    code.serve(env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    code.visit(page, "work.py")
    offer = code.notification("Cascade's engine (the Python package cascade-lsp")
    expect(offer.get_by_role("button", name="Install")).to_be_visible()
    code.wait_for_light("no engine")
    code.picture("no-engine")


def test_the_offered_download_is_made_and_the_model_answers(code, page, home):
    (home / "models" / "weights").unlink()
    tiny = "smollm2-135m-instruct-q4_1"
    code.configure(**{"cascade.models.small": tiny, "cascade.models.large": tiny})
    code.write("work.py", ADD)
    # Hugging Face is refused at once, so that the second source is taken on every machine.
    code.serve(env={"HF_ENDPOINT": "http://127.0.0.1:9"})
    code.visit(page, "work.py")
    offer = code.notification(f"the model {tiny} is not on this machine")
    offer.get_by_role("button", name="Download the small model (98 MB)").click()
    weights = home / "models" / "weights" / f"{tiny}.gguf"
    code.until(weights.exists, timeout_s=180)
    code.wait_until_ready()
    code.caret_at_end()
    code.type("a")
    code.until(lambda: "Writing: " in code.log())


def test_the_engine_is_installed_into_an_environment_of_its_own(code, page, tmp_path):
    code.configure(cascade_python="")
    code.write("work.py", ADD)
    base = Path(sys.base_prefix) / "bin"
    cache = machine.run([sys.executable, "-m", "pip", "cache", "dir"], tmp_path).strip()
    path = f"{base}:/usr/bin:/bin"
    code.serve(env={"PATH": path, "HOME": str(tmp_path), "PIP_CACHE_DIR": cache})
    code.visit(page, "work.py")
    offer = code.notification("Cascade's engine (the Python package cascade-lsp")
    offer.get_by_role("button", name="Install").click()
    code.notification("Installing Cascade's engine")
    code.picture("installing")
    # Without pip's cache llama.cpp is built, which takes five minutes.
    code.until(lambda: bool(code.engines()), timeout_s=600)
    code.wait_until_ready()
    (engine,) = code.engines()
    assert Path(engine.cmdline()[0]).parent.parent.name == "environment"
    code.caret_at_end()
    code.type("a")
    code.wait_for_ghost("+ b")


# -- secrets ---------------------------------------------------------------------------------------


def test_a_key_is_kept_in_the_secret_store_and_nowhere_else(code, page):
    secret = "sk-this-is-nobodys-key"
    code.begin(page, ADD)
    (before,) = code.engines()
    code.command("Cascade: Set API Key")
    page.locator(".quick-input-widget input[type=password]").fill(secret)
    code.press("Enter")
    code.until(lambda: [e.pid for e in code.engines()] not in ([], [before.pid]))
    code.wait_until_ready()
    code.command("Cascade: Show Status")
    expect(page.locator(".quick-input-list .monaco-list-row", has_text="offline:")).to_contain_text(
        "No remote model is configured: nothing leaves this machine"
    )
    code.press("Escape")
    code.focus_end()
    code.type("a")
    code.wait_for_ghost("+ b")
    (engine,) = code.engines()
    for worker in (*engine.children(recursive=True), *of_home(code.home)):
        assert secret not in str(worker.environ())
    for path in (*code.folder.rglob("*"), *code.home.rglob("*")):
        with suppress(FileNotFoundError):  # SQLite's own come and go
            if path.is_file():  # and neither a folder nor a socket
                assert secret.encode() not in path.read_bytes(), path


# -- the views, by keyboard alone ------------------------------------------------------------------


def test_the_views_are_reached_and_left_by_keyboard_and_read_by_machines(code, page):
    code.begin(page, WRONG)
    code.press("ArrowUp")
    code.command("Cascade: Verify Function Under Cursor")
    code.notification("add as it stands is not confirmed")
    for title, name in {
        "Open Ledger": "ledger",
        "Statistics": "statistics",
        "Explain Escalation": "explanation-of-verify",
    }.items():
        code.command(f"Cascade: {title}")
        view = code.view(f"Cascade: {title.removeprefix('Open ')}")
        code.picture(name)
        assert rendered.violations(view) == []
    code.command("Cascade: Open Ledger")
    view = code.view("Cascade: Ledger")
    view.get_by_role("button", name="Explain").first.focus()
    code.press("Enter")
    explained = code.view("Cascade: Explain Escalation")
    expect(explained.locator("main")).to_contain_text("add as it stands is not confirmed")
    explained.get_by_role("button", name="work.py").first.focus()
    code.press("Enter")
    expect(page.locator(".tab.active", has_text="work.py")).to_be_visible()


def test_the_doctor_says_what_it_found(code, page):
    code.begin(page, ADD)
    code.command("Cascade: Doctor")
    view = code.view("Cascade: Doctor", timeout_s=120)
    expect(view.locator("main")).to_contain_text("small model: speed")
    expect(view.locator("main")).to_contain_text("tokens per second")
    code.picture("doctor")
    assert rendered.violations(view) == []


def test_the_walkthrough_knows_what_is_done_and_leads_to_a_sample(code, page):
    page.set_viewport_size({"width": 1500, "height": 800})
    code.serve()
    code.visit(page)
    code.until(lambda: code.light.inner_text().strip() == "Cascade")
    code.command("Cascade: Get Started")
    page.get_by_role("button", name="The engine").first.click()
    done = page.get_by_role("checkbox", name="The engine")

    def told_again():
        """Look at the status: the editor notices only what is told since it opened the page."""
        code.light.click()
        page.locator(".quick-input-list .monaco-list-row").first.wait_for()
        code.press("Escape")
        return done.is_checked()

    code.until(told_again)
    told = [frame.get_by_text("A program beside the editor") for frame in page.frames]
    code.until(lambda: any(found.count() for found in told))
    code.picture("walkthrough")
    page.get_by_role("button", name="Try it").first.click()
    page.get_by_role("button", name="Open a sample file").first.click()
    code.wait_for_ghost()
    code.picture("walkthrough-sample")
