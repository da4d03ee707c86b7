"""Where the product keeps its files. It never writes anywhere else.

`CASCADE_HOME`, when set, holds everything in one folder (portable installs, tests);
otherwise the platform's own folders are used.
"""

import hashlib
import os
import warnings
from pathlib import Path

import platformdirs

_APP = "cascade-lsp"


def _folder(kind: str, platform_folder: str) -> Path:
    home = os.environ.get("CASCADE_HOME")
    return Path(home) / kind if home else Path(platform_folder)


def models_dir() -> Path:
    """Return the folder that holds verified weight files."""
    return _folder("models", platformdirs.user_data_dir(_APP, appauthor=False)) / "weights"


def state_dir() -> Path:
    """Return the folder for the ledger and what was learnt about this machine."""
    return _folder("state", platformdirs.user_state_dir(_APP, appauthor=False))


def ledger_path() -> Path:
    """Return the path of the decision ledger."""
    return state_dir() / "ledger.sqlite3"


def privacy_path() -> Path:
    """Return the file of the user's privacy policy, which the user writes."""
    folder = _folder("config", platformdirs.user_config_dir(_APP, appauthor=False))
    return folder / "privacy.toml"


def plan_path() -> Path:
    """Return the file of the plan that was found for this machine."""
    return state_dir() / "plan.toml"


def machine_path() -> Path:
    """Return the path of the JSON file that remembers safe engine settings per build."""
    return state_dir() / "machine.json"


def probes_path() -> Path:
    """Return the path of the JSON file that remembers which sandboxes held on this machine."""
    return state_dir() / "sandbox.json"


def runtime_dir(home: str | Path | None = None) -> Path:
    """Return the folder in which the user's processes find each other: one per `CASCADE_HOME`,
    which `home` stands in for.

    It is outside that folder, as a Unix socket's path may have only about 100 bytes.
    """
    home = home or os.environ.get("CASCADE_HOME")
    digest = hashlib.sha256(os.fsencode(Path(home).absolute())).hexdigest()[:8] if home else ""
    with warnings.catch_warnings(action="ignore"):  # that a session without one gets another
        folder = Path(platformdirs.user_runtime_dir(_APP, appauthor=False))
    return folder.with_name(f"{_APP}-{digest}") if home else folder


def host_log_path() -> Path:
    """Return the path of the log of the engine host."""
    return state_dir() / "host.log"
