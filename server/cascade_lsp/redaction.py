"""Lines that hold secrets, found in a text by what they look like, and left out of it.

The recognisers are those of detect-secrets, asked line by line; its filters, which take back what
looks like an example, are not: a line too many withheld costs a model little. Besides them only
what spans lines (the body of a private key) and assignments without quotes are known here. A
secret that looks like ordinary text is not recognised; `exclusions` and `privacy` keep whole files
back. Nothing is checked with the service that issued it: this asks nobody.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.base import BasePlugin

# Addresses are no secrets; what else it knows is asked.
NOT_ASKED = ("IPPublicDetector",)
KEY_BEGINS, KEY_ENDS = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"), re.compile(r"-----END ")
# NAME=value as shells and .env files have it; in code a value has quotes, which detectors know.
BARE = re.compile(
    r"""(?ix)^\s*(?:export\s+)?[\w.-]*(?:key|token|secret|passw(?:or)?d|pwd|credential)[\w.-]*
    \s*[:=]\s*(?=\S*\d)(?=\S*[a-z])[^\s()\[\]{}"'.,]{8,}\s*$"""
)


def withhold(text: str) -> tuple[str, Mapping[str, int]]:
    """Return a text without the lines that look like secrets, and how many of each kind."""
    kept, withheld = list[str](), Counter[str]()
    for line, kind in _judged(text):
        if kind:
            withheld[kind] += 1
        else:
            kept.append(line)
    return "".join(kept), dict(withheld)


def kind_of(line: str) -> str:
    """Return which kind of secret a line seems to hold, "" if none."""
    for detector in _detectors():
        if any(detector.analyze_line(filename="line.py", line=line, line_number=1)):
            return str(detector.secret_type)
    return "Secret Keyword" if BARE.match(line) else ""


def _judged(text: str) -> Iterator[tuple[str, str]]:
    """Yield each line with its end, and the kind of secret that it belongs to."""
    inside = False
    for line in text.splitlines(keepends=True):
        inside = inside or bool(KEY_BEGINS.search(line))
        yield line, "Private Key" if inside else kind_of(line)
        inside = inside and not KEY_ENDS.search(line)


@cache
def _detectors() -> tuple[BasePlugin, ...]:
    """Return the recognisers; they keep nothing from one line to the next."""
    known: Mapping[str, type[BasePlugin]] = get_mapping_from_secret_type_to_class()
    kinds = dict.fromkeys(known.values())
    return tuple(kind() for kind in kinds if kind.__name__ not in NOT_ASKED)
