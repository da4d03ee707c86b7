"""llama.cpp with nothing around it: what the worker's speed is compared with.

Run as `python -m cascade_lsp.bench.bare MODEL.gguf`: a line of JSON {"text", "n"} is answered with
one of {"read", "read_s", "written", "write_s"}, tokens and seconds. The text is read into an empty
KV cache in slices of the worker's size, then tokens are written greedily, one by one.
"""

import argparse
import ctypes
import json
import sys
import time
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as llama

from cascade_lsp.engine.slots import SEQUENCES, SLICE


@llama.llama_log_callback  # type: ignore[untyped-decorator]
def _silent(_level: int, _text: bytes, _user_data: ctypes.c_void_p) -> None:
    pass


def load(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """Return a context of the worker's shape, and the model's vocabulary."""
    model_params = llama.llama_model_default_params()
    model_params.n_gpu_layers = 0
    model_params.use_extra_bufts = not arguments.safe
    model = llama.llama_model_load_from_file(str(arguments.model).encode(), model_params)
    context_params = llama.llama_context_default_params()
    context_params.n_ctx = arguments.context
    context_params.n_batch = context_params.n_ubatch = SLICE
    context_params.n_seq_max = SEQUENCES
    context_params.kv_unified = True
    context_params.n_threads = context_params.n_threads_batch = arguments.threads
    context = llama.llama_init_from_model(model, context_params)
    return context, llama.llama_model_get_vocab(model)


def tokenize(vocab: Any, text: str) -> list[int]:
    """Return a text's tokens."""
    raw = text.encode()
    buffer = (llama.llama_token * (len(raw) + 8))()
    n = llama.llama_tokenize(vocab, raw, len(raw), buffer, len(buffer), False, False)
    return list(buffer[:n])


def decode(context: Any, tokens: list[int]) -> None:
    """Evaluate tokens at the end of the only sequence."""
    array = (llama.llama_token * len(tokens))(*tokens)
    if llama.llama_decode(context, llama.llama_batch_get_one(array, len(tokens))):
        raise RuntimeError("llama_decode failed")


def run(context: Any, vocab: Any, sampler: Any, text: str, n: int) -> dict[str, float]:
    """Read a text and write up to `n` tokens after it."""
    tokens = tokenize(vocab, text)
    llama.llama_memory_clear(llama.llama_get_memory(context), True)
    began = time.perf_counter()
    for start in range(0, len(tokens), SLICE):
        decode(context, tokens[start : start + SLICE])
    token, written = llama.llama_sampler_sample(sampler, context, -1), 1
    read = time.perf_counter()
    while written < n and not llama.llama_vocab_is_eog(vocab, token):
        decode(context, [token])
        token, written = llama.llama_sampler_sample(sampler, context, -1), written + 1
    ended = time.perf_counter()
    return {
        "read": len(tokens),
        "read_s": read - began,
        "written": written - 1,
        "write_s": ended - read,
    }


def main() -> None:
    """Load, say so, and answer until stdin closes."""
    parser = argparse.ArgumentParser(prog="cascade_lsp.bench.bare")
    parser.add_argument("model", type=Path)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--gpu-layers", type=int, default=0)
    parser.add_argument("--safe", action="store_true")
    llama.llama_log_set(_silent, ctypes.c_void_p(0))
    llama.llama_backend_init()
    context, vocab = load(parser.parse_args())
    sampler = llama.llama_sampler_init_greedy()
    tell({"ev": "ready"})
    for line in sys.stdin:
        asked = json.loads(line)
        tell(run(context, vocab, sampler, asked["text"], asked["n"]))


def tell(message: dict[str, Any]) -> None:
    """Write a line to stdout."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
