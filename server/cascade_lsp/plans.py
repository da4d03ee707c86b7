"""The plans that ship in models/plans.toml: which tier is asked when, and what it must show.

Data only; what a threshold means is in `policy`.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from cascade_lsp.policy import Policy


@dataclass(frozen=True, slots=True)
class Step:
    """One tier's turn in a plan: `k` solutions, `tests` samples of assertions, its thresholds."""

    tier: str
    k: int
    tests: int
    policy: Policy


@dataclass(frozen=True, slots=True)
class Plan:
    """The order in which tiers are asked."""

    name: str
    summary: str
    steps: tuple[Step, ...]


def load_plans() -> Mapping[str, Plan]:
    """Return the shipped plans by name."""
    text = resources.files("cascade_lsp.models").joinpath("plans.toml").read_text("utf-8")
    return {raw["name"]: _plan(raw) for raw in tomllib.loads(text)["plan"]}


def _plan(raw: dict[str, object]) -> Plan:
    steps = []
    for step in raw["step"]:  # type: ignore[attr-defined]
        thresholds = {k: v for k, v in step.items() if k not in ("tier", "k", "tests")}
        steps.append(Step(step["tier"], step["k"], step["tests"], Policy(**thresholds)))
    return Plan(str(raw["name"]), str(raw["summary"]), tuple(steps))
