"""Write docs/licences.md: the licence of every part, to standard output.

It lists what the parts declare and fails where one declares nothing or does not go with MIT; it
does not read licences. The same parts give the same bytes.
"""

import sys
from collections.abc import Iterable

from parts import USES, Part, PartError, Use, fault, parts

_HEAD = """# Licences

Cascade is under the [MIT licence](../LICENSE). This is what it needs, with the licence that each
part states of itself, as an SPDX expression. A wheel may carry libraries under further licences,
which its own licence files name. What is needed on another system alone is not pinned and not
listed.

This file is generated: `python .ci/licences.py > docs/licences.md`."""

_SECTIONS: dict[Use, tuple[str, str]] = {
    "run time": (
        "Needed at run time",
        "Installed with `cascade-lsp`, not copied into its wheel. None is under the GPL or AGPL.",
    ),
    "lab": ("Needed by the lab", "Installed with `cascade-lsp[lab]` alone: experiments and plots."),
    "development": (
        "Needed for development only",
        "Tests and checks. Nothing of it is installed with the product or goes into it.",
    ),
    "extension": (
        "Bundled into the extension",
        "npm packages whose code is in `dist/extension.js`; their licence texts are in the "
        "package's `LICENSE.txt`.",
    ),
    "model": (
        "Models",
        "Fetched by name when you ask for it, in no package of Cascade's. Qwen-Research forbids "
        "commercial use.",
    ),
}


def document(listed: Iterable[Part]) -> str:
    """Return the page."""
    known = list(listed)
    sections = (_section(use, [part for part in known if part.use == use]) for use in USES)
    return "\n\n".join([_HEAD, *sections]) + "\n"


def _section(use: Use, listed: list[Part]) -> str:
    title, note = _SECTIONS[use]
    rows = (f"| {part.name} | {_short(part)} | {part.licence} |" for part in listed)
    return "\n".join(
        [f"## {title}", "", note, "", "| | version | licence |", "|---|---|---|", *rows]
    )


def _short(part: Part) -> str:
    return part.version[:12] if part.use == "model" else part.version


def main() -> int:
    """Print the page; say what is wrong and return 1 if a licence is unknown or does not fit."""
    try:
        listed = parts()
    except PartError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    faults = [said for part in listed if (said := fault(part))]
    sys.stderr.write("".join(f"{said}\n" for said in faults))
    sys.stdout.write(document(listed))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
