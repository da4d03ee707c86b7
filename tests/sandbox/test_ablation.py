"""What each layer of the native tier is good for, and what happens where one cannot be had.

With all layers every attack is stopped; any layer alone lets many through, which shows that the
attacks are real and the layer is needed. Configurations are attacked two at a time, by hand-written
attacks, in corners of the machine that end with them.
"""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from cascade_lsp.sandbox import Check, Limits, selftest
from cascade_lsp.sandbox.kernel import Kernel, Missing
from cascade_lsp.sandbox.native import WITHOUT_NAMESPACES, NativeSandbox, Unavailable
from cascade_lsp.sandbox.tiers import TieredSandbox
from tests.sandbox import isolated
from tests.sandbox.conftest import Table
from tests.sandbox.control import Shown
from tests.sandbox.runner import LAYERS, Attacked, Configuration, attacked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the native tier is Linux's")

# Landlock has to do with files, connections and signals, and nothing else.
OF_LANDLOCK = ("reading", "environment", "writing", "network", "others")


def _without(layer: str) -> tuple[str, ...]:
    return tuple(other for other in LAYERS if other != layer)


CONFIGURATIONS: dict[str, Configuration] = {
    "no layer at all": Configuration(layers=()),
    **{f"{layer} alone": Configuration(layers=(layer,)) for layer in LAYERS},
    "seccomp and rlimits": Configuration(layers=("seccomp", "rlimits")),
    **{f"all but {layer}": Configuration(layers=_without(layer)) for layer in LAYERS[1:]},
    **{
        f"all, Landlock ABI {abi}": Configuration(landlock_abi=abi, groups=OF_LANDLOCK)
        for abi in range(1, 7)
    },
    "no namespaces, Landlock ABI 1": Configuration(
        layers=LAYERS[1:], landlock_abi=1, groups=OF_LANDLOCK
    ),
}


@pytest.fixture(scope="module")
def reports() -> Iterator[dict[str, "Future[Attacked]"]]:
    """Attack all configurations, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(attacked, it) for name, it in CONFIGURATIONS.items()}


@pytest.fixture(scope="module")
def newest_abi() -> int:
    try:
        return Kernel().landlock_abi()
    except Missing as error:
        pytest.skip(f"no Landlock here: {error}")


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration_stops_what_its_layers_stop(
    name: str,
    reports: dict[str, "Future[Attacked]"],
    shown: dict[str, Shown],
    table: Table,
    newest_abi: int,
) -> None:
    wanted = CONFIGURATIONS[name]
    if (wanted.landlock_abi or 0) > newest_abi:
        pytest.skip(f"this kernel knows Landlock up to ABI {newest_abi}")
    try:
        report = reports[name].result()
    except isolated.Impossible as error:
        pytest.skip(str(error))
    table.add(name, report, shown)
    through = set(report.through)
    if wanted.landlock_abi and "namespaces" in wanted.layers:
        assert report.through == {}
        assert report.faults == ()
    elif wanted.landlock_abi:
        assert report.unforeseen == {}
    elif name in NEEDED:
        assert len(through) >= NEEDED[name]
    assert not through & _dead(shown)  # else what it does was not understood


# At least so many attacks get through: each layer is needed for more than a few of them.
NEEDED = {
    "no layer at all": 200,
    "namespaces alone": 50,
    "landlock alone": 50,
    "seccomp alone": 15,
    "rlimits alone": 200,
    "all but rlimits": 8,
    "seccomp and rlimits": 15,
    "all but seccomp": 50,
}


def _dead(shown: dict[str, Shown]) -> set[str]:
    """Return what no control showed."""
    return {name for name, control in shown.items() if not control.live}


def test_every_attack_is_stopped_by_more_than_one_thing_or_named(
    reports: dict[str, "Future[Attacked]"], table: Table
) -> None:
    """Say which attacks one layer alone stands against: where it has a fault, they get through."""
    for layer in LAYERS[1:]:
        report = reports[f"all but {layer}"].result()
        through = sorted(report.through)
        table.say(f"    only {layer} stops {len(through)}: {', '.join(through)[:600]}")
    assert len(reports["all but landlock"].result().through) < 40
    assert len(reports["all but rlimits"].result().through) < 40


# -- hidden means of isolation ---------------------------------------------------------------------

MEANS = (
    *("user_namespaces", "namespaces", "mount", "landlock", "seccomp", "seccomp_notify"),
    *("no_new_privs", "uid_drop", "capabilities", "dumpable", "parent_death_signal"),
)
ONLY_WITH_NAMESPACES = {
    *("user_namespaces", "namespaces", "mount", "capabilities", "parent_death_signal"),
}


@cache
def is_root() -> bool:
    return os.geteuid() == 0


def _another_can_read_the_interpreter() -> bool:
    """Say whether the user that root becomes can enter the folders above the interpreter: without
    namespaces nothing can be shown to it elsewhere."""
    return not is_root() or not isolated.closed([sys.prefix, sys.base_prefix])


async def _runs(sandbox: NativeSandbox) -> str:
    """Return what a harmless program, that would leave a file if it ran, is labelled."""
    (outcome,) = await sandbox.run("ran = 1", [Check("ran", "eq", "1")], Limits())
    return outcome.kind


@pytest.mark.parametrize("mean", MEANS)
async def test_where_a_means_is_missing_the_native_tier_runs_nothing(mean: str) -> None:
    if mean == "uid_drop" and not is_root():
        pytest.skip("only root has to become another user")
    sandbox = NativeSandbox(hidden=[mean])
    try:
        assert await _runs(sandbox) == "sandbox_lost"
        if mean not in ("seccomp", "seccomp_notify", "dumpable"):
            with pytest.raises(Unavailable):
                await sandbox.status()
    finally:
        await sandbox.close()


@pytest.mark.parametrize("mean", MEANS)
async def test_where_a_means_is_missing_the_next_tier_is_chosen(mean: str, tmp_path: Path) -> None:
    if mean == "uid_drop" and not is_root():
        pytest.skip("only root has to become another user")
    makers = [
        ("native", lambda: NativeSandbox(hidden=[mean])),
        (
            "native without namespaces",
            lambda: NativeSandbox(layers=WITHOUT_NAMESPACES, hidden=[mean]),
        ),
    ]
    second = "native_without_namespaces" if _another_can_read_the_interpreter() else "portable"
    expected = second if mean in ONLY_WITH_NAMESPACES else "portable"
    native = "none" if expected == "portable" else expected
    for execution, tier in (
        ("auto", expected),
        ("native", native),
    ):
        sandbox = TieredSandbox(execution, makers=makers, known=tmp_path / execution)
        try:
            status = await sandbox.status()
            assert status.tier == tier, status
            (outcome,) = await sandbox.run("", [Check("1 + 1", "eq", "2")], Limits())
            assert outcome.kind == ("sandbox_lost" if tier == "none" else "passed")
        finally:
            await sandbox.close()


async def test_where_nothing_is_missing_the_native_tier_is_chosen(tmp_path: Path) -> None:
    """The control: it is what is hidden that makes the difference."""
    sandbox = TieredSandbox("native", known=tmp_path / "known")
    try:
        assert (await sandbox.status()).tier == "native"
        assert (await selftest.forge(sandbox))[0].stopped
    finally:
        await sandbox.close()
