"""Serve at stdin and stdout with a scripted cascade.

python -m tests.protocol.scripted_server '{"text": "pass"}' [LOG_FILE]
"""

import asyncio
import json
import sys
from functools import partial
from pathlib import Path

from cascade_lsp.editor import log_to, own_channels
from cascade_lsp.server import CascadeServer


def main(script, log_file=None):
    log_to(Path(log_file) if log_file else None)
    asyncio.run(CascadeServer(partial(make_cascade, script), open_ledger).session(*own_channels()))


def make_cascade(script, _settings, _root):
    from tests.protocol.scripted_cascade import Script, ScriptedCascade

    return ScriptedCascade(Script(**json.loads(script)))


def open_ledger(settings):
    from cascade_lsp.assembly import open_ledger

    return open_ledger(settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
