"""Optimizing a model: on the real small one with the real llama.cpp, and what may go wrong."""

import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from cascade_lsp import catalogue, optimize
from cascade_lsp.catalogue import Model
from cascade_lsp.engine import EngineOptions
from cascade_lsp.errors import ModelError, UsageError
from cascade_lsp.optimize import Gain, Speeds
from cascade_lsp.paths import models_dir
from tests import models
from tests.fetching import write_gguf

NAME = "qwen2.5-coder-0.5b-instruct-q4_k_m"
MADE = f"{NAME}-iq4_nl"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a home with the small model linked into it; return the folder of the weights."""
    installed = models.small()
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path / "home"))
    models_dir().mkdir(parents=True)
    (models_dir() / installed.name).symlink_to(installed)
    return models_dir()


def small() -> Model:
    return catalogue.load().find(NAME)


def is_clean(home: Path) -> bool:
    """Say whether nothing is left of what was under way."""
    return not [path for path in home.glob(".partial/*") if path.is_dir()]


def program(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let this code stand in for the program that rewrites weights."""
    monkeypatch.setattr(optimize, "_PROGRAM", (sys.executable, "-c", code))


async def test_the_real_model_is_rewritten_entered_and_measured(home: Path) -> None:
    steps = []
    made = optimize.optimize(small(), lambda what, done, total: steps.append((what, done, total)))
    assert made == catalogue.load().find(MADE)
    assert catalogue.verify(made) == home / f"{MADE}.gguf"
    assert made.size_bytes < small().size_bytes
    assert (made.quantization, made.role, made.run_here) == ("IQ4_NL", None, False)
    assert (made.style, made.licence) == (small().style, small().licence)
    rewriting = [done for what, done, total in steps if what.startswith("Rewriting")]
    assert rewriting == sorted(rewriting) and rewriting[-1] == small().size_bytes
    assert is_clean(home)

    gain = await optimize.measure(small(), made, EngineOptions(), rounds=1)
    assert gain.reading > 0 and gain.writing > 0

    with pytest.raises(UsageError, match=f"optimized already.*models remove {MADE}"):
        optimize.optimize(small())
    with pytest.raises(UsageError, match="is IQ4_NL already"):
        optimize.optimize(made)
    catalogue.remove(made)
    assert catalogue.require(small())


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        ("IQ4_NL", "is IQ4_NL already"),
        ("Q4_0", "does not improve on"),
        ("Q3_K_M", "does not improve on"),
        ("unknown", "Q8_0"),
    ],
)
def test_what_cannot_gain_is_refused(quantization: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        optimize.optimize(replace(small(), quantization=quantization))


def test_a_model_that_is_not_here_is_refused_with_where_to_get_it() -> None:
    with pytest.raises(ModelError, match="cascade models fetch qwen2"):
        optimize.optimize(catalogue.load().find("qwen2.5-coder-1.5b-q8_0"))


def test_a_full_disk_is_seen_before_anything_is_written(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 100_000_000))
    program(monkeypatch, "raise SystemExit('was run')")
    with pytest.raises(ModelError, match=r"0\.1 GB of free disk.*may need 0\.5 GB.*Make room"):
        optimize.optimize(small())
    assert is_clean(home)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; sys.exit('failed to quantize: no room.')", "no room. Nothing was changed"),
        ("import os; os.kill(os.getpid(), 9)", "it was ended by SIGKILL"),
        ("print('1 2', flush=True); raise SystemExit(1)", "did not say why"),
        ("print('2 2')", "did not say why"),
    ],
)
def test_a_rewriting_that_fails_changes_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    program(monkeypatch, code)
    with pytest.raises(ModelError, match=f"(?s){words}.*cascade models verify {NAME}"):
        optimize.optimize(small())
    assert [path.name for path in home.glob("*.[gj]*")] == [f"{NAME}.gguf"]
    assert is_clean(home)


def test_a_damaged_file_is_refused_by_the_real_program(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "broken.gguf")
    file.write_bytes(file.read_bytes()[:400])
    command = [*optimize._PROGRAM, str(file), str(tmp_path / "out.gguf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "fail" in done.stderr.splitlines()[-1]


def test_an_interruption_ends_the_program_and_leaves_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    program(monkeypatch, "import time; print('1 2', flush=True); time.sleep(60)")
    with pytest.raises(KeyboardInterrupt):
        optimize.optimize(small(), interrupt)
    assert is_clean(home)


def test_two_at_the_same_time_are_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    def again(what: str, done: int, total: int) -> None:
        optimize.optimize(small())

    program(monkeypatch, "print('1 2')")
    with pytest.raises(ModelError, match="is being made by another process"):
        optimize.optimize(small(), again)


def test_a_gain_is_told_with_what_is_not_known_and_how_to_use_it() -> None:
    made = replace(small(), name=MADE)
    told = optimize.told(small(), made, Gain(Speeds(200, 22), Speeds(290, 29)))
    assert told[0] == "Reading: 200 before, 290 tokens per second now (1.45 times as fast)."
    assert "documented figures" in told[2]
    assert f"set cascade.models.small to {MADE}" in told[3]
    large = catalogue.load().default("large")
    assert "cascade.models.large" in optimize.told(large, made, Gain(Speeds(1, 1), Speeds(2, 2)))[3]


@pytest.mark.parametrize("optimized", [Speeds(204, 22), Speeds(300, 15), Speeds(190, 20)])
def test_no_gain_is_told_as_plainly(optimized: Speeds) -> None:
    told = optimize.told(small(), replace(small(), name=MADE), Gain(Speeds(200, 22), optimized))
    assert "no clear gain" in told[2] and f"models remove {MADE}" in told[2]
    assert len(told) == 3


def test_figures_of_a_busy_machine_are_told_to_be_uncertain() -> None:
    rounds = [Speeds(200, 22), Speeds(190, 9), Speeds(210, 20)]
    busy = optimize._medians(rounds)
    assert (busy.reading, busy.writing) == (200, 20)
    told = optimize.told(small(), replace(small(), name=MADE), Gain(busy, Speeds(400, 40)))
    assert "uncertain" in told[2] and len(told) == 5
