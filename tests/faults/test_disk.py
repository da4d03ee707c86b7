"""A full or read-only disk and damaged files cost what they hold, never the suggestions."""

import asyncio
import json
import os
import sqlite3
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests import models
from tests.faults.product import RECORD_S, Product, make_home, product

ADD = "def add(first, second):\n    return first +"


@pytest.fixture
def home(tmp_path):
    return make_home(tmp_path)


async def completes(home, **settings) -> list[str]:
    """See that the product completes a line; return what it told the user."""
    async with product(home, completion={"verify": False}, **settings) as window:
        await window.begin(ADD)
        (item,) = await window.suggestion()
        assert "second" in item["insertText"]
        await recorded_or_told(window)
        assert await window.editor.end() == 0
        return [one["message"] for one in window.editor.heard("window/showMessage")]


async def recorded_or_told(window: Product) -> None:
    """Wait until what was shown is on record, which is behind the reply, or the user was told."""
    until = time.monotonic() + RECORD_S
    while time.monotonic() < until and not window.editor.heard("window/showMessage"):
        try:
            if set(window.shown) <= window.recorded():
                break
        except sqlite3.DatabaseError:  # the damaged one is not set aside yet
            pass
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)  # for a second message, which would be one too many


def mounted(folder: Path, options: str) -> None:
    """Mount a small file system of its own over a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    subprocess.run(command, check=True)


def fill(folder: Path) -> None:
    """Leave no byte free on a folder's disk."""
    with pytest.raises(OSError, match="No space left"), (folder / "full").open("wb", 0) as file:
        while True:
            file.write(bytes(512))


async def type_on(window: Product, times: int = 3) -> int:
    """Type some functions on; return how often a suggestion came."""
    came = 0
    for number in range(times):
        window.type(f" second\n\n\ndef add_{number}(first, second):\n    return first +")
        came += bool(await window.suggestion())
    return came


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


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a disk that is full")
async def test_a_disk_that_was_full_for_a_while_loses_nothing_that_was_on_record(home, state):
    mounted(state, "size=400k")
    async with product(home, completion={"verify": False}) as window:
        await window.begin(ADD)
        assert await window.suggestion()
        assert not await window.unrecorded()
        before = set(window.shown)
        fill(state)
        assert await type_on(window) == 3
        await asyncio.sleep(1)
        (state / "full").unlink()
        window.shown.clear()
        assert await type_on(window, 1) == 1
        assert not await window.unrecorded()
        assert before <= window.recorded()
        assert not window.ledger_fault()
        assert len(window.editor.heard("window/showMessage")) == 1


async def test_a_ledger_that_is_damaged_while_it_is_used_costs_no_suggestion(home):
    async with product(home, completion={"verify": False}) as window:
        await window.begin(ADD)
        assert await window.suggestion()
        assert not await window.unrecorded()
        for part in window.ledger.parent.glob("ledger.sqlite3*"):  # its log, too, if it has one
            part.write_bytes(os.urandom(part.stat().st_size))
        assert await type_on(window) == 3
        await asyncio.sleep(1)
        assert len(window.editor.heard("window/showMessage")) == 1
    await completes(home)  # now, if not before, it is set aside, and a fresh one begun
    assert list(window.ledger.parent.glob("ledger.sqlite3.2*"))
    assert window.recorded()


@pytest.mark.parametrize("damage", [b"", b"\x00\xff{[", b'["another", {"shape": 1}]'])
async def test_damaged_files_of_its_own_are_as_if_they_were_not_there(home, damage):
    for file in (
        *("models/weights/mine.json", "state/machine.json", "state/sandbox.json"),
        *("state/plan.toml", "config/privacy.toml"),
    ):
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).write_bytes(damage)
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


async def test_settings_of_every_wrong_kind_are_told_once_and_the_rest_holds(home):
    wrong = {"engine": {"threads": "many", "linger_s": -4}, "max_file_kb": [], "sandbox": 3}
    told = await completes(home, **wrong)
    assert len(told) == 1 and "cascade.engine.threads" in told[0]


async def test_a_model_that_finds_no_memory_is_told_and_holds_up_nobody(home):
    async with product(home, completion={"verify": False}) as window:
        await window.begin(ADD)
        assert await window.suggestion()
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
