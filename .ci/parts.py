"""What the product is made of: every pinned distribution, bundled npm package and listed model.

Read from the files that decide it (constraints.txt, the extension's lock file, the catalogue) and
from what the installed distributions say of themselves. No opinion of a lawyer, and no search
through the sources: a licence is what the part declares. Nothing is left out: a pinned distribution
that is not installed, or is in another version, is an error, as is a licence that is not known.
"""

import base64
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Literal

from license_expression import (
    AND,
    OR,
    ExpressionError,
    LicenseExpression,
    Licensing,
    get_spdx_licensing,
)
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
INSTALL = "python -m pip install -c constraints.txt -e '.[dev]'"

Use = Literal["run time", "lab", "development", "extension", "model"]
USES: tuple[Use, ...] = ("run time", "lab", "development", "extension", "model")
SHIPPED: tuple[Use, ...] = ("run time", "extension")

# What may go along with, or be needed by, a program under the MIT licence. Of these only MPL-2.0
# asks anything, of files that were changed; none is changed here.
COMPATIBLE = frozenset(
    {
        *("0BSD", "Apache-2.0", "BlueOak-1.0.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC"),
        *("MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib"),
    }
)

# What the older metadata fields say, in SPDX's words.
_SPDX = {
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD 2-Clause License": "BSD-2-Clause",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "PSFL": "PSF-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


class PartError(Exception):
    """A part cannot be told: what happened, and what to do."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing the product is made of.

    `hashes` maps an algorithm ("SHA-256", "SHA-512") to hexadecimal digits; it is empty for
    distributions, which constraints.txt pins by version alone.
    """

    name: str
    version: str
    licence: str
    use: Use
    hashes: tuple[tuple[str, str], ...] = ()


def parts() -> list[Part]:
    """Return every part, by use and then by name."""
    found = [*distributions(), *bundled(), *models()]
    return sorted(found, key=lambda part: (USES.index(part.use), part.name.lower()))


def pins(root: Path = ROOT) -> dict[str, str]:
    """Return the version of each distribution that constraints.txt names.

    Raises `PartError` for a line that pins no exact version.
    """
    pinned = {}
    for line in (root / "constraints.txt").read_text().splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = re.fullmatch(r"([\w.-]+)==([\w.+!-]+)", text)
        if not match:
            raise PartError(f"constraints.txt: {text!r} pins no version: write NAME==VERSION.")
        pinned[match[1]] = match[2]
    return pinned


def distributions() -> Iterator[Part]:
    """Yield every pinned Python distribution, as the installed one describes itself.

    What is reached from the run-time dependencies is told on this machine: a dependency of another
    system alone is neither pinned nor listed.
    """
    uses = _uses()
    for name, version in pins().items():
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise PartError(f"{name} is pinned but not installed: {INSTALL}") from None
        if found.version != version:
            raise PartError(f"{name} is {found.version}, pinned is {version}: {INSTALL}")
        use = uses.get(canonicalize_name(name), "development")
        yield Part(name, version, _licence(found), use)


def bundled() -> Iterator[Part]:
    """Yield the npm packages that are bundled into the extension, with their SHA-512."""
    lock = json.loads((ROOT / "vscode-extension" / "package-lock.json").read_text())
    for path, entry in lock["packages"].items():
        if path and not entry.get("dev"):
            algorithm, _, digest = entry["integrity"].partition("-")
            assert algorithm == "sha512", path
            name = path.rpartition("node_modules/")[2]
            hashes = (("SHA-512", base64.b64decode(digest).hex()),)
            yield Part(name, entry["version"], entry.get("license", ""), "extension", hashes)


def models() -> Iterator[Part]:
    """Yield the models of the catalogue: fetched by name on request, part of no package."""
    catalogue = tomllib.loads((ROOT / "models" / "catalogue.toml").read_text())
    for model in catalogue["model"]:
        revision = model["sources"][0]["revision"]
        hashes = (("SHA-256", model["sha256"]),)
        yield Part(model["name"], revision, model["licence"], "model", hashes)


def fault(part: Part) -> str | None:
    """Return why a part must not go along with the product, or None.

    Models are asked for no more than a licence that is told: none is distributed.
    """
    if not part.licence:
        return f"{part.name} {part.version} ({part.use}) states no licence that is understood."
    if part.use in SHIPPED and not _compatible(part.licence):
        return (
            f"{part.name} {part.version} ({part.use}) is under {part.licence}, which is not known "
            "to go with MIT: replace it, or add the licence to COMPATIBLE in .ci/parts.py."
        )
    return None


def _compatible(licence: str) -> bool:
    """Tell whether some choice that an SPDX expression leaves is in `COMPATIBLE` throughout."""

    def holds(node: LicenseExpression) -> bool:
        if isinstance(node, OR):
            return any(map(holds, node.args))
        if isinstance(node, AND):
            return all(map(holds, node.args))
        return str(node) in COMPATIBLE

    try:
        return holds(_licensing().parse(licence, validate=True))
    except ExpressionError:
        return False


def _uses() -> dict[str, Use]:
    """Return what each distribution is needed for; those of nobody are for development."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    uses: dict[str, Use] = {}
    _reach(project["dependencies"], "run time", uses)
    _reach(project["optional-dependencies"]["lab"], "lab", uses)
    return uses


def _reach(texts: list[str], use: Use, uses: dict[str, Use]) -> None:
    """Add to `uses` what the requirements ask for, directly or not, and is not in it yet."""
    wanted = [Requirement(text) for text in texts]
    seen: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        extras = frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        uses.setdefault(name, use)
        for text in metadata.requires(name) or []:
            inner = Requirement(text)
            if _applies(inner, extras):
                wanted.append(inner)


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in {"", *extras})


def _licence(found: metadata.Distribution) -> str:
    """Return a distribution's licence as an SPDX expression; empty if it states none."""
    if expressions := found.metadata.get_all("License-Expression"):
        return str(expressions[0])
    texts = [str(text) for text in found.metadata.get_all("License") or []]
    classifiers = [str(text) for text in found.metadata.get_all("Classifier") or []]
    texts += [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License ::")]
    for text in texts:
        if known := _SPDX.get(text) or _valid(text):
            return known
    return _bsd(found) if any("BSD" in text for text in texts) else ""


@cache
def _licensing() -> Licensing:
    return get_spdx_licensing()


def _valid(text: str) -> str:
    """Return the text if it is an SPDX expression already."""
    if not text or "\n" in text:
        return ""
    try:
        _licensing().parse(text, validate=True)
    except ExpressionError:
        return ""
    return text


def _bsd(found: metadata.Distribution) -> str:
    """Return which BSD licence it is: the metadata's older fields do not say, its file does."""
    for file in found.files or []:
        inside = ".dist-info" in str(file) and re.match("licen[cs]e", file.name, re.IGNORECASE)
        if inside and "redistribution" in (text := file.read_text().lower()):
            third = re.search(r"neither\s+the\s+name|names\s+of", text)
            return "BSD-3-Clause" if third else "BSD-2-Clause"
    return ""
