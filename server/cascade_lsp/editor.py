"""One editor at the other end of a pipe: pygls, made so that it always gets an answer.

It knows LSP and nothing of completion. Kept here: a request that cannot be read is refused, a
cancelled command ends, a fault of the server is logged and never sent, a message is shown once,
the status light always goes out, and only LSP is written to stdout.
"""

import asyncio
import logging
import os
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO, TypeVar

import cattrs
from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams
from pygls.io_ import StdinAsyncReader, StdoutWriter, run_async
from pygls.lsp.server import LanguageServer
from pygls.progress import Progress
from pygls.protocol import LanguageServerProtocol, default_converter, lsp_method
from pygls.uris import to_fs_path

from cascade_lsp import __version__
from cascade_lsp.documents import NOTEBOOKS, EditorDocument, EditorWorkspace
from cascade_lsp.errors import CascadeError, ModelError

_LOG = logging.getLogger(__name__)

ANSWER_S = 2.0  # for a client that never answers what it is asked

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Status:
    """What the editor's status light shows; `kind` is Normal, Warning or Inactive, `state` what
    it stands for: ready, loading, thinking, verifying, escalating, escalated, paused, off,
    excluded, model_missing or error."""

    busy: bool = False
    message: str = ""
    kind: str = "Normal"
    state: str = "ready"


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that could not be read; `id` is set where it wants an answer."""

    id: int | str | None
    jsonrpc: str = "2.0"


class EditorProtocol(LanguageServerProtocol):
    """LSP as pygls speaks it, but every request is answered and a cancelled command ends."""

    def structure_message(self, data: dict[str, Any]) -> Any:
        """Read a message; one that does not validate is kept, to be refused."""
        try:
            return super().structure_message(data)
        except JsonRpcException:
            return Refused(data.get("id") if "method" in data else None)

    def handle_message(self, message: Any) -> None:
        """Handle a message, or refuse it."""
        if not isinstance(message, Refused):
            super().handle_message(message)
        elif message.id is not None:
            self._send_response(message.id, error=JsonRpcInvalidParams().to_response_error())

    def _handle_notification(self, method_name: str, params: Any) -> None:
        """Handle a notification, and forget it: pygls would keep each one, a key by a key."""
        before = set(self._request_futures)
        super()._handle_notification(method_name, params)
        for made in self._request_futures.keys() - before:
            forget = partial(self._forget, made)
            self._request_futures[made].add_done_callback(forget)

    def _forget(self, made: str | int, _done: object) -> None:
        self._request_futures.pop(made, None)

    @lsp_method(types.WORKSPACE_EXECUTE_COMMAND)
    async def lsp_workspace__execute_command(  # type: ignore[override]
        self, params: types.ExecuteCommandParams
    ) -> Any:
        """Run a command as the request's own task, so that a cancel reaches it."""
        command = self.fm.commands.get(params.command)
        arguments = [one for one in params.arguments or () if one is not None]
        if command is None or not all(isinstance(one, str) for one in arguments):
            raise JsonRpcInvalidParams
        try:
            running = command(*arguments)
        except TypeError as error:
            raise JsonRpcInvalidParams from error
        return await running


class Identifier(types.TextDocumentIdentifier):
    """A document's name, with the version that the client meant where it says so."""

    version: int | None = None


def lenient_converter() -> cattrs.Converter:
    """Return pygls' converter, which also reads what clients of drafts of LSP 3.18 send."""

    def identifier(raw: dict[str, Any], _kind: object) -> Identifier:
        found = Identifier(raw["uri"])
        found.version = raw.get("version")
        return found

    def trigger(raw: int, _kind: object) -> types.InlineCompletionTriggerKind:
        return types.InlineCompletionTriggerKind(raw or 1)  # Invoked was 0

    converter: cattrs.Converter = default_converter()  # type: ignore[no-untyped-call]
    converter.register_structure_hook(types.TextDocumentIdentifier, identifier)
    converter.register_structure_hook(types.InlineCompletionTriggerKind, trigger)
    return converter


class EditorPipe(StdoutWriter):
    """The way to the editor; once that has gone, what is written is dropped."""

    _gone = False

    def write(self, data: bytes) -> None:
        """Write a message."""
        if not self._gone:
            try:
                super().write(data)
            except (OSError, ValueError):
                self._gone = True
                _LOG.info("the editor has gone")


@dataclass(frozen=True, slots=True)
class Bar:
    """A progress bar of the editor; of an editor without bars, nothing."""

    bars: Progress
    token: str

    @property
    def ended(self) -> bool:
        """Say whether the user has ended what it shows."""
        future = self.bars.tokens.get(self.token)
        return future is not None and future.cancelled()

    def report(self, message: str, percentage: int | None = None) -> None:
        """Show how far it is."""
        if self.token in self.bars.tokens:
            now = types.WorkDoneProgressReport(message=message, percentage=percentage)
            self.bars.report(self.token, now)


class EditorServer(LanguageServer):
    """A server of one editor: its documents, its status light, and the tasks behind its replies."""

    def __init__(self, name: str) -> None:
        super().__init__(
            name,
            __version__,
            protocol_cls=EditorProtocol,
            converter_factory=lenient_converter,
            notebook_document_sync=NOTEBOOKS,
        )
        self.light = Status()
        self._working = 0
        self._told = set[str]()
        self._behind = set[asyncio.Task[Any]]()

    async def session(self, stdin: BinaryIO, stdout: BinaryIO) -> None:
        """Serve the client until it exits or its pipe closes, and leave nothing running."""
        self.protocol.set_writer(EditorPipe(stdout))
        with ThreadPoolExecutor(1) as reading:  # its own: nothing can keep it from reading
            reader = StdinAsyncReader(stdin, reading)
            stop, report = Event(), self.report_server_error
            try:
                await run_async(stop, reader, self.protocol, error_handler=report)
            finally:
                await self.close()

    async def close(self) -> None:
        """End everything under way."""
        tasks = self._behind - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- its documents and settings ------------------------------------------------------------

    def open_workspace(self, params: types.InitializeParams) -> None:
        """Begin a workspace whose documents count lines as editors do."""
        self.protocol._workspace = EditorWorkspace(
            self.workspace.root_uri,
            workspace_folders=params.workspace_folders,
            position_encoding=self.workspace.position_encoding,
        )

    @property
    def root(self) -> Path | None:
        """Return the folder that the editor has open, the first of several."""
        return next(iter(self.folders), None)

    def root_of(self, uri: str) -> Path | None:
        """Return the folder that holds a document, of those that the editor has open the innermost;
        the first one if none does."""
        notebook = self.workspace.get_notebook_document(cell_uri=uri)
        path = to_fs_path(notebook.uri if notebook else uri) or ""
        holding = [folder for folder in self.folders if Path(path).is_relative_to(folder)]
        return max(holding, key=lambda folder: len(folder.parts), default=self.root)

    @property
    def folders(self) -> list[Path]:
        """Return all folders that the editor has open."""
        uris = [one.uri for one in self.workspace.folders.values()] or [self.workspace.root_uri]
        return [Path(path) for uri in uris if uri and (path := to_fs_path(uri))]

    def document(self, uri: str) -> EditorDocument:
        """Return a document; its version is None unless the editor has it open."""
        document = self.workspace.get_text_document(uri)
        assert isinstance(document, EditorDocument)
        return document

    async def pull_settings(self, section: str) -> object:
        """Return what the editor has for a section, if it can be asked."""
        workspace = self.client_capabilities.workspace
        if not (workspace and workspace.configuration):
            return None
        wanted = types.ConfigurationParams([types.ConfigurationItem(section=section)])
        found = await self.workspace_configuration_async(wanted)
        return found[0] if found else None

    async def choose(self, question: str, *choices: str) -> str | None:
        """Ask the user, once per session; return the choice, None if there was none."""
        if question in self._told:
            return None
        self._told.add(question)
        actions = [types.MessageActionItem(choice) for choice in choices]
        asked = types.ShowMessageRequestParams(types.MessageType.Warning, question, actions)
        answer = await self.window_show_message_request_async(asked)
        return answer.title if answer else None

    def watch_settings(self, section: str) -> None:
        """Ask the editor to tell of changed settings, if it has to be asked."""
        workspace = self.client_capabilities.workspace
        change = workspace and workspace.did_change_configuration
        if change and change.dynamic_registration:
            method = types.WORKSPACE_DID_CHANGE_CONFIGURATION
            wish = types.Registration(str(uuid.uuid4()), method, {"section": section})
            self.spawn(self.client_register_capability_async(types.RegistrationParams([wish])))

    # -- what it is told -----------------------------------------------------------------------

    def tell(self, sentence: str | None) -> None:
        """Show a message, once per session."""
        if sentence and sentence not in self._told:
            self._told.add(sentence)
            self.window_show_message(types.ShowMessageParams(types.MessageType.Warning, sentence))

    def show(self, status: Status) -> None:
        """Set the status light."""
        if status != self.light:
            self.light = status
            self.protocol.notify("didChangeStatus", asdict(status))

    def resting(self) -> Status:
        """Return what the light shows when nothing is under way."""
        return Status()

    @contextmanager
    def busy(self, message: str, state: str) -> Iterator[None]:
        """Show that something is under way; however it ends, that is taken back."""
        self._working += 1
        self.show(Status(busy=True, message=message, state=state))
        failed, started = None, time.perf_counter()
        try:
            yield
        except CascadeError as error:
            cause = "model_missing" if isinstance(error, ModelError) else "error"
            failed = Status(message=str(error), kind="Warning", state=cause)
            raise
        finally:
            self._working -= 1
            _LOG.info("%s: %.0f ms", message, (time.perf_counter() - started) * 1000)
            self.show(replace(failed or self.resting(), busy=self._working > 0))

    @asynccontextmanager
    async def progress_bar(self, title: str, *, can_be_ended: bool = False) -> AsyncIterator[Bar]:
        """Show a progress bar, where the editor has them."""
        window = self.client_capabilities.window
        bars, token = self.work_done_progress, str(uuid.uuid4())
        if window and window.work_done_progress:
            with suppress(TimeoutError, JsonRpcException):
                await asyncio.wait_for(bars.create_async(token), ANSWER_S)
                bars.begin(token, types.WorkDoneProgressBegin(title, cancellable=can_be_ended))
        try:
            yield Bar(bars, token)
        finally:
            if bars.tokens.pop(token, None):  # pygls would keep it for ever
                bars.end(token, types.WorkDoneProgressEnd())

    # -- tasks and faults ----------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, Answer]) -> asyncio.Task[Answer]:
        """Start a task that is kept until it ends, and whose failure is not lost."""
        task = asyncio.create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._behind.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.failed(error)

    def failed(self, error: BaseException) -> None:
        """Tell the user of a fault that has a remedy, and log any other."""
        if isinstance(error, CascadeError):
            self.tell(str(error))
            return
        where = "".join(traceback.format_tb(error.__traceback__))
        _LOG.error("%s\n%s", type(error).__name__, where)
        _LOG.debug("%s", error)  # it may quote the user's text

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log only: a message would need the very channel that may have failed."""
        self.failed(error)


def after_reply(act: Callable[[], object]) -> None:
    """Call `act` once the running request was answered: pygls answers when its task ends."""
    request = asyncio.current_task()
    assert request
    request.add_done_callback(lambda done: None if done.cancelled() else act())


def stop(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task, if there is one."""
    if task:
        task.cancel()


def own_channels() -> tuple[BinaryIO, BinaryIO]:
    """Take stdin and stdout for LSP alone: who else reads finds nothing, who prints, stderr."""
    stdin, stdout = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return stdin, stdout


def log_to(path: Path | None) -> None:
    """Log to a file, or warnings to stderr; never the messages, which hold the user's text."""
    logging.basicConfig(
        filename=path,
        level=logging.INFO if path else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        errors="backslashreplace" if path else None,
    )
    logging.getLogger("pygls").setLevel(logging.CRITICAL)
