"""What no model may see: files that hold secrets, and what the workspace's ignore files exclude.

It reads names and ignore files, never the document itself. A name that is known to hold secrets
is excluded with or without a workspace, and no ignore file takes that back. Whatever else cannot
be read excludes nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from cascade_lsp import secret_files
from cascade_lsp.suites import path_named

MOST_BYTES = 256 * 1024  # of an ignore file that are read

GIT_FILES = (".git/info/exclude", ".gitignore")
OWN_FILES = (".cascadeignore",)

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
    if secret_files.is_file(path):
        return "may hold secrets, by its name"
    if any(map(secret_files.is_folder, path.parts)):
        return "belongs to a folder of keys, credentials or version control"
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
