"""One model in one process: the only module that loads llama.cpp.

Run as `python -m cascade_lsp.engine.worker MODEL.gguf`, spoken to in the messages of
`engine.wire`. It may die (a fault in a kernel, out of memory): the client restarts it. It keeps
no policy: no tiers, no priorities between requests; it computes one batch at a time, in slices,
and looks for a cancel between any two of them.
"""

import argparse
import ctypes
import os
import queue
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import llama_cpp
import llama_cpp.llama_cpp as llama
import numpy as np
import psutil
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from cascade_lsp.engine import ModelFacts, Piece, Priority, Prompt, Usage, wire
from cascade_lsp.engine.slots import (
    BACKGROUND,
    KEYSTROKE,
    SEQUENCES,
    SLICE,
    Batch,
    ContextFullError,
    Logits,
    Row,
    common_prefix,
)


@dataclass(slots=True)
class Model:
    """llama.cpp's handles for one model, and what its KV cache holds per slot."""

    handle: Any
    context: Any
    vocab: Any
    memory: Any
    formatter: Jinja2ChatFormatter | None
    n_vocab: int
    n_ctx: int
    batch: Any
    cached: dict[int, list[int]] = field(default_factory=lambda: {KEYSTROKE: [], BACKGROUND: []})

    # -- text to tokens and back ---------------------------------------------------------------

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return token ids; `special` alone lets markers inside the text become tokens."""
        raw = text.encode("utf-8", "replace")
        buffer = (llama.llama_token * (len(raw) + 8))()
        n = llama.llama_tokenize(self.vocab, raw, len(raw), buffer, len(buffer), False, special)
        return list(buffer[:n])

    def piece(self, token: int) -> bytes:
        """Return the bytes that one token stands for."""
        buffer = ctypes.create_string_buffer(256)
        n = llama.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, False)
        return buffer.raw[: max(0, n)]

    def tokens_of(self, prompt: Prompt) -> list[int]:
        """Return the token ids of a prompt: a conversation, or text with FIM markers."""
        if prompt.pieces[0].kind in ("system", "user", "assistant"):
            tokens = self._conversation(prompt.pieces)
        else:
            tokens = [t for piece in prompt.pieces for t in self._plain(piece)]
        bos = llama.llama_vocab_bos(self.vocab)
        if llama.llama_vocab_get_add_bos(self.vocab) and tokens[:1] != [bos]:
            tokens.insert(0, bos)
        return tokens

    def _plain(self, piece: Piece) -> list[int]:
        if piece.kind == "text":
            return self.tokenize(piece.text, special=False)
        marker = {
            "fim_pre": llama.llama_vocab_fim_pre,
            "fim_suf": llama.llama_vocab_fim_suf,
            "fim_mid": llama.llama_vocab_fim_mid,
        }[piece.kind](self.vocab)
        return [marker] if marker >= 0 else []

    def _conversation(self, turns: Sequence[Piece]) -> list[int]:
        """Apply the model's own template around the turns without trusting what they say.

        The template is rendered with a placeholder for each turn's text, so that only the
        template's own markers become special tokens, never those inside the user's text.
        """
        if self.formatter is None:
            raise ValueError("this model has no chat template")
        turns, opening = (
            (turns[:-1], turns[-1].text) if turns[-1].kind == "assistant" else (turns, "")
        )
        holes = [f"hole-{uuid.uuid4().hex}" for _ in turns]
        messages: Any = [
            {"role": turn.kind, "content": hole} for turn, hole in zip(turns, holes, strict=True)
        ]
        rest, tokens = self.formatter(messages=messages).prompt, []
        for turn, hole in zip(turns, holes, strict=True):
            before, rest = rest.split(hole, 1)
            tokens += self.tokenize(before, special=True)
            tokens += self.tokenize(turn.text, special=False)
        return tokens + self.tokenize(rest, special=True) + self.tokenize(opening, special=False)

    # -- computing -----------------------------------------------------------------------------

    def decode(self, rows: Sequence[Row]) -> bool:
        """Evaluate (token, position, sequence, wants logits) rows; False when the KV is full."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (token, position, seq_id, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, wanted
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, seq_id
        status = llama.llama_decode(self.context, batch)
        if status < 0 or status == 2:
            raise RuntimeError(f"llama_decode failed with status {status}")
        return bool(status == 0)

    def logits(self, row: int) -> Logits:
        """Return a view of one row's logits, valid until the next decode."""
        pointer = llama.llama_get_logits_ith(self.context, row)
        return np.ctypeslib.as_array(pointer, shape=(self.n_vocab,))

    def keep(self, slot: int, tokens: Sequence[int]) -> int:
        """Cut a slot's cache to what it shares with `tokens`; return how many are shared."""
        cached = self.cached[slot]
        shared = common_prefix([cached, tokens])
        self.forget(slot, shared)
        return shared

    def is_end(self, token: int) -> bool:
        """Say whether a token ends the answer."""
        return bool(llama.llama_vocab_is_eog(self.vocab, token))

    def lend(self, slot: int, sequence: int) -> None:
        """Share what a slot's base sequence holds with another sequence."""
        llama.llama_memory_seq_cp(self.memory, slot, sequence, -1, -1)

    def drop(self, sequence: int) -> None:
        """Drop a sequence from the KV cache."""
        llama.llama_memory_seq_rm(self.memory, sequence, -1, -1)

    def forget(self, slot: int, start: int = 0) -> None:
        """Drop a slot's cached tokens from `start` on."""
        llama.llama_memory_seq_rm(self.memory, slot, start, -1)
        del self.cached[slot][start:]


class Worker:
    """The loop: read requests on a thread, compute on this one, write events."""

    def __init__(self, model: Model, parameters: int, channel: BinaryIO) -> None:
        self.model = model
        self.parameters = parameters
        self.channel = channel
        self.requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.cancelled: set[int] = set()
        self.closing = threading.Event()

    def read(self) -> None:
        """Take messages until stdin closes; a cancel takes effect at the next slice."""
        for line in sys.stdin.buffer:
            message = wire.decode(line)
            if message["op"] == "cancel":
                self.cancelled.add(message["id"])
            elif message["op"] == "generate":
                self.requests.put(message)
        self.closing.set()
        self.requests.put(None)

    def send(self, event: dict[str, Any]) -> None:
        """Write one event and flush it."""
        self.channel.write(wire.encode(event))
        self.channel.flush()

    def serve(self) -> None:
        """Answer requests in order until stdin closes."""
        threading.Thread(target=self.read, daemon=True).start()
        while (request := self.requests.get()) is not None:
            self.answer(request)

    def answer(self, request: dict[str, Any]) -> None:
        """Compute one batch, streaming its tokens, and end it with its usage."""
        started, request_id = time.perf_counter(), request["id"]
        usage = Usage()
        try:
            prompts = [wire.prompt_from(raw) for raw in request["prompts"]]
            batch = Batch(self.model, prompts, request["priority"] == Priority.VERIFY)
            reason = self._stream(request_id, batch)
            usage = self._usage(batch, started)
        except ValueError as error:
            reason = f"refused: {error}"
        self.cancelled.discard(request_id)
        self.send({"ev": "end", "id": request_id, "usage": asdict(usage), "reason": reason})

    def _stream(self, request_id: int, batch: Batch) -> str:
        """Send tokens as they are decoded; return why it ended."""
        try:
            for item in batch.run():
                if item is not None:
                    seq, text, logprob = item
                    event = {"ev": "token", "id": request_id, "seq": seq, "text": text}
                    self.send(event | {"logprob": round(logprob, 5)})
                elif request_id in self.cancelled or self.closing.is_set():
                    return "cancelled"
        except ContextFullError:
            return "context_full"
        return "done"

    def _usage(self, batch: Batch, started: float) -> Usage:
        shared = common_prefix(batch.tokens)
        return Usage(
            prompt_tokens=shared + sum(len(tokens) - shared for tokens in batch.tokens),
            cached_tokens=batch.cached_tokens,
            new_tokens=sum(s.new_tokens for s in batch.strands),
            ms=round((time.perf_counter() - started) * 1000, 1),
            cost=round(2e-9 * self.parameters * batch.evaluated, 2),
        )


def load(arguments: argparse.Namespace) -> Model:
    """Load a model with the settings of this start; raise ValueError if llama.cpp refuses it."""
    llama.llama_backend_init()
    model_params = llama.llama_model_default_params()
    model_params.n_gpu_layers = 999 if arguments.gpu_layers < 0 else arguments.gpu_layers
    model_params.use_extra_bufts = not arguments.safe
    # Repacked weights are copies: mapped, the originals would stay resident beside them
    # (1.5B Q4_K_M: 1,972 MB mapped, 1,347 MB read).
    repacks = not arguments.safe
    model_params.load_mode = llama.LLAMA_LOAD_MODE_NONE if repacks else llama.LLAMA_LOAD_MODE_MMAP
    handle = llama.llama_model_load_from_file(str(arguments.model).encode(), model_params)
    if not handle:
        raise ValueError(f"llama.cpp cannot load {arguments.model.name}: damaged, or not supported")
    context_params = llama.llama_context_default_params()
    trained = llama.llama_model_n_ctx_train(handle)
    context_params.n_ctx = min(arguments.context, trained)
    context_params.n_batch = context_params.n_ubatch = SLICE
    context_params.n_seq_max = SEQUENCES
    context_params.kv_unified = True
    context_params.n_threads = context_params.n_threads_batch = arguments.threads
    context = llama.llama_init_from_model(handle, context_params)
    if not context:
        raise ValueError(f"no memory for a context of {arguments.context} tokens")
    vocab = llama.llama_model_get_vocab(handle)
    return Model(
        handle=handle,
        context=context,
        vocab=vocab,
        memory=llama.llama_get_memory(context),
        formatter=_formatter(handle, vocab),
        n_vocab=llama.llama_vocab_n_tokens(vocab),
        n_ctx=llama.llama_n_ctx(context),
        batch=llama.llama_batch_init(SLICE, 0, 1),
    )


def _formatter(handle: Any, vocab: Any) -> Jinja2ChatFormatter | None:
    template = llama.llama_model_chat_template(handle, None)
    if not template:
        return None
    bos, eos = llama.llama_vocab_bos(vocab), llama.llama_vocab_eos(vocab)
    names = [
        (llama.llama_vocab_get_text(vocab, t) or b"").decode() if t >= 0 else "" for t in (bos, eos)
    ]
    return Jinja2ChatFormatter(template.decode(), eos_token=names[1], bos_token=names[0])


def probe(model: Model) -> None:
    """Decode a slice and a single token: a kernel that faults on this CPU faults here."""
    token = model.tokenize("a", special=False)[0]
    model.decode([(token, i, KEYSTROKE, i == SLICE - 1) for i in range(SLICE)])
    model.decode([(token, SLICE, KEYSTROKE, True)])
    model.forget(KEYSTROKE)


def facts(model: Model, arguments: argparse.Namespace, load_ms: float) -> ModelFacts:
    """Describe the loaded model and how it runs."""
    fim = (llama.llama_vocab_fim_pre, llama.llama_vocab_fim_suf, llama.llama_vocab_fim_mid)
    offloads = bool(llama.llama_supports_gpu_offload()) and arguments.gpu_layers != 0
    return ModelFacts(
        architecture=_metadata(model, "general.architecture"),
        parameters=int(llama.llama_model_n_params(model.handle)),
        context_tokens=model.n_ctx,
        trained_context_tokens=int(llama.llama_model_n_ctx_train(model.handle)),
        fim=all(marker(model.vocab) >= 0 for marker in fim),
        chat=model.formatter is not None,
        backend="gpu" if offloads else "cpu",
        threads=arguments.threads,
        safe=arguments.safe,
        build=llama_cpp.__version__,
        system=llama.llama_print_system_info().decode(),
        load_ms=round(load_ms, 1),
        weights_bytes=int(llama.llama_model_size(model.handle)),
    )


def _metadata(model: Model, key: str) -> str:
    buffer = ctypes.create_string_buffer(256)
    n = llama.llama_model_meta_val_str(model.handle, key.encode(), buffer, len(buffer))
    return buffer.value.decode() if n >= 0 else ""


def physical_cores() -> int:
    """Return the physical cores this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(psutil.cpu_count(logical=False) or 1, usable or 1))


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
    parser.add_argument("--gpu-layers", type=int, default=-1)
    parser.add_argument("--safe", action="store_true")
    arguments = parser.parse_args()
    arguments.threads = arguments.threads or physical_cores()
    # Whatever C code prints goes to stderr; the channel keeps a descriptor of its own.
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    llama.llama_log_set(_log, ctypes.c_void_p(0))
    started = time.perf_counter()
    try:
        model = load(arguments)
        probe(model)
    except (ValueError, RuntimeError) as error:
        channel.write(wire.encode({"ev": "fatal", "message": str(error)}))
        channel.flush()
        sys.exit(1)
    ready = facts(model, arguments, (time.perf_counter() - started) * 1000)
    worker = Worker(model, ready.parameters, channel)
    worker.send({"ev": "ready"} | asdict(ready))
    worker.serve()


if __name__ == "__main__":
    main()
