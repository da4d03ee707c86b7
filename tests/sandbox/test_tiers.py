"""The strongest tier that holds is taken, the reason is told, and a leak is never used."""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cascade_lsp.sandbox import Check, Limits, Project, SandboxOptions, Status, make_sandbox
from cascade_lsp.sandbox.native import ALL_LAYERS, WITHOUT_NAMESPACES, NativeSandbox
from cascade_lsp.sandbox.tiers import TieredSandbox, news

ADD = "def add(a, b):\n    return a + b\n"
TWO = Check("add(1, 1)", "eq", "2")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the native tiers are Linux's")
Make = Callable[..., TieredSandbox]


@pytest.fixture
def tiered(tmp_path: Path) -> Make:
    """Makes a choice among native tiers that are weakened in some way each."""

    def make(*weaknesses: dict[str, object], execution: str = "auto") -> TieredSandbox:
        makers = [(f"tier {i}", partial(NativeSandbox, **w)) for i, w in enumerate(weaknesses)]
        return TieredSandbox(execution, None, makers, tmp_path / "known.json")  # type: ignore[arg-type]

    return make


def test_with_execution_off_there_is_no_sandbox() -> None:
    assert make_sandbox(SandboxOptions(execution="off")) is None


@LINUX
async def test_the_native_tier_is_taken_where_it_holds(tiered: Make) -> None:
    sandbox = tiered({})
    status = await sandbox.status()
    assert status.tier == "native"
    assert "namespaces" in status.reason and "Landlock" in status.reason
    (outcome,) = await sandbox.run(ADD, [TWO], Limits())
    assert outcome.kind == "passed"
    await sandbox.close()


@LINUX
@pytest.mark.parametrize(
    "hidden",
    ["user_namespaces", "mount", "landlock", "seccomp", "seccomp_notify", "no_new_privs",
     "capabilities", "dumpable", "parent_death_signal"],
)  # fmt: skip
async def test_a_primitive_that_is_missing_means_the_next_tier(tiered: Make, hidden: str) -> None:
    sandbox = tiered({"hidden": [hidden]})
    status = await sandbox.status()
    assert status.tier == "portable"
    assert status.reason.count("tier 0: ") == 1
    await sandbox.close()


@LINUX
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up being root")
async def test_root_that_cannot_become_another_user_runs_nothing_natively(tiered: Make) -> None:
    sandbox = tiered({"hidden": ["uid_drop"]}, execution="native")
    status = await sandbox.status()
    assert (status.tier, status.languages) == ("none", ())
    assert "uid_drop" in status.reason
    (outcome,) = await sandbox.run(ADD, [TWO], Limits())
    assert (outcome.kind, outcome.detail) == ("sandbox_lost", status.reason)
    assert (await sandbox.run_script(ADD, Limits())).kind == "sandbox_lost"


@LINUX
@pytest.mark.parametrize("missing", sorted(ALL_LAYERS))
async def test_a_tier_that_a_probe_gets_through_is_passed_over(tiered: Make, missing: str) -> None:
    """But for one layer alone, which the others make up for in all that the probes try."""
    sandbox = tiered({"layers": ALL_LAYERS - {missing}})
    status = await sandbox.status()
    if missing in ("rlimits", "seccomp"):
        assert status.tier == "portable"
        assert "trying " in status.reason
    await sandbox.close()


@LINUX
@pytest.mark.skipif(
    os.geteuid() == 0 and not Path("/usr/bin/python3").exists(),
    reason="no interpreter that another user than root may read",
)
async def test_the_tier_without_namespaces_says_so(tiered: Make) -> None:
    weak = {"layers": WITHOUT_NAMESPACES, "project": Project(Path("/"), Path("/usr/bin/python3"))}
    sandbox = tiered({"hidden": ["user_namespaces"]}, weak)
    status = await sandbox.status()
    assert status.tier == "native_without_namespaces", status
    assert "no namespaces" in status.reason and "tier 0: user_namespaces" in status.reason
    (outcome,) = await sandbox.run("def f(): open('x', 'w')", [Check("f()")], Limits())
    assert outcome.kind == "blocked_access"
    await sandbox.close()


@LINUX
async def test_what_held_is_remembered_and_a_start_still_needs_every_layer(
    tiered: Make, tmp_path: Path
) -> None:
    for _ in range(2):
        sandbox = tiered({})
        assert (await sandbox.status()).tier == "native"
        await sandbox.close()
    assert len(json.loads((tmp_path / "known.json").read_text())["held"]) == 1
    sandbox = tiered({"hidden": ["seccomp_notify"]})
    assert (await sandbox.status()).tier == "portable"
    await sandbox.close()


async def test_a_memory_of_probes_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    for text in ("{", "[1]"):
        (tmp_path / "known.json").write_text(text)
        sandbox = TieredSandbox("auto", known=tmp_path / "known.json")
        assert (await sandbox.status()).tier != "none"
        await sandbox.close()


def test_a_tier_is_told_once_per_change(tmp_path: Path) -> None:
    path = tmp_path / "known.json"
    portable, native = Status("portable", "Because."), Status("native", "All of it.")
    assert news(native, path) is None  # as strong as can be, and nothing has changed
    assert "tests run in: portable. Because. See" in (news(portable, path) or "")
    assert news(portable, path) is None
    assert "tests run in: native. All of it." in (news(native, path) or "")
    assert "nothing is executed" in (news(Status("none", "Lost."), path) or "")
    path.unlink()
    assert "portable" in (news(portable, path) or "")


async def test_the_portable_tier_can_be_asked_for(tmp_path: Path) -> None:
    sandbox = TieredSandbox("portable", known=tmp_path / "known.json")
    assert (await sandbox.status()).tier == "portable"
    (outcome,) = await sandbox.run(ADD, [TWO], Limits(), language="javascript")
    assert outcome.kind == "inconclusive"
    await sandbox.close()
