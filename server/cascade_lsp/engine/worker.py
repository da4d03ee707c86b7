"""One model in one process: spawned, never imported.

Run as `python -m cascade_lsp.engine.worker MODEL.gguf`, spoken to in the messages of
`engine.wire`. It may die (a fault in a kernel, out of memory): the client restarts it. It keeps
no policy: no tiers; it computes one batch at a time, the most urgent one, and leaves even a decode
under way when that batch is cancelled or something more urgent arrives.
"""

import argparse
import ctypes
import os
import queue
import sys
import threading
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import llama_cpp.llama_cpp as llama

from cascade_lsp import paths
from cascade_lsp.engine import Priority, Usage, wire
from cascade_lsp.engine.model import Model, facts, load, probe, threads
from cascade_lsp.engine.slots import Batch, ContextFullError, Slots, common_prefix

SHOWN_S = 0.05  # between two looks at what is being written


@dataclass(slots=True)
class Job:
    """One request: its batch, the steps that are left of it, and when it came."""

    id: int
    priority: Priority
    batch: Batch
    steps: Generator[tuple[int, str, float] | None]
    started: float = field(default_factory=time.perf_counter)
    read: bool = False


class Worker:
    """The loop: read messages on a thread, compute the most urgent batch on this one."""

    def __init__(self, model: Model, parameters: int, channel: BinaryIO) -> None:
        self.model = model
        self.slots = Slots(model)
        self.parameters = parameters
        self.channel = channel
        self.messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.jobs: dict[int, Job] = {}
        self.current: Job | None = None
        self.computing = False
        self.open = True
        self.flushed = 0.0

    # -- on the reading thread -----------------------------------------------------------------

    def read(self) -> None:
        """Take messages until stdin closes; what concerns the decode under way interrupts it."""
        for line in sys.stdin.buffer:
            message = wire.decode(line)
            self.messages.put(message)
            if self._interrupts(message):
                self.model.abort()
        self.messages.put({"op": "close"})
        self.model.abort()

    def _interrupts(self, message: dict[str, Any]) -> bool:
        current = self.current
        if current is None:
            return False
        match message["op"]:
            case "cancel":
                return bool(message["id"] == current.id)
            case "compute":
                return not message["on"]
            case _:
                return bool(message["priority"] < current.priority)

    # -- on the computing thread ---------------------------------------------------------------

    def serve(self) -> None:
        """Compute until stdin closes; messages are looked at between any two decodes."""
        self.model.may_abort()
        threading.Thread(target=self.read, daemon=True).start()
        while self.open:
            # In this order: a message that comes after the flag was cleared sets it again.
            self.model.carry_on()
            self.current = self._most_urgent()
            while self.open and (self.current is None or not self.messages.empty()):
                self.channel.flush()
                self._take(self.messages.get())
                self.current = self._most_urgent()
            if self.open and self.current:
                self._step(self.current)

    def _most_urgent(self) -> Job | None:
        """Return the job to compute: the most urgent, and of those the oldest."""
        if not self.computing:
            return None
        return min(self.jobs.values(), key=lambda job: job.priority, default=None)

    def _take(self, message: dict[str, Any]) -> None:
        match message["op"]:
            case "generate":
                self._begin(message)
            case "cancel" if job := self.jobs.get(message["id"]):
                self._end(job, "cancelled")
            case "compute":
                self.computing = message["on"]
            case "close":
                self.open = False

    def _begin(self, message: dict[str, Any]) -> None:
        priority = Priority(message["priority"])
        try:
            prompts = [wire.prompt_from(raw) for raw in message["prompts"]]
            batch = Batch(self.slots, prompts, priority)
        except ValueError as error:
            self._send_end(message["id"], Usage(), f"refused: {error}")
            return
        if priority == Priority.KEYSTROKE:  # what was read ahead stays in the cache, if it helps
            for job in [job for job in self.jobs.values() if job.priority == Priority.AHEAD]:
                self._end(job, "overtaken")
        self.jobs[message["id"]] = Job(message["id"], priority, batch, batch.run())

    def _step(self, job: Job) -> None:
        """Compute a job up to its next pause, streaming its tokens: whole lines at once, others as
        often as eyes can follow, because who reads them takes a core from who computes."""
        try:
            for item in job.steps:
                if item is None:
                    if time.perf_counter() - self.flushed > SHOWN_S:
                        self._flush()
                    return
                seq, text, logprob = item
                if not job.read:
                    job.read = True
                    usage = asdict(self._usage(job))
                    self.send({"ev": "read", "id": job.id, "usage": usage})
                event = {"ev": "token", "id": job.id, "seq": seq, "text": text}
                self.channel.write(wire.encode(event | {"logprob": round(logprob, 5)}))
                if "\n" in text:
                    self._flush()
        except ContextFullError:
            self._end(job, "context_full")
            return
        self._end(job, "done")

    def _end(self, job: Job, reason: str) -> None:
        del self.jobs[job.id]
        job.steps.close()
        self._send_end(job.id, self._usage(job), reason)

    def _send_end(self, request_id: int, usage: Usage, reason: str) -> None:
        self.send({"ev": "end", "id": request_id, "usage": asdict(usage), "reason": reason})

    def send(self, event: dict[str, Any]) -> None:
        """Write one event and flush it."""
        self.channel.write(wire.encode(event))
        self._flush()

    def _flush(self) -> None:
        self.channel.flush()
        self.flushed = time.perf_counter()

    def _usage(self, job: Job) -> Usage:
        batch = job.batch
        shared = common_prefix(batch.tokens)
        return Usage(
            # Prompts that are equal are read once.
            prompt_tokens=shared + sum(len(t) - shared for t in set(map(tuple, batch.tokens))),
            cached_tokens=batch.cached_tokens,
            new_tokens=sum(s.new_tokens for s in batch.strands),
            ms=round((time.perf_counter() - job.started) * 1000, 1),
            cost=round(2e-9 * self.parameters * batch.evaluated, 2),
        )


@llama.llama_log_callback  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, _user_data: ctypes.c_void_p) -> None:
    if level >= 3:  # warnings and errors only
        sys.stderr.write(text.decode("utf-8", "replace"))


def main() -> None:
    """Load, probe, report READY, serve."""
    parser = argparse.ArgumentParser(prog="cascade_lsp.engine.worker")
    parser.add_argument("model", type=Path)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--memory", type=Path, default=paths.machine_path())
    parser.add_argument("--gpu-layers", type=int, default=-1)
    parser.add_argument("--safe", action="store_true")
    arguments = parser.parse_args()
    # Whatever C code prints goes to stderr; the channel keeps a descriptor of its own.
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    llama.llama_log_set(_log, ctypes.c_void_p(0))
    started = time.perf_counter()
    try:
        model = load(arguments)
        chosen = threads(model, arguments)
        llama.llama_set_n_threads(model.context, chosen.write, chosen.read)
        speeds = probe(model)
    except (ValueError, RuntimeError) as error:
        channel.write(wire.encode({"ev": "fatal", "message": str(error)}))
        channel.flush()
        sys.exit(1)
    arguments.threads = chosen.write
    ready = facts(model, arguments, (time.perf_counter() - started) * 1000, speeds)
    worker = Worker(model, ready.parameters, channel)
    worker.send({"ev": "ready"} | asdict(ready))
    worker.serve()


if __name__ == "__main__":
    main()
