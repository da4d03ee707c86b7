"""Which files' text may leave this machine, and for whose servers: the user's policy.

    blocked    never
    mine       only to servers that the user controls
    any        to whichever server is configured

The policy is a TOML file of three lists of globs, one per level, written as in `.gitignore`: the
user's own (`paths.privacy_path()`, globs of whole paths) and, in any folder around the file,
PROJECT (globs below that folder), which can only restrict. The most restrictive level that speaks
of a file wins; of a file of which none speaks the level in the settings holds. What cannot be read
as a policy blocks everything. This module sends nothing and knows no server.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pathspec import GitIgnoreSpec

Level = Literal["blocked", "mine", "any"]
LEVELS: tuple[Level, ...] = get_args(Level)  # the most restrictive first
PROJECT = ".cascade-privacy.toml"
Policy = Mapping[Level, GitIgnoreSpec]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The level that holds for a file, and what says so, as a clause."""

    level: Level
    why: str


def verdict(path: Path, usual: Level, own: Path) -> Verdict:
    """Return the level of a file.

    `usual` holds where no policy speaks; `own` is the user's policy file. A link has the most
    restrictive level of its own path and of what it leads to.
    """
    verdicts = [Verdict(usual, "the setting cascade.remote.send")]
    try:
        verdicts = list(_said(own, None, path)) or verdicts
        for folder in {above for way in _ways(path) for above in way.parents}:
            said = _said(folder / PROJECT, folder, path)
            verdicts += [one for one in said if one.level != "any"]
    except (OSError, ValueError, TypeError) as error:
        return Verdict("blocked", f"{error}; a policy that cannot be read blocks everything")
    return min(verdicts, key=lambda one: LEVELS.index(one.level))


def _said(file: Path, top: Path | None, path: Path) -> Iterator[Verdict]:
    """Yield what a policy file says of a path below `top`, of any path where that is None: the
    most restrictive level that names it."""
    policy = _read(file)
    names = {_name(one, top) for one in _ways(path)} - {""}
    for level in LEVELS:
        if level in policy and any(map(policy[level].match_file, names)):
            yield Verdict(level, str(file))
            return


def _ways(path: Path) -> set[Path]:
    """Return a path, and what it leads to."""
    return {path, path.resolve()}


def _name(path: Path, top: Path | None) -> str:
    """Return how globs name a path below a folder, "" if it is not there."""
    if top is None:
        return path.as_posix().lstrip("/")
    return path.relative_to(top).as_posix() if path.is_relative_to(top) else ""


def _read(file: Path) -> Policy:
    """Return the policy in a file, an empty one if there is no file; raise ValueError or TypeError
    if it is none, OSError if it cannot be read."""
    try:
        raw = tomllib.loads(file.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise ValueError(f"{file} is no TOML ({error})") from error
    if unknown := set(raw) - set(LEVELS):
        raise ValueError(f"{file} has {', '.join(sorted(unknown))}, but only {', '.join(LEVELS)}")
    for level, globs in raw.items():
        if not isinstance(globs, list) or not all(isinstance(one, str) for one in globs):
            raise TypeError(f"{file}: {level} is no list of globs")
    return {level: GitIgnoreSpec.from_lines(raw[level]) for level in LEVELS if level in raw}
