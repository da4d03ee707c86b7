"""Attacks a sandbox from within a corner of the machine to waste, as root or as an ordinary user.

A process of its own for each configuration, started by `attacked`: what was tried comes back as
JSON. The corner ends with it, and with it whatever an attack could have left there.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    _root = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(_root), str(_root / "server")]

from cascade_lsp.sandbox import Sandbox, selftest
from cascade_lsp.sandbox.selftest import CANARY, Attack, Report, Tried
from tests.sandbox import isolated
from tests.sandbox.control import USER

LAYERS = ("namespaces", "landlock", "seccomp", "rlimits")
PATIENCE_S = 400


@dataclass(frozen=True, slots=True)
class Configuration:
    """A sandbox to attack: the tier, the parts of it that are switched on, and who runs it."""

    tier: str = "native"
    layers: tuple[str, ...] = LAYERS
    landlock_abi: int | None = None
    hidden: tuple[str, ...] = ()
    root: bool = False
    forgeries: bool = False
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attacked:
    """What became of the attacks on a configuration: why each got through, and its label."""

    tier: str
    reason: str
    why: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    gaps: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def through(self) -> dict[str, str]:
        return {name: why for name, why in self.why.items() if why}

    @property
    def unforeseen(self) -> dict[str, str]:
        return {name: why for name, why in self.through.items() if name not in self.gaps}


def attacked(configuration: Configuration) -> Attacked:
    """Attack a configuration; raise Impossible where there is no corner to do it in."""
    names = Configuration.__slots__
    done = subprocess.run(
        [sys.executable, "-B", "-P", __file__],
        input=json.dumps({name: getattr(configuration, name) for name in names}),
        env={"CANARY": CANARY, "PATH": "/bin:/usr/bin", "HOME": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    try:
        told = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise AssertionError(f"no report of {configuration}: {done.stderr[-3000:]}") from error
    if "impossible" in told:
        raise isolated.Impossible(told["impossible"])
    return Attacked(**{name: tuple(v) if isinstance(v, list) else v for name, v in told.items()})


def main() -> None:
    fields = json.load(sys.stdin)
    wanted = Configuration(
        **{name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    )
    out = os.dup(1)
    os.dup2(2, 1)
    os.set_inheritable(out, False)
    try:
        isolated.enter(USER)
        if not wanted.root:
            isolated.be_ordinary()
        told = asyncio.run(_attack(wanted))
        if not wanted.root:
            isolated.forget_keys()
    except isolated.Impossible as error:
        told = {"impossible": str(error)}
    os.write(out, json.dumps(told).encode() + b"\n")


async def _attack(wanted: Configuration) -> dict[str, object]:
    began = time.perf_counter()
    before = isolated.traces()
    sandbox = _sandbox(wanted)
    if wanted.forgeries:
        status = await sandbox.status()
        report = Report(status.tier, status.reason)
        report.tried = await selftest.forge(sandbox)
    else:
        whole = wanted.layers == LAYERS and wanted.landlock_abi is None
        report = await selftest.selftest(
            sandbox, grave=whole, watch=isolated.watcher(), only=_only(wanted)
        )
    gaps = selftest.GAPS[report.tier]
    await sandbox.close()
    left = await selftest.settled(before, isolated.traces)
    return {
        "tier": report.tier,
        "reason": report.reason,
        "why": {_name(t): t.why for t in report.tried},
        "kinds": {_name(t): t.outcome.kind for t in report.tried},
        "groups": {_name(t): t.attack.group for t in report.tried},
        "details": {_name(t): f"{t.outcome.seen[:80]} {t.outcome.detail}" for t in report.tried},
        "gaps": sorted(gaps),
        "faults": report.faults,
        "left": sorted(left ^ before),
        "seconds": time.perf_counter() - began,
    }


def _only(wanted: Configuration) -> Callable[[Attack], bool]:
    return lambda attack: not wanted.groups or attack.group in wanted.groups


def _name(tried: Tried) -> str:
    return tried.attack.name


def _sandbox(wanted: Configuration) -> Sandbox:
    if wanted.tier == "portable":
        from cascade_lsp.sandbox.portable import PortableSandbox

        return PortableSandbox()
    from cascade_lsp.sandbox.native import NativeSandbox

    return NativeSandbox(
        layers=frozenset(wanted.layers),
        landlock_abi=wanted.landlock_abi,
        hidden=frozenset(wanted.hidden),
    )


def live(attacks: dict[str, str], shown: dict[str, bool]) -> int:
    """Count those whose control worked."""
    return sum(shown.get(name, False) for name in attacks)


def known(name: str) -> Attack:
    """Return an attack by its name."""
    return next(attack for attack in selftest.load() if attack.name == name)


if __name__ == "__main__":
    main()
