"""A worker without a model: it answers every prompt with words, one in a hundredth of a second.

The number of words is the prompt's `n_predict`. It computes only while it is told to, and ends a
batch that is cancelled, as the real one does.
"""

import sys
import threading
import time
from dataclasses import asdict

from cascade_lsp.engine import ModelFacts, Usage, wire

FACTS = ModelFacts(
    architecture="scripted",
    parameters=1,
    context_tokens=4096,
    trained_context_tokens=4096,
    fim=True,
    chat=True,
    backend="cpu",
    threads=1,
    safe=False,
    build="",
    system="",
    load_ms=1.0,
    weights_bytes=1,
)
computing, cancelled = threading.Event(), set()


def send(event):
    sys.stdout.buffer.write(wire.encode(event))
    sys.stdout.buffer.flush()


def answer(request):
    reason, words = "done", 0
    while words < request["prompts"][0]["n_predict"]:
        computing.wait()
        time.sleep(0.01)
        if request["id"] in cancelled:
            reason = "cancelled"
            break
        send({"ev": "token", "id": request["id"], "seq": 0, "text": "word ", "logprob": -0.5})
        words += 1
    usage = asdict(Usage(new_tokens=words))
    send({"ev": "end", "id": request["id"], "usage": usage, "reason": reason})


send({"ev": "ready"} | asdict(FACTS))
for line in sys.stdin.buffer:
    match wire.decode(line):
        case {"op": "compute", "on": on}:
            computing.set() if on else computing.clear()
        case {"op": "cancel", "id": asked}:
            cancelled.add(asked)
        case request:
            threading.Thread(target=answer, args=[request], daemon=True).start()
