"""Editors for tests: clients that speak raw LSP, wrong LSP too where a test asks for it."""

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
URI = "file:///project/a.py"
SOON_S = 10.0
INVOKED, AUTOMATIC = 1, 2


class Refusal(Exception):
    """The server answered with an error."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.code = error["code"]


class Editor:
    """One end of a session; a subclass says how bytes get to the other one."""

    def __init__(self, configuration=None):
        self.received = []
        self.configuration = configuration
        self.asked = {}
        self._answers = {}
        self._arrived = asyncio.Event()
        self._last_id = 0

    # -- talking -------------------------------------------------------------------------------

    def send(self, message):
        self._send(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def notify(self, method, params):
        self.send({"method": method, "params": params})

    def ask(self, method, params):
        """Send a request; return its future, whose `id` is the request's."""
        self._last_id += 1
        future = asyncio.get_running_loop().create_future()
        self._answers[self._last_id] = future
        self.asked[future] = self._last_id
        self.send({"id": self._last_id, "method": method, "params": params})
        return future

    async def request(self, method, params):
        return await asyncio.wait_for(self.ask(method, params), SOON_S)

    def cancel(self, future):
        self.notify("$/cancelRequest", {"id": self.asked[future]})

    def hear(self, message):
        """Take one message of the server."""
        if "method" not in message:
            future = self._answers.pop(message["id"])
            if "error" in message:
                future.set_exception(Refusal(message["error"]))
            else:
                future.set_result(message["result"])
            return
        self.received.append(message)
        if "id" in message:
            answers = {
                "workspace/configuration": [self.configuration],
                "workspace/applyEdit": {"applied": True},
            }
            self.send({"id": message["id"], "result": answers.get(message["method"])})
        self._arrived.set()

    def heard(self, method):
        return [one.get("params") for one in self.received if one["method"] == method]

    async def told(self, method, count=1):
        """Wait until the server has said something `count` times; return the last."""
        async with asyncio.timeout(SOON_S):
            while len(self.heard(method)) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.heard(method)[count - 1]

    # -- what editors do -----------------------------------------------------------------------

    async def begin(self, options=None, encoding="utf-16", folders=(), **capabilities):
        found = await self.request(
            "initialize",
            {
                "processId": None,
                "rootUri": None,
                "workspaceFolders": [{"uri": one.as_uri(), "name": one.name} for one in folders],
                "initializationOptions": options,
                "capabilities": {"general": {"positionEncodings": [encoding]}, **capabilities},
            },
        )
        self.notify("initialized", {})
        return found["capabilities"]

    def open(self, text, uri=URI, language="python"):
        document = {"uri": uri, "languageId": language, "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})

    def type(self, line, character, text, version, uri=URI, until=None):
        place = {"line": line, "character": character}
        end = {"line": line, "character": until or character}
        change = {"range": {"start": place, "end": end}, "text": text}
        document = {"uri": uri, "version": version}
        self.notify(
            "textDocument/didChange", {"textDocument": document, "contentChanges": [change]}
        )

    def ask_completion(self, line, character, kind=AUTOMATIC, uri=URI, **more):
        params = {
            "textDocument": {"uri": uri},
            "position": {"line": line, "character": character},
            "context": {"triggerKind": kind},
        }
        return self.ask("textDocument/inlineCompletion", merge(params, more))

    async def complete(self, line, character, kind=AUTOMATIC, **more):
        """Return the items offered at a place."""
        answer = self.ask_completion(line, character, kind, **more)
        return (await asyncio.wait_for(answer, SOON_S))["items"]

    async def run(self, command, *arguments):
        params = {"command": command, "arguments": list(arguments)}
        return await self.request("workspace/executeCommand", params)


def merge(tree, more):
    return {**tree, **{k: {**tree.get(k, {}), **v} for k, v in more.items()}}


class NearEditor(Editor):
    """An editor in the server's own process."""

    def __init__(self, server, configuration=None):
        super().__init__(configuration)
        self._server = server
        server.protocol.set_writer(self)

    def _send(self, body):
        structure = self._server.protocol.structure_message
        self._server.protocol.handle_message(json.loads(body, object_hook=structure))

    def write(self, data):
        body = json.loads(data.partition(b"\r\n\r\n")[2])
        asyncio.get_running_loop().call_soon(self.hear, body)

    def close(self):
        pass


class FarEditor(Editor):
    """An editor at the other end of a server process's pipes."""

    def __init__(self, process, configuration=None):
        super().__init__(configuration)
        self.process = process
        self.noise = []
        self._reading = asyncio.create_task(self._read())

    def _send(self, body):
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    async def _read(self):
        stdout = self.process.stdout
        while line := await stdout.readline():
            if not line.startswith(b"Content-Length: "):
                self.noise.append(line)
                continue
            while (header := await stdout.readline()).strip():
                assert header.startswith(b"Content-Type: ")
            self.hear(json.loads(await stdout.readexactly(int(line.split()[1]))))

    async def end(self):
        """Shut the server down as editors do; return its exit code."""
        await self.request("shutdown", None)
        self.notify("exit", None)
        return await asyncio.wait_for(self.process.wait(), SOON_S)


@asynccontextmanager
async def far_editor(script=None, configuration=None, command=None, env=None, **pipes):
    """Start a server process (a scripted one unless told otherwise) with an editor at its pipes."""
    command = command or ["-m", "tests.protocol.scripted_server", json.dumps(script or {})]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        **pipes,
    )
    editor = FarEditor(process, configuration)
    try:
        yield editor
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await editor._reading
