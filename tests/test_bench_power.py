"""What the bench of power profiles adds up; and one visit with the real server and model."""

from pathlib import Path

import pytest

from cascade_lsp.bench import power
from cascade_lsp.bench.corpus import Place
from cascade_lsp.bench.power import Energy, Side, Visit, costs, functions
from tests import models


def zone(folder: Path, name: str, energy_uj: int, kind: str = "package-0") -> Path:
    made = folder / name
    made.mkdir(parents=True, exist_ok=True)
    (made / "name").write_text(f"{kind}\n")
    (made / "max_energy_range_uj").write_text("10000000\n")
    (made / "energy_uj").write_text(f"{energy_uj}\n")
    return made


def test_the_energy_of_all_packages_is_added_over_the_counters_new_beginnings(
    tmp_path: Path,
) -> None:
    first = zone(tmp_path, "intel-rapl:0", 9_000_000)
    second = zone(tmp_path, "intel-rapl:1", 1_000_000, "package-1")
    part = zone(tmp_path, "intel-rapl:0:0", 0, "core")
    energy = Energy(tmp_path)
    (first / "energy_uj").write_text("500000")  # began anew: 1.5 J
    (second / "energy_uj").write_text("3000000")  # 2 J
    (part / "energy_uj").write_text("9000000")  # is in its package's already
    assert energy.read() == pytest.approx(3.5)
    assert energy.read() == pytest.approx(3.5)


def test_energy_that_is_not_reported_is_none(tmp_path: Path) -> None:
    assert Energy(tmp_path / "none").read() is None
    unreadable = zone(tmp_path, "intel-rapl:0", 0)
    (unreadable / "energy_uj").unlink()
    assert Energy(tmp_path).read() is None


def test_costs_are_per_suggestion_and_visits_in_vain_are_paid_by_the_others() -> None:
    seen = Visit("battery", "a", 20, 0.5, 3.0, 30.0, 1, 0)
    vain = Visit("battery", "b", 0, 0.1, 1.0, 10.0, 0, 1)
    plugged, battery, saver = costs([seen, vain])
    assert (battery.visits, battery.suggested, battery.cpu_s, battery.energy_j) == (2, 1, 4.0, 40)
    assert (battery.chars, battery.wait_s) == (20, 0.5)
    assert (battery.verifications, battery.escalations) == (1, 1)
    assert (plugged.visits, saver.suggested, saver.energy_j) == (0, 0, None)


def test_functions_to_complete_are_bundled() -> None:
    chosen = functions(4)
    assert len({place.name for place in chosen}) == 4
    assert all(place.head.rstrip(" ").endswith("\n") for place in chosen)


async def test_a_visit_under_saver_is_measured_with_the_real_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    models.small()
    monkeypatch.setattr(power, "PAUSES_S", 0.5)
    side = Side("saver", Energy(tmp_path))
    try:
        await side.start()
        stub = 'def add(a, b):\n    """Return the sum of a and b."""\n    return '
        seen = await side.visit(Place("add", "line", stub, "", "\n"))
    finally:
        await side.close()
    assert seen.chars > 0 and seen.cpu_s > 0
    assert (seen.profile, seen.energy_j, seen.verifications) == ("saver", None, 0)
