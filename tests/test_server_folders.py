"""Several folders in one window: each document is tested in the project of its own folder."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from cascade_lsp import assembly
from cascade_lsp.cascade import Cascade
from cascade_lsp.ledger import Ledger, LedgerOptions
from cascade_lsp.sandbox import Check, Limits
from cascade_lsp.server import CascadeServer
from cascade_lsp.settings import parse
from cascade_lsp.turn import Tier
from tests.protocol.editors import INVOKED, NearEditor
from tests.scripted import ScriptedEngine
from tests.test_cascade import RIGHT, model

STUB = 'def double(n: int) -> int:\n    """Return twice n."""\n    \n'
TEST = "from sums import double\n\ndef test_it():\n    assert double(3) == {}\n"
SOURCES = {"sandbox": {"project": "sources"}, "completion": {"plan": "paper"}}


@dataclass
class Window:
    """An editor with two folders, whose tests want different things of the same function, before
    a server whose parts are the real ones but for the models."""

    server: CascadeServer
    editor: NearEditor
    folders: tuple[Path, Path]
    made: list[Cascade]
    engines: list[ScriptedEngine]

    async def tests_of(self, folder: Path) -> dict[str, str]:
        """Return the outcomes of the project's tests of the first answer there, by test."""
        uri = (folder / "sums.py").as_uri()
        self.editor.open(STUB, uri=uri)
        (item,) = await self.editor.complete(2, 4, INVOKED, textDocument={"uri": uri})
        (decision,) = item["command"]["arguments"]
        told = await self.editor.run("cascade.explainEscalation", decision)
        runs = told["record"]["attempts"][0]["tests"]
        return {run["text"]: run["outcome"] for run in runs if run["origin"] == "project"}


@pytest.fixture
async def window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    engines, made = list[ScriptedEngine](), list[Cascade]()

    def tier(role: str, *_: object) -> Tier:
        engines.append(model(RIGHT))
        return Tier(role, role, engines[-1])

    def make(settings, root):
        made.append(assembly.make_cascade(settings, root))
        return made[-1]

    monkeypatch.setattr(assembly, "_tier", tier)
    folders = tmp_path / "first", tmp_path / "second"
    for folder, wanted in zip(folders, (6, 9), strict=True):
        folder.mkdir()
        folder.joinpath("sums.py").write_text(STUB)
        folder.joinpath("test_sums.py").write_text(TEST.format(wanted))
    ledger = Ledger.open(tmp_path / "ledger.sqlite3", LedgerOptions())
    server = CascadeServer(make, lambda _: ledger)
    editor = NearEditor(server)
    yield Window(server, editor, folders, made, engines)
    await server.close()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_function_is_tested_with_the_tests_of_its_own_folder(
    window: Window, order: tuple[int, int]
) -> None:
    await window.editor.begin(SOURCES, folders=window.folders)
    seen = {i: await window.tests_of(window.folders[i]) for i in order}
    assert seen[0] == {"test_sums.py::test_it": "passed"}
    assert seen[1] == {"test_sums.py::test_it": "assert_failed"}
    (cascade,) = window.made  # so that no model is loaded twice
    assert len(window.engines) == len(cascade.tiers)


async def test_where_no_project_may_be_read_one_sandbox_serves_all_folders(
    window: Window,
) -> None:
    await window.editor.begin({"completion": {"plan": "paper"}}, folders=window.folders)
    assert [await window.tests_of(folder) for folder in window.folders] == [{}, {}]
    (cascade,) = window.made
    assert cascade.within(window.folders[1]) is cascade


async def test_closing_the_server_ends_the_sandboxes_of_all_folders(window: Window) -> None:
    await window.editor.begin(SOURCES, folders=window.folders)
    for folder in window.folders:
        assert await window.tests_of(folder)
    (cascade,) = window.made
    boxes = [cascade.within(folder)._runner.sandbox for folder in window.folders]
    lanes = [box._chosen._python for box in boxes]
    processes = [lane.start().process for lane in lanes]
    assert [process.poll() for process in processes] == [None, None]
    await window.server.close()
    assert None not in [process.poll() for process in processes]


def with_environment(folder: Path) -> Path:
    """Return the folder with an environment in it that has a package of its own."""
    command = [sys.executable, "-m", "venv", "--without-pip", str(folder / ".venv")]
    subprocess.run(command, check=True)
    (packages,) = folder.glob(".venv/lib/python3.*/site-packages")
    packages.joinpath("priced.py").write_text(f"NAME = {folder.name!r}\n")
    return folder


async def test_a_function_is_tested_with_the_packages_of_its_own_folder(tmp_path: Path) -> None:
    folders = [with_environment(tmp_path / name) for name in ("first", "second")]
    settings, _ = parse({"sandbox": {"project": "packages"}})
    cascade = assembly.make_cascade(settings, folders[0])
    for folder in folders:
        sandbox = cascade.within(folder)._runner.sandbox
        program, check = "from priced import NAME", Check("NAME", "eq", repr(folder.name))
        (outcome,) = await sandbox.run(program, [check], Limits(time_s=5))
        assert outcome.kind == "passed", outcome
    await cascade.close()
