"""A sandbox of its own for each test, and a table of the attacks at the end."""

import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from cascade_lsp.sandbox import selftest
from cascade_lsp.sandbox.portable import PortableSandbox
from cascade_lsp.sandbox.selftest import FORGERIES
from tests.sandbox import isolated
from tests.sandbox.control import Shown, controls_twice
from tests.sandbox.runner import Attacked, Configuration, attacked

ROWS = pytest.StashKey[list[str]]()


@pytest.fixture
async def sandbox() -> AsyncIterator[PortableSandbox]:
    portable = PortableSandbox()
    yield portable
    await portable.close()


@pytest.fixture(scope="session")
def controlled() -> dict[str, Shown] | str:
    """What the controls showed: that an attack works where nothing holds it; or why none ran."""
    if sys.platform != "linux":
        return "the controls are Linux's"
    try:
        return controls_twice(selftest.load())
    except isolated.Impossible as error:
        return str(error)


@pytest.fixture
def shown(controlled: dict[str, Shown] | str) -> dict[str, Shown]:
    """What the controls showed; nothing where none could run, and sandboxes are tried all the
    same."""
    return {} if isinstance(controlled, str) else controlled


@pytest.fixture
def live(controlled: dict[str, Shown] | str) -> dict[str, Shown]:
    """What the controls showed, for tests of the controls themselves."""
    if isinstance(controlled, str):
        pytest.skip(f"no control can be run here: {controlled}")
    return controlled


def attack(configuration: Configuration) -> Attacked:
    """Attack a configuration; skip where this machine has no corner to do it in."""
    try:
        return attacked(configuration)
    except isolated.Impossible as error:
        pytest.skip(str(error))


class Table:
    """Tried, live and stopped, per configuration, for the end of the run."""

    def __init__(self, rows: list[str]) -> None:
        self._rows = rows

    def add(self, name: str, attacked: Attacked, shown: dict[str, Shown]) -> None:
        live = [attack for attack in attacked.why if attack in shown and shown[attack].live]
        stopped = len(attacked.why) - len(attacked.through)
        stopped_live = sum(attack not in attacked.through for attack in live)
        self._rows.append(
            f"{name:<44}{len(attacked.why):>7}{stopped:>9}{len(live):>7}{stopped_live:>9}"
        )

    def say(self, words: str) -> None:
        self._rows.append(words)


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Iterator[Table]:
    yield Table(pytestconfig.stash.setdefault(ROWS, []))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    terminalreporter.section("attacks on the sandbox")
    terminalreporter.write_line(f"{'':<44}{'tried':>7}{'stopped':>9}{'live':>7}{'stopped':>9}")
    for row in rows:
        terminalreporter.write_line(row)


def not_live(shown: dict[str, Shown]) -> list[str]:
    """Return the names of the attacks that cannot be shown to work on this machine."""
    known = {attack.name for attack in selftest.load() if attack.group != FORGERIES}
    return [name for name, control in shown.items() if not control.live and name in known]
