"""A browser and real editors for the tests; each test has an editor with a fresh home."""

import pytest
from playwright.sync_api import sync_playwright

from cascade_lsp import paths
from tests import models
from tests.editor import machine
from tests.editor.vscode import Code


@pytest.fixture(scope="module")  # its event loop runs on, and other modules have their own
def browser():
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=machine.chromium(), args=list(machine.CHROMIUM_ARGUMENTS)
        )
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def extensions(tmp_path_factory):
    """Return a folder of extensions in which the built package is installed."""
    folder = tmp_path_factory.mktemp("extensions")
    data = tmp_path_factory.mktemp("installing")
    machine.node(
        str(machine.code_server()),
        f"--extensions-dir={folder}",
        f"--user-data-dir={data}",
        f"--config={data / 'config.yaml'}",
        "--install-extension",
        str(machine.vsix()),
    )
    return folder


@pytest.fixture
def home(tmp_path):
    """Return a home of Cascade's own, with the installed models in it."""
    models.small()
    folder = tmp_path / "cascade"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "weights").symlink_to(paths.models_dir(), target_is_directory=True)
    return folder


@pytest.fixture
def page(browser):
    opened = browser.new_page(viewport={"width": 1100, "height": 700}, device_scale_factor=1)
    yield opened
    opened.close()


@pytest.fixture
def code(tmp_path, extensions, home):
    """Return an editor that is not started yet; a picture is kept of one whose test fails."""
    editor = Code(tmp_path / "editor", extensions, home)
    editor.configure()
    yield editor
    editor.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Keep a picture of an editor whose test fails, and what its engine said."""
    report = yield
    editor = getattr(item, "funcargs", {}).get("code")
    if report.when == "call" and report.failed and editor and editor.page:
        editor.picture(f"failed-{item.name}")
        report.sections.append(("engine log", editor.log()))
    return report
