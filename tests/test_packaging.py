"""The wheel: what is in it is enough, and it is small."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, timeout=300)
    (built,) = folder.glob("cascade_lsp-*.whl")
    return built


def test_the_wheel_holds_the_data_and_no_weights(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "catalogue.toml",
        "plans/default.toml",
        "study/functions.jsonl.gz",
        "study/holes.jsonl.gz",
        "study/prices.json",
        "stubs/1_leap_year.py",
    ):
        assert f"cascade_lsp/models/{name}" in names
    assert "cascade_lsp/py.typed" in names
    assert not any(name.endswith(".gguf") or name.startswith("tests/") for name in names)
    assert "cascade_lsp/sandbox/harness.mjs" in names
    assert "cascade_lsp/sandbox/attacks/reading.txt" in names
    assert wheel.stat().st_size < 600_000  # attacks for the self-test, and the study


def test_what_is_installed_from_the_wheel_finds_its_data(wheel: Path, tmp_path: Path) -> None:
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*install, str(tmp_path), str(wheel)], check=True, timeout=300)
    check = (
        "import cascade_lsp; from cascade_lsp import catalogue, demo, plans;"
        "print(cascade_lsp.__file__, len(catalogue.load().models), len(demo.stubs()),"
        "len(plans.load_plans()))"
    )
    # A finder of an editable install would come first: -S leaves site-packages' hooks out.
    paths = [str(tmp_path), *(path for path in sys.path if path.endswith("site-packages"))]
    done = subprocess.run(
        [sys.executable, "-S", "-c", check],
        env={"PYTHONPATH": os.pathsep.join(paths), "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "cascade_lsp" / "__init__.py"), "7", "3", "4"]
