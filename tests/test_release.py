"""The release: the same bytes wherever it is built, all listed, advisories looked up."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.editor import machine

ROOT = Path(__file__).parent.parent


def built(folder: Path, umask: int, **env: str) -> subprocess.Popen[str]:
    """Start the release of a clone."""
    return subprocess.Popen(
        [folder / ".ci" / "release"],
        env={**machine.environment(), "PYTHON": sys.executable, **env},
        umask=umask,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Return the last commit's release, built in two folders that differ in what they may."""
    near = tmp_path_factory.mktemp("near") / "one"
    far = tmp_path_factory.mktemp("far") / "another folder" / "of a longer name"
    subprocess.run(["git", "clone", "-q", "--shared", ROOT, near], check=True, timeout=60)
    subprocess.run(["git", "clone", "-q", "--shared", near, far], check=True, timeout=60)
    with (far / "server" / "cascade_lsp" / "__init__.py").open("a") as source:
        source.write("not_committed = True\n")
    (far / "vscode-extension" / "media" / "stray.css").write_text("")
    processes = [
        built(near, 0o022, TZ="UTC"),
        built(far, 0o077, TZ="Asia/Tokyo", LC_ALL="C.UTF-8", TMPDIR=str(far.parent)),
    ]
    for process in processes:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
        assert "Not checked for known vulnerabilities" in output
    yield near / "dist", far / "dist"
    shutil.rmtree(near)
    shutil.rmtree(far)


def one(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


# -- what is built ---------------------------------------------------------------------------------


def test_two_builds_in_two_folders_are_the_same_bytes(releases: tuple[Path, Path]) -> None:
    near, far = ({path.name: path.read_bytes() for path in dist.iterdir()} for dist in releases)
    assert len(near) == 4
    assert near == far


def test_the_digests_are_those_of_every_file(releases: tuple[Path, Path]) -> None:
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(check, cwd=releases[0], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": OK") == len(list(releases[0].iterdir())) - 1


def test_the_archives_hold_no_path_and_time_of_the_build(releases: tuple[Path, Path]) -> None:
    stamp = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=releases[0], capture_output=True, check=True
    )
    moment = datetime.fromtimestamp(int(stamp.stdout), UTC).replace(microsecond=0)
    for archive in map(zipfile.ZipFile, (one(releases[0], "*.whl"), one(releases[0], "*.vsix"))):
        names = archive.namelist()
        assert names == sorted(names)
        for info in archive.infolist():
            assert abs(datetime(*info.date_time, tzinfo=UTC) - moment) < timedelta(seconds=2)
            content = archive.read(info)
            for path in (ROOT, releases[0].parent, releases[1].parent, "/tmp/tmp."):
                assert str(path).encode() not in content, info.filename


def test_the_extension_brings_the_very_wheel(releases: tuple[Path, Path]) -> None:
    wheel = one(releases[0], "*.whl")
    inside = zipfile.ZipFile(one(releases[0], "*.vsix")).read(f"extension/engine/{wheel.name}")
    assert inside == wheel.read_bytes()
    metadata = zipfile.ZipFile(io.BytesIO(inside))
    (tag,) = (name for name in metadata.namelist() if name.endswith(".dist-info/WHEEL"))
    backend = (ROOT / ".ci" / "build.txt").read_text().strip().replace("==", " (")
    assert f"Generator: {backend})" in metadata.read(tag).decode()


def test_the_sealed_wheel_installs(releases: tuple[Path, Path], tmp_path: Path) -> None:
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", tmp_path]
    subprocess.run([*install, one(releases[0], "*.whl")], check=True, timeout=120)
    assert (tmp_path / "cascade_lsp" / "__main__.py").exists()


def test_the_extension_holds_the_licence_of_everything_bundled(
    releases: tuple[Path, Path],
) -> None:
    licence = zipfile.ZipFile(one(releases[0], "*.vsix")).read("extension/LICENSE.txt").decode()
    lock = json.loads((ROOT / "vscode-extension" / "package-lock.json").read_text())["packages"]
    shipped = {path: entry for path, entry in lock.items() if path and not entry.get("dev")}
    assert shipped
    for path, entry in shipped.items():
        title = f"{path.removeprefix('node_modules/')} {entry['version']}\n\n"
        assert title in licence
    assert licence.startswith((ROOT / "LICENSE").read_text().strip())


def test_the_bill_lists_every_part_and_the_built_files(releases: tuple[Path, Path]) -> None:
    bill = json.loads(one(releases[0], "*.cdx.json").read_text())
    found = {(part["name"], part["version"]): part for part in bill["components"]}
    pins = (line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    lock = json.loads((ROOT / "vscode-extension" / "package-lock.json").read_text())["packages"]
    catalogue = tomllib.loads((ROOT / "models" / "catalogue.toml").read_text())["model"]
    assert all(found[name, version]["purl"] for name, version in pins)
    assert all(part["licenses"] for part in bill["components"])
    diff = found["diff", lock["node_modules/diff"]["version"]]
    assert diff["scope"] == "required" and diff["hashes"][0]["alg"] == "SHA-512"
    digests = {
        digest["content"] for part in bill["components"] for digest in part.get("hashes", ())
    }
    assert {model["sha256"] for model in catalogue} <= digests
    for file in bill["metadata"]["component"]["components"]:
        content = (releases[0] / file["name"]).read_bytes()
        assert file["hashes"][0]["content"] == hashlib.sha256(content).hexdigest()


# -- advisories ------------------------------------------------------------------------------------


@pytest.fixture
def advisories(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / ".ci")
    import advisories  # type: ignore[import-not-found]

    return advisories


def advisory(name: str, ecosystem: str = "PyPI", age_days: float = 1, **affected: Any) -> Any:
    modified = datetime.now(UTC) - timedelta(days=age_days)
    return {
        "id": f"TEST-{name}",
        "aliases": ["CVE-2026-0001"],
        "summary": "Something is wrong.",
        "modified": modified.isoformat().replace("+00:00", "Z"),
        "affected": [{"package": {"ecosystem": ecosystem, "name": name}, **affected}],
    }


def span(*events: tuple[str, str], kind: str = "ECOSYSTEM") -> dict[str, Any]:
    return {"ranges": [{"type": kind, "events": [{name: text} for name, text in events]}]}


def export(folder: Path, *entries: Any) -> None:
    """Write an export with these entries, in the archives that OSV makes."""
    for ecosystem in ("PyPI", "npm"):
        filler = advisory("no-such-part", ecosystem, versions=["1.0"])
        with zipfile.ZipFile(folder / f"{ecosystem}.zip", "w") as archive:
            for number, entry in enumerate([filler, *entries]):
                if entry["affected"][0]["package"]["ecosystem"] == ecosystem:
                    archive.writestr(f"{number}.json", json.dumps(entry))


def run(*arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ".ci/advisories.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_known_vulnerability_of_a_pinned_part_is_named(tmp_path: Path) -> None:
    export(
        tmp_path,
        advisory("PyYAML", **span(("introduced", "0"))),
        advisory("diff", "npm", **span(("introduced", "0"), kind="SEMVER")),
        advisory("cattrs", **span(("introduced", "0"), ("fixed", "1.0"))),
    )
    done = run(tmp_path)
    assert done.returncode == 1
    assert "PyYAML 6.0" in done.stdout and "TEST-PyYAML (CVE-2026-0001)" in done.stdout
    assert "(extension): TEST-diff" in done.stdout
    assert "cattrs" not in done.stdout
    assert "2 known vulnerabilities" in done.stdout


def test_what_is_known_to_be_vulnerable_is_not_released(
    releases: tuple[Path, Path], tmp_path: Path
) -> None:
    export(tmp_path, advisory("PyYAML", **span(("introduced", "0"))))
    before = (releases[0] / "SHA256SUMS").stat()
    process = built(releases[0].parent, 0o022, OSV=str(tmp_path))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "TEST-PyYAML" in output
    assert (releases[0] / "SHA256SUMS").stat() == before


def test_with_nothing_known_the_check_passes_and_says_what_was_checked(tmp_path: Path) -> None:
    export(tmp_path)
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0 known vulnerabilities" in done.stdout


@pytest.mark.parametrize(
    ("affected", "expected"),
    [
        ({"versions": ["2.0"]}, True),
        ({"versions": ["2.0.1"]}, False),
        (span(("introduced", "0"), ("fixed", "2.0")), False),
        (span(("introduced", "0"), ("fixed", "2.0.1")), True),
        (span(("introduced", "2.0.1")), False),
        (span(("introduced", "1.0"), ("last_affected", "2.0")), True),
        (span(("introduced", "1.0"), ("last_affected", "1.9")), False),
        (span(("introduced", "0"), ("fixed", "1.0"), ("introduced", "2.0")), True),
        (span(("introduced", "0"), kind="GIT"), False),
        (span(("introduced", "0"), ("fixed", "unheard of")), True),
    ],
)
def test_a_version_is_compared_as_the_schema_says(
    advisories: ModuleType, affected: dict[str, Any], expected: bool
) -> None:
    part = advisories.Part("Some.Thing", "2.0", "MIT", "run time")
    lines = advisories.known([part], iter([advisory("some-thing", **affected)]), datetime.now(UTC))
    assert bool(lines) == expected


def test_what_was_withdrawn_is_not_counted(advisories: ModuleType) -> None:
    part = advisories.Part("thing", "2.0", "MIT", "run time")
    entry = advisory("thing", versions=["2.0"]) | {"withdrawn": "2026-01-01T00:00:00Z"}
    assert not advisories.known([part], iter([entry]), datetime.now(UTC))


def test_an_old_or_incomplete_export_is_refused(advisories: ModuleType) -> None:
    part = advisories.Part("thing", "2.0", "MIT", "run time")
    for entries, said in (
        ([advisory("other", age_days=31)], "older than 30 days"),
        ([advisory("other", "npm")], "nothing about PyPI"),
    ):
        with pytest.raises(advisories.ExportError, match=said):
            advisories.known([part], iter(entries), datetime.now(UTC))


def test_without_an_export_it_is_said_that_nothing_was_checked(tmp_path: Path) -> None:
    done = run()
    assert done.returncode == 0
    assert done.stdout.startswith("Not checked")
    assert run(tmp_path).returncode == 2
    assert run(tmp_path / "missing").returncode == 2
