"""The catalogue: what is listed, what counts as being here, and what may be added."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cascade_lsp import catalogue
from cascade_lsp.catalogue import HuggingFace, ModelOptions, Status, Style, Wheels
from cascade_lsp.errors import ModelError, UsageError
from cascade_lsp.paths import models_dir
from tests.fetching import a_model, some_data, write_gguf


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path / "home"))
    models_dir().mkdir(parents=True)
    return models_dir()


def test_every_shipped_model_says_which_file_is_meant() -> None:
    models = catalogue.load().models
    assert len({model.name for model in models}) == len(models) >= 7
    for model in models:
        assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*", model.name)
        assert model.size_bytes > 90e6 and model.context >= 8192


def test_every_shipped_source_is_pinned() -> None:
    for model in catalogue.load().models:
        assert model.sources
        for source in model.sources:
            if isinstance(source, HuggingFace):
                assert re.fullmatch(r"[0-9a-f]{40}", source.revision)
            else:
                assert all("==" in each and "{" not in each for each in source.requirements)


def test_no_two_models_are_the_same_file() -> None:
    models = catalogue.load().models
    assert len({model.sha256 for model in models}) == len(models)


def test_the_default_models_were_run_here_and_are_the_default_settings() -> None:
    shipped = catalogue.load()
    small, large = shipped.default("small"), shipped.default("large")
    assert small.run_here and large.run_here
    assert (small.name, large.name) == (ModelOptions().small, ModelOptions().large)
    assert [model.role for model in shipped.models].count("small") == 1
    assert [model.role for model in shipped.models].count("large") == 1


def test_parts_are_asked_for_in_their_order() -> None:
    wheels = Wheels("wheels", "weights-part{part}", "2.0", 11)
    assert wheels.requirements[1] == "weights-part2==2.0"
    assert wheels.requirements[10] == "weights-part11==2.0"
    assert Wheels("wheels", "weights", "2.0").requirements == ("weights==2.0",)


def test_an_unknown_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match=r"qwen2\.5-coder-3b-q8_0 may be meant"):
        catalogue.load().find("Qwen2.5-Coder-3B")
    with pytest.raises(UsageError, match=r"There is no model zzz in the catalogue\. `cascade"):
        catalogue.load().find("zzz")


def test_reading_the_catalogue_loads_no_network_library_and_no_model_reader() -> None:
    code = (
        "import sys; from cascade_lsp import catalogue, download; catalogue.load();"
        "print({'huggingface_hub', 'gguf', 'httpx', 'requests', 'ssl'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_half_a_file_is_not_installed(home: Path) -> None:
    model = a_model(some_data(1000))
    path = home / f"{model.name}.gguf"
    path.write_bytes(some_data(1000)[:500])
    assert catalogue.installed(model) is None
    with pytest.raises(ModelError, match=f"`cascade models fetch {model.name}`"):
        catalogue.require(model)
    path.write_bytes(some_data(1000))
    assert catalogue.installed(model) == path == catalogue.require(model)


def test_one_changed_byte_is_found_by_verify(home: Path) -> None:
    data = some_data(9_000_000)
    model, seen = a_model(data), []
    path = home / f"{model.name}.gguf"
    path.write_bytes(data)
    assert catalogue.verify(model, lambda *progress: seen.append(progress)) == path
    assert seen[-1] == (f"Checking {model.name}", 9_000_000, 9_000_000) and len(seen) > 1
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ModelError, match=f"`cascade models remove {model.name}`"):
        catalogue.verify(model)


def test_any_gguf_can_be_added_found_checked_and_removed(tmp_path: Path, home: Path) -> None:
    file = write_gguf(tmp_path / "My-Model.gguf", chat=True, fim_id=1)
    model = catalogue.add(file)
    assert model.name == "my-model" and model.family == "llama" and model.context == 2048
    assert (model.quantization, model.licence, model.parameters) == ("Q8_0", "mit", 0.0)
    assert catalogue.load().find("my-model") == model
    assert catalogue.load().status()[-1] == Status(model, home / "my-model.gguf")
    assert catalogue.load().status()[-1].added
    assert catalogue.verify(model).samefile(file)
    catalogue.remove(model)
    assert file.exists() and not list(home.glob("my-model*"))
    with pytest.raises(UsageError, match="no model my-model"):
        catalogue.load().find("my-model")


@pytest.mark.parametrize(
    ("tokens", "fim_id", "chat", "style"),
    [
        (("a", "b"), 1, True, Style("psm", "chat", "chat")),
        (("a", "<|fim_prefix|>"), None, True, Style("psm", "chat", "chat")),
        (("a", "<|fim_prefix|>"), None, False, Style("psm", "prefix", "prefix")),
        (("fim_prefix", "fim"), None, False, Style("prefix", "prefix", "prefix")),
    ],
)
def test_the_style_of_an_added_model_follows_from_its_markers_and_template(
    tmp_path: Path, tokens: tuple[str, ...], fim_id: int | None, chat: bool, style: Style
) -> None:
    file = write_gguf(tmp_path / "m.gguf", tokens, chat=chat, fim_id=fim_id)
    assert catalogue.add(file).style == style


def test_a_file_that_is_listed_already_takes_its_place_there(tmp_path: Path, home: Path) -> None:
    model = catalogue.add(write_gguf(tmp_path / "one.gguf"))
    copy = tmp_path / "two.gguf"
    copy.write_bytes((tmp_path / "one.gguf").read_bytes())
    assert catalogue.add(copy) == model
    assert catalogue.add(catalogue.require(model)) == model, "its own file may be given too"
    assert catalogue.verify(model) and not list((home / ".partial").iterdir())
    assert [each.name for each in catalogue.load().models].count("two") == 0
    assert catalogue.add(copy, "two").name == "two", "unless another name is asked for"


def test_a_name_that_is_taken_or_unfit_is_refused(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "m.gguf")
    for name, why in (
        (ModelOptions().small, "called"),
        ("../m", "cannot be a model's name"),
        (".m", "cannot be a model's name"),
    ):
        with pytest.raises(UsageError, match=why):
            catalogue.add(file, name)
    assert not list(models_dir().iterdir())


def test_what_is_no_whole_language_model_is_refused(tmp_path: Path) -> None:
    for file in (
        tmp_path / "missing.gguf",
        tmp_path,
        _written(tmp_path / "empty.gguf", b""),
        _written(tmp_path / "text.gguf", b"PK\3\4 this is no model" * 1000),
        write_gguf(tmp_path / "projector.gguf", tokens=()),
        write_gguf(tmp_path / "split.gguf", pieces=3),
        write_gguf(tmp_path / "vocabulary.gguf", weights=False),
        write_gguf(tmp_path / "nonsense.gguf", pieces="many"),
        write_gguf(tmp_path / "endless.gguf", context=float("inf")),
    ):
        with pytest.raises(ModelError, match=re.escape(str(file))):
            catalogue.add(file)
    assert not list(models_dir().iterdir())


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    whole = write_gguf(tmp_path / "whole.gguf", chat=True).read_bytes()
    with pytest.raises(ModelError):
        catalogue.add(_written(tmp_path / "cut.gguf", whole[: int(share * len(whole))]), "cut")


@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_damaged_header_ends_in_a_sentence_or_in_a_model(
    tmp_path: Path, place: float, byte: int
) -> None:
    data = bytearray(write_gguf(tmp_path / "whole.gguf", chat=True).read_bytes())
    data[int(place * 700)] = byte
    try:
        catalogue.remove(catalogue.add(_written(tmp_path / "bad.gguf", bytes(data)), "bad"))
    except ModelError as error:
        assert "bad.gguf" in str(error)


def test_removing_what_is_not_here_is_a_mistake_that_is_said() -> None:
    with pytest.raises(UsageError, match="nothing was removed"):
        catalogue.remove(catalogue.load().default("small"))


def test_removing_clears_what_is_left_of_a_download_and_a_dangling_link(home: Path) -> None:
    model = a_model(some_data(10))
    (home / ".partial" / model.name).mkdir(parents=True)
    (home / f"{model.name}.gguf").symlink_to(home / "gone")
    catalogue.remove(model)
    assert not (home / ".partial" / model.name).exists()
    assert not (home / f"{model.name}.gguf").is_symlink()


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"name": "x", "extra": 1}', "\udcff"])
def test_a_damaged_entry_costs_its_model_alone_and_is_named_with_what_to_do(
    home: Path, text: str
) -> None:
    (home / "mine.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    known = catalogue.load()
    assert known.default("small")
    assert len(known.faults) == 1 and "mine.json" in known.faults[0]
    with pytest.raises(UsageError, match=r"mine\.json.*Delete that file"):
        known.find("mine")


def test_a_disk_that_refuses_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(tmp_path / "m.gguf")
    monkeypatch.setenv("CASCADE_HOME", str(_written(tmp_path / "a-file", b"")))
    with pytest.raises(ModelError, match=r"could not be stored in .*CASCADE_HOME"):
        catalogue.add(file)


def test_a_shipped_model_that_is_here_is_reported_with_its_path(home: Path) -> None:
    model = replace(catalogue.load().default("small"), size_bytes=3)
    (home / f"{model.name}.gguf").write_bytes(b"abc")
    listed = catalogue.Catalogue((model,)).status()
    assert listed == (Status(model, home / f"{model.name}.gguf"),) and not listed[0].added
