"""The server by itself: how soon the first suggestion is there, and what a keystroke costs that
needs no model."""

import time

from cascade_lsp.bench.engine import Figures, code, spread
from cascade_lsp.bench.lsp import Editor, Server, quiet_options
from cascade_lsp.bench.processes import Home, Meter
from cascade_lsp.errors import EngineError

LINES = 5000
FIRST_S = 300.0
PLACE = "def add(first, second):\n    return "


async def cold_start(repeats: int) -> Figures:
    """Measure from the server's start to its first suggestion; the weights may be in memory."""
    taken = []
    for _ in range(repeats):
        home = Home()
        server = Server(home)
        try:
            began = time.perf_counter()
            await server.start(quiet_options())
            await first_suggestion(Editor(server), "cold", PLACE, "\n")
            taken.append(time.perf_counter() - began)
        finally:
            await server.close()
            home.clear()
    return {"first_suggestion_s": spread(taken)}


async def first_suggestion(editor: Editor, name: str, head: str, tail: str) -> None:
    """Open a document, and ask until something is suggested."""
    editor.open(name, head, tail)
    until = time.perf_counter() + FIRST_S
    while not (await editor.ask()).text:
        if time.perf_counter() > until:
            raise EngineError("The server suggests nothing. Run `cascade doctor` to see why.")


async def without_model(keys: int) -> Figures:
    """Measure keys that type through a suggestion in a file of LINES lines: the server alone."""
    home = Home()
    server, meter, taken = Server(home), Meter(home.processes), list[float]()
    half = code(0, LINES // 8)
    try:
        await server.start(quiet_options())
        editor = Editor(server)
        await first_suggestion(editor, "long", half + PLACE, "\n\n\n" + half)
        await meter.rest()
        line = (await editor.ask()).text.split("\n")[0]
        if len(line) < 2:
            raise EngineError(f"Nothing is suggested to type through, but {line!r}.")
        while len(taken) < keys:
            for typed in line[:-1]:
                began = time.perf_counter()
                editor.change(typed)
                answer = await editor.ask()
                taken.append((time.perf_counter() - began) * 1000)
                if not answer.text:
                    raise EngineError("What was suggested is not suggested any more.")
            editor.change("", erased=len(line) - 1)
    finally:
        await server.close()
        home.clear()
    return {f"typed_through_ms_in_{LINES}_lines": spread(taken)}
