"""A worker whose fast kernels fault on this CPU: it dies of SIGSEGV unless started with --safe.

With safe settings it is the real worker, so what comes after the fault is real.
"""

import os
import runpy
import signal
import sys

if "--safe" not in sys.argv:
    os.kill(os.getpid(), signal.SIGSEGV)
sys.argv[0] = "cascade_lsp.engine.worker"
runpy.run_module("cascade_lsp.engine.worker", run_name="__main__")
