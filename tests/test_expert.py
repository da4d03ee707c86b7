"""What an expert tries in the first ten minutes, where no other test shows it."""

import asyncio
import time

import pytest

from tests.protocol.editors import URI
from tests.test_server import CURSOR, begin, ledger  # noqa: F401 - fixtures

OTHER = "file:///project/b.py"


async def test_an_edit_while_it_thinks_lets_nothing_appear_in_the_wrong_place(begin):  # noqa: F811
    session = await begin(draft_s=0.2)
    asked = session.editor.ask_completion(*CURSOR)
    await asyncio.sleep(0.05)
    session.editor.type(0, 0, "import os\n", 2)
    assert (await asyncio.wait_for(asked, 10))["items"] == []
    (item,) = await session.editor.complete(2, 4)
    assert item["range"]["start"] == {"line": 2, "character": 4}


async def test_switching_the_file_while_it_thinks_answers_each_for_itself(begin):  # noqa: F811
    session = await begin(draft_s=0.1)
    first = session.editor.ask_completion(*CURSOR)
    session.editor.open("x = \n", uri=OTHER)
    (item,) = await session.editor.complete(0, 4, textDocument={"uri": OTHER})
    assert item["range"]["start"] == {"line": 0, "character": 4}
    assert [i["range"]["start"] for i in (await first)["items"]] == [{"line": 1, "character": 4}]


@pytest.mark.parametrize(
    "uri", ["untitled:Untitled-1", "vscode-notebook-cell:/project/a.ipynb#W0sZmlsZQ%3D%3D"]
)
async def test_a_text_that_is_no_file_is_completed(begin, uri):  # noqa: F811
    session = await begin()
    session.editor.open("def f():\n    \n", uri=uri)
    (item,) = await session.editor.complete(1, 4, textDocument={"uri": uri})
    assert item["insertText"] == "return 1"


@pytest.mark.parametrize(
    ("text", "place"), [("", (0, 0)), ("x = 1", (0, 5)), ("x = 1\n", (1, 0)), ("\n\n", (9, 9))]
)
async def test_an_empty_file_and_the_end_of_one_are_places(begin, text, place):  # noqa: F811
    session = await begin(text, text="pass")
    (item,) = await session.editor.complete(*place)
    assert item["insertText"] == "pass"


async def test_in_a_file_of_20000_lines_the_servers_own_part_takes_milliseconds(begin):  # noqa: F811
    lines = [f"def f{n}(x):\n    return x + {n}\n\n" for n in range(7000)]
    lines[3500] = "def here(x):\n    \n\n"
    session = await begin("".join(lines), options={"max_file_kb": 4096})
    line = "".join(lines[:3500]).count("\n") + 1
    await session.editor.complete(line, 4)
    began = time.perf_counter()
    for _ in range(5):
        await session.editor.complete(line, 4)
    assert (time.perf_counter() - began) / 5 < 0.05


async def test_markers_in_the_users_text_change_nothing(begin):  # noqa: F811
    session = await begin('x = "<|fim_prefix|><|fim_suffix|>"\ny = \n')
    (item,) = await session.editor.complete(1, 4)
    assert item["insertText"] == "return 1"
    assert session.editor.heard("window/showMessage") == []


async def test_a_burst_in_two_documents_leaves_one_answer_each(begin):  # noqa: F811
    session = await begin(draft_s=0.05)
    session.editor.open("x = \n", uri=OTHER)
    asked = [
        session.editor.ask_completion(*place, textDocument={"uri": uri})
        for _ in range(10)
        for uri, place in ((URI, CURSOR), (OTHER, (0, 4)))
    ]
    answers = await asyncio.wait_for(asyncio.gather(*asked), 10)
    assert [len(one["items"]) for one in answers[-2:]] == [1, 1]
    assert all(one["items"] == [] for one in answers[:-2])
