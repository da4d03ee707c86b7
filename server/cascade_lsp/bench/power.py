"""What a suggestion costs under each power profile: the processor seconds of all our processes,
and the energy of the processor's packages where the machine reports it.

The real server with the installed models, one per profile, which take turns at every place. Who
visits a place waits for the suggestion, accepts it and then pauses, so that what is for pauses
happens, too. It does not say how good a suggestion is, and energy is the whole machine's.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from statistics import mean, median

from cascade_lsp.bench.corpus import Place
from cascade_lsp.bench.lsp import AUTOMATIC, LOADING_S, Editor, Server
from cascade_lsp.bench.processes import Home, Meter, threads
from cascade_lsp.errors import EngineError

PROFILES = ("plugged", "battery", "saver")
INVOKED = 1
COMES_S, READS_S, PAUSES_S = 0.5, 1.0, 4.0
POWERCAP = Path("/sys/class/powercap")

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Visit:
    """What one suggestion took: its characters, the seconds of waiting, the processor seconds of
    all our processes, the joules of the packages (None where not reported), and what was done."""

    profile: str
    place: str
    chars: int
    wait_s: float
    cpu_s: float
    energy_j: float | None
    verifications: int
    escalations: int


class Energy:
    """The packages' counters of energy; each starts anew at a range of its own."""

    def __init__(self, folder: Path = POWERCAP) -> None:
        zones = sorted(folder.glob("*:*")) if folder.is_dir() else []
        self._zones = [zone for zone in zones if _is_package(zone)]
        self._last = self._counts()
        self._joules = 0.0

    def read(self) -> float | None:
        """Return the joules since the beginning; None where no package reports any."""
        if self._last is None:
            return None
        now = self._counts()
        if now is None:
            return None
        for zone, before, after in zip(self._zones, self._last, now, strict=True):
            grown = after - before
            self._joules += grown if grown >= 0 else grown + _number(zone, "max_energy_range_uj")
        self._last = now
        return self._joules / 1e6

    def _counts(self) -> list[int] | None:
        try:
            return [_number(zone, "energy_uj") for zone in self._zones] or None
        except (OSError, ValueError):  # mostly only root may read them
            return None


def _is_package(zone: Path) -> bool:
    try:
        return (zone / "name").read_text("utf-8").startswith("package")
    except OSError:
        return False


def _number(zone: Path, name: str) -> int:
    return int((zone / name).read_text("ascii"))


class Side:
    """`cascade serve` under one profile, in a home of its own."""

    def __init__(self, profile: str, energy: Energy) -> None:
        self.profile = profile
        self._home = Home()
        self._server = Server(self._home)
        self._editor = Editor(self._server)
        self._meter = Meter(self._home.processes)
        self._energy = energy

    async def start(self) -> None:
        """Start the server, and let it load what its first suggestion needs."""
        settings = {"engine": {"threads": threads()}, "power": {"profile": self.profile}}
        await self._server.start(settings)
        self._editor.open("warm", "def add(a, b):\n    return ", "\n")
        async with asyncio.timeout(LOADING_S):
            answer = await self._editor.ask(INVOKED)
        if not answer.text:
            raise EngineError(f"Under the profile {self.profile} the server suggests nothing.")
        self._editor.close()
        await self._rest()

    async def _rest(self) -> None:
        await self._meter.rest()
        await asyncio.sleep(PAUSES_S)  # what is for pauses begins in this one
        await self._meter.rest()

    async def visit(self, place: Place) -> Visit:
        """Accept a suggestion at a place and pause; where none comes by itself, ask for it."""
        before, cpu_s, joules = await self._work(), self._meter.read(), self._energy.read()
        self._editor.open(place.name, place.head, place.tail)
        await asyncio.sleep(COMES_S)
        began = asyncio.get_running_loop().time()
        answer = await self._editor.ask(INVOKED if self.profile == "saver" else AUTOMATIC)
        wait_s = asyncio.get_running_loop().time() - began
        await asyncio.sleep(READS_S)
        if answer.text:
            self._editor.change(answer.text)
        await self._rest()
        self._editor.close()
        after, used_s, spent = await self._work(), self._meter.read(), self._energy.read()
        return Visit(
            self.profile,
            place.name,
            len(answer.text),
            round(wait_s, 2),
            round(used_s - cpu_s, 2),
            None if joules is None or spent is None else round(spent - joules, 1),
            after["verifications"] - before["verifications"],
            after["escalations"] - before["escalations"],
        )

    async def _work(self) -> dict[str, int]:
        asked = {"command": "cascade.status"}
        status = await self._server.ask("workspace/executeCommand", asked)
        work: dict[str, int] = status["work"]
        return work

    async def close(self) -> None:
        """End the server, its engines and their home."""
        await self._server.close()
        await asyncio.to_thread(self._home.clear)


def functions(count: int) -> list[Place]:
    """Return bundled functions that state examples, or none, and have no body yet."""
    text = resources.files("cascade_lsp.models").joinpath("problems", "functions.jsonl")
    problems = [json.loads(line) for line in text.read_text("utf-8").splitlines()]
    return [
        Place(one["id"], "body", one["prompt"], "", one["suffix"] or "\n")
        for one in problems[:: max(1, len(problems) // count)][:count]
    ]


async def measure(places: Sequence[Place], told: Told) -> list[Visit]:
    """Visit every place under every profile, in turn."""
    energy = Energy()
    sides = [Side(profile, energy) for profile in PROFILES]
    visits = []
    try:
        for side in sides:
            told(f"{side.profile}: starting")
            await side.start()
        for turn, place in enumerate(places):
            first = turn % len(sides)  # nobody is always the first
            for side in (*sides[first:], *sides[:first]):
                told(f"{side.profile}: {place.name}")
                visits.append(await side.visit(place))
    finally:
        for side in sides:
            await side.close()
    return visits


@dataclass(frozen=True, slots=True)
class Cost:
    """A profile's figures per suggestion that came: means, and the median wait."""

    profile: str
    visits: int
    suggested: int
    cpu_s: float
    energy_j: float | None
    chars: float
    wait_s: float
    verifications: int
    escalations: int


def costs(visits: Sequence[Visit]) -> list[Cost]:
    """Return the figures of each profile; those of visits without a suggestion are spread over
    the others, for they were paid, too."""
    return [_cost(profile, [v for v in visits if v.profile == profile]) for profile in PROFILES]


def _cost(profile: str, visits: Sequence[Visit]) -> Cost:
    came = [one for one in visits if one.chars]
    joules = [one.energy_j for one in visits if one.energy_j is not None]
    each = max(1, len(came))
    return Cost(
        profile,
        len(visits),
        len(came),
        round(sum(one.cpu_s for one in visits) / each, 2),
        round(sum(joules) / each, 1) if joules else None,
        round(mean([one.chars for one in came] or [0]), 1),
        round(median([one.wait_s for one in came] or [0.0]), 2),
        sum(one.verifications for one in visits),
        sum(one.escalations for one in visits),
    )
