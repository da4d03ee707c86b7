"""The real product with an editor at its pipes that knows its document, and what may be killed."""

import asyncio
import json
import re
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import psutil

from tests import models
from tests.protocol.editors import AUTOMATIC, ROOT, far_editor

ANSWER_S = 90.0  # a model is loaded anew, on a machine that may be slow
TRIES = 8
RECORD_S = 20.0  # one waits for another one's transaction
VICTIMS = ("worker", "host", "sandbox", "child", "writer", "server")
# Nobody listens there: what would be asked of it fails at once, and what it would be sent can be
# previewed, which shows the server's own idea of a document.
NOWHERE = {"network": "on", "remote": {"url": "http://127.0.0.1:9/v1", "api": "infill"}}
LINES = (
    "def plus_{n}(first: int, second: int) -> int:\n    return first + second\n\n\n"
    "def twice_{n}(number: int) -> int:\n"
    '    """Return twice number.\n\n    >>> twice_{n}(4)\n    8\n    """\n    '
)


def make_home(folder: Path) -> Path:
    """Return a home of its own, with the small model in it alone."""
    weights = folder / "home" / "models" / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    link = weights / models.small().name
    if not link.exists():
        link.symlink_to(models.small())
    return folder / "home"


class Product:
    """One window: a server process, its document, and what it has shown."""

    def __init__(self, home: Path, editor, settings: dict[str, object]) -> None:
        self.home, self.editor, self.settings = home, editor, settings
        self.uri = (home.parent / "window.py").as_uri()
        self.text, self.version = "", 1
        self.shown: list[str] = []

    async def begin(self, text: str = "") -> None:
        """Open the document."""
        await self.editor.begin(self.settings)
        self.text, self.version = text, 1
        self.editor.open(text, uri=self.uri)

    def cursor(self) -> tuple[int, int]:
        """Return the place at the end of the document."""
        return self.text.count("\n"), len(self.text) - self.text.rfind("\n") - 1

    def type(self, text: str) -> None:
        """Type at the end of the document."""
        line, character = self.cursor()
        self.version += 1
        self.text += text
        self.editor.type(line, character, text, self.version, uri=self.uri)

    def ask(self) -> asyncio.Future:
        """Ask for a suggestion at the end of the document."""
        return self.editor.ask_completion(*self.cursor(), AUTOMATIC, uri=self.uri)

    async def suggested(self) -> list[dict]:
        """Return what is suggested at the end of the document; every request is answered."""
        items = (await asyncio.wait_for(self.ask(), ANSWER_S))["items"]
        self.show(items)
        return items

    async def suggestion(self) -> list[dict]:
        """Return what is suggested once an answer holds something: on a slow machine one may be
        empty, as no key waits longer than a first line may take."""
        for _ in range(TRIES):
            if items := await self.suggested():
                return items
            await asyncio.sleep(1)
        return []

    def show(self, items: list[dict]) -> None:
        """Take note of what the editor was given to show."""
        self.shown += [item["command"]["arguments"][0] for item in items]

    async def servers_text(self) -> str:
        """Return the document as the server has it."""
        place = [str(one) for one in self.cursor()]
        params = {"command": "cascade.previewRemote", "arguments": [self.uri, *place]}
        told = await asyncio.wait_for(self.editor.ask("workspace/executeCommand", params), ANSWER_S)
        body = json.loads(re.search(r"```json\n(.*?)\n```", told["markdown"], re.DOTALL)[1])
        return body["input_prefix"] + body["input_suffix"]

    # -- its processes -------------------------------------------------------------------------

    def processes(self, kind: str) -> list[psutil.Process]:
        """Return the processes of a kind that work for this home."""
        if kind == "server":
            return [psutil.Process(self.editor.process.pid)]
        wanted = {
            "worker": "cascade_lsp.engine.worker",
            "host": "cascade_lsp.engine.host",
            "sandbox": "cascade_lsp.sandbox.forkserver",
        }
        found = [one for one in of_home(self.home) if wanted.get(kind, "forkserver") in line(one)]
        server = psutil.Process(self.editor.process.pid)
        if kind in ("sandbox", "child"):  # its environment is a fresh one, its parent is known
            family = [one for one in server.children(recursive=True) if "forkserver" in line(one)]
            parents = {one.pid for one in family}
            found = [one for one in family if (one.ppid() in parents) == (kind == "child")]
        return found

    def kill(self, kind: str) -> bool:
        """Kill a process of a kind; say whether there was one."""
        for process in self.processes(kind):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
                return True
        return False

    # -- its ledger ----------------------------------------------------------------------------

    @property
    def ledger(self) -> Path:
        """Return the ledger's file."""
        return self.home / "state" / "ledger.sqlite3"

    def ledger_fault(self) -> str:
        """Return what is wrong with the ledger, "" if nothing is."""
        file = self.ledger
        if not file.exists():
            return ""
        with closing(sqlite3.connect(file)) as database:
            found = database.execute("PRAGMA integrity_check").fetchone()[0]
        aside = [one.name for one in file.parent.glob("ledger.sqlite3.2*")]
        return "" if found == "ok" and not aside else f"{found} {aside}"

    def recorded(self) -> set[str]:
        """Return the decisions in the ledger; an id is its table's key, so it has one row."""
        not_made = f"{self.ledger.as_uri()}?mode=rw"  # by who only looks
        try:
            with closing(sqlite3.connect(not_made, uri=True)) as database:
                return {row[0] for row in database.execute("SELECT id FROM decisions")}
        except sqlite3.OperationalError:  # it is not begun yet
            return set()

    async def unrecorded(self) -> set[str]:
        """Return what was shown and is not on record: it is written behind the answer, soon."""
        until = time.monotonic() + RECORD_S
        # Another process's file has no event to wait on.
        while missing := set(self.shown) - self.recorded():
            if time.monotonic() > until:
                break
            await asyncio.sleep(0.1)
        return missing

    async def kill_writer(self, after_s: float) -> set[str]:
        """Let another process write into the ledger, and kill it; return what it was told is kept
        and is not."""
        writer = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.ledger_writer", str(self.ledger), str(time.time_ns())),
            "100000",
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        told = [await writer.stdout.readline()]  # it is ready
        told += [await writer.stdout.readline()]
        await asyncio.sleep(after_s)
        writer.kill()
        told += (await writer.stdout.read()).splitlines(keepends=True)
        await writer.wait()
        kept = {line.decode().strip() for line in told[1:] if line.endswith(b"\n")}
        return kept - self.recorded()


def line(process: psutil.Process) -> str:
    """Return a process's command line, "" if it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def of_home(home: Path) -> list[psutil.Process]:
    """Return the processes with a home in their environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("CASCADE_HOME") == str(home):
                found.append(process)
    return found


@asynccontextmanager
async def product(
    home: Path, module: str = "cascade_lsp", **settings: object
) -> AsyncIterator[Product]:
    """Start the product for a home, with an editor at its pipes; `module` is its command."""
    chosen = {"engine": {"linger_s": 5}, **NOWHERE, **settings}
    command = ["-m", module, "serve", "--log-file", str(home / "server.log")]
    environment = {"CASCADE_HOME": str(home)}
    async with far_editor(configuration=chosen, command=command, env=environment) as editor:
        yield Product(home, editor, chosen)
