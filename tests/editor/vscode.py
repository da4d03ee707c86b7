"""A real VS Code in a browser: code-server with a fresh home, and what a user does in it."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import psutil
from playwright.sync_api import Frame, Locator, Page, TimeoutError, expect

from tests.editor import machine

LIGHT = "[id='cascade-lsp.cascade.cascade']"
GHOST = ".ghost-text-decoration, .ghost-text, .ghost-text-decoration-preview"
SLOW_MS = 60_000  # a model writes and tests on two cores, beside an editor
LOADS, LOAD_MS = 3, 40_000  # a user, too, loads a page again that stays empty
SETTINGS = {
    "chat.disableAIFeatures": True,
    "workbench.startupEditor": "none",
    "window.commandCenter": False,
    "workbench.layoutControl.enabled": False,
    "workbench.tips.enabled": False,
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "editor.minimap.enabled": False,
    "editor.quickSuggestions": {"other": "off", "comments": "off", "strings": "off"},
    "editor.wordBasedSuggestions": "off",
    "files.autoSave": "off",
    "workbench.reduceMotion": "on",
    "security.workspace.trust.startupPrompt": "always",
    "cascade.engine.linger_s": 0,  # no test waits for another's models
    "cascade.power.profile": "plugged",  # a machine that is busy changes no test
    "telemetry.telemetryLevel": "off",
}


def free_port() -> int:
    with closing(socket.socket()) as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


class Code:
    """One code-server with the extension in it; `home` is Cascade's own folder."""

    def __init__(self, folder: Path, extensions: Path, home: Path) -> None:
        self.folder, self.home = folder, home
        self.project = folder / "project"
        self.project.mkdir(parents=True)
        self.data = folder / "data"
        self.extensions = extensions
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.page: Page | None = None

    # -- its life ------------------------------------------------------------------------------

    def configure(self, **settings: object) -> None:
        """Write the user's settings; `cascade_python` is the machine's, "" for none."""
        python = settings.pop("cascade_python", sys.executable)
        machine_settings = {"cascade.python": python} if python else {}
        for name, tree in (
            ("User", {**SETTINGS, **settings}),
            ("Machine", machine_settings),
        ):
            path = self.data / name / "settings.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(tree))

        # What takes a line has no key by default, and the palette would hide the suggestion.
        keys = [{"key": "ctrl+alt+l", "command": "editor.action.inlineSuggest.acceptNextLine"}]
        (self.data / "User" / "keybindings.json").write_text(json.dumps(keys))

    def serve(self, *options: str, trust: bool = True, env: dict[str, str] | None = None) -> None:
        """Start code-server and wait until it listens."""
        xdg = {f"XDG_{k}_HOME": str(self.folder / k.lower()) for k in ("CONFIG", "DATA", "CACHE")}
        command = [
            str(machine.NODE),
            str(machine.code_server()),
            "--auth=none",
            f"--bind-addr=127.0.0.1:{self.port}",
            "--disable-telemetry",
            "--disable-update-check",
            "--disable-getting-started-override",
            f"--user-data-dir={self.data}",
            f"--extensions-dir={self.extensions}",
            *(["--disable-workspace-trust"] if trust else []),
            *options,
        ]
        environment = {
            **machine.environment(),
            **xdg,
            "EXTENSIONS_GALLERY": '{"serviceUrl":""}',
            "CASCADE_HOME": str(self.home),
            **(env or {}),
        }
        with (self.folder / "code-server.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError((self.folder / "code-server.log").read_text())

    def close(self) -> None:
        """End code-server and all that it started."""
        if self.process:
            children = psutil.Process(self.process.pid).children(recursive=True)
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            for child in children:
                if child.is_running():
                    child.kill()

    # -- what a user does ----------------------------------------------------------------------

    def visit(self, page: Page, *files: str, query: str = "") -> None:
        """Open the project with files, the last one in front."""
        self.page = page
        remote = f"vscode-remote://127.0.0.1:{self.port}{self.project}"
        payload = json.dumps([["openFile", f"{remote}/{file}"] for file in files])
        address = (
            f"http://127.0.0.1:{self.port}/?folder={quote(str(self.project))}"
            f"&payload={quote(payload)}{query}"
        )
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        for _ in range(LOADS):
            page.goto(address)
            with suppress(TimeoutError):
                page.wait_for_selector(".monaco-workbench", timeout=LOAD_MS)
                break
        else:
            told = (self.folder / "code-server.log").read_text()
            raise AssertionError("\n".join(["the editor did not come up", *said, told]))
        if files:
            page.wait_for_selector(".monaco-editor .view-lines", timeout=60_000)

    def begin(self, page: Page, text: str, name: str = "work.py") -> None:
        """Open a file with this text, the cursor at its end, and wait for the engine."""
        self.write(name, text)
        self.serve()
        self.visit(page, name)
        self.wait_until_ready()
        self.caret_at_end()

    def write(self, name: str, text: str) -> Path:
        path = self.project / name
        path.write_text(text)
        return path

    def caret_at_end(self) -> None:
        """Put the cursor at the document's end, without typing."""
        self.focus()
        self.page.keyboard.press("Control+End")

    def focus_end(self) -> None:
        """Put the keyboard back into the editor, the cursor stays where it is."""
        self.page.keyboard.press("Control+1")

    def focus(self) -> None:
        """Put the keyboard into the editor."""
        self.page.locator(".editor-instance .view-lines").first.click()

    def type(self, text: str, delay_ms: int = 40) -> None:
        self.page.keyboard.type(text, delay=delay_ms)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def command(self, title: str) -> None:
        """Run a command of the palette by its title."""
        self.press("F1")
        box = self.page.locator(".quick-input-widget input.input, .quick-input-widget .input")
        box.first.fill(f">{title}")
        self.page.locator(".quick-input-list .monaco-list-row").first.wait_for()
        self.press("Enter")

    def pick(self, text: str) -> None:
        """Choose a row of the quick pick that is open."""
        row = self.page.locator(".quick-input-list .monaco-list-row", has_text=text)
        row.first.click()

    # -- what a user sees ----------------------------------------------------------------------

    @property
    def ghost(self) -> Locator:
        return self.page.locator(GHOST)

    def ghost_text(self) -> str:
        return "".join(self.ghost.all_inner_texts()).replace("\xa0", " ")

    def wait_for_ghost(self, containing: str = "") -> str:
        """Wait until a suggestion is shown that contains a text; return it."""
        self.until(lambda: self.ghost.count() > 0 and containing in self.ghost_text())
        return self.ghost_text()

    @property
    def light(self) -> Locator:
        return self.page.locator(LIGHT)

    def wait_for_light(self, text: str, timeout_ms: int = SLOW_MS) -> None:
        expect(self.light).to_contain_text(text, timeout=timeout_ms)

    def wait_until_ready(self) -> None:
        """Wait until the engine runs and rests."""
        expect(self.light).to_have_attribute(
            "aria-label", re.compile("Cascade, (ready|escalated)"), timeout=SLOW_MS
        )

    def view(self, heading: str, timeout_s: float = 30) -> Frame:
        """Return the frame of the webview that shows a heading."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for frame in self.page.frames:
                try:
                    # A webview loads behind the scenes before it is put on the stage.
                    staged = frame.frame_element().get_attribute("id") == "active-frame"
                    if staged and frame.locator("h1", has_text=heading).count():
                        return frame
                except Exception:  # noqa: BLE001 - a frame that has gone meanwhile
                    continue
            self.page.wait_for_timeout(100)
        raise AssertionError(f"no view says {heading!r}")

    def picture(self, name: str, **options: object) -> Path:
        """Keep a screenshot as an artefact."""
        path = machine.PICTURES / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, **options)
        return path

    def saved(self, name: str = "work.py") -> str:
        """Save the file in front and return what is on disk then."""
        path, tab = self.project / name, self.page.locator(".tab.active.dirty")

        def clean() -> bool:
            """Save again as long as it is needed: an edit may arrive just after a save."""
            self.press("Control+s")
            self.page.wait_for_timeout(300)
            return tab.count() == 0

        self.until(clean)
        return path.read_text()

    def counters(self) -> dict[str, int]:
        """Return the server's counters, as `Cascade: Show Status` shows them."""
        self.command("Cascade: Show Status")
        row = self.page.locator(".quick-input-list .monaco-list-row", has_text="since the start")
        row.wait_for()
        found = re.findall(r"(\d+) (\w+)", row.inner_text())
        self.press("Escape")
        return {word: int(number) for number, word in found}

    def type_until_asked(self) -> dict[str, int]:
        """Type until the editor has asked the server for a suggestion; return the counters."""
        before = self.counters()["requests"]
        after = dict[str, int]()

        def asked() -> bool:
            self.type("a")
            self.page.wait_for_timeout(400)  # the editor asks once the typing has paused
            after.update(self.counters())
            return after["requests"] > before

        self.until(asked)
        return after

    def notification(self, text: str) -> Locator:
        """Return the message that contains a text, once it is shown."""
        shown = self.page.locator(".notification-toast", has_text=text).first
        shown.wait_for(timeout=SLOW_MS)
        return shown

    def until(self, holds: Callable[[], bool], timeout_s: float = SLOW_MS / 1000) -> None:
        """Wait until something holds, while the page goes on."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline, "it did not become so in time"
            self.page.wait_for_timeout(50)

    # -- what the server did -------------------------------------------------------------------

    def engines(self) -> list[psutil.Process]:
        """Return the server processes under this editor."""
        return [one for one in self.processes() if {"cascade_lsp", "serve"} <= _words(one)]

    def processes(self) -> list[psutil.Process]:
        """Return all processes under this editor."""
        assert self.process
        return psutil.Process(self.process.pid).children(recursive=True)

    def rows(self, query: str) -> list[sqlite3.Row]:
        """Ask the ledger."""
        path = self.home / "state" / "ledger.sqlite3"
        if not path.exists():
            return []
        with closing(sqlite3.connect(path)) as db:
            db.row_factory = sqlite3.Row
            return db.execute(query).fetchall()

    def log(self) -> str:
        """Return the engine's own log."""
        return "".join(path.read_text() for path in self.data.rglob("engine.log"))


def _words(process: psutil.Process) -> set[str]:
    """Return the arguments of a process that may have ended meanwhile."""
    try:
        return set(process.cmdline())
    except psutil.Error:
        return set()
