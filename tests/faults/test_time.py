"""Clocks that jump and processes that sleep: nothing waits for ever, nothing typed is lost."""

import asyncio
import json

import pytest

from tests.faults.long import windows
from tests.faults.product import ANSWER_S, make_home, product

ADD = "def add(first, second):\n    return first +"


async def test_a_clock_that_jumps_by_years_costs_neither_suggestions_nor_records(tmp_path):
    home = make_home(tmp_path)
    async with product(home, module="tests.faults.jumping_clock") as window:
        await window.begin(ADD)
        for number in range(6):
            assert await window.suggestion()
            window.type(f" second\n\n\ndef add_{number}(first, second):\n    return first +")
        assert not await window.unrecorded()
        assert await window.editor.run("cascade.statistics", "30")
        assert await window.editor.run("cascade.decisions", "30")
        assert await window.editor.end() == 0


@pytest.mark.parametrize("sleepers", [("worker", "host", "server"), ("worker",), ("host",)])
async def test_what_is_put_to_sleep_goes_on_where_it_was(tmp_path, sleepers):
    async with product(make_home(tmp_path)) as window:
        await window.begin(ADD)
        assert await window.suggestion()
        asleep = [one for kind in sleepers for one in window.processes(kind)]
        assert len(asleep) == len(sleepers)
        for one in asleep:
            one.suspend()
        await asyncio.sleep(3)
        window.type(" second\n    return first")
        asked = window.ask()
        for one in asleep:
            one.resume()
        await asyncio.wait_for(asked, ANSWER_S)
        window.type(" +")
        assert await window.suggestion()
        assert await window.servers_text() == window.text


async def test_ten_windows_share_one_model_and_each_gets_all_its_answers(tmp_path):
    seen = await windows(make_home(tmp_path), count=10, seconds=5)
    print(json.dumps(seen))  # noqa: T201 - what a failure is told by
    assert (seen["hosts"], seen["workers"]) == (1, 1)
    assert seen["answered"] == 250 and seen["with_text"] > 0
    assert seen["documents_equal"]
