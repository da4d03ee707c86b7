"""Our side: the real server over its pipes, and an editor that says no more than it has to.

The editor is a bare one, in plain JSON, so that the time of its own work is not the server's.
"""

import asyncio
import json
import sys
from asyncio import Future
from typing import Any

from cascade_lsp.bench.processes import Home, Meter, threads
from cascade_lsp.bench.typist import Answer, Work
from cascade_lsp.errors import EngineError

LOADING_S = 300.0
CLOSING_S = 10.0
AUTOMATIC = 2
LINE_LIMIT_BYTES = 1 << 24


def quiet_options() -> dict[str, Any]:
    """Return settings with which nothing is verified, and no sandbox is tried."""
    return {
        "completion": {"verify": False},
        "sandbox": {"execution": "off"},
        "engine": {"threads": threads()},
    }


class Server:
    """A server process with a client at its pipes; columns are counted in characters."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, Future[Any]] = {}
        self._last_id = 0

    async def start(self, options: dict[str, Any]) -> None:
        """Start the server with these settings and shake hands."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cascade_lsp", "serve"),
            *("--log-file", str(self._home.path / "server.log")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=self._home.environment,
            limit=LINE_LIMIT_BYTES,
        )
        self._reading = asyncio.create_task(self._read(self._process))
        capabilities = {"general": {"positionEncodings": ["utf-32"]}}
        hello = {"processId": None, "rootUri": None, "capabilities": capabilities}
        found = await self.ask("initialize", {**hello, "initializationOptions": options})
        if found["capabilities"].get("positionEncoding") != "utf-32":
            raise EngineError("The server does not count columns in characters.")
        self.notify("initialized", {})

    def notify(self, method: str, params: Any) -> None:
        """Tell the server something."""
        self._write({"method": method, "params": params})

    def ask(self, method: str, params: Any) -> "Future[Any]":
        """Send a request; the future's result is None where the server answers with an error."""
        self._last_id += 1
        future: Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[self._last_id] = future
        self._write({"id": self._last_id, "method": method, "params": params})
        return future

    def cancel(self, future: "Future[Any]") -> None:
        """Say that an answer is not wanted any more; it comes nevertheless."""
        for request_id, waiting in self._waiting.items():
            if waiting is future:
                self.notify("$/cancelRequest", {"id": request_id})

    def _write(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process and self._process.stdin
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        stdout = process.stdout
        assert stdout
        while line := await stdout.readline():
            while (header := await stdout.readline()).strip():
                line += header
            length = int(line.lower().partition(b"content-length:")[2].split()[0])
            self._hear(json.loads(await stdout.readexactly(length)))
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(EngineError("The server under test has ended."))

    def _hear(self, message: dict[str, Any]) -> None:
        if "method" not in message:
            future = self._waiting.pop(message["id"])
            if not future.done():
                future.set_result(message.get("result"))
        elif "id" in message:  # a question of the server: an editor without opinions
            configuration = message["method"] == "workspace/configuration"
            self._write({"id": message["id"], "result": [None] if configuration else None})

    async def close(self) -> None:
        """Shut the server down, and end it if it stays."""
        if self._process is None or self._process.returncode is not None:
            return
        try:
            async with asyncio.timeout(CLOSING_S):
                await self.ask("shutdown", None)
                self.notify("exit", None)
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        if self._reading:
            await self._reading


class Editor:
    """One document at a time in an editor that asks at every key."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._request: Future[Any] | None = None
        self._uri = ""
        self._version = 0
        self._line, self._column = 0, 0

    def open(self, name: str, head: str, tail: str) -> None:
        """Open a document with the cursor between its halves."""
        # One name per visit: nothing is known of the document from before.
        self._uri = f"file:///bench/{abs(hash((name, head)))}.py"
        self._version, self._request = 1, None
        self._line, self._column = head.count("\n"), len(head) - head.rfind("\n") - 1
        document = {"uri": self._uri, "languageId": "python", "version": 1, "text": head + tail}
        self.server.notify("textDocument/didOpen", {"textDocument": document})
        self._ask_for_actions()

    def _ask_for_actions(self) -> None:
        """Ask what can be done at the cursor, as editors do wherever it comes to stay."""
        here = {"line": self._line, "character": self._column}
        self.server.ask(
            "textDocument/codeAction",
            {
                "textDocument": {"uri": self._uri},
                "range": {"start": here, "end": here},
                "context": {"diagnostics": []},
            },
        )

    def change(self, text: str, erased: int = 0) -> None:
        """Put a text at the cursor, in the place of so many characters of its line before it."""
        end = {"line": self._line, "character": self._column}
        start = {"line": self._line, "character": self._column - erased}
        self._version += 1
        self.server.notify(
            "textDocument/didChange",
            {
                "textDocument": {"uri": self._uri, "version": self._version},
                "contentChanges": [{"range": {"start": start, "end": end}, "text": text}],
            },
        )
        self._line += text.count("\n")
        if "\n" in text:
            self._column = len(text) - text.rfind("\n") - 1
        else:
            self._column += len(text) - erased

    async def ask(self, trigger: int = AUTOMATIC) -> Answer:
        """Ask for a suggestion at the cursor, instead of the one that was asked for before."""
        position = {"line": self._line, "character": self._column}
        if self._request and not self._request.done():
            self.server.cancel(self._request)
        request = self._request = self.server.ask(
            "textDocument/inlineCompletion",
            {
                "textDocument": {"uri": self._uri},
                "position": position,
                "context": {"triggerKind": trigger},
            },
        )
        items = ((await request) or {}).get("items", [])
        if not items:
            return Answer("")
        misplaced = items[0]["range"] != {"start": position, "end": position}
        return Answer(items[0]["insertText"], misplaced)

    def close(self) -> None:
        """Close the document."""
        self.server.notify("textDocument/didClose", {"textDocument": {"uri": self._uri}})


class Ours:
    """`cascade serve` as an editor meets it, with the installed models and nobody's ledger."""

    name = "cascade"

    def __init__(self, *, verify: bool = False) -> None:
        self._verify = verify
        self._home = Home()
        self._server = Server(self._home)
        self._editor = Editor(self._server)
        self._meter = Meter(self._home.processes)

    async def start(self) -> None:
        """Start the server and let it load the small model."""
        verifying = {"engine": {"threads": threads()}}
        await self._server.start(verifying if self._verify else quiet_options())
        self._editor.open("warm", "def add(a, b):\n    return ", "\n")
        async with asyncio.timeout(LOADING_S):
            answer = await self._editor.ask()
        if not answer.text:
            log = self._home.path / "server.log"
            raise EngineError(f"The server suggests nothing:\n{log.read_text()[-2000:]}")
        await self.leave()

    async def open(self, name: str, head: str, tail: str) -> None:
        """Show a document with the cursor between its halves."""
        self._editor.open(name, head, tail)

    async def type(self, text: str) -> Answer:
        """Insert a text at the cursor and ask for a suggestion."""
        self._editor.change(text)
        return await self._editor.ask()

    async def leave(self) -> None:
        """Close the document, and wait until nothing is computed any more."""
        self._editor.close()
        await self._meter.rest()

    async def work(self) -> Work:
        """Return what the server says it has done."""
        status = await self._server.ask("workspace/executeCommand", {"command": "cascade.status"})
        done = status["work"]
        read, written = done.get("read_tokens"), done.get("written_tokens")
        return Work(done["requests"], done["drafts"], done["cached"], read, written)

    def cpu_s(self) -> float:
        """Return the processor seconds of the server and its engines."""
        return self._meter.read()

    async def close(self) -> None:
        """End the server, its engines and their home."""
        await self._server.close()
        await asyncio.to_thread(self._home.clear)
