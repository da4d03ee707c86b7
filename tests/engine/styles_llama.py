"""Just enough of llama.cpp for the study of prompt styles: load, tokenize, evaluate, write."""

import ctypes
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as llama
import numpy as np

CELLS, SEQUENCES, SLICE = 4096, 8, 512

Row = tuple[int, int, int, bool]  # token, position, sequence, whether its logits are wanted


@llama.llama_log_callback
def _silent(_level: int, _text: bytes, _data: ctypes.c_void_p) -> None: ...


llama.llama_log_set(_silent, ctypes.c_void_p(0))
llama.llama_backend_init()


class Llama:
    """One model with one KV cache of several sequences."""

    def __init__(self, path: Path, threads: int) -> None:
        options = llama.llama_model_default_params()
        options.n_gpu_layers = 0
        options.load_mode = llama.LLAMA_LOAD_MODE_NONE
        self.handle = llama.llama_model_load_from_file(str(path).encode(), options)
        assert self.handle, path
        options = llama.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_ubatch = CELLS, SLICE, SLICE
        options.n_seq_max, options.kv_unified = SEQUENCES, True
        options.n_threads = options.n_threads_batch = threads
        self.context = llama.llama_init_from_model(self.handle, options)
        self.vocab = llama.llama_model_get_vocab(self.handle)
        self.memory = llama.llama_get_memory(self.context)
        self.n_vocab = llama.llama_vocab_n_tokens(self.vocab)
        self.batch = llama.llama_batch_init(SLICE, 0, 1)
        self.pre = llama.llama_vocab_fim_pre(self.vocab)
        self.suf = llama.llama_vocab_fim_suf(self.vocab)
        self.mid = llama.llama_vocab_fim_mid(self.vocab)

    def tokens(self, text: str) -> list[int]:
        raw = text.encode("utf-8", "replace")
        buffer = (llama.llama_token * (len(raw) + 8))()
        n = llama.llama_tokenize(self.vocab, raw, len(raw), buffer, len(buffer), False, False)
        return list(buffer[:n])

    def piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(256)
        n = llama.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, False)
        return buffer.raw[: max(0, n)]

    def is_end(self, token: int) -> bool:
        return bool(llama.llama_vocab_is_eog(self.vocab, token))

    def decode(self, rows: Sequence[Row]) -> list[int]:
        """Evaluate rows, and return the likeliest next token of each whose logits are wanted."""
        best = []
        for part in _parts(rows):
            batch: Any = self.batch
            batch.n_tokens = len(part)
            for i, (token, position, sequence, wanted) in enumerate(part):
                batch.token[i], batch.pos[i], batch.logits[i] = token, position, wanted
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
            status = llama.llama_decode(self.context, batch)
            assert status == 0, status
            for i, row in enumerate(part):
                if row[3]:
                    logits = llama.llama_get_logits_ith(self.context, i)
                    best.append(int(np.ctypeslib.as_array(logits, shape=(self.n_vocab,)).argmax()))
        return best

    def read(self, tokens: Sequence[int], sequence: int, start: int = 0) -> int:
        """Evaluate tokens from position `start` on; return the likeliest token after the last."""
        last = len(tokens) - 1
        (best,) = self.decode([(t, start + i, sequence, i == last) for i, t in enumerate(tokens)])
        return best

    def clear(self) -> None:
        llama.llama_memory_clear(self.memory, False)

    def lend(self, source: int, target: int, start: int = 0, end: int = -1) -> None:
        """Give a sequence the cells of another one between two positions."""
        llama.llama_memory_seq_cp(self.memory, source, target, start, end)

    def cut(self, sequence: int, start: int, end: int = -1) -> None:
        llama.llama_memory_seq_rm(self.memory, sequence, start, end)

    def move(self, sequence: int, start: int, by: int) -> None:
        """Move the cells of a sequence from position `start` on."""
        llama.llama_memory_seq_add(self.memory, sequence, start, -1, by)


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), SLICE):
        yield rows[start : start + SLICE]
