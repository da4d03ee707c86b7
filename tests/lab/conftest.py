"""The real sandbox for the laboratory's tests: nothing that is tested here runs outside it."""

from collections.abc import AsyncIterator

import pytest

from cascade_lsp.sandbox import Sandbox, SandboxOptions, make_sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    made = make_sandbox(SandboxOptions())
    assert made is not None
    status = await made.status()
    assert status.tier != "none", status.reason
    yield made
    await made.close()
