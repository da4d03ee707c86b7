"""`python -m cascade_lsp` and the `cascade` command.

`cascade serve` is answered before the command line's libraries are loaded: an editor waits.
"""

import sys
from pathlib import Path


def main() -> None:
    """Serve an editor, or hand over to the command line."""
    match sys.argv[1:]:
        case ["serve"]:
            _serve(None)
        case ["serve", "--log-file", path]:
            _serve(Path(path))
        case _:
            from cascade_lsp import cli

            cli.main()


def _serve(log_file: Path | None) -> None:
    from cascade_lsp import server

    server.serve(log_file)


if __name__ == "__main__":
    main()
