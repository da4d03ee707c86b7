"""Where the key of a remote model comes from: the editor's own store, an environment variable that
the user names, or the system's keyring. Never from the settings, and it goes nowhere but into the
engine's one header.
"""

import logging
import os

from cascade_lsp.engine.remote_options import RemoteOptions
from cascade_lsp.errors import UsageError

SERVICE = "cascade-lsp"
_LOG = logging.getLogger(__name__)


def find(options: RemoteOptions, given: str = "") -> str:
    """Return the key for a server, "" if there is none; `given` is the editor's."""
    if given:
        return given
    if options.key_variable:
        return os.environ.get(options.key_variable, "")
    import keyring  # which only those need who have a remote model
    from keyring.errors import KeyringError

    try:
        return keyring.get_password(SERVICE, options.host) or ""
    except KeyringError as error:
        _LOG.info("no keyring to ask: %s", type(error).__name__)
        return ""


def keep(host: str, key: str) -> None:
    """Keep a key in the system's keyring, or with "" remove it; raise UsageError where there is no
    keyring."""
    import keyring
    from keyring.errors import KeyringError

    try:
        if key:
            keyring.set_password(SERVICE, host, key)
        elif keyring.get_password(SERVICE, host):
            keyring.delete_password(SERVICE, host)
    except KeyringError as error:
        raise UsageError(
            f"This system has no keyring that can be used ({type(error).__name__}). Name an "
            "environment variable that holds the key in cascade.remote.key_variable instead."
        ) from None
