"""Which project the sandbox may read follows from the settings, the folder and its environment."""

import sys
from pathlib import Path

import pytest
from pygls.workspace import Workspace

from cascade_lsp.assembly import make_cascade, project_of
from cascade_lsp.editor import EditorServer
from cascade_lsp.engine.remote_options import RemoteOptions
from cascade_lsp.settings import Settings, parse

INSIDE = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"


def settings(project: str) -> Settings:
    found, faults = parse({"sandbox": {"project": project}})
    assert not faults
    return found


def environment(folder: Path, version: str) -> Path:
    python = folder / INSIDE
    python.parent.mkdir(parents=True)
    python.touch()
    (folder / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {version}\n")
    return python


def test_by_default_nothing_of_a_project_is_read(tmp_path: Path) -> None:
    assert project_of(Settings(), tmp_path) is None
    assert project_of(settings("sources"), None) is None
    assert project_of(settings("sources"), tmp_path / "nowhere") is None


@pytest.mark.parametrize(("allowed", "sources"), [("packages", False), ("sources", True)])
def test_a_project_is_read_as_far_as_the_settings_say(
    tmp_path: Path, allowed: str, sources: bool
) -> None:
    project = project_of(settings(allowed), tmp_path)
    assert project is not None
    assert (project.root, project.python, project.sources) == (tmp_path, None, sources)


@pytest.mark.parametrize(
    ("folder", "version", "used"),
    [
        (".venv", "3.11.4", True),
        ("venv", "3.13.0", True),
        ("env", "3.12.0", False),
        (".venv", "3.9.18", False),
        (".venv", "of my own", False),
    ],
)
def test_its_environment_is_used_if_it_is_not_too_old(
    tmp_path: Path, folder: str, version: str, used: bool
) -> None:
    python = environment(tmp_path / folder, version)
    project = project_of(settings("packages"), tmp_path)
    assert project is not None
    assert project.python == (python if used else None)


async def test_own_tests_are_looked_for_only_where_sources_may_be_read(tmp_path: Path) -> None:
    for allowed, looked_for in (("none", False), ("packages", False), ("sources", True)):
        cascade = make_cascade(settings(allowed), tmp_path)
        assert (cascade._runner.own_tests() is not None) is looked_for
        await cascade.close()


@pytest.mark.parametrize(
    ("folders", "root", "expected"),
    [
        ([("one", "file:///a%20b"), ("two", "file:///c")], "file:///d", "/a b"),
        ([], "file:///d", "/d"),
        ([], None, None),
    ],
)
def test_the_project_of_an_editor_is_its_first_folder(
    folders: list[tuple[str, str]], root: str | None, expected: str | None
) -> None:
    from lsprotocol.types import WorkspaceFolder

    server = EditorServer("test")
    found = [WorkspaceFolder(uri, name) for name, uri in folders]
    server.protocol._workspace = Workspace(root, workspace_folders=found)
    assert server.root == (Path(expected) if expected else None)


@pytest.mark.parametrize(("network", "there"), [("off", False), ("on", True)])
def test_a_remote_model_is_a_tier_only_where_the_network_is_on(network, there):
    remote = RemoteOptions(url="http://127.0.0.1:9/v1")
    cascade = make_cascade(Settings(network=network, remote=remote))
    assert ("remote" in cascade.tiers) == there
