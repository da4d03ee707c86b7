"""The extension's views in a browser: readable in every theme, reachable by keyboard, narrow."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.editor import machine, rendered

VIEWS = ["explanation", "ledger", "statistics", "doctor"]
EMPTY = ["explanation_untested", "ledger_empty", "statistics_empty"]
CONTROLS = "button, input, summary, [tabindex='0']"
FOCUSABLE = f"""() => [...document.querySelectorAll("{CONTROLS}")]
  .filter((control) => control.checkVisibility())"""


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return rendered.documents(tmp_path_factory.mktemp("views"))


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1000, "height": 800})
    yield opened
    opened.close()


@pytest.mark.parametrize("theme", rendered.THEMES)
@pytest.mark.parametrize("view", VIEWS + EMPTY)
def test_a_view_is_accessible_in_every_theme(
    page: Page, documents: dict[str, str], view: str, theme: str
) -> None:
    errors = rendered.show(page, documents[view], theme)
    page.screenshot(path=machine.PICTURES / f"{view}-{theme}.png", full_page=True)
    assert rendered.violations(page) == []
    assert errors == []


@pytest.mark.parametrize("view", VIEWS + EMPTY)
def test_a_narrow_view_does_not_scroll_sideways(
    page: Page, documents: dict[str, str], view: str
) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    rendered.show(page, documents[view], "dark")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.screenshot(path=machine.PICTURES / f"{view}-narrow.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert rendered.violations(page) == []


@pytest.mark.parametrize("width", [320, 1000])
@pytest.mark.parametrize("view", VIEWS)
def test_the_keyboard_reaches_every_control_in_order(
    page: Page, documents: dict[str, str], view: str, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 640})
    rendered.show(page, documents[view], "light")
    wanted = page.evaluate(f"({FOCUSABLE})().map((control) => control.outerHTML)")
    reached = []
    for _ in wanted:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.outerHTML"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", reached[-1]
    assert reached == wanted


@pytest.mark.parametrize(
    ("view", "label", "message"),
    [
        (
            "explanation",
            "versions.py:9",
            {"type": "open", "uri": "file:///home/ana/shop%20floor/versions.py", "line": 9},
        ),
        ("explanation", "Copy as Markdown", {"type": "command", "command": "copy"}),
        ("explanation", "Choose another", {"type": "command", "command": "choose"}),
        ("ledger", "Reveal file", {"type": "command", "command": "reveal"}),
        (
            "ledger",
            "Explain is_leap at is_leap.py:3",
            {"type": "explain", "id": "decision-0"},
        ),
        ("statistics", "90 days", {"type": "days", "days": 90}),
        (
            "doctor",
            "Copy the remedy for large model",
            {
                "type": "copy",
                "text": "cascade models fetch qwen2.5-coder-1.5b-instruct-q4_k_m",
            },
        ),
    ],
)
def test_enter_and_click_tell_the_extension(
    page: Page, documents: dict[str, str], view: str, label: str, message: dict[str, object]
) -> None:
    errors = rendered.show(page, documents[view], "dark")
    button = page.get_by_role("button", name=label, exact=True)
    button.press("Enter")
    button.click()
    assert page.evaluate("messages") == [message, message]
    assert errors == []


def test_the_decisions_can_be_filtered(page: Page, documents: dict[str, str]) -> None:
    rendered.show(page, documents["ledger"], "dark")
    rows = page.locator("#decisions tbody tr")
    page.get_by_label("Filter").fill("  ESCALATED ")
    assert page.get_by_role("status").inner_text() == "1 of 6 decisions"
    assert [row.is_visible() for row in rows.all()].count(True) == 1
    page.get_by_label("Filter").fill("")
    assert [row.is_visible() for row in rows.all()].count(True) == 6


def test_the_decisions_can_be_sorted(page: Page, documents: dict[str, str]) -> None:
    rendered.show(page, documents["ledger"], "dark")
    took = page.get_by_role("columnheader", name="Took")
    cells = page.locator("#decisions tbody td:nth-child(6)")
    newest_first = cells.all_inner_texts()
    assert newest_first[0] == "541 ms"
    took.get_by_role("button").press("Enter")
    assert cells.all_inner_texts() == newest_first
    assert took.get_attribute("aria-sort") == "ascending"
    took.get_by_role("button").press("Enter")
    assert cells.all_inner_texts() == newest_first[::-1]
    assert took.get_attribute("aria-sort") == "descending"
    assert page.locator("[aria-sort]").count() == 1
