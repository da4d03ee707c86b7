"""One model in llama.cpp: load it, probe it, turn text into tokens and back, decode.

The only module that computes with llama.cpp; `engine.worker` runs it in a process of its own.
"""

import argparse
import ctypes
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import llama_cpp
import llama_cpp.llama_cpp as llama
import numpy as np
import psutil
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from cascade_lsp.engine import ModelFacts, Piece, Prompt, machine, offload
from cascade_lsp.engine.slots import SEQUENCES, SLICE, Logits, Row, Status


@dataclass(slots=True)
class Model:
    """llama.cpp's handles for one model.

    `flag` is what llama.cpp asks between any two operations of a decode whether to abort it: a C
    string that is empty, and for an abort is not.
    """

    handle: Any
    context: Any
    vocab: Any
    memory: Any
    formatter: Jinja2ChatFormatter | None
    n_vocab: int
    n_ctx: int
    batch: Any
    flag: Any = field(default_factory=lambda: ctypes.create_string_buffer(2))

    @property
    def markers(self) -> tuple[int, int]:
        """Return the markers before and behind a suffix, -1 where what is cached cannot move."""
        if not llama.llama_memory_can_shift(self.memory):
            return -1, -1
        return llama.llama_vocab_fim_suf(self.vocab), llama.llama_vocab_fim_mid(self.vocab)

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

    def decode(self, rows: Sequence[Row]) -> Status:
        """Evaluate (token, position, sequence, wants logits) rows."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (token, position, seq_id, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, wanted
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, seq_id
        status = llama.llama_decode(self.context, batch)
        if status < 0:
            raise RuntimeError(f"llama_decode failed with status {status}")
        return Status(status)

    def may_abort(self) -> None:
        """Let `flag` abort a decode.

        llama.cpp calls a C function some hundred times per decode; one in Python would take the
        interpreter's lock each time. The C library's strlen answers whether `flag` is set.
        """
        callback = ctypes.cast(ctypes.CDLL(None).strlen, llama.ggml_abort_callback)
        llama.llama_set_abort_callback(self.context, callback, self.flag)

    def abort(self) -> None:
        """Abort the decode under way, or the next one; any thread may ask for it."""
        self.flag[0] = b"\x01"

    def carry_on(self) -> None:
        """Let decodes run to their end again."""
        self.flag[0] = b"\x00"

    def logits(self, row: int) -> Logits:
        """Return a view of one row's logits, valid until the next decode."""
        pointer = llama.llama_get_logits_ith(self.context, row)
        return np.ctypeslib.as_array(pointer, shape=(self.n_vocab,))

    def is_end(self, token: int) -> bool:
        """Say whether a token ends the answer."""
        return bool(llama.llama_vocab_is_eog(self.vocab, token))

    def copy(self, source: int, target: int, start: int = 0, end: int = -1) -> None:
        """Share what a sequence holds between two positions with another one."""
        llama.llama_memory_seq_cp(self.memory, source, target, start, end)

    def shift(self, sequence: int, start: int, by: int) -> None:
        """Move what a sequence holds from a position on, by so many positions."""
        llama.llama_memory_seq_add(self.memory, sequence, start, -1, by)

    def drop(self, sequence: int, start: int = 0) -> None:
        """Drop a sequence's tokens from the KV cache, from a position on."""
        llama.llama_memory_seq_rm(self.memory, sequence, start, -1)


def load(arguments: argparse.Namespace) -> Model:
    """Load a model with the settings of this start; raise ValueError if llama.cpp refuses it."""
    llama.llama_backend_init()
    model_params = llama.llama_model_default_params()
    if arguments.gpu_layers < 0:
        arguments.gpu_layers = offloadable(arguments)
    model_params.n_gpu_layers = arguments.gpu_layers
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
    context_params.n_threads = context_params.n_threads_batch = physical_cores()
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


def offloadable(arguments: argparse.Namespace) -> int:
    """Return how many of the model's layers the free memory of the GPUs holds; 0 without one."""
    free = free_device_bytes()
    if not free:
        return 0
    params = llama.llama_model_default_params()
    params.vocab_only = True  # its shape, not its weights
    handle = llama.llama_model_load_from_file(str(arguments.model).encode(), params)
    if not handle:
        return 0  # `load` will say why
    layers, heads = llama.llama_model_n_layer(handle), llama.llama_model_n_head(handle)
    dimensions = llama.llama_model_n_embd(handle) // max(1, heads)
    kv_dimensions = dimensions * llama.llama_model_n_head_kv(handle)
    llama.llama_model_free(handle)
    cache = offload.cache_bytes(arguments.context, layers, kv_dimensions)
    return offload.layers_that_fit(layers, arguments.model.stat().st_size, cache, free)


GPU = 1  # of ggml's types of devices; one built into the CPU shares its memory and is left out


def free_device_bytes() -> list[int]:
    """Return the free memory of each GPU that this build of llama.cpp can use."""
    ggml = llama._lib
    for name in ("ggml_backend_dev_count", "ggml_backend_dev_get"):
        getattr(ggml, name).restype = ctypes.c_size_t
    free = []
    for i in range(ggml.ggml_backend_dev_count()):
        device = ctypes.c_void_p(ggml.ggml_backend_dev_get(ctypes.c_size_t(i)))
        if ggml.ggml_backend_dev_type(device) == GPU:
            sizes = ctypes.c_size_t(), ctypes.c_size_t()
            ggml.ggml_backend_dev_memory(device, *map(ctypes.byref, sizes))
            free.append(sizes[0].value)
    return free


def _formatter(handle: Any, vocab: Any) -> Jinja2ChatFormatter | None:
    template = llama.llama_model_chat_template(handle, None)
    if not template:
        return None
    bos, eos = llama.llama_vocab_bos(vocab), llama.llama_vocab_eos(vocab)
    names = [
        (llama.llama_vocab_get_text(vocab, t) or b"").decode() if t >= 0 else "" for t in (bos, eos)
    ]
    return Jinja2ChatFormatter(template.decode(), eos_token=names[1], bos_token=names[0])


PROBED = 4  # tokens written by a probe
CLEARLY = 1.1  # times faster than with a thread per core


def probe(model: Model) -> tuple[float, float]:
    """Decode a slice and a few single tokens: a kernel that faults on this CPU faults here.

    Returns the tokens per second that were read and written.
    """
    token = model.tokenize("a", special=False)[0]
    times = [time.perf_counter()]
    model.decode([(token, i, 0, i == SLICE - 1) for i in range(SLICE)])
    model.logits(SLICE - 1)  # a device computes behind the call, until something is asked of it
    times.append(time.perf_counter())
    for i in range(PROBED):
        model.decode([(token, SLICE + i, 0, True)])
        model.logits(0)
    times.append(time.perf_counter())
    model.drop(0)
    return SLICE / (times[1] - times[0]), PROBED / (times[2] - times[1])


def choose_threads(model: Model) -> machine.Threads:
    """Return how many threads write and how many read fastest here, by a short measurement.

    One per physical core is usual; with hyperthreading, or cores of two kinds, another number can
    be faster. It has to be so clearly: other programs disturb the measurement.
    """
    cores, usable = physical_cores(), usable_cpus()
    numbers = {cores, usable} | ({cores // 2} if cores >= 4 else set())
    if len(numbers) == 1:
        return machine.Threads(cores, cores)
    speeds = {}
    for n in numbers:
        llama.llama_set_n_threads(model.context, n, n)
        probe(model)  # the first decodes with a number of threads start these
        speeds[n] = probe(model)

    def fastest(i: int) -> int:
        best = max(numbers, key=lambda n: speeds[n][i])
        return best if speeds[best][i] > CLEARLY * speeds[cores][i] else cores

    return machine.Threads(write=fastest(1), read=fastest(0))


def threads(model: Model, arguments: argparse.Namespace) -> machine.Threads:
    """Return the threads to compute with: as set, as remembered for this machine, as measured."""
    if arguments.threads:
        return machine.Threads(arguments.threads, arguments.threads)
    key = machine.build_key()
    if known := machine.threads(arguments.memory, key):
        return known
    chosen = choose_threads(model)
    machine.remember_threads(arguments.memory, key, chosen)
    return chosen


def facts(
    model: Model, arguments: argparse.Namespace, load_ms: float, speeds: tuple[float, float]
) -> ModelFacts:
    """Describe the loaded model and how it runs."""
    fim = (llama.llama_vocab_fim_pre, llama.llama_vocab_fim_suf, llama.llama_vocab_fim_mid)
    offloads = bool(llama.llama_supports_gpu_offload()) and arguments.gpu_layers > 0
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
        read_per_s=round(speeds[0], 1),
        write_per_s=round(speeds[1], 1),
    )


def _metadata(model: Model, key: str) -> str:
    buffer = ctypes.create_string_buffer(256)
    n = llama.llama_model_meta_val_str(model.handle, key.encode(), buffer, len(buffer))
    return buffer.value.decode() if n >= 0 else ""


def usable_cpus() -> int:
    """Return the logical CPUs this process may use."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return (len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()) or 1


def physical_cores() -> int:
    """Return the physical cores this process may use."""
    return max(1, min(psutil.cpu_count(logical=False) or 1, usable_cpus()))
