"""A full or read-only disk and damaged files cost what they hold, never the suggestions."""

import asyncio
import json
import os
import subprocess
from pathlib import Path

import psutil
import pytest

from tests import models
from tests.faults.product import make_home, product

ADD = "def add(first, second):\n    return first +"


@pytest.fixture
def home(tmp_path):
    return make_home(tmp_path)


async def completes(home, **settings) -> list[str]:
    """See that the product completes a line; return what it told the user."""
    async with product(home, completion={"verify": False}, **settings) as window:
        await window.begin(ADD)
        (item,) = await window.suggested()
        assert "second" in item["insertText"]
        await asyncio.sleep(0.5)  # the record is kept behind the reply
        assert await window.editor.end() == 0
        return [one["message"] for one in window.editor.heard("window/showMessage")]


def mounted(folder: Path, options: str) -> None:
    """Mount a small file system of its own over a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    subprocess.run(command, check=True)


@pytest.fixture
def state(home):
    """Return the folder of the state, and leave nothing mounted there."""
    yield home / "state"
    subprocess.run(["umount", "-l", str(home / "state")], check=False, capture_output=True)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a disk that is full")
async def test_a_full_disk_costs_the_record_and_is_told_once(home, state):
    mounted(state, "size=64k")
    (state / "filler").write_bytes(b"x" * 60_000)
    told = await completes(home)
    assert len(told) == 1 and "could not be" in told[0] and "disk is not full" in told[0]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a disk that is read-only")
async def test_a_read_only_folder_costs_the_record_and_is_told_once(home, state):
    mounted(state, "ro,size=64k")
    told = await completes(home)
    assert len(told) == 1 and "decision record" in told[0]


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbled", "no database"])
async def test_a_damaged_ledger_is_set_aside_and_a_fresh_one_begun(home, damage):
    await completes(home)
    file = home / "state" / "ledger.sqlite3"
    for beside in file.parent.glob("ledger.sqlite3-*"):
        beside.unlink()
    content = file.read_bytes()
    ruined = {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "garbled": content[:100] + os.urandom(len(content) - 100),
        "no database": b"these are no decisions",
    }
    file.write_bytes(ruined[damage])
    told = await completes(home)
    aside = [one for one in file.parent.glob("ledger.sqlite3.2*") if "-" not in one.name[-4:]]
    assert (len(aside), len(told)) == ((0, 0) if damage == "empty" else (1, 1))
    assert file.read_bytes()[:15] == b"SQLite format 3"


@pytest.mark.parametrize("name", ["machine.json", "sandbox.json", "plan.toml"])
@pytest.mark.parametrize("content", [b"[1, 2]", b"\x00\xff"])
async def test_a_damaged_file_of_the_state_is_as_if_it_were_not_there(home, name, content):
    (home / "state").mkdir()
    (home / "state" / name).write_bytes(content)
    assert await completes(home) == []


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbled", "no model", "a folder"])
async def test_a_damaged_model_is_said_with_what_to_do_and_nothing_hangs(home, damage):
    file = home / "models" / "weights" / models.small().name
    file.unlink()
    if damage == "a folder":
        file.mkdir()
    else:
        with models.small().open("rb") as model:
            head = model.read(30_000_000)
        size = models.small().stat().st_size
        ruined = {
            "truncated": head[:20_000_000],
            "empty": b"",
            "garbled": head[:1000] + os.urandom(1_000_000) + head[1_001_000:],
            "no model": b"PK\x03\x04" + head[4:1000],
        }
        file.write_bytes(ruined[damage])
        if damage == "garbled":
            os.truncate(file, size)
    async with product(home, completion={"verify": False}) as window:
        await window.begin(ADD)
        items = await window.suggested()
        assert items == [] or damage == "garbled"  # weights may be wrong and still be weights
        if not items:
            told = json.dumps(window.editor.received)
            assert "cascade models" in told or "cascade doctor" in told
        assert await window.editor.end() == 0


@pytest.mark.parametrize("content", ["{", "\x00"])
async def test_a_damaged_entry_of_an_added_model_costs_that_model_alone(home, content):
    (home / "models" / "weights" / "mine.json").write_text(content)
    assert await completes(home) == []


async def test_settings_of_every_wrong_kind_are_told_once_and_the_rest_holds(home):
    wrong = {"engine": {"threads": "many", "linger_s": -4}, "max_file_kb": [], "sandbox": 3}
    told = await completes(home, **wrong)
    assert len(told) == 1 and "cascade.engine.threads" in told[0]


async def test_a_model_that_finds_no_memory_is_told_and_holds_up_nobody(home):
    async with product(home, completion={"verify": False}) as window:
        await window.begin(ADD)
        assert await window.suggested()
        (host,) = window.processes("host")
        host.rlimit(psutil.RLIMIT_AS, (300_000_000, 300_000_000))  # the next worker's, too
        assert window.kill("worker")
        for letter in " second\n    return first":
            window.type(letter)
        for operator in ["*", "-", "+", "/", "%"]:
            window.type(f" {operator}")
            assert await window.suggested() == []
            await asyncio.sleep(1)
        told = window.editor.heard("window/showMessage") + window.editor.heard("didChangeStatus")
        assert "cascade doctor" in json.dumps(told)
        assert await window.editor.end() == 0
