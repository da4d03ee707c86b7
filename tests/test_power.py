"""What may be spent, as a table of machines and settings; and what a gauge makes of counters."""

from dataclasses import replace
from itertools import pairwise

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_lsp import power
from cascade_lsp.power import Counters, Gauge, PowerOptions, Reading, Spending, spending

AUTO = PowerOptions()
MAINS = Reading(percent=80.0, load=0.1, hottest_c=50.0, available_mb=8000.0)
BATTERY = replace(MAINS, on_battery=True)
LOW = replace(BATTERY, percent=18.0)
BUSY, HOT, SHORT = {"load": 0.9}, {"hottest_c": 95.0}, {"available_mb": 300.0}


@pytest.mark.parametrize(
    ("reading", "profile", "why"),
    [
        (Reading(), "plugged", "plugged in"),
        (MAINS, "plugged", "plugged in"),
        (replace(MAINS, percent=5.0), "plugged", "plugged in"),
        (BATTERY, "battery", "on battery at 80 %"),
        (Reading(on_battery=True), "battery", "on battery"),
        (LOW, "saver", "on battery at 18 %"),
        (replace(BATTERY, percent=20.0), "battery", "on battery at 20 %"),
        (
            replace(MAINS, **BUSY),
            "battery",
            "plugged in, other programs take 90% of the processors",
        ),
        (replace(MAINS, **HOT), "battery", "plugged in, a processor is at 95 °C"),
        (replace(MAINS, **SHORT), "battery", "plugged in, only 300 MB of memory are available"),
        (
            replace(BATTERY, **HOT),
            "saver",
            "on battery at 80 %, a processor is at 95 °C",
        ),
        (
            replace(MAINS, **HOT, **SHORT),
            "battery",
            "plugged in, a processor is at 95 °C, only 300 MB of memory are available",
        ),
        (replace(LOW, **HOT), "saver", "on battery at 18 %, a processor is at 95 °C"),
    ],
)
def test_a_machine_gives_a_profile_and_strain_takes_one_step_down(reading, profile, why):
    found = spending(reading, AUTO)
    assert (found.profile, found.why) == (profile, why)


@pytest.mark.parametrize("profile", ["plugged", "battery", "saver", "custom"])
@pytest.mark.parametrize("reading", [MAINS, LOW, replace(MAINS, **BUSY)])
def test_a_profile_that_is_named_holds_whatever_the_machine_does(profile, reading):
    found = spending(reading, PowerOptions(profile=profile))
    assert (found.profile, found.why) == (profile, f"set to {profile}")


def test_each_profile_spends_no_more_than_the_one_before():
    plugged, battery, saver = (
        spending(MAINS, PowerOptions(profile=one)) for one in ("plugged", "battery", "saver")
    )
    assert replace(plugged, why="plugged in") == Spending()
    assert (battery.tokens, battery.verify, battery.tests) == (0.5, "pauses", 0)
    assert battery.automatic and battery.large and not battery.ahead
    assert (saver.verify, saver.automatic, saver.large) == ("never", False, False)
    assert saver.tokens <= battery.tokens


def test_custom_is_what_the_settings_say():
    options = PowerOptions("custom", tokens=3.0, verify="never", tests=2, automatic=False)
    found = spending(LOW, replace(options, ahead=True, large=False))
    assert found == Spending(
        "custom", "set to custom", 1.0, "never", 2, automatic=False, ahead=True, large=False
    )


def test_the_thresholds_are_the_settings():
    options = PowerOptions(saver_percent=90.0)
    assert spending(BATTERY, options).profile == "saver"
    assert spending(MAINS, PowerOptions(busy_load=0.05)).profile == "battery"
    assert spending(MAINS, PowerOptions(hot_c=40.0)).profile == "battery"
    assert spending(MAINS, PowerOptions(short_mb=9000)).profile == "battery"


def test_what_is_spared_is_told_with_its_reason_and_nothing_where_nothing_is():
    assert Spending().told == ""
    assert spending(MAINS, PowerOptions(profile="plugged")).told == ""
    told = spending(LOW, AUTO).told
    assert told.startswith("on battery at 18 % (saver): suggestions of 50% of their usual length")
    assert "not tested" in told and "no larger local model" in told


# -- back and forth --------------------------------------------------------------------------------

BOUNDS = {
    "percent": (power.CHARGED, AUTO.saver_percent, 1),
    "load": (AUTO.busy_load * (1 - power.CALMER), AUTO.busy_load, -1),
    "hottest_c": (power.COOLER_C, AUTO.hot_c, -1),
    "available_mb": (AUTO.short_mb * (power.ROOMIER - 1), AUTO.short_mb, 1),
}


@given(st.sampled_from(sorted(BOUNDS)), st.lists(st.floats(0.0, 1.0), min_size=2, max_size=30))
def test_a_machine_near_a_threshold_changes_its_profile_at_most_once(name, swings):
    width, threshold, better = BOUNDS[name]
    held, profiles = frozenset(), []
    for swing in swings:  # from just worse than the threshold to just short of the softer one
        reading = replace(BATTERY, **{name: threshold + better * width * (1.2 * swing - 0.21)})
        found = spending(reading, AUTO, held)
        held = found.causes
        profiles.append(found.profile)
    changes = sum(a != b for a, b in pairwise(profiles))
    assert changes <= 1


@given(st.floats(0, 100), st.floats(0, 1), st.floats(0, 120), st.floats(0, 1e5), st.booleans())
def test_no_cause_outlives_a_machine_that_is_well(percent, load, heat, megabytes, on_battery):
    strained = Reading(on_battery, percent, load, heat, megabytes)
    held = spending(strained, AUTO).causes
    assert spending(MAINS, AUTO, held) == Spending()
    assert spending(BATTERY, AUTO, held).profile == "battery"


@given(
    st.builds(
        Reading,
        st.booleans(),
        st.none() | st.floats(0, 100),
        st.none() | st.floats(0, 1),
        st.none() | st.floats(0, 120),
        st.none() | st.floats(0, 1e5),
    ),
    st.frozensets(st.sampled_from(["charge", "load", "heat", "memory"])),
)
def test_every_machine_has_a_budget_above_nothing(reading, held):
    found = spending(reading, AUTO, held)
    assert 0 < found.tokens <= 1 and found.profile in ("plugged", "battery", "saver")
    assert bool(found.told) == (found.profile != "plugged")


# -- the machine -----------------------------------------------------------------------------------


def gauge(*counted):
    """Return a gauge of one processor that counts what is given, look by look."""
    looks = iter(counted)
    return Gauge(lambda: MAINS, lambda: next(looks), cores=1)


def load_after(*counted):
    seen = gauge(*counted)
    for _ in counted:
        seen.look()
    return seen.reading.load


def test_what_this_product_computes_is_no_load():
    counts = [Counters(at, at * 0.9, {7: (1, at * 0.9)}) for at in (0.0, 20.0, 40.0)]
    assert load_after(*counts) == pytest.approx(0.0)


def test_what_other_programs_compute_is_load():
    counts = [Counters(at, at * 0.9, {7: (1, at * 0.2)}) for at in (0.0, 20.0, 40.0)]
    assert load_after(*counts) == pytest.approx(0.7)


def test_a_process_of_ours_that_has_ended_is_counted_once():
    before = Counters(0.0, 100.0, {7: (1, 5.0), 8: (7, 90.0)})
    fetched = Counters(40.0, 110.0, {7: (1, 105.0)})  # its seconds, and ten more, are its parent's
    assert load_after(before, fetched) == pytest.approx(0.0)
    orphan = Counters(0.0, 100.0, {7: (1, 5.0), 8: (3, 90.0)})
    assert load_after(orphan, Counters(40.0, 110.0, {7: (1, 15.0)})) == pytest.approx(0.0)


def test_a_moment_is_no_load_and_neither_is_what_was_long_ago():
    assert load_after(Counters(0.0, 0.0, {}), Counters(10.0, 10.0, {})) is None
    assert load_after(Counters(0.0, 0.0, {}), Counters(600.0, 600.0, {})) is None


def test_a_machine_is_read_no_more_often_than_its_reading_is_good_for(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(power.time, "monotonic", lambda: now[0])
    seen = gauge()
    assert (seen.is_due(), seen.is_due()) == (True, False)
    now[0] += power.FRESH_S
    assert (seen.is_due(), seen.is_due()) == (True, False)


def test_the_causes_of_the_last_reading_are_held():
    readings = iter([LOW, replace(LOW, percent=22.0), replace(LOW, percent=26.0)])
    seen = Gauge(lambda: next(readings), lambda: Counters(0.0, 0.0, {}), cores=1)
    found = [seen.spending(AUTO).profile]
    for _ in range(2):
        seen.look()
        found.append(seen.spending(AUTO).profile)
    assert found == ["saver", "saver", "battery"]


def test_a_machine_that_cannot_be_read_keeps_its_last_reading():
    seen = gauge(Counters(0.0, 0.0, {}))
    seen.look()
    seen._count = lambda: (_ for _ in ()).throw(OSError("no more files may be opened"))
    seen.look()
    assert seen.reading == replace(MAINS, load=None)


def test_this_machine_is_read():
    reading = power.read()
    assert reading.available_mb and reading.load is None
    counted = power.count()
    assert counted.all_s >= counted.own[psutil.Process().pid][1] > 0
    assert spending(reading, AUTO).profile in ("plugged", "battery", "saver")


def test_a_sensor_that_this_system_lacks_or_that_fails_is_no_fault(monkeypatch):
    def broken():
        raise FileNotFoundError("/sys/class/hwmon")

    monkeypatch.setattr(psutil, "sensors_temperatures", broken, raising=False)
    monkeypatch.delattr(psutil, "sensors_battery", raising=False)
    reading = power.read()
    assert (reading.on_battery, reading.percent, reading.hottest_c) == (False, None, None)
