"""Mocha's suites of vscode-extension/test/host, run in the real extension host of an editor."""

import json
import re
from urllib.parse import quote

import pytest

from tests.editor import machine

LONGEST_S = 600


@pytest.fixture
def extensions(tmp_path):
    """Return an empty folder: the extension under development must be the only one."""
    folder = tmp_path / "extensions"
    folder.mkdir()
    return folder


def test_the_suites_pass_in_the_extension_host(code, page):
    machine.packages()
    machine.node("esbuild.mjs", "--tests")
    said, ended = [], []
    page.expose_function("codeAutomationLog", lambda _, words: said.append(_text(words)))
    page.expose_function("codeAutomationExit", lambda exit_code, *_: ended.append(exit_code))
    code.serve("--vscode-option", "enable-smoke-test-driver")
    remote = f"vscode-remote://127.0.0.1:{code.port}"
    payload = [
        ["extensionDevelopmentPath", f"{remote}{machine.EXTENSION}"],
        ["extensionTestsPath", f"{remote}{machine.EXTENSION}/dist/test/host/index.js"],
    ]
    code.page = page
    page.goto(
        f"http://127.0.0.1:{code.port}/?folder={quote(str(code.project))}"
        f"&payload={quote(json.dumps(payload))}"
    )
    code.until(lambda: ended, LONGEST_S)
    output = "\n".join(said)
    passed = re.search(r"passed: (\d+)", output)
    assert ended == [0], output
    assert passed and int(passed[1]) > 0, f"no test ran:\n{output}"


def _text(words):
    return " ".join(map(str, words)) if isinstance(words, list) else str(words)
