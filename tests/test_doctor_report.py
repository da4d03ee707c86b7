"""What a user may attach to a bug report: useful, and without secrets, names and paths."""

import getpass
import json
import os
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cascade_lsp.bugreport import LOG_LINES, redacted, report
from cascade_lsp.settings import Settings, parse

KEY = "sk-proj-9fJ2mQ7xL0vB4nT8wZ1cR5yK3hD6gA"
HOME = str(Path.home())


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        (f"OPENAI_API_KEY={KEY}", KEY),
        (f"started with ACME_SETTING='{KEY} and more'", "and more"),
        (f"Authorization: Bearer {KEY}", KEY),
        (f"the key {KEY} was refused", KEY),
        ("token ghp_16C7e42F292c6912E7710c838347Ae178B4a", "ghp_"),
        ("GET https://ann:hunter2@models.example.net/v1?key=abc failed", "hunter2"),
        ("GET https://models.example.net/v1/secret-project failed", "example"),
        ("opened file:///srv/customers/acme/app.py", "acme"),
        ("cannot read /srv/customers/acme/app.py: gone", "acme"),
        ('cannot read "/srv/My Customers/acme corp/app.py"', "corp"),
        ("cannot read /srv/My Customers/acme/app.py now", "acme"),
        (f"cannot read {HOME}/acme/app.py", "acme"),
        ("cannot read ~/acme/app.py", "acme"),
        (r"cannot read C:\Users\ann\acme\app.py", "Users"),
        (r"cannot read \\server\acme\app.py", "acme"),
        (f"user {getpass.getuser()} on {platform.node()}", getpass.getuser()),
        (f"user {getpass.getuser()} on {platform.node()}", platform.node()),
    ],
)  # fmt: skip
def test_secrets_names_and_paths_do_not_get_into_a_report(line: str, secret: str) -> None:
    assert secret in line
    assert secret not in redacted(line)


@pytest.mark.parametrize(
    "line",
    [
        "small model: speed: reads 15 and writes 4 tokens per second",
        "qwen2.5-coder-0.5b-instruct-q4_k_m: loaded in 7.0 s, 4096 tokens of context",
        "2026-11-27 01:12:43,120 WARNING cascade_lsp.engine: the worker ended with -11",
        "http://127.0.0.1:8080 answers and/or waits",
        "5/6 tests passed",
    ],
)
def test_what_is_needed_to_understand_a_fault_stays(line: str) -> None:
    assert redacted(line).replace("http://127.0.0.1:8080", "") == line.replace(
        "http://127.0.0.1:8080", ""
    )


def test_a_report_holds_versions_findings_settings_and_the_end_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "cascade.log"
    lines = [f"line {i}" for i in range(LOG_LINES + 5)]
    log.write_text("\n".join([*lines, f"failed at {tmp_path}/shop.py with API_KEY={KEY}"]))
    settings, faults = parse(
        {
            "engine": {"threads": 3},
            "remote": {"url": "https://models.example.net/v1"},
            "models": {"large": "another-model"},
        }
    )
    assert not faults
    text = report([{"state": "failed", "name": "disk", "found": "full"}], settings, [log])
    assert "- failed: disk: full" in text and "llama-cpp-python 0." in text
    assert "cascade.engine.threads: 3" in text and "cascade.models.large: another-model" in text
    assert "cascade.remote.url: set" in text and "example.net" not in text
    assert "line 4\n" not in text and f"line {LOG_LINES + 4}" in text
    assert KEY not in text and str(tmp_path) not in text


def test_default_settings_are_none_that_differ() -> None:
    assert "defaults\n\nnone" in report([], Settings())
    assert "cascade.lens: True" in report([], replace(Settings(), lens=True))


def test_the_command_removes_a_planted_key_and_a_path_and_ends_with_the_checks_code(
    tmp_path: Path,
) -> None:
    settings, log = tmp_path / "settings.json", tmp_path / "engine.log"
    settings.write_text(json.dumps({"remote": {"url": f"https://u:{KEY}@h.example/v1"}}))
    log.write_text(f"export MY_TOKEN={KEY}\nopened {HOME}/plans/merger.py\nreached the end\n")
    command = [sys.executable, "-m", "cascade_lsp", "doctor", "--report", "--log", str(log)]
    done = subprocess.run(
        [*command, "--settings", str(settings)],
        env={**os.environ, "CASCADE_HOME": str(tmp_path / "home"), "PLANTED_KEY": KEY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr  # no model is in that home
    assert "failed: small model" in done.stdout and "reached the end" in done.stdout
    for planted in (KEY, "merger", "h.example", str(tmp_path)):
        assert planted not in done.stdout
