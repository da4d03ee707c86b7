"""The project's own rules: style, types, imports, and what the documents promise."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cascade_lsp import __version__
from cascade_lsp.plans import load_plans

ROOT = Path(__file__).parent.parent

CHECKS = {
    "ruff check": ["-m", "ruff", "check", "."],
    "ruff format": ["-m", "ruff", "format", "--check", "."],
    "mypy --strict": ["-m", "mypy"],
    "import contracts": ["-c", "from importlinter.cli import lint_imports_command as c; c()"],
}


@pytest.mark.parametrize("check", CHECKS)
def test_the_sources_pass(check: str) -> None:
    done = subprocess.run(
        [sys.executable, *CHECKS[check]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ci_runs_the_readmes_own_test_command() -> None:
    commands = re.findall(r"```sh\n(.+?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    tests = next(command for command in commands if "pytest" in command)
    assert tests.strip() in (ROOT / ".ci" / "run").read_text()


def test_the_constraints_pin_every_dependency_and_name_no_host() -> None:
    text = (ROOT / "constraints.txt").read_text()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in text.splitlines() if line}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["lab"]]
    assert "://" not in text
    for requirement in wanted:
        if requirement == "cascade-lsp[lab]":
            continue
        assert re.split(r"[><=[]", requirement)[0].lower().replace("_", "-") in pinned


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    assert f"## {__version__}" in (ROOT / "docs" / "changelog.md").read_text()


def test_every_invariant_names_a_check_that_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    tests = set(re.findall(r"`(tests/[\w/]+\.py)`", text))
    assert len(tests) >= 8
    assert all((ROOT / test).exists() for test in tests)


def test_the_top_level_is_the_closed_list() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    top = {path.split("/")[0] for path in tracked}
    assert top <= {
        "pyproject.toml", "README.md", "LICENSE", "constraints.txt", "server", "models", "tests",
        "docs", "vscode-extension", ".ci", ".gitignore",
    }  # fmt: skip


def test_the_plans_end_with_a_tier_to_answer() -> None:
    plans = load_plans()
    assert list(plans) == ["default", "paper", "small", "large"]
    assert [step.tier for step in plans["default"].steps] == ["small", "large"]
