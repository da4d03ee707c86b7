"""`python -m cascade_lsp` and the `cascade` command."""

from cascade_lsp.cli import main

if __name__ == "__main__":
    main()
