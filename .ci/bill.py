"""Write the software bill of materials, CycloneDX 1.6 as JSON, to standard output.

`bill.py FILE...` lists the built files with their SHA-256, and every part of `parts`. Python
distributions have no digest in it: constraints.txt pins versions. The same commit and the same
files give the same bytes: the serial number comes from their digests, the time from
SOURCE_DATE_EPOCH.
"""

import hashlib
import json
import os
import sys
import tomllib
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from parts import ROOT, SHIPPED, Part, parts


def bill(files: Sequence[Path], epoch: int) -> str:
    """Return the bill for the built files; `epoch` in seconds."""
    built = [_file(path) for path in files]
    digests = "".join(str(digest.content) for file in built for digest in file.hashes)
    product = _product(built)
    components = [_component(part) for part in parts()]
    document = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_OID, digests),
        components=components,
        metadata=BomMetaData(timestamp=datetime.fromtimestamp(epoch, UTC), component=product),
    )
    direct = _direct()
    document.register_dependency(product, [part for part in components if _bare(part) in direct])
    return JsonV1Dot6(document).output_as_string(indent=2) + "\n"


def _direct() -> set[str]:
    """Return what engine and extension ask for themselves, as addresses without a version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    manifest = json.loads((ROOT / "vscode-extension" / "package.json").read_text())
    names = [canonicalize_name(Requirement(text).name) for text in project["dependencies"]]
    return {f"pkg:pypi/{name}" for name in names} | {
        f"pkg:npm/{name}" for name in manifest["dependencies"]
    }


def _bare(component: Component) -> str:
    return str(component.purl).rpartition("@")[0]


def _product(built: Sequence[Component]) -> Component:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return Component(
        type=ComponentType.APPLICATION,
        name=project["name"],
        version=project["version"],
        bom_ref=project["name"],
        licenses=[LicenseFactory().make_from_string(project["license"])],
        components=built,
    )


def _file(path: Path) -> Component:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Component(
        type=ComponentType.FILE,
        name=path.name,
        bom_ref=path.name,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
    )


def _component(part: Part) -> Component:
    is_model = part.use == "model"
    where = None if is_model else _address(part)
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL if is_model else ComponentType.LIBRARY,
        name=part.name,
        version=part.version,
        bom_ref=str(where or part.name),
        scope=_scope(part),
        purl=where,
        licenses=[LicenseFactory().make_from_string(part.licence)],
        hashes=[HashType(alg=HashAlgorithm(name), content=text) for name, text in part.hashes],
        properties=[Property(name="cascade:use", value=part.use)],
    )


def _scope(part: Part) -> ComponentScope:
    if part.use in SHIPPED:
        return ComponentScope.REQUIRED
    return ComponentScope.EXCLUDED if part.use == "development" else ComponentScope.OPTIONAL


def _address(part: Part) -> PackageURL:
    if part.use == "extension":
        group, _, name = part.name.rpartition("/")
        return PackageURL("npm", group or None, name, part.version)
    return PackageURL("pypi", None, canonicalize_name(part.name), part.version)


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:]]
    sys.stdout.write(bill(paths, int(os.environ["SOURCE_DATE_EPOCH"])))
