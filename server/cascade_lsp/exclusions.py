"""What no model may see: files that hold secrets, and what the workspace's ignore files exclude.

It reads names and ignore files, never the document itself. A name that is known to hold secrets
is excluded with or without a workspace, and no ignore file takes that back. Whatever else cannot
be read excludes nothing.
"""

import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from cascade_lsp.suites import path_named

MOST_BYTES = 256 * 1024  # of an ignore file that are read

# Globs of a file's name, or of its folder's and its own; upper and lower case are the same.
SECRET_FILES = (
    # environments
    ".env*", "*.env", ".dev.vars", "*.tfvars", "*.tfvars.json", "*.tfstate", "*.tfstate.*",
    # private keys and certificates
    "*.pem", "*.key", "*.ppk", "*.p8", "*.der", "*.crt", "*.cer", "*.csr", "*.p7b", "*.p7c",
    "*.asc", "*.gpg", "*.pgp", "*.age", "*.agekey", "*.keytab", "*.ovpn", "*.mobileprovision",
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "ssh_host_*_key*",
    # keystores and password stores
    "*.p12", "*.pfx", "*.jks", "*.keystore", "*.bks", "*.kdb", "*.kdbx", "*.keychain*",
    "*.wallet", "wallet.dat", "*.psafe3", "keystore.properties", "key.properties",
    # credentials of tools and services
    "credentials", "*.credentials", "secret", "secrets", "*.secret", "*.secrets", "secrets.h",
    "arduino_secrets.h", "vault.y*ml", ".vault*", "passwd", "shadow", ".netrc", "_netrc",
    ".pgpass", "pgpass.conf", ".my.cnf", ".mylogin.cnf", ".npmrc", ".yarnrc*", ".pypirc",
    ".git-credentials", ".htpasswd", ".htdigest", ".dockercfg", ".docker/config.json",
    ".kube/config", "kubeconfig*", ".s3cfg", ".boto", ".databrickscfg", ".terraformrc",
    "terraform.rc", ".snowsql/config", ".cargo/credentials*", ".m2/settings*.xml", "gh/hosts.yml",
    "gcloud/*.db",
)  # fmt: skip
# Words that say the same of a file of data, but not of code that deals with them.
SECRET_DATA = ("*credential*", "secret*", "*_secret*", "*password*", "service[-_]account*")
DATA = (".json", ".toml", ".y*ml*", ".xml", ".ini", ".cfg", ".conf", ".properties", ".csv", ".txt")
# Folders in which, at whatever depth, everything is excluded.
SECRET_FOLDERS = frozenset({
    ".aws", ".azure", ".envs", ".git", ".gnupg", ".hg", ".password-store", ".secrets", ".ssh",
    ".svn",
})  # fmt: skip
GIT_FILES = (".git/info/exclude", ".gitignore")
OWN_FILES = (".cascadeignore",)


def _any_of(globs: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(fnmatch.translate, globs)))


_SECRET_NAME = _any_of(
    (
        *(one for one in SECRET_FILES if "/" not in one),
        *(name + suffix for name in SECRET_DATA for suffix in DATA),
    )
)
_SECRET_PLACE = _any_of(one for one in SECRET_FILES if "/" in one)


Patterns = Sequence[GitIgnoreSpecPattern]


@dataclass(frozen=True, slots=True)
class Rules:
    """What one ignore file says, of the paths below a folder."""

    file: Path
    folder: Path
    patterns: Patterns

    def verdict(self, path: Path, *, is_folder: bool) -> bool | None:
        """Say whether a path is excluded; None where the file does not mention it."""
        below = path.relative_to(self.folder).as_posix() + "/" * is_folder
        for pattern in reversed(self.patterns):
            if pattern.include is not None and _is_meant(pattern, below):
                return pattern.include
        return None


class Exclusions:
    """Says of a document whether models may see it; knows the ignore files that it has read until
    they change."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], Patterns]] = {}

    def reason(self, uri: str, folders: Sequence[Path] = ()) -> str:
        """Return why a document is excluded, as a sentence; "" where models may see it.

        `folders` are those of the workspace. Ignore files count from the top of the repository
        around them, or around the document's own folder where it lies in none of them.
        """
        return self.reason_of(path_named(uri), folders)

    def reason_of(self, path: Path, folders: Sequence[Path] = ()) -> str:
        """Return the same of a file, and of what it leads to where there is a link on its way."""
        folders = [*folders, *map(_real, folders)]
        for one in dict.fromkeys((path, _real(path))):
            if why := _secret(one) or self._ignored(one, folders):
                link = "" if one.name == path.name else f"leads to {one.name}, which "
                return f"No model sees {path.name}: it {link}{why}."
        return ""

    def _ignored(self, path: Path, folders: Sequence[Path]) -> str:
        """Return which ignore file excludes a path, or a folder that it lies in."""
        top = _top(path, folders)
        way = [one for one in (*reversed(path.parents), path) if top in one.parents]
        git, own = list[Rules](), list[Rules]()
        for one in way:  # what is in an excluded folder stays excluded
            git += self._rules(one.parent, GIT_FILES)
            own += self._rules(one.parent, OWN_FILES)
            # The nearest file decides, but what the user says of models precedes git.
            for rules in (*reversed(own), *reversed(git)):
                excluded = rules.verdict(one, is_folder=one != path)
                if excluded:
                    return f"is excluded by {rules.file.relative_to(top).as_posix()}"
                if excluded is not None:
                    break
        return ""

    def _rules(self, folder: Path, names: Sequence[str]) -> Iterator[Rules]:
        for name in names:
            if patterns := self._patterns(folder / name):
                yield Rules(folder / name, folder, patterns)

    def _patterns(self, file: Path) -> Patterns:
        """Return the patterns of an ignore file; none where it cannot be read."""
        try:
            facts = file.stat()
            stamp = facts.st_mtime_ns, facts.st_size
            known = self._known.get(file)
            if known is None or known[0] != stamp:
                with file.open("rb") as lines:
                    text = lines.read(MOST_BYTES).decode("utf-8-sig", "replace")
                known = self._known[file] = stamp, tuple(_patterns(text))
            return known[1]
        except OSError:
            self._known.pop(file, None)
            return ()


def _patterns(text: str) -> Iterator[GitIgnoreSpecPattern]:
    """Yield the patterns of a text; like git, pass over lines that are none."""
    for line in text.splitlines():
        with suppress(ValueError):
            yield GitIgnoreSpecPattern(line)


def _is_meant(pattern: GitIgnoreSpecPattern, path: str) -> bool:
    """Say whether a pattern matches a path itself, which ends with "/" if it is a folder.

    pathspec's match also what lies in a folder that they match, up to the "/" called `ps_d`, and
    "a/**" matches "a/". Here the folders around a path were asked before it.
    """
    found = pattern.match_file(path)
    if found is None:
        return False
    end = found.match.end()
    if not found.match.groupdict().get("ps_d"):
        return not (path.endswith("/") and end == len(path))
    return path.endswith("/") if found.match.start() else end == len(path)


def _secret(path: Path) -> str:
    """Say that a file holds secrets, by its name or that of a folder around it."""
    *folders, name = (part.lower() for part in path.parts)
    if SECRET_FOLDERS.intersection((*folders, name)):
        return "belongs to a folder of keys, credentials or version control"
    if _SECRET_NAME.match(name) or _SECRET_PLACE.match("/".join((*folders[-1:], name))):
        return "may hold secrets, by its name"
    return ""


def _top(path: Path, folders: Sequence[Path]) -> Path:
    """Return the folder from which ignore files count for a path."""
    home = next((one for one in sorted(folders) if one in path.parents), path.parent)
    around = (home, *home.parents)
    return next((one for one in around if _exists(one / ".git")), home)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder that may not be looked into
        return False


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path
