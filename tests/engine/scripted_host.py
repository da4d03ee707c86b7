"""A host of real processes whose workers are scripted: VERSION AVAILABLE FOLDER.

AVAILABLE is a file with the bytes of memory that are available, for the host to believe.
"""

import sys
from functools import partial
from pathlib import Path

from cascade_lsp.engine import host
from cascade_lsp.engine.local import LocalEngine

WORKER = (sys.executable, str(Path(__file__).with_name("scripted_worker.py")))


def main():
    version, available = sys.argv[1:3]
    del sys.argv[1:3]
    host.__version__ = version
    reading = Path(available)
    host.main(partial(LocalEngine, worker=WORKER, available=lambda: int(reading.read_text() or 0)))


if __name__ == "__main__":
    main()
