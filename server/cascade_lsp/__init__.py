"""Cascade: local code completion that checks itself.

Read the modules in the order of docs/architecture.md; one keystroke starts in `server`.
"""

__version__ = "0.1.0"
