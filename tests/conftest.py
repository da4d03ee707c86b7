"""No test leaves an engine host behind: those of its own home are ended with it."""

import shutil

import pytest

from tests.hosts import end_all_of


@pytest.fixture(autouse=True)
def _no_host_is_left(request):
    home = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if home is not None:
        for folder in end_all_of(home):
            shutil.rmtree(folder, ignore_errors=True)
