import logging

log = logging.getLogger(__name__)


def report(path: str, seconds: float) -> None:
    """Log how long reading a file took, as a warning if it was more than a second."""
