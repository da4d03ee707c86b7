"""Write a model's weights anew as IQ4_NL: `python -m cascade_lsp.engine.requantize SOURCE TARGET`.

A program of its own, because it loads llama.cpp and may be ended at any moment. It prints how
many of the tensors are done, as "DONE TOTAL", and its errors to stderr.
"""

import ctypes
import os
import re
import sys
from collections.abc import Callable
from typing import BinaryIO

import llama_cpp.llama_cpp as llama

_TENSOR = re.compile(rb"\[ *(\d+)/ *(\d+)\]")  # how llama.cpp's log begins a tensor
_WARNING = 3


def main(source: str, target: str) -> int:
    """Requantize `source` into `target`; return llama.cpp's status, 0 where all went well."""
    # Whatever C code prints goes to stderr; the channel keeps a descriptor of its own.
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    log = llama.llama_log_callback(_log_to(channel))
    llama.llama_log_set(log, ctypes.c_void_p(0))
    llama.llama_backend_init()
    options = llama.llama_model_quantize_default_params()
    options.ftype = llama.LLAMA_FTYPE_MOSTLY_IQ4_NL
    options.allow_requantize = True
    names = os.fsencode(source), os.fsencode(target)
    return int(llama.llama_model_quantize(*names, ctypes.byref(options)))


def _log_to(channel: BinaryIO) -> Callable[[int, bytes, ctypes.c_void_p], None]:
    def log(level: int, text: bytes, _user_data: ctypes.c_void_p) -> None:
        if level >= _WARNING:
            sys.stderr.write(text.decode("utf-8", "replace"))
        if tensor := _TENSOR.match(text):
            channel.write(b"%s %s\n" % tensor.groups())
            channel.flush()

    return log


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
