"""The extension as it is written and as it is packed, without an editor."""

import json
import re
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from cascade_lsp import settings
from tests.editor import machine

MANIFEST = json.loads((machine.EXTENSION / "package.json").read_text())
LOCK = json.loads((machine.EXTENSION / "package-lock.json").read_text())
CONTRIBUTES = MANIFEST["contributes"]
OWN, *SERVER = CONTRIBUTES["configuration"]
NETWORK = (
    r"\b(https?|wss?)://|\b(fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon)\b *\(|"
    r"""["'](node:)?(https?|http2|net|tls|dgram|dns|undici|ws|axios|node-fetch)(/\w+)?["']"""
)


@pytest.fixture(scope="module")
def packed():
    """Return the package as it would be published, opened."""
    with zipfile.ZipFile(machine.vsix()) as archive:
        yield archive


# -- the source ------------------------------------------------------------------------------------


def test_the_types_hold_and_the_linter_finds_nothing():
    machine.packages()
    machine.npm("run", "check")


def test_the_unit_tests_pass():
    machine.packages()
    output = machine.npm("run", "unit")
    summary = re.search(r"(\d+) passing \(.+\)", output)
    assert summary and int(summary[1]) > 0, output
    sys.stdout.write(f"Mocha: {summary[0]}\n")


@pytest.mark.parametrize("pattern", ["src/**/*.ts", "media/*.js", "media/*.css"])
def test_nothing_in_the_source_reaches_for_the_network(pattern):
    files = list(machine.EXTENSION.glob(pattern))
    assert files
    for file in files:
        assert not re.search(NETWORK, file.read_text()), file


# -- the manifest ----------------------------------------------------------------------------------


def test_the_settings_are_the_servers_and_the_group_of_the_extension():
    assert settings.manifest()["configuration"] == SERVER
    assert list(OWN["properties"]) == ["cascade.python"]


def test_the_guarded_settings_are_not_taken_from_a_folder_that_is_not_trusted():
    restricted = MANIFEST["capabilities"]["untrustedWorkspaces"]["restrictedConfigurations"]
    assert restricted == [*OWN["properties"], *settings.manifest()["restricted"]]


def test_every_command_is_in_the_palette_as_one_of_cascade():
    for command in CONTRIBUTES["commands"]:
        assert command["category"] == "Cascade"
        assert re.fullmatch(r"cascade\.\w+", command["command"])


def test_no_key_is_bound():
    assert "keybindings" not in CONTRIBUTES


def test_the_editors_version_is_that_of_its_types():
    assert MANIFEST["engines"]["vscode"] == "^1.91.0"
    assert MANIFEST["devDependencies"]["@types/vscode"] == "1.91.0"


def test_the_versions_are_those_of_the_engine():
    engine = tomllib.loads((machine.ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert MANIFEST["version"] == LOCK["version"] == engine


def test_the_lock_file_says_what_and_not_from_where():
    for name, package in LOCK["packages"].items():
        told = {key: value for key, value in package.items() if key != "funding"}
        assert "resolved" not in told, name
        assert "://" not in json.dumps(told), name


def test_the_lock_file_fits_the_manifest(tmp_path):
    for name in ("package.json", "package-lock.json"):
        (tmp_path / name).write_bytes((machine.EXTENSION / name).read_bytes())
    machine.npm("ci", "--dry-run", "--offline", "--ignore-scripts", folder=tmp_path)


# -- the package -----------------------------------------------------------------------------------


def test_the_package_is_small(packed):
    assert Path(packed.filename).stat().st_size < 1_200_000


def test_the_package_holds_what_is_needed_and_nothing_else(packed):
    names = {name.removeprefix("extension/") for name in packed.namelist()}
    media = {
        str(file.relative_to(machine.EXTENSION))
        for file in (machine.EXTENSION / "media").rglob("*")
        if file.is_file()
    }
    assert MANIFEST["icon"] in media
    assert {name.lower() for name in names} == {
        "[content_types].xml",
        "extension.vsixmanifest",
        "package.json",
        "readme.md",
        "changelog.md",
        "license.txt",
        "dist/extension.js",
        f"engine/cascade_lsp-{MANIFEST['version']}-py3-none-any.whl",
        *media,
    }


def test_the_engine_in_the_package_is_the_one_that_stands_here(packed):
    name = f"extension/engine/cascade_lsp-{MANIFEST['version']}-py3-none-any.whl"
    source = machine.ROOT / "server" / "cascade_lsp"
    with packed.open(name) as wheel, zipfile.ZipFile(wheel) as engine:
        for file in source.rglob("*.py"):
            packed_as = f"cascade_lsp/{file.relative_to(source)}"
            assert engine.read(packed_as) == file.read_bytes(), packed_as


def test_the_readme_in_the_package_needs_no_network_for_its_pictures(packed):
    readme = packed.read("extension/readme.md").decode()
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]{0,40})|<img[^>]*src=\"([^\"]{0,40})", readme)
    assert pictures
    assert all("".join(one).startswith("data:image/") for one in pictures)
