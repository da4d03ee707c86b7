"""The exceptions of the product, one small tree.

    CascadeError          a sentence for the user: what happened, what it means, what to do
    ├── UsageError        the user asked for something that cannot be (exit code 2)
    ├── ModelError        a model file is missing, damaged, or not one (exit code 3)
    ├── EngineError       a worker could not be started or was lost (exit code 4)
    │   └── RemoteError   a remote model gave no answer that can be used (exit code 4)
    └── LedgerError       the decision record cannot be read or written (exit code 5)

Expected outcomes (a failed test, an empty answer, a blocked call) are values, never exceptions.
"""

from typing import Any


class CascadeError(Exception):
    """Tell the user what happened, what it means and what to do."""

    exit_code = 1


class UsageError(CascadeError):
    """The request itself is wrong: a missing file, a place outside it, an unknown name."""

    exit_code = 2


class ModelError(CascadeError):
    """A model file is missing, damaged, or not a model."""

    exit_code = 3


class EngineError(CascadeError):
    """A model worker could not be started, or was lost for good."""

    exit_code = 4


class RemoteError(EngineError):
    """A remote model was not reached, refused, or gave no answer that can be used; `sent` is what
    it was sent before, as `engine.Sent`."""

    def __init__(self, message: str, sent: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.sent = sent


class LedgerError(CascadeError):
    """The decision record could not be opened, read or written."""

    exit_code = 5
