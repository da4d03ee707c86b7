"""One window's process with an engine: FOLDER MODEL HOST...; it says READY, and stays."""

import asyncio
import sys
from pathlib import Path

from cascade_lsp.engine import EngineOptions
from cascade_lsp.engine.endpoint import Endpoint
from cascade_lsp.engine.lease import Lease
from cascade_lsp.engine.shared import SharedEngine


async def main():
    folder, model, *host = sys.argv[1:]
    options = EngineOptions(linger_s=1.0)
    endpoint = Endpoint(Path(folder))
    engine = SharedEngine(Path(model), options, Lease(), endpoint=endpoint, host=host)
    await engine.start()
    sys.stdout.write("READY\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


asyncio.run(main())
