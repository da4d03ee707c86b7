"""A sandbox of its own for each test, ended afterwards."""

from collections.abc import AsyncIterator

import pytest

from cascade_lsp.sandbox.portable import PortableSandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[PortableSandbox]:
    portable = PortableSandbox()
    yield portable
    await portable.close()
