"""From settings to the running parts: which models are installed, which sandbox there is.

The one place where the product's parts are put together; it decides nothing.
"""

import re
import sys
from collections.abc import Callable
from functools import cache, cached_property, partial
from pathlib import Path

from cascade_lsp import catalogue, keys, paths
from cascade_lsp.cascade import Cascade
from cascade_lsp.engine.lease import Lease
from cascade_lsp.engine.local import LocalEngine
from cascade_lsp.engine.shared import SharedEngine
from cascade_lsp.ledger import Ledger
from cascade_lsp.permission import Permission
from cascade_lsp.sandbox import Limits, Project, make_sandbox
from cascade_lsp.settings import Settings
from cascade_lsp.suites import Finder
from cascade_lsp.turn import Runner, Tier

MEGABYTE = 1024 * 1024
OLDEST = 3, 11  # of Python in the project's environment, if the sandbox is to run it


def make_cascade(settings: Settings, root: Path | None = None, key: str = "") -> Cascade:
    """Return a cascade of the installed tiers; a tier whose model is missing is left out.

    `root` is the folder of the project that it works in, as far as the settings let it be read,
    until it is told of another (`Cascade.within`); `key` is the editor's for the remote model.
    """
    lease = Lease()
    tiers = [
        tier
        for role in ("small", "large")
        if (tier := _tier(role, getattr(settings.models, role), settings, lease))
    ]
    if settings.remote.url and settings.network == "on":
        tiers.append(_remote(settings, key))
    runner_of = _runners(settings)
    here = runner_of(root)
    return Cascade(tiers, here.sandbox, settings.completion, here.limits, here.finder, runner_of)


def _runners(settings: Settings) -> Callable[[Path | None], Runner]:
    """Return what says of a folder what runs tests there: the same for the same project."""
    limits = Limits(
        time_s=settings.sandbox.time_s, memory_bytes=settings.sandbox.memory_mb * MEGABYTE
    )

    @cache
    def of_project(project: Project | None) -> Runner:
        sandbox = make_sandbox(settings.sandbox, project)
        finder = Finder(project.root) if project and project.sources else None
        return Runner(sandbox, limits, finder, settings.completion.own_tests_s)

    @cache
    def of(root: Path | None) -> Runner:
        return of_project(project_of(settings, root))

    return of


def project_of(settings: Settings, root: Path | None) -> Project | None:
    """Return what of a project the sandbox may read, by the settings."""
    allowed = settings.sandbox.project
    if root is None or allowed == "none" or not root.is_dir():
        return None
    root = root.resolve()
    return Project(root, _environment(root), sources=allowed == "sources")


def _environment(root: Path) -> Path | None:
    """Return the interpreter of a project's own environment, if it is not too old."""
    inside = Path("Scripts", "python.exe") if sys.platform == "win32" else Path("bin", "python")
    for folder in (root / ".venv", root / "venv"):
        python = folder / inside
        if python.is_file() and _version(folder) >= OLDEST:
            return python
    return None


def _version(environment: Path) -> tuple[int, ...]:
    """Return the Python version that an environment says it has, (0,) where it says none."""
    try:
        text = (environment / "pyvenv.cfg").read_text("utf-8")
    except (OSError, ValueError):
        return (0,)
    found = re.search(r"^version(?:_info)? *= *(\d+)\.(\d+)", text, re.MULTILINE)
    return tuple(map(int, found.groups())) if found else (0,)


def _tier(role: str, name: str, settings: Settings, lease: Lease) -> Tier | None:
    model = catalogue.load().find(name)
    path = catalogue.installed(model)
    if path is None:
        return None
    style = model.style
    make = SharedEngine if settings.engine.shared else LocalEngine
    # The small model is what keystrokes need at once; the large one is loaded when it is needed.
    engine = make(path, settings.engine, lease, keep=role == "small")
    return Tier(role, model.name, engine, line=style.line, body=style.body, tests=style.tests)


def _remote(settings: Settings, key: str) -> Tier:
    from cascade_lsp.engine.remote import RemoteEngine  # nobody else needs a network library

    options = settings.remote
    engine = RemoteEngine(options, partial(keys.find, options, key), LedgerMeter(settings))
    gate = Permission(options, paths.privacy_path(), engine)
    model = options.model or options.host
    return Tier("remote", model, engine, line="psm", body="chat", tests="chat", gate=gate)


class LedgerMeter:
    """The ledger as the remote engine's meter, opened when it is first needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _ledger(self) -> Ledger:
        return open_ledger(self._settings)

    def spend(self, host: str, tokens: int, money: float) -> None:
        """Add to what was asked of a host today."""
        self._ledger.spend(host, tokens, money)

    def spent_today(self) -> tuple[int, float]:
        """Return the tokens and the money that were spent today."""
        return self._ledger.spent_today()


def open_ledger(settings: Settings) -> Ledger:
    """Open the user's ledger; raise LedgerError where it cannot be used."""
    return Ledger.open(paths.ledger_path(), settings.ledger)
