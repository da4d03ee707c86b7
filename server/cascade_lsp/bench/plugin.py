"""The client that a plug-in puts in front of llama-server: what it asks, shows and remembers.

`Plugin` asks as llama.vscode and llama.vim do by default: /infill, 256 lines before and 64 behind
the cursor. `Tuned` is the same server set up as well as we know: a prompt of what is before the
cursor alone, cut where ours is, greedy, so that its KV cache survives typing.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

from cascade_lsp import filters, fim
from cascade_lsp.context import Context

CACHE_SIZE, LOOK_BACK = 250, 128  # answers, characters
PREFIX_LINES, SUFFIX_LINES = 256, 64


class ClientCache:
    """The plug-ins' cache: the latest answers, found again by typing through them."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, str], str] = OrderedDict()

    def put(self, before: str, behind: str, text: str) -> None:
        """Keep the answer for a cursor between two texts."""
        self._entries[before, behind] = text
        self._entries.move_to_end((before, behind))
        if len(self._entries) > CACHE_SIZE:
            self._entries.popitem(last=False)

    def get(self, before: str, behind: str) -> str:
        """Return the longest rest of an answer that led here; empty if there is none."""
        best = ""
        for typed in range(min(LOOK_BACK, len(before)) + 1):
            at = len(before) - typed
            key = before[:at], behind
            text = self._entries.get(key, "")
            if text.startswith(before[at:]) and len(text) - typed > len(best):
                self._entries.move_to_end(key)
                best = text[typed:]
        return best


class Manner(Protocol):
    """A way to drive the server: its name, its options, a request's path and body, and what of
    the answer is shown."""

    @property
    def name(self) -> str: ...
    @property
    def options(self) -> Sequence[str]: ...
    def request(self, context: Context) -> tuple[str, dict[str, Any]]: ...
    def shown(self, text: str, context: Context) -> str: ...


class Plugin:
    """As llama.vscode and llama.vim ask by default."""

    name = "llama-server, plug-in"
    options = ("-b", "1024", "-ub", "1024", "--cache-reuse", "256")

    def request(self, context: Context) -> tuple[str, dict[str, Any]]:
        """Return an /infill request; the line before the cursor is the prompt, unless blank."""
        head = context.line_head
        before = context.document[: context.offset - len(head)].splitlines(keepends=True)
        behind = context.document[context.offset :].split("\n")[: SUFFIX_LINES + 1]
        return "/infill", {
            "id_slot": 0,
            "input_prefix": "".join(before[-PREFIX_LINES:]),
            "input_suffix": "\n".join(behind) + "\n",
            "prompt": head if head.strip() else "",
            "n_predict": 128,
            "n_indent": _indent(head),
            "top_k": 40,
            "top_p": 0.99,
            "samplers": ["top_k", "top_p", "infill"],
            "cache_prompt": True,
            "t_max_prompt_ms": 500,
            "t_max_predict_ms": 500,
        }

    def shown(self, text: str, context: Context) -> str:
        """Return the answer without blanks at its end, and without those before the cursor."""
        if not context.line_head.strip():
            text = text[min(_indent(text), len(context.line_head)) :]
        text = text.rstrip()
        following = context.document[context.offset :].split("\n")[1:]
        line = next((line for line in following if line.strip()), None)
        return "" if context.line_head + text == line else text


class Tuned:
    """As well as we know to set it up: what is read once stays read."""

    name = "llama-server, tuned"
    options = ("-b", "128", "-ub", "128")

    def request(self, context: Context) -> tuple[str, dict[str, Any]]:
        """Return a /completion request with the prompt and the stops that we use ourselves."""
        prompt = fim.render(context, "prefix")
        return "/completion", {
            "id_slot": 0,
            "prompt": "".join(piece.text for piece in prompt.pieces),
            "n_predict": prompt.n_predict,
            "stop": list(prompt.stop),
            "n_indent": prompt.indent,
            "temperature": 0.0,
            "cache_prompt": True,
        }

    def shown(self, text: str, context: Context) -> str:
        """Return what we would show of the same text."""
        return filters.clean(text, context)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))
