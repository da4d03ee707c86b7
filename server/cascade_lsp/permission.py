"""May a remote model be asked about a document? The `engine.Gate` of the remote tier.

Everything that must hold is asked here in one line after the other, and the first that does not is
the answer. What is in a request is for `engine.payload`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pathspec import GitIgnoreSpec

from cascade_lsp.engine import Prompt, Sent
from cascade_lsp.engine.remote_options import RemoteOptions
from cascade_lsp.privacy import verdict
from cascade_lsp.suites import path_named

if TYPE_CHECKING:  # it needs a network library
    from cascade_lsp.engine.remote import RemoteEngine


@dataclass(frozen=True, slots=True)
class Permission:
    """The rules for one server; `policy` is the user's privacy policy."""

    options: RemoteOptions
    policy: Path
    engine: "RemoteEngine"

    async def refusal(self, uri: str) -> str:
        """Return why the model may not be asked about a document, as a clause; "" if it may."""
        return (
            self.options.fault()
            or self.withheld(path_named(uri))
            or await self.engine.unavailable()
        )

    def withheld(self, path: Path) -> str:
        """Return why a file's text may not be sent to this server, "" if it may."""
        found = verdict(path, self.options.send, self.policy)
        called = path.name
        if found.level == "blocked":
            return f"{called} is blocked by {found.why}"
        if found.level == "mine" and not (self.options.mine or self.options.local):
            return (
                f"{called} may only be sent to servers under your control, by {found.why}, and "
                f"{self.options.host} is none (cascade.remote.mine)"
            )
        return ""

    def preview(self, prompts: Sequence[Prompt]) -> tuple[Sent, ...]:
        """Return what the server would be sent for prompts."""
        return self.engine.preview(prompts)

    def shares(self, files: Sequence[tuple[str, str]]) -> bool:
        """Say whether parts of these files may be sent along with one that may: the user's list
        names their paths below their workspace's folder, and each one's own policy lets it out."""
        globs = GitIgnoreSpec.from_lines(self.options.context)
        return all(
            folder and globs.match_file(path) and not self.withheld(Path(folder) / path)
            for folder, path in files
        )
