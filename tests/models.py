"""The installed models, for the tests on the real thing: they fail where one is missing."""

from pathlib import Path

from cascade_lsp import catalogue


def small() -> Path:
    """Return the small default model's file; run `cascade models fetch` if this raises."""
    return catalogue.require(catalogue.load().default("small"))


def large() -> Path:
    """Return the large default model's file."""
    return catalogue.require(catalogue.load().default("large"))
