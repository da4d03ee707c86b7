"""What may be spent now: the machine read, and the settings asked what that allows.

It holds nothing back itself: who computes looks at a `Spending`. Nobody else compares a charge, a
load or a temperature with a threshold. What this product computes is no load to it, or it would
throttle itself for its own work; whether there is room for one more model is for `engine.room`.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, Literal

import psutil

_LOG = logging.getLogger(__name__)

Profile = Literal["plugged", "battery", "saver", "custom"]
Verify = Literal["always", "pauses", "never"]
Cause = Literal["charge", "load", "heat", "memory"]

FRESH_S = 5.0  # for which a reading counts
WINDOW_S, KNOWN_S = 60.0, 30.0  # what a load is a mean of, and the least that makes one
# A cause begins at its threshold and ends only where the machine is better by this much.
CALMER, COOLER_C, ROOMIER, CHARGED = 0.75, 5.0, 1.25, 5.0
CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
OWN = "cascade_lsp"  # in the command line of each of this product's processes but their children


@dataclass(frozen=True, slots=True)
class PowerOptions:
    """What is spent on battery, and on a machine that is busy, hot or short of memory."""

    profile: Literal["auto", "plugged", "battery", "saver", "custom"] = field(
        default="auto",
        metadata={
            "help": "auto: by the machine, a step thriftier while it is busy, hot or short of "
            "memory. plugged: everything. battery: half the length, nothing ahead of the cursor, "
            "tests only in pauses and none that a model has to write. saver: only when asked for, "
            "nothing tested, no larger local model. custom: by the settings below."
        },
    )
    saver_percent: float = field(
        default=20.0, metadata={"help": "On battery, below so many percent, saver is in force."}
    )
    busy_load: float = field(
        default=0.8,
        metadata={
            "help": "The machine is busy where other programs took this share of its processors "
            "in the last minute."
        },
    )
    hot_c: float = field(
        default=92.0, metadata={"help": "It is hot from so many degrees Celsius at a processor."}
    )
    short_mb: int = field(
        default=500,
        metadata={"help": "It is short of memory below so many available megabytes."},
    )
    tokens: float = field(
        default=0.5,
        metadata={
            "help": "custom: the share of a suggestion's usual length, up to 1.",
            "least": 0.1,
        },
    )
    verify: Verify = field(
        default="pauses",
        metadata={"help": "custom: when suggestions are tested; pauses: when you stop typing."},
    )
    tests: int = field(
        default=0, metadata={"help": "custom: how often a turn may ask a model for tests."}
    )
    automatic: bool = field(
        default=True, metadata={"help": "custom: suggest while you type, not only when asked."}
    )
    ahead: bool = field(
        default=False,
        metadata={"help": "custom: read and write ahead what may be asked for next."},
    )
    large: bool = field(default=True, metadata={"help": "custom: ask the larger local model, too."})


@dataclass(frozen=True, slots=True)
class Reading:
    """The machine as it is: whether it runs on battery and its charge in percent, the share of all
    processors that other programs took in the last minute, the hottest processor in degrees
    Celsius, the memory that programs can still get; None where that is not known."""

    on_battery: bool = False
    percent: float | None = None
    load: float | None = None
    hottest_c: float | None = None
    available_mb: float | None = None


@dataclass(frozen=True, slots=True)
class Spending:
    """What may be spent now, by which profile, and `why`, as a clause.

    `tokens` is the share of a suggestion's usual budget, in (0, 1]; `verify` when suggestions are
    tested; `tests` the most prompts for tests in a turn; `automatic` whether they come without
    being asked for; `ahead` whether models work for what may be asked next; `large` whether the
    larger local model may be asked. `causes` are those in force, for the next reading.
    """

    profile: Profile = "plugged"
    why: str = "plugged in"
    tokens: float = 1.0
    verify: Verify = "always"
    tests: int | None = None
    automatic: bool = True
    ahead: bool = True
    large: bool = True
    causes: frozenset[Cause] = frozenset()

    @property
    def told(self) -> str:
        """Return why less is spent than could be, and what is spared; "" where nothing is."""
        spared = ", ".join(self._spared())
        return f"{self.why} ({self.profile}): {spared}" if spared else ""

    def _spared(self) -> list[str]:
        """Return what is spared, each as a few words."""
        said = {
            f"suggestions of {self.tokens:.0%} of their usual length": self.tokens < 1,
            "only when asked for": not self.automatic,
            "nothing read or written ahead": not self.ahead,
            "tested only in pauses": self.verify == "pauses",
            "not tested": self.verify == "never",
            f"at most {self.tests} prompts for tests a turn": self.tests,
            "no tests asked of a model": self.tests == 0 and self.verify != "never",
            "no larger local model": not self.large,
        }
        return [words for words, holds in said.items() if holds]


_GRANTED: dict[Profile, Spending] = {
    "plugged": Spending(),
    "battery": Spending("battery", tokens=0.5, verify="pauses", tests=0, ahead=False),
    "saver": Spending(
        "saver", tokens=0.5, verify="never", tests=0, automatic=False, ahead=False, large=False
    ),
}
_STEPS: tuple[Profile, ...] = ("plugged", "battery", "saver")


def spending(
    reading: Reading, options: PowerOptions, held: frozenset[Cause] = frozenset()
) -> Spending:
    """Return what may be spent on a machine; `held` are the causes that were in force before.

    A profile that is named holds whatever the machine does. Else mains or battery gives one, and
    load, heat or want of memory takes a step down from it, however many they are.
    """
    if options.profile == "custom":
        return _custom(options)
    if options.profile != "auto":
        return replace(_GRANTED[options.profile], why=f"set to {options.profile}")
    causes = frozenset(_causes(reading, options, held))
    step = 0
    if reading.on_battery:
        step = 2 if "charge" in causes else 1
    strained = causes - {"charge"}
    granted = _GRANTED[_STEPS[min(step + bool(strained), len(_STEPS) - 1)]]
    return replace(granted, why=_why(reading, strained), causes=causes)


def _custom(options: PowerOptions) -> Spending:
    return Spending(
        "custom",
        "set to custom",
        tokens=min(options.tokens, 1.0),
        verify=options.verify,
        tests=options.tests,
        automatic=options.automatic,
        ahead=options.ahead,
        large=options.large,
    )


def _causes(reading: Reading, options: PowerOptions, held: frozenset[Cause]) -> list[Cause]:
    """Return what asks for thrift. A cause that is in force has a softer threshold, so that a
    machine near one does not go back and forth."""
    bounds: dict[Cause, tuple[float | None, float, float]] = {
        "charge": (reading.percent, options.saver_percent, options.saver_percent + CHARGED),
        "memory": (reading.available_mb, options.short_mb, options.short_mb * ROOMIER),
        "load": (reading.load, options.busy_load, options.busy_load * CALMER),
        "heat": (reading.hottest_c, options.hot_c, options.hot_c - COOLER_C),
    }
    found: list[Cause] = []
    for cause, (seen, begins, ends) in bounds.items():
        bound = ends if cause in held else begins
        falls = cause in ("charge", "memory")  # those are bad where they are small
        if seen is not None and (seen < bound if falls else seen >= bound):
            found.append(cause)
    return found


def _why(reading: Reading, strained: frozenset[Cause]) -> str:
    clauses = ["plugged in"]
    if reading.on_battery:
        charge = "" if reading.percent is None else f" at {reading.percent:.0f} %"
        clauses = [f"on battery{charge}"]
    if "load" in strained and reading.load is not None:
        clauses.append(f"other programs take {reading.load:.0%} of the processors")
    if "heat" in strained:
        clauses.append(f"a processor is at {reading.hottest_c:.0f} \N{DEGREE SIGN}C")
    if "memory" in strained:
        clauses.append(f"only {reading.available_mb:,.0f} MB of memory are available")
    return ", ".join(clauses)


# -- the machine -----------------------------------------------------------------------------------


def read() -> Reading:
    """Read the machine, but for its load, of which one moment says nothing."""
    battery = _asked("sensors_battery")
    sensors = _asked("sensors_temperatures") or {}
    heats = [one.current for name in CPU_SENSORS for one in sensors.get(name, ()) if one.current]
    return Reading(
        on_battery=battery is not None and battery.power_plugged is False,
        percent=battery.percent if battery else None,
        hottest_c=max(heats, default=None),
        available_mb=psutil.virtual_memory().available / 1e6,
    )


def _asked(sensor: str) -> Any:
    """Return what a sensor says; None where this system has none, or it fails."""
    try:
        return getattr(psutil, sensor)()
    except (AttributeError, OSError, RuntimeError, psutil.Error, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Counters:
    """The processor seconds that all programs have taken by a moment of the monotonic clock, and
    each of this product's processes, with its children that have ended: by process, its parent and
    the seconds."""

    at_s: float
    all_s: float
    own: Mapping[int, tuple[int, float]]


def count() -> Counters:
    """Count the processor seconds of the machine and of this product's processes, those of other
    windows included: they are known by their command line, or were started by one that is."""
    times = psutil.cpu_times()
    busy_s = times.user + times.system + getattr(times, "nice", 0.0)
    found = {one.pid: one for one in psutil.process_iter(["ppid", "cmdline", "cpu_times"])}
    own = {pid for pid, one in found.items() if OWN in " ".join(one.info["cmdline"] or ())}
    own.add(psutil.Process().pid)
    grown = 0
    while grown != len(own):
        grown = len(own)
        own |= {pid for pid, one in found.items() if one.info["ppid"] in own}
    infos = {pid: found[pid].info for pid in own if pid in found}
    used = {pid: (info["ppid"] or 0, _used_s(info["cpu_times"])) for pid, info in infos.items()}
    return Counters(time.monotonic(), busy_s, used)


def _used_s(times: Any) -> float:
    if times is None:  # not ours to see, or gone
        return 0.0
    ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return float(times.user + times.system + ended)


def _own_since(then: Counters, now: Counters) -> float:
    """Return the processor seconds of our own processes between two counts. What one of them has
    taken is its parent's once it has ended; where nobody of ours fetched it, it is gone."""
    gone = (one for pid, one in then.own.items() if pid not in now.own)
    lost_s = sum(seconds for parent, seconds in gone if parent not in now.own)
    before_s, after_s = (sum(s for _, s in one.own.values()) for one in (then, now))
    return max(0.0, after_s - before_s + lost_s)


class Gauge:
    """Reads the machine at most every few seconds, and only while somebody asks: an editor that
    rests costs nothing. `look` may run on any thread."""

    def __init__(
        self,
        read: Callable[[], Reading] = read,
        count: Callable[[], Counters] = count,
        cores: int | None = None,
    ) -> None:
        self._read, self._count = read, count
        self._cores = cores or psutil.cpu_count() or 1
        self._counted: Counters | None = None
        self._others: deque[tuple[float, float]] = deque()  # (at, processor seconds so far)
        self._looking = Lock()
        self._due_s = 0.0
        self._reading: Reading | None = None
        self._spending = Spending()

    @property
    def reading(self) -> Reading:
        """Return the last reading, the first one if there was none."""
        if self._reading is None:
            self._reading = self._read()
        return self._reading

    def spending(self, options: PowerOptions) -> Spending:
        """Return what may be spent by the last reading."""
        self._spending = spending(self.reading, options, self._spending.causes)
        return self._spending

    def is_due(self) -> bool:
        """Say, once, whether the last reading is old."""
        now = time.monotonic()
        due = now >= self._due_s
        if due:
            self._due_s = now + FRESH_S
        return due

    def look(self) -> None:
        """Read the machine; takes some tens of milliseconds where many processes run."""
        with self._looking:
            try:
                self._take(self._count())
                self._reading = replace(self._read(), load=self._load())
            except (OSError, psutil.Error) as error:
                _LOG.warning("the machine could not be read: %s", error)

    def _take(self, now: Counters) -> None:
        then, self._counted = self._counted or now, now
        others_s = max(0.0, now.all_s - then.all_s - _own_since(then, now))
        so_far_s = self._others[-1][1] if self._others else 0.0
        self._others.append((now.at_s, so_far_s + others_s))
        while now.at_s - self._others[0][0] > WINDOW_S:
            self._others.popleft()

    def _load(self) -> float | None:
        """Return what other programs took of the last minute; None where less than half of it is
        known."""
        (then_s, before_s), (now_s, so_far_s) = self._others[0], self._others[-1]
        seconds = now_s - then_s
        if seconds < KNOWN_S:
            return None
        return min(1.0, (so_far_s - before_s) / (seconds * self._cores))
