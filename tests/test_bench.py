"""The bench: what the typist does and counts, how the peer is asked, and short real runs."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascade_lsp.bench import corpus, engine, llama_server, picture, replay, report, typist
from cascade_lsp.bench.corpus import Place, Source
from cascade_lsp.bench.llama_server import Peer
from cascade_lsp.bench.plugin import CACHE_SIZE, LOOK_BACK, ClientCache, Plugin, Tuned
from cascade_lsp.bench.typist import Answer, Key, Visit, Work
from cascade_lsp.context import gather
from cascade_lsp.errors import EngineError, UsageError
from tests import models

MODULE = '''\
def mean(values):
    """Return the mean."""
    total = sum(values)
    return total / len(values)


def short(): return 1


class Box:
    def size(self):
        if self.items:
            return len(self.items)
        return 0
'''
PLACE = Place("p", "line", "def add(a, b):\n    ", "return a + b", "\n")


# -- where to type ---------------------------------------------------------------------------------


def test_a_place_is_a_hole_in_its_file() -> None:
    for place in corpus.places([Source("r", "m.py", MODULE)], 4, seed=1):
        assert place.head + place.truth + place.tail == MODULE
        assert not place.truth.startswith((" ", '"""'))
        assert place.head.endswith("    ")


def test_the_seed_alone_chooses_the_places_bodies_and_lines_in_turn() -> None:
    sources = [Source("r", "m.py", MODULE)]
    first = corpus.places(sources, 4, seed=1)
    assert first == corpus.places(sources, 4, seed=1)
    assert [place.kind for place in first] == ["body", "line"] * 2


def test_characters_are_counted_as_characters() -> None:
    text = MODULE.replace("the mean", "the mean, 算術平均 𝛍")
    for place in corpus.places([Source("r", "m.py", text)], 4, seed=1):
        assert place.head + place.truth + place.tail == text


def test_the_standard_library_will_do() -> None:
    assert len(corpus.places(corpus.read(None), 100, seed=0)) == 100


@pytest.mark.parametrize("text", ["", "not JSON", '{"path": "x"}'])
def test_a_corpus_that_is_none_is_the_users_mistake(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError):
        corpus.places(corpus.read(path), 1, seed=0)


# -- the typist ------------------------------------------------------------------------------------


class ScriptedSide:
    """Answers with what the script has for the text typed so far, after some seconds."""

    def __init__(self, script: dict[str, str], delay_s: float = 0.0) -> None:
        self.name = "scripted"
        self.script, self.delay_s = script, delay_s
        self.typed, self.started, self.closed = "", 0, False
        self.asked: list[str] = []
        self.done = Work(read=0, written=0)

    async def start(self) -> None:
        self.started += 1

    async def open(self, name: str, head: str, tail: str) -> None:
        self.typed = ""

    async def type(self, text: str) -> Answer:
        self.typed += text
        self.asked.append(text)
        found = self.script.get(self.typed, "")
        requests, drafts = self.done.requests + 1, self.done.drafts + (not found)
        self.done = Work(requests, drafts, requests - drafts, 10 * drafts, drafts)
        await asyncio.sleep(self.delay_s)
        return Answer(found, misplaced=found == "elsewhere")

    async def leave(self) -> None:
        pass

    async def work(self) -> Work:
        return self.done

    def cpu_s(self) -> float:
        return float(self.done.requests)

    async def close(self) -> None:
        self.closed = True


async def visit(side: ScriptedSide, place: Place = PLACE) -> Visit:
    return await typist.visit(side, place, seed=3, pace=0.02)


def everywhere(text: str) -> dict[str, str]:
    """Return a script that suggests the rest of a text wherever its typing has come."""
    return {text[:at]: text[at:] for at in range(1, len(text))}


async def test_without_suggestions_every_key_is_typed_and_asked() -> None:
    side = ScriptedSide({})
    seen = await visit(side)
    assert "".join(side.asked) == PLACE.truth
    assert len(seen.keys) == len(PLACE.truth) == seen.work.requests
    assert seen.keys[-1].last
    assert [key.at for key in seen.keys] == list(range(1, len(PLACE.truth) + 1))
    assert [key.opening for key in seen.keys if key.last][:2] == [True, False]
    assert all((key.ms is not None) == key.last for key in seen.keys)


async def test_a_suggestion_that_the_true_text_begins_with_is_accepted_by_one_key() -> None:
    side = ScriptedSide(everywhere(PLACE.truth))
    seen = await visit(side)
    (accepted,) = [key for key in seen.keys if key.accepted]
    assert side.typed == PLACE.truth
    assert side.asked[-1] == PLACE.truth[accepted.at :]
    assert accepted.first_line is True
    assert seen.keys[-1].first_line is None  # nothing is left to be right about


@pytest.mark.parametrize("wrong", ["return a - b", "return a + b\n    pass"])
async def test_a_suggestion_that_goes_astray_is_not_accepted(wrong: str) -> None:
    side = ScriptedSide(everywhere(wrong))
    seen = await visit(side)
    assert side.typed == PLACE.truth
    assert not any(key.accepted for key in seen.keys)


async def test_an_answer_for_another_place_is_stale_and_never_accepted() -> None:
    place = Place("p", "line", "", "x elsewhere", "")
    seen = await visit(ScriptedSide({"x ": "elsewhere", "x": "elsewhere"}), place)
    assert not any(key.accepted for key in seen.keys)


async def test_an_answer_after_the_next_key_is_stale() -> None:
    slow = await visit(ScriptedSide(everywhere("return a - b"), delay_s=0.05))
    within = [key for key in slow.keys if not key.last]
    assert within
    assert not any(key.answered for key in within)
    assert all(key.stale for key in within if key.at <= len("return a "))
    assert not any(key.stale for key in slow.keys if key.last)
    fast = await visit(ScriptedSide(everywhere("return a - b")))
    assert all(key.answered and not key.stale for key in fast.keys)


async def test_no_more_keys_are_typed_than_a_place_is_worth() -> None:
    seen = await visit(ScriptedSide({}), Place("p", "body", "", "x = 1\n" * 40, ""))
    assert typist.MOST_KEYS <= len(seen.keys) < typist.MOST_KEYS + typist.LONGEST_BURST


def test_enter_brings_the_next_lines_indentation() -> None:
    assert typist.keystrokes("a\n\n    b") == ["a", "\n", "\n    ", "b"]


# -- figures ---------------------------------------------------------------------------------------


def test_percentiles_lie_between_the_nearest_two() -> None:
    found = report.latency([float(ms) for ms in range(1, 102)])
    assert (found.count, found.p50, found.p90, found.p95) == (101, 51.0, 91.0, 96.0)
    assert report.latency([1.0, 2.0]).p50 == 1.5
    assert report.latency([]) == report.Latency(0, None, None, None)
    assert engine.spread([1.0, 2.0, 3.0]).median == 2.0


def visits(name: str, ms: float) -> list[Visit]:
    keys = (
        Key(1, last=False, answered=True),
        Key(2, last=False, stale=True),
        Key(3, True, True, True, ms, True, first_line=True, suggestion="abcd", accepted=4),
        Key(7, True, answered=True, ms=ms / 10, first_line=False),
    )
    return [Visit(name, "p", keys, Work(4, 1, 3, 100, 8), 2.0)]


def test_a_summary_counts_what_was_seen() -> None:
    found = report.summary(visits("ours", 100.0))
    assert found.wait == report.Latency(2, 55.0, 91.0, 95.5)
    assert (found.wait_inferred.p50, found.wait_not_inferred.p50) == (100.0, 10.0)
    assert found.wait_at_first_key.count == 1
    assert (found.in_burst_answered, found.stale, found.first_line_exact) == (0.5, 1, 0.5)
    assert (found.read_per_key, found.written_per_key, found.cpu_s_per_key) == (25.0, 2.0, 0.5)
    assert found.without_inference == 0.75
    assert found.characters_saved == round(3 / 7, 4)


def test_ours_is_put_over_the_peers() -> None:
    found = report.summaries(visits("ours", 100.0) + visits("peer", 400.0))
    told = report.as_json(found, {"threads": 2})
    assert told["ours_over_peer"] == {"peer": {"p50": 0.25, "p95": 0.25}}
    assert report.table(found).row_count > 10


def test_a_picture_is_drawn_or_says_what_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "it.svg"
    try:
        picture.draw(visits("ours", 100.0) + visits("peer", 400.0), path)
    except UsageError as error:
        assert "cascade-lsp[lab]" in str(error)
    else:
        assert "<svg" in path.read_text()


async def test_visits_that_a_file_has_are_not_made_again(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    places = [Place(name, "line", "", "pass", "") for name in "ab"]
    first, again = ScriptedSide({}), ScriptedSide({})
    made = await replay.replay([first], places, 1, rows, lambda _: None)
    assert await replay.replay([again], places, 1, rows, lambda _: None) == made
    assert (first.started, again.started, again.closed) == (1, 0, True)
    rows.write_text("{}\n")
    with pytest.raises(UsageError):
        replay.read_rows(rows)


# -- the peer --------------------------------------------------------------------------------------


def test_the_clients_cache_survives_typing_through_it() -> None:
    cache = ClientCache()
    cache.put("x = ", "\n", "foo(1)")
    assert cache.get("x = ", "\n") == "foo(1)"
    assert cache.get("x = foo", "\n") == "(1)"
    assert cache.get("x = fa", "\n") == ""
    assert cache.get("x = foo(1)", "\n") == ""
    assert cache.get("x = foo", "\ny") == ""
    cache.put("x = f", "\n", "oo(1) + 2")
    assert cache.get("x = foo", "\n") == "(1) + 2"


def test_the_clients_cache_looks_back_so_far_and_keeps_so_many() -> None:
    cache, long = ClientCache(), "a" * (LOOK_BACK + 10)
    cache.put("", "", long)
    assert cache.get(long[:LOOK_BACK], "") == "a" * 10
    assert cache.get(long[: LOOK_BACK + 1], "") == ""
    for number in range(CACHE_SIZE):
        cache.put(f"{number} ", "", "x")
    assert cache.get("", "") == ""
    assert cache.get("0 ", "") == "x"


DOCUMENT = (
    "".join(f"a{i} = {i}\n" for i in range(300)) + "def f():\n    return \n" + "b = 1\n" * 100
)


def test_the_plugin_asks_with_lines_around_the_cursors() -> None:
    offset = DOCUMENT.index("return ") + len("return ")
    path, body = Plugin().request(gather(DOCUMENT, offset))
    assert path == "/infill"
    assert body["prompt"] == "    return "
    assert body["input_prefix"].count("\n") == 256
    assert body["input_prefix"].endswith("a299 = 299\ndef f():\n")
    assert body["input_suffix"].startswith("\nb = 1\n")
    assert body["input_suffix"].count("\n") == 65
    assert (body["n_predict"], body["n_indent"], body["t_max_predict_ms"]) == (128, 4, 500)
    assert body["samplers"] == ["top_k", "top_p", "infill"]


def test_the_plugin_leaves_a_lines_blanks_to_the_model() -> None:
    context = gather("def f():\n    ", 13)
    path, body = Plugin().request(context)
    assert (path, body["prompt"]) == ("/infill", "")
    assert Plugin().shown("    return 1\n", context) == "return 1"


def test_the_tuned_peer_reads_what_we_read_and_stops_where_we_stop() -> None:
    offset = DOCUMENT.index("return ") + len("return ")
    context = gather(DOCUMENT, offset)
    path, body = Tuned().request(context)
    assert path == "/completion"
    assert body["prompt"] == context.prefix.rstrip(" ")
    assert body["temperature"] == 0.0
    assert "\n\n\n" in body["stop"]
    assert Tuned().shown(" 1\nb = 1\n", context) == "1"


IMITATION = """\
#!{python}
import asyncio, json, sys

options = dict(zip(sys.argv, sys.argv[1:]))


async def serve(reader, writer):
    head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode()
    size = int(head.lower().split("content-length:")[1].split()[0])
    body = await reader.readexactly(size)
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n\\r\\n")
    if not head.startswith("GET"):
        json.loads(body)
        progress = {{"total": 9, "cache": 4, "processed": 9}}
        events = [{{"content": "", "prompt_progress": progress}}]
        events += [{{"content": c, "tokens_predicted": i + 1}} for i, c in enumerate("1 + 2")]
        for event in [*events, {{"content": "", "stop": True}}]:
            writer.write(b"data: " + json.dumps(event).encode() + b"\\n\\n")
            await writer.drain()
            await asyncio.sleep(0.02)
    writer.close()


async def main():
    await (await asyncio.start_server(serve, options["--host"], options["--port"])).serve_forever()


asyncio.run(main())
"""


@pytest.fixture
def imitation(tmp_path: Path) -> Iterator[Path]:
    """Return a program that answers everything like a llama-server that only knows `1 + 2`."""
    program = tmp_path / "llama-server"
    program.write_text(IMITATION.format(python=sys.executable))
    program.chmod(0o755)
    yield program


async def test_a_peer_is_asked_aborted_and_remembered(imitation: Path, tmp_path: Path) -> None:
    peer = Peer(Tuned(), imitation, tmp_path / "model.gguf")
    await peer.start()
    try:
        before = await peer.work()
        await peer.open("a.py", "x =", "\n")
        overtaken = asyncio.create_task(peer.type(" "))
        await asyncio.sleep(0.05)
        assert await peer.type("(") == Answer("1 + 2")
        assert await overtaken == Answer("")
        assert await peer.type("1") == Answer(" + 2")
        work = (await peer.work()).since(before)
        assert (work.requests, work.drafts, work.cached) == (3, 2, 1)
        assert work.read == 10
        assert work.written is not None
        assert 5 <= work.written < 10  # of the first request only what was written before its end
        assert peer.cpu_s() > 0
        await peer.close()
        with pytest.raises(EngineError, match="does not answer"):
            await peer.type("lost")
    finally:
        await peer.close()


async def test_a_peer_that_ends_is_told_of(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(EngineError, match="exit code 3"):
        await Peer(Plugin(), program, tmp_path / "model.gguf").start()


def test_a_peer_that_is_not_there_is_told_how_to_get() -> None:
    with pytest.raises(UsageError, match=r"llama\.cpp"):
        llama_server.find("no-such-llama-server")


# -- for real --------------------------------------------------------------------------------------


def bench(*arguments: str) -> dict[str, object]:
    models.small()
    done = subprocess.run(
        [sys.executable, "-m", "cascade_lsp", "bench", *arguments, "--json"],
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_typing_is_measured_with_the_real_server(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    told = bench("typing", "--places", "1", "--out", str(rows))
    (ours,) = told["sides"]  # type: ignore[misc]
    assert ours["wait"]["count"] > 0
    assert ours["keys"] > 5
    assert 0 <= ours["without_inference"] <= 1
    assert ours["cpu_s_per_key"] > 0
    (seen,) = replay.read_rows(rows)
    assert seen.work.requests == len(seen.keys)


def test_the_engine_is_measured() -> None:
    figures = bench("engine", "--quick")["figures"]
    assert {
        "read_worker_over_bare",
        "write_worker_over_bare",
        "write_per_s_batch_of_16",
        "draft_with_two_tests_over_draft",
        "cancel_ms_reading",
        "cancel_ms_writing",
        "keystroke_beside_over_alone",
        "first_suggestion_s",
        "typed_through_ms_in_5000_lines",
    } <= set(figures)  # type: ignore[call-overload]
