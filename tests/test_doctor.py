"""The doctor's checks: each that is not well names a remedy."""

from pathlib import Path

import pytest

from cascade_lsp.doctor import Finding, examine, network
from cascade_lsp.settings import Settings, parse


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path))
    return tmp_path


async def findings_of(raw: object) -> dict[str, Finding]:
    settings, faults = parse(raw)
    assert not faults
    return {finding.name: finding async for finding in examine(settings)}


@pytest.mark.parametrize(
    "raw",
    [{}, {"sandbox": {"execution": "off"}}, {"models": {"small": "no-such", "large": "no-such"}}],
)
async def test_whatever_is_not_well_names_a_remedy(raw: object) -> None:
    found = await findings_of(raw)
    assert found["small model"].state == "failed"
    assert [one for one in found.values() if one.state != "ok" and not one.remedy] == []


async def test_a_ledger_that_cannot_be_used_fails_the_check(home: Path) -> None:
    (home / "state").mkdir()
    (home / "state" / "ledger.sqlite3").mkdir()
    found = (await findings_of({}))["ledger"]
    assert found.state == "failed" and found.remedy


def test_the_promise_about_the_network_is_stated() -> None:
    url = {"url": "https://models.example.net/v1"}
    off, on = network(Settings()), network(parse({"network": "on", "remote": url})[0])
    asked_not = network(parse({"remote": url})[0])
    assert "nothing connects to anything but this machine" in off.found
    assert "--network" in off.remedy
    assert "configured and not asked" in asked_not.found
    assert "models.example.net may be asked" in on.found
    assert "no remote model" in network(parse({"network": "on"})[0]).found
