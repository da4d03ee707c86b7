"""The licences: every part is listed, each known, and those shipped go with MIT."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "licences.md"
COMMAND = "python .ci/licences.py > docs/licences.md"


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / ".ci")
    import parts  # type: ignore[import-not-found]

    return parts


def test_the_page_lists_every_pinned_distribution_with_its_version(parts: ModuleType) -> None:
    text = PAGE.read_text()
    missing = [
        f"{name} {version}"
        for name, version in parts.pins().items()
        if f"| {name} | {version} | " not in text
    ]
    assert not missing, f"not in docs/licences.md: {', '.join(missing)}. Run: {COMMAND}"


def test_the_page_is_what_its_command_writes_and_no_licence_is_at_fault() -> None:
    command = [sys.executable, ".ci/licences.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == PAGE.read_text(), f"docs/licences.md is out of date. Run: {COMMAND}"


@pytest.mark.parametrize(
    ("licence", "fits"),
    [
        ("MIT", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("MIT AND (BSD-3-Clause OR AGPL-3.0-only)", True),
        ("GPL-3.0-only", False),
        ("AGPL-3.0-or-later", False),
        ("MIT AND GPL-2.0-only", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("Proprietary", False),
        ("", False),
    ],
)
def test_what_ships_must_go_with_mit(parts: ModuleType, licence: str, fits: bool) -> None:
    said = parts.fault(parts.Part("thing", "1.0", licence, "run time"))
    assert (said is None) == fits
    assert fits or "thing 1.0 (run time)" in said


def test_what_development_alone_needs_must_only_be_told(parts: ModuleType) -> None:
    assert parts.fault(parts.Part("thing", "1.0", "GPL-3.0-only", "development")) is None
    assert "no licence" in parts.fault(parts.Part("thing", "1.0", "", "development"))


@pytest.mark.parametrize("line", ["thing>=1.0", "thing", "thing==1.*", "-r other.txt"])
def test_a_line_that_pins_no_version_is_refused(
    parts: ModuleType, tmp_path: Path, line: str
) -> None:
    (tmp_path / "constraints.txt").write_text(f"right==1.0\n{line}\n")
    with pytest.raises(parts.PartError, match="NAME==VERSION"):
        parts.pins(tmp_path)


@pytest.mark.parametrize(("name", "version"), [("no-such-thing", "1.0"), ("pytest", "0.1")])
def test_a_pin_that_is_not_what_is_installed_is_named_with_the_command(
    parts: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, version: str
) -> None:
    monkeypatch.setattr(parts, "pins", lambda: {name: version})
    with pytest.raises(parts.PartError, match=f"{name} is .*python -m pip install"):
        list(parts.distributions())


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ("License-Expression: MIT OR Apache-2.0\nLicense: something", "MIT OR Apache-2.0"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License", "MIT"),
        ("License: Apache 2.0", "Apache-2.0"),
        ("License: see the file", ""),
        ("Summary: states none", ""),
    ],
)
def test_older_fields_are_read_in_spdxs_words(
    parts: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fields: str, licence: str
) -> None:
    folder = tmp_path / "thing-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: thing\nVersion: 1.0\n{fields}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(parts, "pins", lambda: {"thing": "1.0"})
    assert metadata.version("thing") == "1.0"
    assert [part.licence for part in parts.distributions()] == [licence]


def test_what_is_told_of_a_part_is_where_it_is_needed(parts: ModuleType) -> None:
    uses = {part.name: part.use for part in parts.parts()}
    assert uses["pygls"] == uses["cattrs"] == "run time"
    assert uses["attrs"] == "run time"  # of cattrs
    assert uses["matplotlib"] == uses["contourpy"] == "lab"
    assert uses["pytest"] == uses["cyclonedx-python-lib"] == "development"
    assert uses["fastapi"] == "development"  # of an extra that only the tests ask for
    assert uses["vscode-languageclient"] == "extension"
    assert uses["qwen2.5-coder-3b-q8_0"] == "model"
