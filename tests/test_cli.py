"""The command line as its user meets it: real processes, exit codes, no tracebacks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import models

DOUBLE = '''\
def double(n: int) -> int:
    """Return twice n.

    >>> double(4)
    8
    """
    '''


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home for state with the installed models linked into it."""
    weights = tmp_path / "home" / "models" / "weights"
    weights.mkdir(parents=True)
    for path in (models.small(), models.large()):
        (weights / path.name).symlink_to(path)
    return tmp_path / "home"


def cascade(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cascade_lsp", *arguments],
        env={**os.environ, "CASCADE_HOME": str(home), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


MISTAKES = [
    (["complete", "nothing.py:3"], 2, "cannot be read"),
    (["complete", "nothing"], 2, "is not a place"),
    (["explain", "abc", "--last"], 2, "Give one of"),
    (["explain", "--since", "soon"], 2, "not a length of time"),
    (["explain", "--last"], 2, "no decision yet"),
    (["models", "path", "gpt"], 2, "models list"),
    (["models", "path", "smollm2-135m-instruct-q4_1"], 3, "models fetch"),
    (["models", "add", "missing.gguf"], 3, "cannot be read"),
    (["sandbox", "run", "missing.py"], 2, "cannot be read"),
    (["sandbox", "run", "README.md"], 2, "ends in none of .py, .js"),
    (["nonsense"], 2, "No such command"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "words"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES]
)
def test_a_mistake_is_a_sentence_and_an_exit_code(
    home: Path, arguments: list[str], code: int, words: str
) -> None:
    done = cascade(home, *arguments)
    assert done.returncode == code
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command",
    ["complete", "explain", "serve", "demo", "doctor", "models", "models fetch", "models add",
     "models list", "models verify", "models remove", "models path", "models optimize",
     "sandbox run", "sandbox status", "sandbox selftest"],
)  # fmt: skip
def test_every_command_has_help(home: Path, command: str) -> None:
    done = cascade(home, *command.split(), "--help")
    assert done.returncode == 0
    if command != "models":
        assert "Example" in done.stdout


def test_the_version_is_printed(home: Path) -> None:
    assert cascade(home, "--version").stdout.startswith("cascade ")


def test_a_stub_in_a_file_is_completed_recorded_and_explained(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "math.py"
    file.write_text(DOUBLE)
    done = cascade(home, "complete", f"{file}:7", "--json", "--wait")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result) == {"id", "text", "tier", "decision", "tests", "usage", "ms"}
    assert set(result["decision"]) == {"action", "reason", "observed", "required"}
    assert all(set(test) == {"text", "verdict", "seen"} for test in result["tests"])
    assert set(result["usage"]["small"]) == {"prompt_tokens", "cached_tokens", "new_tokens", "ms"}
    assert "return" in result["text"]
    assert {"text": "assert double(4) == 8", "verdict": "passed", "seen": "8"} in result["tests"]
    explained = cascade(home, "explain", result["id"])
    assert "`double`" in explained.stdout
    told = json.loads(cascade(home, "explain", "--last", "--json").stdout)
    assert told["id"] == result["id"]
    period = json.loads(cascade(home, "explain", "--since", "1h", "--json").stdout)
    assert [one["id"] for one in period] == [result["id"]]


def test_the_column_says_where_in_the_line(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "calls.py"
    file.write_text("value = len([1, 2, 3])\nprint()\n")
    done = cascade(home, "complete", f"{file}:2:7", "--json", "--plan", "small")
    result = json.loads(done.stdout)
    assert result["decision"]["reason"] in ("not_testable", "not_checked", "syntax_error")
    assert "\n" not in result["text"]
    assert cascade(home, "complete", f"{file}:2:9").returncode == 2


def test_an_unknown_plan_is_a_mistake(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1\n")
    done = cascade(home, "complete", f"{file}:1", "--plan", "enormous")
    assert done.returncode == 2
    assert "default, paper, small, large" in done.stderr


def test_without_a_model_the_remedy_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1\n")
    done = cascade(tmp_path / "empty", "complete", f"{file}:1")
    assert done.returncode == 3
    assert "cascade models fetch" in done.stderr


PROGRAMS = [
    ("print(1 + 1)", 0, "passed", "2\n"),
    ("assert 1 == 2", 1, "assert_failed", ""),
    ("open('/etc/passwd').read()", 1, "blocked_access", ""),
    ("while True: pass", 1, "timeout", ""),
]


@pytest.mark.parametrize(("source", "code", "kind", "seen"), PROGRAMS, ids=[p[2] for p in PROGRAMS])
def test_a_program_is_run_in_the_sandbox(
    home: Path, tmp_path: Path, source: str, code: int, kind: str, seen: str
) -> None:
    file = tmp_path / "program.py"
    file.write_text(source)
    done = cascade(home, "sandbox", "run", str(file), "--json")
    outcome = json.loads(done.stdout)
    assert (done.returncode, outcome["kind"]) == (code, kind)
    if kind == "passed":
        assert outcome["seen"] == seen


def test_tests_of_a_file_are_run_against_a_program(home: Path, tmp_path: Path) -> None:
    program, tests = tmp_path / "program.py", tmp_path / "tests.py"
    program.write_text("def f(x): return 2 * x\n")
    tests.write_text("assert f(2) == 4\nassert f(2) == 5\nassert abs(f(0.5) - 1) < 0.1\n")
    arguments = ("sandbox", "run", str(program), "--tests", str(tests), "--tier", "portable")
    done = cascade(home, *arguments, "--json")
    outcomes = json.loads(done.stdout)
    assert done.returncode == 1
    assert [one["kind"] for one in outcomes] == ["passed", "assert_failed", "passed"]
    assert outcomes[1] | {"seen": "4", "test": "f(2) == 5"} == outcomes[1]
    assert "assert_failed" in cascade(home, *arguments).stdout


def test_a_file_of_tests_holds_nothing_but_asserts(home: Path, tmp_path: Path) -> None:
    for text in ("", "x = 1", "assert (", "import os\nassert os"):
        (tmp_path / "tests.py").write_text(text)
        file = str(tmp_path / "tests.py")
        done = cascade(home, "sandbox", "run", file, "--tests", file)
        assert done.returncode == 2
        assert "tests.py" in done.stderr


@pytest.mark.parametrize("tier", ["auto", "portable"])
def test_the_sandbox_tells_its_tier_and_is_attacked(home: Path, tier: str) -> None:
    status = json.loads(cascade(home, "sandbox", "status", "--tier", tier, "--json").stdout)
    assert status["tier"] != "none" and status["reason"]
    assert "python" in status["languages"]
    done = cascade(home, "sandbox", "selftest", "--tier", tier, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, report
    assert report["tier"] == status["tier"]
    assert report["through"] == report["faults"] == []
    assert sum(group["tried"] for group in report["groups"].values()) >= 120


def test_models_are_listed_with_where_they_are(home: Path) -> None:
    listed = json.loads(cascade(home, "models", "list", "--json").stdout)
    by_role = {model["role"]: model for model in listed if model["role"]}
    assert set(by_role) == {"small", "large"}
    assert by_role["small"]["path"].endswith(".gguf")
    assert any(not model["run_here"] for model in listed)


def test_a_model_can_be_verified_and_removed(home: Path) -> None:
    name = models.small().stem
    assert cascade(home, "models", "verify", name).returncode == 0
    assert cascade(home, "models", "remove", name).returncode == 0
    assert models.small().exists()
    assert cascade(home, "models", "path", name).returncode == 3


def test_the_doctor_measures_everything_and_finds_it_well(home: Path) -> None:
    done = cascade(home, "doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    for name in ("llama.cpp", "small model", "small model: speed", "large model: memory",
                 "sandbox", "ledger", "disk"):  # fmt: skip
        assert findings[name]["state"] == "ok", findings[name]
    assert "tokens per second" in findings["small model: speed"]["found"]


def test_a_plan_is_replayed_by_its_name_or_its_file(home: Path, tmp_path: Path) -> None:
    done = cascade(home, "lab", "replay", "paper")
    assert done.returncode == 0, done.stderr
    assert "humaneval" in done.stdout and "self_tests_failed" in done.stdout
    file = tmp_path / "try.toml"
    file.write_text('summary = ""\n[[step]]\ntier = "large"\nk = 0\ntests = 0\n')
    found = json.loads(cascade(home, "lab", "replay", str(file), "--json").stdout)
    assert found[-1]["set"] == "all" and found[-1]["escalated"] == 0
    assert sum(found[-1]["reasons"].values()) == found[-1]["problems"]
    assert list(found[-1]["reasons"]) == ["large: not_checked", "large: empty_answer"]
    for plan, said in (("x", "There is no plan 'x'"), (str(tmp_path / "n.toml"), "is no plan")):
        done = cascade(home, "lab", "replay", plan)
        assert done.returncode == 2 and said in done.stderr


def test_the_doctor_names_the_remedy_for_a_missing_model(tmp_path: Path) -> None:
    done = cascade(tmp_path / "empty", "doctor", "--json")
    missing = next(f for f in json.loads(done.stdout) if f["name"] == "small model")
    assert done.returncode == 1
    assert missing["state"] == "failed"
    assert missing["remedy"].startswith("cascade models fetch")


def test_the_demonstration_shows_all_three_cases(home: Path, tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    done = cascade(home, "demo", "--svg", str(picture))
    assert done.returncode == 0, done.stderr
    assert "✓" in done.stdout and "✗" in done.stdout
    assert done.stdout.count("▸ small") == 3
    assert "▸ large" in done.stdout
    assert "nothing can be tested here" in done.stdout
    assert picture.read_text().startswith("<svg")
    recorded = json.loads(cascade(home, "explain", "--since", "1h", "--json").stdout)
    assert [len(one["attempts"]) > 1 for one in recorded] == [False, True, False]
    assert recorded[1]["attempts"][1]["decision"]["action"] == "accept"
