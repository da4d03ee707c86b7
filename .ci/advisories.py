"""Look the pinned parts up in an export of OSV's advisories, without a network.

`advisories.py FOLDER` reads the JSON files in it and in its zip archives: OSV exports one archive
for each ecosystem, here PyPI and npm. Nothing is fetched and nothing is kept: advisories grow old,
so an export whose newest entry is older than 30 days is refused, and without a folder it is said
that nothing was checked. Models have no advisories.

Exit codes: 0 nothing known, or not checked; 1 something is known, or cannot be told; 2 no use.
"""

import json
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from parts import Part, bundled, distributions

OLDEST = timedelta(days=30)
COMMAND = "python .ci/advisories.py FOLDER"

Advisory = dict[str, Any]


class ExportError(Exception):
    """The export cannot be used: what is wrong with it, and what to do."""


def known(checked: list[Part], advisories: Iterator[Advisory], now: datetime) -> list[str]:
    """Return a line for each advisory that a part is, or may be, affected by.

    Raises `ExportError` where an ecosystem is missing or the newest entry is too old.
    """
    by_name = {_key(part): part for part in checked}
    newest: dict[str, datetime] = {}
    lines = []
    for advisory in advisories:
        modified = datetime.fromisoformat(advisory["modified"])
        for affected in advisory.get("affected", ()):
            key = _name(affected.get("package", {}))
            newest[key[0]] = max(modified, newest.get(key[0], modified))
            part = by_name.get(key)
            if part and "withdrawn" not in advisory and _is_affected(part.version, affected):
                lines.append(f"{part.name} {part.version} ({part.use}): {_summary(advisory)}")
    _demand({ecosystem for ecosystem, _ in by_name}, newest, now)
    return sorted(set(lines))


def exported(folder: Path) -> Iterator[Advisory]:
    """Yield every advisory of the JSON files and zip archives in a folder."""
    for path in sorted(folder.iterdir()):
        if path.suffix == ".json":
            yield json.loads(path.read_bytes())
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.endswith(".json"):
                        yield json.loads(archive.read(name))


def _demand(ecosystems: set[str], newest: dict[str, datetime], now: datetime) -> None:
    for ecosystem in sorted(ecosystems):
        if ecosystem not in newest:
            raise ExportError(f"The export has nothing about {ecosystem}: put OSV's archive there.")
        if now - newest[ecosystem] > OLDEST:
            raise ExportError(
                f"The export's newest entry about {ecosystem} is of {newest[ecosystem]:%Y-%m-%d}, "
                f"older than {OLDEST.days} days: get a fresh one."
            )


def _key(part: Part) -> tuple[str, str]:
    if part.use == "extension":
        return "npm", part.name
    return "PyPI", canonicalize_name(part.name)


def _name(package: dict[str, str]) -> tuple[str, str]:
    ecosystem, name = package.get("ecosystem", ""), package.get("name", "")
    return ecosystem, canonicalize_name(name) if ecosystem == "PyPI" else name


def _is_affected(version: str, affected: Advisory) -> bool:
    """Tell whether a version is listed or lies in a range; what cannot be compared is affected."""
    if version in affected.get("versions", ()):
        return True
    ranges = [span for span in affected.get("ranges", ()) if span["type"] != "GIT"]
    try:
        return any(_lies_in(Version(version), span["events"]) for span in ranges)
    except InvalidVersion:
        return True


def _lies_in(version: Version, events: list[dict[str, str]]) -> bool:
    """Follow the events up to the version, as OSV's schema says how."""
    inside = False
    steps = [(Version(text), kind) for event in events for kind, text in event.items()]
    for step, kind in sorted(steps):
        if kind == "introduced" and version >= step:
            inside = True
        elif (kind == "fixed" and version >= step) or (kind == "last_affected" and version > step):
            inside = False
    return inside


def _summary(advisory: Advisory) -> str:
    aliases = ", ".join(alias for alias in advisory.get("aliases", ()) if alias.startswith("CVE"))
    names = f"{advisory['id']} ({aliases})" if aliases else advisory["id"]
    return f"{names} {advisory.get('summary', '')}".strip()


def main(arguments: list[str]) -> int:
    """Print what is known about the pinned parts; return the exit code."""
    if len(arguments) > 1 or (arguments and not Path(arguments[0]).is_dir()):
        sys.stderr.write(f"{COMMAND}: a folder with an export of OSV\n")
        return 2
    if not arguments:
        sys.stdout.write(f"Not checked for known vulnerabilities; to do so: {COMMAND}\n")
        return 0
    checked = [*distributions(), *bundled()]
    try:
        lines = known(checked, exported(Path(arguments[0])), datetime.now(UTC))
    except ExportError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.write(f"{len(checked)} parts checked, {len(lines)} known vulnerabilities.\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
