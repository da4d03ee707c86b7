"""Attacks, each with a control: in a bare interpreter the same text does what it tries to do.

The attacks are in attacks.txt, bodies of a function that shows "canary" when it got through. They
are written by hand and harm nothing but files made for them; controls run in a folder of their
own, with an environment of their own and a time limit.
"""

import re
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascade_lsp.sandbox import Check, Limits
from cascade_lsp.sandbox.portable import PortableSandbox

TEXT = (Path(__file__).parent / "attacks.txt").read_text()
ATTACKS = dict(re.findall(r"^# (.+)\n((?:[^#\n].*\n)+)", TEXT, re.MULTILINE))
LIMITS = Limits(time_s=1.0, memory_bytes=32 * 1024 * 1024)
CONTROLS = pytest.mark.skipif(sys.platform != "linux", reason="the controls are written for Linux")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret").write_text("canary")
    (tmp_path / "planted.py").write_text("shown = 'canary'")
    return tmp_path


def program(body: str, folder: Path, port: int) -> str:
    places = {"FOLDER": folder, "SECRET": folder / "secret", "TARGET": folder / "target"}
    head = "".join(f"{name} = {str(path)!r}\n" for name, path in places.items())
    return f"{head}PORT = {port}\ndef attack():\n{textwrap.indent(body, '    ')}"


def contents(folder: Path) -> dict[str, tuple[int, float]]:
    return {path.name: (path.lstat().st_size, path.lstat().st_mtime) for path in folder.iterdir()}


@CONTROLS
@pytest.mark.parametrize("name", ATTACKS)
def test_the_attack_works_in_a_bare_interpreter(name: str, folder: Path, port: int) -> None:
    shown = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"{program(ATTACKS[name], folder, port)}\nprint(attack())",
        ],
        cwd=folder,
        env={"CANARY": "canary", "HOME": str(folder), "PATH": "/bin:/usr/bin"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    ).stdout
    assert "canary" in shown


async def test_no_attack_gets_through_and_none_leaves_a_trace(
    sandbox: PortableSandbox, folder: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "canary")
    before, through = contents(folder), []
    for name, body in ATTACKS.items():
        source = program(body, folder, port)
        (outcome,) = await sandbox.run(source, [Check("attack()", "eq", "'canary'")], LIMITS)
        if outcome.kind not in ("blocked_access", "inconclusive") or "canary" in outcome.seen:
            through.append((name, outcome))
    assert through == []
    assert contents(folder) == before
    assert (await sandbox.status()).tier == "portable"


def test_there_are_attacks_to_speak_of() -> None:
    assert len(ATTACKS) == TEXT.count("\n# ") + 1 > 80
