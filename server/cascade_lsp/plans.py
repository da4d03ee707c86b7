"""The plans: which tier is asked when, and what it must show.

Those of models/plans/ ship; "mine" is the one that `cascade lab plan --save` found here.

Data only; what a threshold means is in `policy`.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from cascade_lsp import paths
from cascade_lsp.errors import UsageError
from cascade_lsp.policy import Policy

MINE = "mine"
SHIPPED = ("default", "paper", "small", "large")


@dataclass(frozen=True, slots=True)
class Step:
    """One tier's turn in a plan: `k` solutions, `tests` samples of assertions, its thresholds."""

    tier: str
    k: int
    tests: int
    policy: Policy


@dataclass(frozen=True, slots=True)
class Basis:
    """The evidence for a plan, on problems it was not chosen on: how many, the share right and the
    mean cost in `unit`, each as (mean, low, high) with a bootstrap's 95 % interval, the models
    with their quantization, the date, and what the plan was chosen for."""

    problems: int
    right: tuple[float, float, float]
    cost: tuple[float, float, float]
    unit: str
    models: tuple[str, ...]
    date: str
    goal: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The order in which tiers are asked."""

    name: str
    summary: str
    steps: tuple[Step, ...]
    basis: Basis | None = None


def load_plans() -> Mapping[str, Plan]:
    """Return the shipped plans by name."""
    folder = resources.files("cascade_lsp.models").joinpath("plans")
    texts = {name: folder.joinpath(f"{name}.toml").read_text("utf-8") for name in SHIPPED}
    return {name: parse(name, text) for name, text in texts.items()}


def load_mine() -> Plan:
    """Return the plan that was found for this machine; raise UsageError where there is none, or no
    longer a whole one."""
    try:
        return parse(MINE, paths.plan_path().read_text("utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            "This machine has no plan of its own yet. `cascade lab plan --save` finds one."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{paths.plan_path()} is no plan: {error!r}. Write it anew with "
            "`cascade lab plan --save`, or remove it."
        ) from error


def read(path: Path) -> Plan:
    """Return the plan in a file; raise UsageError where there is none."""
    try:
        return parse(path.stem, path.read_text("utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is no plan: {error!r}. docs/lab.md says what one looks like; "
            "`cascade lab plan` prints one."
        ) from error


def parse(name: str, text: str) -> Plan:
    """Read a plan; raise ValueError, KeyError or TypeError where it is none."""
    raw = tomllib.loads(text)
    basis = raw.get("basis")
    if basis is not None:
        lists = {key: tuple(basis[key]) for key in ("right", "cost", "models")}
        basis = Basis(**{**basis, **lists})
    return Plan(name, raw["summary"], tuple(_step(step) for step in raw["step"]), basis)


def _step(raw: dict[str, Any]) -> Step:
    thresholds = {key: value for key, value in raw.items() if key not in ("tier", "k", "tests")}
    return Step(raw["tier"], raw["k"], raw["tests"], Policy(**thresholds))


def as_toml(plan: Plan) -> str:
    """Return a plan as `parse` reads it; thresholds that are the defaults are left out."""
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    yield f"summary = {json.dumps(plan.summary)}"
    usual = asdict(Policy())
    for step in plan.steps:
        yield from ("", "[[step]]", f"tier = {json.dumps(step.tier)}")
        yield from (f"k = {step.k}", f"tests = {step.tests}")
        thresholds = asdict(step.policy).items()
        yield from (f"{key} = {json.dumps(x)}" for key, x in thresholds if x != usual[key])
    if plan.basis:
        yield from ("", "[basis]")
        yield from (f"{key} = {json.dumps(x)}" for key, x in asdict(plan.basis).items())
