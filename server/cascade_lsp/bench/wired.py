"""Processes that hold a model, spoken to on their pipes: the worker itself, and the bare loop."""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from cascade_lsp import paths
from cascade_lsp.bench.processes import threads
from cascade_lsp.engine import Priority, Prompt, machine, wire
from cascade_lsp.errors import EngineError

LINE_LIMIT_BYTES = 1 << 20


class Spawned:
    """A process of one of our modules that answers lines of JSON with lines of JSON."""

    def __init__(self, module: str, model: Path) -> None:
        self._command = [sys.executable, "-m", module, str(model), f"--threads={threads()}"]
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        safe = machine.safe_cause(paths.machine_path(), machine.build_key()) is not None
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            "--gpu-layers=0",
            *(["--safe"] if safe else []),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LINE_LIMIT_BYTES,
        )
        if (await self.hear())["ev"] != "ready":
            raise self._lost()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process and self._process.stdin
        self._process.stdin.close()
        await self._process.wait()

    def say(self, message: dict[str, Any]) -> None:
        """Write a message."""
        assert self._process and self._process.stdin
        self._process.stdin.write(wire.encode(message))

    async def hear(self) -> dict[str, Any]:
        """Return the next message; raise EngineError if the process ended."""
        assert self._process and self._process.stdout
        line = await self._process.stdout.readline()
        if not line:
            raise self._lost()
        return wire.decode(line)

    def _lost(self) -> EngineError:
        return EngineError(
            f"{self._command[2]} has ended. Run `cascade doctor` to see whether models run here."
        )


class Bare(Spawned):
    """The bare loop."""

    def __init__(self, model: Path) -> None:
        super().__init__("cascade_lsp.bench.bare", model)

    async def run(self, text: str, n: int) -> dict[str, float]:
        """Read a text and write `n` tokens; return counts and seconds."""
        self.say({"text": text, "n": n})
        return await self.hear()


@dataclass(slots=True)
class Run:
    """One request to the worker: when it was sent, when its prompts were read, when it ended."""

    asked: float = field(default_factory=time.perf_counter)
    read: float = 0.0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    ended: "asyncio.Future[dict[str, Any]]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    at_end: float = 0.0

    @property
    def ms(self) -> float:
        """Return how long it took as a whole."""
        return (self.at_end - self.asked) * 1000

    @property
    def write_s(self) -> float:
        """Return the seconds between the first token and the end."""
        return self.at_end - self.read


class Worker(Spawned):
    """The worker, without its client: nothing is restarted, and all may compute."""

    def __init__(self, model: Path) -> None:
        super().__init__("cascade_lsp.engine.worker", model)
        self._runs: dict[int, Run] = {}
        self._last_id = 0
        self._hearing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.say({"op": "compute", "on": True})
        self._hearing = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._hearing:
            self._hearing.cancel()
        await super().__aexit__()

    async def _listen(self) -> None:
        try:
            while True:
                event = await self.hear()
                run, now = self._runs[event["id"]], time.perf_counter()
                if event["ev"] == "read":
                    run.read = now
                    run.begun.set()
                elif event["ev"] == "end":
                    run.at_end = now
                    run.ended.set_result(event)
        except EngineError as error:
            for run in self._runs.values():
                if not run.ended.done():
                    run.ended.set_exception(error)

    def begin(self, prompts: Sequence[Prompt], priority: Priority = Priority.KEYSTROKE) -> int:
        """Send a request; return its number."""
        self._last_id += 1
        self._runs[self._last_id] = Run()
        self.say(wire.generate(self._last_id, prompts, priority))
        return self._last_id

    def run(self, number: int) -> Run:
        """Return a request that was sent."""
        return self._runs[number]

    def cancel(self, number: int) -> None:
        """Ask for a request's end."""
        self.say({"op": "cancel", "id": number})

    async def whole(
        self, prompts: Sequence[Prompt], priority: Priority = Priority.KEYSTROKE
    ) -> tuple[Run, dict[str, Any]]:
        """Send a request and wait for its end; return it with the worker's last word on it."""
        run = self.run(self.begin(prompts, priority))
        event = await run.ended
        if event["reason"].startswith("refused") or not run.read:
            raise EngineError(f"The worker did not compute: {event['reason']}.")
        return run, event["usage"]
